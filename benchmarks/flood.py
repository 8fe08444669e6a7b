"""What an agent that floods its output costs: MiB/s and memory, against the same flood into a file.

The same producer, one after the other: a bare Popen with a file as standard output; a run whose
limits let all of it through; a run with the default cap on the log, where only head and end are
kept. Bounded: at most `--mib` MiB a row, 256 unless told, and each row at most two minutes.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import psutil

from kubecase.core.model import Command, Limits
from kubecase.core.ports import Started, Stream
from kubecase.runtime import ProcessRuntime

MIB = 1024 * 1024
ROW_SECONDS = 120.0
LINE = b"x" * 99 + b"\n"
PRODUCER = """
import os, sys
block = (b"x" * 99 + b"\\n") * 656
left = int(sys.argv[1])
while left > 0:
    left -= os.write(1, block[:left])
"""


@dataclass
class Counting:
    """A watcher that looks at each piece once, as the service does, and keeps nothing."""

    total: int = 0
    lines: int = 0
    lags: list[float] = field(default_factory=list)

    async def started(self, started: Started) -> None:
        pass

    def output(self, stream: Stream, data: bytes) -> None:
        self.total += len(data)
        self.lines += data.count(b"\n")

    def listening(self, listeners: tuple[int, ...]) -> None:
        pass


class Memory:
    """The largest resident size of this process while the block runs."""

    def __enter__(self) -> "Memory":
        self._me, self._over = psutil.Process(), threading.Event()
        self.before = self.peak = self._me.memory_info().rss
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, self._me.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def argv(size: int) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", PRODUCER, str(size))


def bare(folder: Path, size: int) -> float:
    begun = time.perf_counter()
    with open(folder / "plain", "wb") as file:
        subprocess.run(argv(size), stdout=file, check=True, timeout=ROW_SECONDS)
    taken = time.perf_counter() - begun
    (folder / "plain").unlink()
    return taken


async def heartbeat(watcher: Counting) -> None:
    while True:
        before = time.perf_counter()
        await anyio.sleep(0.005)
        watcher.lags.append(time.perf_counter() - before - 0.005)


async def supervised(folder: Path, size: int, log_bytes: int) -> tuple[float, Counting]:
    watcher, run_dir = Counting(), folder / f"run-{log_bytes}"
    limits = Limits(
        wall_clock=ROW_SECONDS, grace=1, idle=None, output_bytes=2 * size, disk_bytes=4 * size,
        log_bytes=log_bytes,
    )  # fmt: skip
    command = Command(argv=argv(size), environment={"PATH": "/usr/bin:/bin"}, cwd=folder)
    begun = time.perf_counter()
    async with anyio.create_task_group() as beside:
        beside.start_soon(heartbeat, watcher)
        exit = await ProcessRuntime().run(
            command, limits, run_dir=run_dir, stop=anyio.Event(), watcher=watcher
        )
        beside.cancel_scope.cancel()
    taken = time.perf_counter() - begun
    assert exit.code == 0, exit
    for path in ("stdout", "stderr", "order"):
        (run_dir / path).unlink()
    return taken, watcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    size = parser.parse_args().mib * MIB
    with tempfile.TemporaryDirectory(prefix="kubecase-bench-") as name:
        folder = Path(name)
        anyio.run(supervised, folder, MIB, MIB)  # what is imported on first use is no growth
        base = min(bare(folder, size) for _ in range(2))
        print(f"{'bare Popen into a file':<24} {size / MIB / base:7.0f} MiB/s")
        for title, log_bytes in (("all of it kept", 2 * size), ("capped at 16 MiB", 16 * MIB)):
            with Memory() as memory:
                taken, watcher = anyio.run(supervised, folder, size, log_bytes)
            print(
                f"{title:<24} {size / MIB / taken:7.0f} MiB/s  ratio {taken / base:4.1f}  "
                f"RSS +{(memory.peak - memory.before) / MIB:.1f} MiB  "
                f"loop lag max {max(watcher.lags) * 1000:.1f} ms  "
                f"seen {watcher.total / MIB:.1f} MiB, {watcher.lines} lines"
            )


if __name__ == "__main__":
    sys.exit(main())
