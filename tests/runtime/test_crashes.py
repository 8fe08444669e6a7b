"""What is left when a supervisor or a shim is killed at any moment."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import psutil
import pytest

from adversaries import Bench, Seen, adversary, limits, program, shell, until
from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Cause, Exit
from kubecase.runtime import ProcessRuntime
from kubecase.runtime.records import read_exit, read_started
from kubecase.runtime.shim.kernel import process_stat

pytestmark = pytest.mark.anyio

SUPERVISOR = """
import sys
from pathlib import Path
import anyio
sys.path.insert(0, {tests!r})
from adversaries import Bench, Seen, adversary, limits, shell
from kubecase.runtime import ProcessRuntime
root = Path({root!r})
command = {command}
async def main():
    await ProcessRuntime(policy={policy!r}).run(
        command, limits({limits}), run_dir=root / "runs" / "1", stop=anyio.Event(), watcher=Seen())
anyio.run(main)
"""


def supervisor(here: Bench, policy: str, command: str, limits: str = "") -> subprocess.Popen[bytes]:
    """Another process that runs `command` as the first run of the bench."""
    here.runs = 1
    code = SUPERVISOR.format(
        tests=str(Path(__file__).parent.parent),
        root=str(here.root),
        policy=policy,
        command=command,
        limits=limits,
    )
    return subprocess.Popen([sys.executable, "-c", code])


async def started(here: Bench) -> int:
    """The pid of the shim, once the run is on record."""
    await until(lambda: read_started(here.run_dir) is not None)
    record = read_started(here.run_dir)
    assert record is not None
    return record.shim.pid


async def test_a_killed_supervisor_takes_its_agents_along(here: Bench) -> None:
    """Under `die_with_me` nothing of an agent survives the supervisor, and that is on record."""
    other = supervisor(here, "die_with_me", "adversary('double_fork', root / 'workspace', 'stay')")
    await started(here)
    await until((here.run_dir / "stdout").read_bytes)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()

    await until(lambda: read_exit(here.run_dir) is not None)

    exit = read_exit(here.run_dir)
    assert exit is not None
    assert exit.cause is Cause.SUPERVISOR_LOST
    assert exit.clean
    assert here.nothing_is_alive()


async def test_a_surviving_run_ends_by_itself_and_is_found_later(here: Bench) -> None:
    """Under `survive` the run goes on after the supervisor's death: log and exit code are there
    (req 8.10).
    """
    script = "echo before; while ! [ -e go ]; do sleep 0.02; done; echo after; exit 42"
    other = supervisor(here, "survive", f"shell({script!r}, root / 'workspace')")
    await started(here)
    await until((here.run_dir / "stdout").read_bytes)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert (here.run_dir / "stdout").read_bytes() == b"before\n"
    (here.workspace / "go").touch()

    await until(lambda: read_exit(here.run_dir) is not None)

    exit = read_exit(here.run_dir)
    assert exit is not None
    assert (exit.cause, exit.code, exit.clean) == (Cause.EXITED, 42, True)
    assert list(ProcessRuntime().lines(here.run_dir)) == [b"before", b"after"]


async def test_a_new_supervisor_stops_the_run_of_a_dead_one(here: Bench) -> None:
    """Any process can stop a surviving run by its directory, daemons included."""
    other = supervisor(here, "survive", "adversary('double_fork', root / 'workspace', 'stay')")
    await started(here)
    await until((here.run_dir / "stdout").read_bytes)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert not here.nothing_is_alive()

    gone = await ProcessRuntime().stop(here.run_dir, wait_seconds=10)

    exit = read_exit(here.run_dir)
    assert gone
    assert exit is not None
    assert exit.cause is Cause.STOP_REQUESTED
    assert here.nothing_is_alive()


async def test_a_deadline_passes_without_a_supervisor(here: Bench) -> None:
    """The shim alone holds the deadline, and ends what ignores it."""
    hostile = "adversary('ignore_signals', root / 'workspace')"
    other = supervisor(here, "survive", hostile, "wall_clock=1.0, grace=0.2")
    await started(here)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()

    await until(lambda: read_exit(here.run_dir) is not None)

    exit = read_exit(here.run_dir)
    assert exit is not None
    assert (exit.cause, exit.signal, exit.clean) == (Cause.DEADLINE, signal.SIGKILL, True)
    assert here.nothing_is_alive()


async def test_a_killed_shim_is_a_lost_run(here: Bench) -> None:
    """When the shim itself is killed the run is lost, its session is killed, and nobody says
    that it is clean.
    """
    seen, ends = Seen(), list[Exit]()
    hostile = adversary("ignore_signals", here.workspace)

    async with anyio.create_task_group() as both:

        async def begin() -> None:
            ends.append(await here.run(ProcessRuntime(), hostile, limits(), seen=seen))

        both.start_soon(begin)
        await seen.ready.wait()
        os.kill(await started(here), signal.SIGKILL)

    assert ends[0].cause is Cause.LOST
    assert not ends[0].clean
    assert ends[0].error
    await until(here.nothing_is_alive)
    assert read_exit(here.run_dir) == ends[0]


async def test_a_stop_finds_a_run_whose_shim_was_killed(here: Bench) -> None:
    """Stopping a lost run kills what can be found of it."""
    other = supervisor(here, "survive", "adversary('ignore_signals', root / 'workspace')")
    shim = await started(here)
    await until((here.run_dir / "stdout").read_bytes)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    os.kill(shim, signal.SIGKILL)
    await until(lambda: not psutil.pid_exists(shim) or psutil.Process(shim).status() == "zombie")

    assert await ProcessRuntime().stop(here.run_dir, wait_seconds=5)

    await until(here.nothing_is_alive)


async def test_a_pid_that_belongs_to_another_is_left_alone(here: Bench) -> None:
    """A record whose start time or boot does not fit the process is never acted on."""
    innocent = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    try:
        await here.run(ProcessRuntime(), shell("exit 0", here.workspace), limits())
        (here.run_dir / "exit").unlink()
        record = json.loads((here.run_dir / "started").read_text())
        stat = process_stat(innocent.pid)
        assert stat is not None
        strangers = (
            {"start": stat.start + 1, "shim_start": stat.start + 1},
            {"start": stat.start, "shim_start": stat.start, "boot_id": "another boot"},
        )
        for changes in strangers:
            record.update(pid=innocent.pid, shim_pid=innocent.pid, **changes)
            (here.run_dir / "started").write_text(json.dumps(record))
            assert await ProcessRuntime().stop(here.run_dir, wait_seconds=2)

        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


async def test_a_broken_interpreter_is_a_matter_for_the_operator(here: Bench) -> None:
    """Without a shim there is no run: the error says so and how to put it right."""
    for python in ("/nonexistent/python", "/bin/false"):
        with pytest.raises(RuntimeUnavailable) as failure:
            await here.run(
                ProcessRuntime(python=python), shell("touch trace", here.workspace), limits()
            )
        assert failure.value.hint

    assert not (here.workspace / "trace").exists()


async def test_a_shim_cut_off_in_mid_request_starts_nothing(here: Bench) -> None:
    """A supervisor that dies while it hands over the request leaves no agent."""
    big = program("open('trace', 'w')", here.workspace, stdin=b"x" * 8_000_000)

    for delay in (0.0, 0.002, 0.006):
        with anyio.move_on_after(delay):
            await here.run(ProcessRuntime(), big, limits(grace=0.1))
        assert psutil.Process().children() == []

    assert here.nothing_is_alive()
