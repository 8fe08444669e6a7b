"""Runs every benchmark and prints figures with ratios to a baseline of the same run."""

import runpy
from pathlib import Path

HERE = Path(__file__).parent

NAMES = ("help", "overhead", "layers", "flood", "hostile", "rounds", "model", "cluster",
         "redaction", "retention")  # fmt: skip

for name in NAMES:
    print(f"\n== {name}", flush=True)
    runpy.run_path(str(HERE / f"{name}.py"), run_name="__main__")
