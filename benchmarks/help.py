"""Wall time of `kubecase --help` and of a command's help, against a bare interpreter."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15
KUBECASE = Path(sys.executable).with_name("kubecase")
COMMANDS = {
    "python -c pass (baseline)": [sys.executable, "-c", "pass"],
    "kubecase --help": [KUBECASE, "--help"],
    "kubecase --version": [KUBECASE, "--version"],
    "kubecase investigate --help": [KUBECASE, "investigate", "--help"],
    "kubecase list": [KUBECASE, "list"],
}


def milliseconds(argv: list[object]) -> float:
    begun = time.perf_counter()
    subprocess.run([str(word) for word in argv], capture_output=True, check=True)
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):  # interleaved, so that whatever else runs here hits all alike
        for name, argv in COMMANDS.items():
            taken[name].append(milliseconds(argv))
    baseline = statistics.median(taken["python -c pass (baseline)"])
    print(f"{'':<28} {'min':>7} {'median':>7} {'max':>7}   ms, {RUNS} runs   ratio")
    for name, values in taken.items():
        middle = statistics.median(values)
        print(
            f"{name:<28} {min(values):7.0f} {middle:7.0f} {max(values):7.0f}"
            f"{middle / baseline:22.1f}"
        )


if __name__ == "__main__":
    main()
