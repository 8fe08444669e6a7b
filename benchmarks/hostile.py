"""What hostile agents cost their supervisor: lag of its loop, growth of its memory."""

import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import anyio

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from flood import MIB, Counting, Memory, heartbeat  # noqa: E402

from adversaries import adversary, bench, limits  # noqa: E402
from kubecase.runtime import ProcessRuntime  # noqa: E402

CASES = (
    ("a line of 100 MB", "bombs", ("96",), {"log_bytes": 128 * MIB}),
    ("JSON bombs", "bombs", ("0",), {}),
    ("a bounded fork bomb", "fork_bomb", ("stay",), {"wall_clock": 2.0}),
    ("twelve moving targets", "moving_target", ("stay",), {"wall_clock": 2.0}),
    ("150 children", "many_children", (), {"wall_clock": 2.0}),
)


@contextmanager
def small_disk(folder: Path):
    """A disk of 8 MiB, if this user may mount one."""
    disk = folder / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", disk])
    try:
        yield disk if done.returncode == 0 else None
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", disk], check=True)


async def measured(root: Path, program: str, arguments: tuple[str, ...], changes: dict) -> tuple:
    watcher = Counting()
    begun = time.perf_counter()
    with bench(root) as here:
        async with anyio.create_task_group() as beside:
            beside.start_soon(heartbeat, watcher)
            exit = await here.run(
                ProcessRuntime(), adversary(program, here.workspace, *arguments),
                limits(**changes), seen=watcher,
            )  # fmt: skip
            beside.cancel_scope.cancel()
        assert here.nothing_is_alive()
    return exit, time.perf_counter() - begun, watcher


def row(title: str, root: Path, program: str, arguments: tuple[str, ...], changes: dict) -> None:
    root.mkdir(exist_ok=True)
    with Memory() as memory:
        exit, taken, watcher = anyio.run(measured, root, program, arguments, changes)
    print(
        f"{title:<24} {taken:5.1f} s  loop lag max {max(watcher.lags) * 1000:5.1f} ms  "
        f"RSS +{(memory.peak - memory.before) / MIB:4.1f} MiB  ended by {exit.cause}, "
        f"{exit.leftover} left over, clean {exit.clean}"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kubecase-bench-") as name:
        folder = Path(name)
        row("(to warm up)", folder / "first", "double_fork", (), {})
        for number, (title, program, arguments, changes) in enumerate(CASES):
            row(title, folder / str(number), program, arguments, changes)
        with small_disk(folder) as disk:
            if disk is not None:
                row("a full disk of 8 MiB", disk, "exhaust", (), {"wall_clock": 20.0})


if __name__ == "__main__":
    main()
