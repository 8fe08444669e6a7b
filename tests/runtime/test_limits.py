"""How far a run may go: output, time without output, disk; and which cause is the first."""

import json
import random
import signal
import time
from dataclasses import replace

import anyio
import pytest

from adversaries import Bench, Seen, limits, program, shell, until
from kubecase.core.model import Cause, Exit
from kubecase.runtime import ProcessRuntime

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


async def test_of_too_much_output_head_and_end_are_kept(here: Bench) -> None:
    """The first bytes up to the cap and the last 64 KiB are kept, and one line says what is not
    there (case 20).
    """
    code = """
import sys
for n in range(200_000): print(f"line {n:09d}")
print("LAST LINE")
"""
    cap, total = 100_000, 200_000 * 15 + 10
    runtime, seen = ProcessRuntime(), Seen()

    exit = await here.run(runtime, program(code, here.workspace), limits(log_bytes=cap), seen=seen)

    stored = b"".join(runtime.log(here.run_dir))
    missing = total - cap - 65536
    marker = f"\n[kubecase: {missing} bytes of output are left out here]\n".encode()
    assert exit.code == 0
    assert stored[:cap].startswith(b"line 000000000\n")
    assert stored[cap : cap + len(marker)] == marker
    assert len(stored) == cap + len(marker) + 65536
    assert stored.endswith(b"LAST LINE\n")
    assert seen.text("stdout") == stored
    assert marker.strip() in list(runtime.lines(here.run_dir))
    record = json.loads((here.run_dir / "exit").read_text())
    assert record["streams"]["stdout"] == {"bytes": total, "left_out": missing, "trouble": None}


async def test_output_that_just_exceeds_the_head_is_kept_whole(here: Bench) -> None:
    """Where head and end meet nothing is missing, and no line says otherwise."""
    runtime = ProcessRuntime()

    await here.run(
        runtime,
        shell("cat; cat >&2 </dev/null", here.workspace, stdin=bytes(range(250)) * 400),
        limits(log_bytes=60_000),
    )

    assert b"".join(runtime.log(here.run_dir)) == bytes(range(250)) * 400


async def test_too_much_output_ends_a_run(here: Bench) -> None:
    """An agent that floods is ended by the output limit, both streams taken together."""
    exit = await here.run(
        ProcessRuntime(),
        shell("yes >&2 & exec yes", here.workspace),
        limits(output_bytes=5 * MIB, log_bytes=MIB, grace=0.5),
    )

    assert exit.cause is Cause.OUTPUT_LIMIT
    assert exit.clean
    assert (here.run_dir / "stdout").stat().st_size < 2 * MIB


async def test_a_silent_agent_is_ended_by_the_idle_limit(here: Bench) -> None:
    """Without a byte of output for the idle limit an agent counts as stalled."""
    exit = await here.run(
        ProcessRuntime(),
        shell("for i in 1 2 3 4; do echo $i; sleep 0.2; done; sleep 60", here.workspace),
        limits(idle=0.5),
    )

    assert exit.cause is Cause.STALLED
    assert exit.seconds > 1.0


async def test_a_workspace_that_grows_too_large_ends_a_run(here: Bench) -> None:
    """Files in any depth count against the disk limit, by what they take."""
    code = """
import os, time
for n in range(100):
    os.makedirs(f"d{n}/e", exist_ok=True)
    open(f"d{n}/e/f", "wb").write(b"x" * 1_000_000)
    time.sleep(0.03)
time.sleep(60)
"""

    exit = await here.run(
        ProcessRuntime(), program(code, here.workspace), limits(disk_bytes=8 * MIB, grace=0.2)
    )

    assert exit.cause is Cause.DISK_LIMIT
    assert exit.seconds < 8


async def test_one_file_cannot_grow_over_the_disk_limit(here: Bench) -> None:
    """A single file stops at the limit before any look at the disk could see it."""
    code = """
import os, time
try:
    with open("huge", "wb") as file:
        while True: file.write(b"x" * 1_000_000)
except OSError as error: print(error.strerror, flush=True)
time.sleep(60)
"""
    seen = Seen()

    exit = await here.run(
        ProcessRuntime(),
        program(code, here.workspace),
        limits(disk_bytes=16 * MIB, grace=0.2),
        seen=seen,
    )

    assert seen.text("stdout") == b"File too large\n"
    assert exit.cause is Cause.DISK_LIMIT
    assert (here.workspace / "huge").stat().st_size <= 16 * MIB


async def test_a_writer_that_dies_of_its_file_has_reached_the_disk_limit(here: Bench) -> None:
    """Most programs are killed when a file reaches the limit: that is the disk limit as well."""
    exit = await here.run(
        ProcessRuntime(),
        shell("exec head -c 3M /dev/zero >huge", here.workspace),
        limits(disk_bytes=2 * MIB),
    )

    assert (exit.cause, exit.signal) == (Cause.DISK_LIMIT, signal.SIGXFSZ)
    assert (here.workspace / "huge").stat().st_size == 2 * MIB


async def test_neither_holes_nor_links_count_as_disk(here: Bench) -> None:
    """A sparse file, names for one inode and links out of the workspace take no more than they
    take (req 17.4).
    """
    code = """
import os, time
with open("sparse", "wb") as file: file.truncate(900_000_000)
with open("once", "wb") as file: file.write(b"x" * 3_000_000)
for n in range(500): os.link("once", f"name{n}")
os.symlink("/usr", "usr")
time.sleep(1.6)
"""

    exit = await here.run(
        ProcessRuntime(), program(code, here.workspace), limits(disk_bytes=900_000_000)
    )
    again = await here.run(
        ProcessRuntime(),
        program("import time; time.sleep(1.5)", here.workspace),
        limits(disk_bytes=6 * MIB),
    )

    assert exit.cause is Cause.EXITED
    assert again.cause is Cause.EXITED


async def test_the_deadline_counts_from_the_start_of_the_agent(here: Bench) -> None:
    """What is prepared before the agent exists does not shorten its time (req 17.2)."""
    preparing = {f"file{n}": b"x" * 1000 for n in range(300)}

    exit = await here.run(
        ProcessRuntime(),
        shell("exec sleep 60", here.workspace, private_files=preparing, stdin=b"y" * 2 * MIB),
        limits(wall_clock=0.4),
    )

    assert exit.cause is Cause.DEADLINE
    assert 0.4 <= exit.seconds < 1.2


async def test_of_a_deadline_and_a_cancel_the_first_wins(here: Bench) -> None:
    """Whichever of deadline and cancel comes first is the cause, and stays it (req 10.7)."""
    rng = random.Random(7)
    wall_clock = 0.30

    async def race(delay: float) -> tuple[float, float, Exit]:
        stop, seen = anyio.Event(), Seen()
        moments: list[float] = []

        async def cancel() -> None:
            await seen.at_start.wait()
            await anyio.sleep(delay)
            moments.append(time.monotonic())
            stop.set()
            moments.append(time.monotonic())

        async with anyio.create_task_group() as both:
            both.start_soon(cancel)
            exit = await here.run(
                ProcessRuntime(),
                shell("trap 'exit 0' INT; while :; do sleep 0.01; done", here.workspace),
                limits(wall_clock=wall_clock, grace=2),
                stop=stop,
                seen=seen,
            )
            both.cancel_scope.cancel()
        return delay, exit.seconds, exit

    early = [await race(rng.uniform(0.0, 0.12)) for _ in range(4)]
    close = [await race(rng.uniform(0.26, 0.34)) for _ in range(6)]
    late = [await race(rng.uniform(0.8, 0.9)) for _ in range(2)]

    assert {exit.cause for _, _, exit in early} == {Cause.STOP_REQUESTED}
    assert {exit.cause for _, _, exit in late} == {Cause.DEADLINE}
    for _, seconds, exit in close:
        assert exit.cause in {Cause.STOP_REQUESTED, Cause.DEADLINE}
        # By the deadline only once it had passed.
        assert exit.cause is Cause.STOP_REQUESTED or seconds >= wall_clock


async def test_a_cause_is_not_changed_by_what_follows_in_the_grace(here: Bench) -> None:
    """A cancel during the grace of a deadline changes nothing about the deadline."""
    stop = anyio.Event()
    told = here.workspace / "told"
    script = "trap 'touch told' INT; while :; do sleep 0.02; done"
    ends: list[Exit] = []

    async with anyio.create_task_group() as both:

        async def begin() -> None:
            ends.append(
                await here.run(
                    ProcessRuntime(),
                    shell(script, here.workspace),
                    limits(wall_clock=0.3, grace=0.6),
                    stop=stop,
                )
            )

        both.start_soon(begin)
        await until(told.exists)
        stop.set()

    assert ends[0].cause is Cause.DEADLINE
    assert ends[0].signal == 9


async def test_a_flood_does_not_hold_up_the_event_loop(here: Bench) -> None:
    """While 200 MiB come out, other tasks of the service run on."""
    lags: list[float] = []
    over = anyio.Event()

    async def heartbeat() -> None:
        while not over.is_set():
            before = time.monotonic()
            await anyio.sleep(0.005)
            lags.append(time.monotonic() - before - 0.005)

    async with anyio.create_task_group() as both:
        both.start_soon(heartbeat)
        exit = await here.run(
            ProcessRuntime(),
            shell("exec head -c 200M /dev/zero", here.workspace),
            replace(limits(), output_bytes=300 * MIB, log_bytes=300 * MIB),
            seen=Forgetful(),
        )
        over.set()

    assert exit.code == 0
    assert sorted(lags)[int(len(lags) * 0.9)] < 0.05


class Forgetful(Seen):
    """A watcher that keeps nothing."""

    def output(self, stream: object, data: bytes) -> None:
        pass
