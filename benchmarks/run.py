"""Runs every benchmark and prints figures with ratios to a baseline of the same run."""

import runpy
from pathlib import Path

HERE = Path(__file__).parent

for name in ("help", "overhead", "layers", "flood", "hostile", "rounds", "model", "retention"):
    print(f"\n== {name}", flush=True)
    runpy.run_path(str(HERE / f"{name}.py"), run_name="__main__")
