"""A run changes hands: a new supervisor takes it over from one that was killed."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from adversaries import Bench, Seen, limits, shell, until
from adversaries.host import LAYERS, runtime_of
from adversaries.table import BWRAP, CONTAINER
from kubecase.core.model import Cause, Exit
from kubecase.runtime import ProcessRuntime
from kubecase.runtime.records import abandon, create_run_dir, read_exit, read_started
from kubecase.runtime.shim.line import SOCKET

pytestmark = pytest.mark.anyio

SUPERVISOR = """
import sys
from dataclasses import replace
from pathlib import Path
import anyio
sys.path.insert(0, {tests!r})
from adversaries import Bench, Seen, adversary, limits, shell
from adversaries.host import runtime_of
root = Path({root!r})
async def one(number, script):
    command = shell(script, root / "workspace", ports={ports!r})
    await replace(runtime_of({layer!r}), policy={policy!r}).run(
        command, limits(), run_dir=root / "runs" / str(number), stop=anyio.Event(), watcher=Seen())
async def main():
    async with anyio.create_task_group() as all:
        for number, script in enumerate({scripts!r}, start=1):
            all.start_soon(one, number, script)
anyio.run(main)
"""
WAITS = "exec 9>lifeline; echo before; while ! [ -e go ]; do sleep 0.02; done; echo after; exit 42"


def supervisor(
    here: Bench, scripts: list[str], *, layer: str = "process", policy: str = "survive",
    ports: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Another process that runs each of `scripts`."""
    here.runs = 1
    code = SUPERVISOR.format(
        tests=str(Path(__file__).parent.parent), root=str(here.root), scripts=scripts, layer=layer,
        policy=policy, ports=ports,
    )  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", code])


async def orphaned(here: Bench, **options: object) -> None:
    """A run whose supervisor is dead and whose agent waits for the file `go`."""
    other = supervisor(here, [WAITS], **options)  # type: ignore[arg-type]
    await until(lambda: read_started(here.run_dir) is not None)
    await until(lambda: b"before" in (here.run_dir / "stdout").read_bytes())
    os.kill(other.pid, signal.SIGKILL)
    other.wait()


@pytest.mark.parametrize("layer", LAYERS)
async def test_an_heir_is_told_everything_from_the_beginning(here: Bench, layer: str) -> None:
    """Start, output from before and after, and the exit code reach the new supervisor, in every
    layer (crash test a).
    """
    await orphaned(here, layer=layer)
    seen, ends = Seen(), list[Exit | None]()

    async with anyio.create_task_group() as both:

        async def follow() -> None:
            ends.append(
                await ProcessRuntime().attach(here.run_dir, stop=anyio.Event(), watcher=seen)
            )

        both.start_soon(follow)
        await until(lambda: b"before" in seen.text("stdout"))
        (here.workspace / "go").touch()

    assert ends[0] is not None
    assert (ends[0].cause, ends[0].code, ends[0].clean) == (Cause.EXITED, 42, True)
    assert [started.isolation for started in seen.started_as] == [layer]
    assert seen.text("stdout") == b"before\nafter\n"
    assert here.nothing_is_alive()


@pytest.mark.parametrize("layer", LAYERS)
async def test_an_heir_can_stop_what_it_took_over(here: Bench, layer: str) -> None:
    """A request to stop goes through the new line, and nothing of the agent is left."""
    await orphaned(here, layer=layer)
    stop = anyio.Event()
    stop.set()

    exit = await ProcessRuntime().attach(here.run_dir, stop=stop, watcher=Seen())

    assert exit is not None
    assert exit.cause is Cause.STOP_REQUESTED
    assert exit.clean
    assert here.nothing_is_alive()


async def test_four_runs_of_a_killed_supervisor_all_have_their_exit_code(here: Bench) -> None:
    """With four runs active the supervisor is killed; each exit code is there (crash test a)."""
    scripts = [f"while ! [ -e go ]; do sleep 0.02; done; exit {code}" for code in (10, 11, 12, 13)]
    other = supervisor(here, scripts)
    runs = [here.root / "runs" / str(number) for number in (1, 2, 3, 4)]
    await until(lambda: all(read_started(run) is not None for run in runs))
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    (here.workspace / "go").touch()

    ends = [await ProcessRuntime().attach(run, stop=anyio.Event(), watcher=Seen()) for run in runs]

    assert [exit and exit.code for exit in ends] == [10, 11, 12, 13]


@pytest.mark.parametrize("layer", LAYERS)
async def test_with_the_shim_gone_too_the_run_is_lost_and_says_what_is_left(
    here: Bench, layer: str
) -> None:
    """A killed shim makes a lost run. Where a sandbox goes with it nothing is left; elsewhere what
    has thrown away its environment and its session may be, and the record says so (crash test b).
    """
    stray = "echo $$ >stray.new; mv stray.new stray; exec sleep 300"
    hostile = f"exec 9>lifeline; env -i setsid /bin/sh -c '{stray}' & echo before; sleep 300; echo"
    other = supervisor(here, [hostile], layer=layer)
    await until(lambda: read_started(here.run_dir) is not None)
    await until((here.workspace / "stray").exists)
    record = read_started(here.run_dir)
    assert record is not None
    for pid in (other.pid, record.shim.pid):
        os.kill(pid, signal.SIGKILL)
    other.wait()
    await until(lambda: not record.shim.is_alive())

    exit = await ProcessRuntime().attach(here.run_dir, stop=anyio.Event(), watcher=Seen())

    assert exit is not None
    assert exit.cause is Cause.LOST
    assert exit.clean == (layer in {BWRAP, CONTAINER})
    if exit.clean:
        await until(here.nothing_is_alive)
    else:
        assert "may be alive" in (exit.error or "")
        os.kill(int((here.workspace / "stray").read_text()), signal.SIGKILL)


async def test_what_was_never_started_never_will_be(here: Bench) -> None:
    """Killed before the start, a run is given up under a lock, and a shim that comes too late
    starts nothing (crash test c).
    """
    here.runs = 1
    create_run_dir(here.run_dir, {})

    assert await ProcessRuntime().attach(here.run_dir, stop=anyio.Event(), watcher=Seen()) is None

    assert (here.run_dir / "abandoned").exists()
    assert await ProcessRuntime().attach(here.run_dir, stop=anyio.Event(), watcher=Seen()) is None


async def test_a_run_directory_that_was_never_made_is_no_run(here: Bench) -> None:
    """Killed even before that, there is nothing to take over (crash test c)."""
    missing = here.root / "runs" / "nowhere"

    assert await ProcessRuntime().attach(missing, stop=anyio.Event(), watcher=Seen()) is None
    assert not missing.exists()


async def test_a_shim_at_work_is_not_given_up(here: Bench) -> None:
    """While a shim holds its lock nobody can put the mark beside it that keeps agents from
    starting.
    """
    await orphaned(here)

    assert not abandon(here.run_dir)

    stop = anyio.Event()
    stop.set()
    await ProcessRuntime().attach(here.run_dir, stop=stop, watcher=Seen())


async def test_of_two_heirs_the_later_has_the_line(here: Bench) -> None:
    """Who takes over last is listened to; the one before learns the end all the same."""
    await orphaned(here)
    first, second, ends = Seen(), Seen(), list[Exit | None]()

    async def follow(seen: Seen) -> None:
        ends.append(await ProcessRuntime().attach(here.run_dir, stop=anyio.Event(), watcher=seen))

    async with anyio.create_task_group() as both:
        both.start_soon(follow, first)
        await first.at_start.wait()
        both.start_soon(follow, second)
        await second.at_start.wait()
        await until(lambda: b"before" in second.text("stdout"))
        (here.workspace / "go").touch()

    assert [exit and exit.code for exit in ends] == [42, 42]


CALLS = """
import os, socket, sys
caller = socket.socket(socket.AF_UNIX)
caller.settimeout(3)
try:
    caller.connect(sys.argv[1])
    caller.send(b"C")
    print("answered" if caller.recv(100) else "hung up", flush=True)
except OSError as error:
    print("refused", error.errno, flush=True)
"""


async def test_an_agent_cannot_supervise_itself(here: Bench) -> None:
    """Who descends from a shim is turned away at its door, also as the same user."""
    here.runs = 1
    door = here.root / "door"
    door.symlink_to(here.run_dir / SOCKET)
    here.runs = 0
    seen = Seen()
    calling = f"{sys.executable} -I -S -c '{CALLS}' {door}; echo goes on; exit 3"

    exit = await here.run(ProcessRuntime(), shell(calling, here.workspace), limits(), seen=seen)

    assert (exit.cause, exit.code) == (Cause.EXITED, 3)
    assert seen.text("stdout").endswith(b"goes on\n")
    assert b"answered" not in seen.text("stdout")


async def test_listeners_are_handed_to_whoever_supervises(here: Bench) -> None:
    """In a closed network the agent's way out belongs to its supervisor, also to a later one."""
    runtime_of(BWRAP)
    await orphaned(here, layer=BWRAP, ports=(8443,))
    seen, stop = Seen(), anyio.Event()

    async with anyio.create_task_group() as both:

        async def follow() -> None:
            await ProcessRuntime().attach(here.run_dir, stop=stop, watcher=seen)

        both.start_soon(follow)
        await until(lambda: bool(seen.listeners))
        with socket.socket(fileno=seen.listeners[0]) as listener:
            assert listener.getsockname() == ("127.0.0.1", 8443)
        stop.set()


async def test_listeners_that_were_given_outlive_their_maker(here: Bench) -> None:
    """A socket that was handed over with the command is still open after its maker has closed
    it, and comes back on the line.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        seen, stop = Seen(), anyio.Event()
        asked = shell("echo ready; sleep 60", here.workspace, listeners=(listener.fileno(),))
        async with anyio.create_task_group() as both:
            both.start_soon(
                lambda: here.run(ProcessRuntime(), asked, limits(), stop=stop, seen=seen)
            )
            await seen.ready.wait()
            listener.close()
            await until(lambda: bool(seen.listeners))
            with socket.create_connection(address, 2):
                pass
            for handle in seen.listeners:
                os.close(handle)
            # The shim has its own.
            with socket.create_connection(address, 2):
                pass
            stop.set()


@pytest.mark.parametrize("look", [read_started, read_exit])
def test_records_that_are_not_there_are_none(
    tmp_path: Path, look: Callable[[Path], object]
) -> None:
    """Looking for a run that never was finds nothing and raises nothing."""
    assert look(tmp_path / "none") is None
