"""What an agent can do to its own run directory, and a full disk: a run still ends in the truth."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from adversaries import Bench, Seen, limits, program, shell
from kubecase.core.model import Cause, Exit
from kubecase.runtime import ProcessRuntime
from kubecase.runtime.records import read_exit, read_started

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
NAMES = ("stdout", "stderr", "order", "started", "exit")

SABOTAGE = """
import os, pathlib, sys, time
run = pathlib.Path(sys.argv[1])
while not (run / "started").exists(): time.sleep(0.01)
for name in ("stdout", "stderr", "order", "started", "exit"):
    path = run / name
    path.unlink(missing_ok=True)
    {deed}
for path in run.glob(".*"): path.unlink()
print("words", flush=True)
print("more", file=sys.stderr, flush=True)
sys.exit(7)
"""
DEEDS = {
    "links": "path.symlink_to('/etc/passwd')",
    "links to nothing": "path.symlink_to(path)",
    "pipes": "os.mkfifo(path)",
    "directories": "(path / 'full').mkdir(parents=True)",
    "nothing": "pass",
    "garbage": "path.write_bytes(bytes(range(256)) * 40)",
    "deep garbage": "path.write_bytes(b'[' * 500_000)",
    "sockets": "__import__('socket').socket(1).bind(str(path))",
}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
async def test_an_agent_that_wrecks_its_run_directory_still_has_its_exit(
    here: Bench, deed: str
) -> None:
    """Whatever an agent makes of its run directory, its exit code is told, then on record, and
    reading its log neither fails nor waits.
    """
    runtime = ProcessRuntime()
    command = program(SABOTAGE.format(deed=deed), here.workspace)
    command = replace(command, argv=(*command.argv, str(here.root / "runs" / "1")))

    with anyio.fail_after(20):
        exit = await here.run(runtime, command, limits())

    assert (exit.cause, exit.code, exit.clean) == (Cause.EXITED, 7, True)
    assert read_exit(here.run_dir) == exit
    assert b"root:" not in b"".join(runtime.log(here.run_dir))
    assert isinstance(list(runtime.lines(here.run_dir)), list)


PLANTS: dict[str, Callable[[Path], object]] = {
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "loop": lambda path: path.symlink_to(path),
    "pipe": os.mkfifo,
    "directory": lambda path: path.mkdir(),
    "nesting": lambda path: path.write_bytes(b"[" * 500_000),
    "infinity": lambda path: path.write_text(
        '{"cause": "exited", "code": 0, "signal": null, "seconds": 1, "clean": true, "error": null,'
        ' "leftover": Infinity, "pid": Infinity, "boot_id": "b"}'
    ),
    "a code that is none": lambda path: path.write_text(
        '{"cause": "exited", "code": [0], "signal": null, "seconds": 1, "clean": true,'
        ' "error": null, "leftover": 0}'
    ),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_what_is_no_record_and_no_log_counts_as_none(
    tmp_path: Path, plant: Callable[[Path], object]
) -> None:
    """Records that are links, pipes, directories or nonsense are none, and never an error."""
    for name in ("exit", "started"):
        plant(tmp_path / name)

    assert read_exit(tmp_path) is None
    assert read_started(tmp_path) is None


@pytest.mark.parametrize("kind", ["link", "loop", "pipe", "directory"])
def test_a_log_that_is_no_file_is_empty(tmp_path: Path, kind: str) -> None:
    """A log that was replaced by a link, a pipe or a directory is empty, and nobody waits."""
    for name in ("stdout", "stderr", "order"):
        PLANTS[kind](tmp_path / name)

    assert list(ProcessRuntime().lines(tmp_path)) == []
    assert list(ProcessRuntime().log(tmp_path)) == []


async def test_a_forged_exit_beside_a_killed_shim_is_not_believed(here: Bench) -> None:
    """An agent that kills its shim and leaves a record of success has lost its run all the same."""
    forge = (
        '{"cause": "exited", "code": 0, "signal": null, "seconds": 1, "clean": true,'
        ' "leftover": 0, "error": null}'
    )
    script = f"printf %s '{forge}' >\"$0\"/exit; kill -9 $PPID; sleep 60"
    command = shell(script, here.workspace)
    command = replace(command, argv=(*command.argv, str(here.root / "runs" / "1")))

    exit = await here.run(ProcessRuntime(), command, limits())

    assert exit.cause is Cause.LOST
    assert read_exit(here.run_dir) == exit


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where run directories lie."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    root = tmp_path / "runs"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", root], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", root], check=True)


FILL = """
import os, sys
where = sys.argv[1]
sys.stdout.write("words " * 20_000)
file = open(where + "/fill", "wb", buffering=0)
try:
    while True: file.write(b"x" * 512)
except OSError: pass
sys.stdout.write("more " * 400_000)
sys.stdout.flush()
"""


async def test_a_full_disk_does_not_lose_a_run(here: Bench, small_disk: Path) -> None:
    """An agent that ends well on a full disk has ended well, and that is on record, since the
    space for it was taken before.
    """
    command = program(FILL, here.workspace)
    command = replace(command, argv=(*command.argv, str(small_disk)))

    exit = await here.run(ProcessRuntime(), command, limits())

    assert os.statvfs(small_disk).f_bavail <= 1
    assert (exit.cause, exit.code, exit.clean) == (Cause.EXITED, 0, True)
    assert read_exit(here.run_dir) == exit
    assert read_started(here.run_dir) is not None


@dataclass
class Slow(Seen):
    """A watcher that works a while on every line, as one does that reads JSON."""

    lines: int = 0
    flowing: anyio.Event = field(default_factory=anyio.Event)

    def output(self, stream: object, data: bytes) -> None:
        count = data.count(b"\n")
        self.lines += count
        until = time.monotonic() + count * 20e-6
        while time.monotonic() < until:
            pass
        if self.lines > 20_000:
            self.flowing.set()


async def test_a_stop_is_heeded_in_a_flood_of_short_lines(here: Bench) -> None:
    """However slow the one is who reads along, a stop reaches a flooding agent at once, and the
    run ends soon after.
    """
    slow, stop, ends = Slow(), anyio.Event(), list[Exit]()
    stopped_at = 0.0

    async def ask() -> None:
        nonlocal stopped_at
        await slow.flowing.wait()
        stopped_at = time.monotonic()
        stop.set()

    async with anyio.create_task_group() as both:
        both.start_soon(ask)
        ends.append(
            await here.run(
                ProcessRuntime(),
                shell("exec yes ''", here.workspace),
                replace(limits(), output_bytes=1 << 40, log_bytes=64 * MIB, grace=5.0),
                stop=stop,
                seen=slow,
            )
        )

    assert (ends[0].cause, ends[0].signal) == (Cause.STOP_REQUESTED, signal.SIGINT)
    assert time.monotonic() - stopped_at < 5.0


async def test_the_end_does_not_wait_for_one_who_reads_slowly(here: Bench) -> None:
    """Minutes of reading that is left at the end does not hold up the exit; the files have
    all of it.
    """
    slow, runtime = Slow(), ProcessRuntime()
    begun = time.monotonic()

    exit = await here.run(
        runtime,
        shell("yes '' | head -c 8M", here.workspace),
        replace(limits(), output_bytes=64 * MIB, log_bytes=64 * MIB),
        seen=slow,
    )

    assert exit.code == 0
    assert time.monotonic() - begun < 10.0
    assert slow.lines < 8 * MIB
    assert sum(map(len, runtime.log(here.run_dir))) == 8 * MIB
