"""What every runtime promises, built in or from a plug-in (`core.ports.Runtime`)."""

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from adversaries import Bench, Seen, adversary, bench, command, limits, program, shell, until
from adversaries.host import runtime_of
from adversaries.table import CONTAINER
from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Cause, Exit
from kubecase.core.ports import Runtime
from kubecase.runtime import ProcessRuntime
from kubecase.runtime.bubblewrap import BubblewrapLayer
from kubecase.runtime.landlock import LandlockLayer

RUNTIMES: dict[str, Callable[[], Runtime]] = {
    "process": ProcessRuntime,
    "process that survives": lambda: ProcessRuntime(policy="survive"),
    "container": lambda: runtime_of(CONTAINER),
    "landlock": lambda: ProcessRuntime(layer=LandlockLayer()),
    "bwrap": lambda: ProcessRuntime(layer=BubblewrapLayer()),
}

pytestmark = pytest.mark.anyio


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return RUNTIMES[request.param]()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


ENGINES_OWN = {"HOME", "HOSTNAME", "TERM", "container"}


def left_over(runtime: Runtime, count: int) -> range:
    """How many may be counted: a namespace that ends takes all of its processes along uncounted,
    and what an engine starts beside a container is counted with it.
    """
    engines_own = 6 if runtime.name == "container" else 0
    return range(0 if runtime.name in {"bwrap", "container"} else count, count + engines_own + 1)


@pytest.mark.parametrize("code", [0, 3, 255])
async def test_an_exit_code_is_kept(runtime: Runtime, here: Bench, code: int) -> None:
    """The exit code that a program gave is the one on record (req 8.13, 10.1)."""
    exit = await here.run(runtime, shell(f"exit {code}", here.workspace), limits())

    assert (exit.cause, exit.code, exit.signal) == (Cause.EXITED, code, None)
    assert exit.clean
    assert exit.leftover == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_death_by_a_signal_is_told_from_an_exit(
    runtime: Runtime, here: Bench, number: int
) -> None:
    """A program that a signal ended has that signal on record and no code (req 8.13, 10.4)."""
    exit = await here.run(runtime, shell(f"kill -{number} $$", here.workspace), limits())

    assert (exit.cause, exit.code, exit.signal) == (Cause.EXITED, None, number)


async def test_arguments_arrive_as_they_were_given(runtime: Runtime, here: Bench) -> None:
    """No shell looks at an argument, whatever it holds (req 7.1, 7.7)."""
    words = ("a b", "", "it's", 'say "hi"', "$(id)", "(x); rm *", "--", "\u00e4\n\t", "`w`")
    echo = "import json, sys; print(json.dumps(sys.argv[1:]))"

    await here.run(
        runtime, command((sys.executable, "-I", "-c", echo, *words), here.workspace), limits()
    )

    assert json.loads(next(runtime.lines(here.run_dir))) == list(words)


async def test_the_environment_is_exactly_the_given_one(runtime: Runtime, here: Bench) -> None:
    """Nothing of our own environment reaches an agent, and nothing is added (req 8.3)."""
    given = {"PATH": "/usr/bin:/bin", "EMPTY": "", "ODD": "a=b \u00fc"}

    await here.run(
        runtime, command(("/usr/bin/env", "-0"), here.workspace, environment=given), limits()
    )

    text = b"".join(runtime.log(here.run_dir)).decode()
    seen = dict(line.split("=", 1) for line in text.split("\0") if line)
    # Bubblewrap tells where one is, like a shell; an engine also what every container is told.
    assert seen.pop("PWD", str(here.workspace)) == str(here.workspace)
    if runtime.name == "container":
        assert {name for name in seen if name not in given} <= ENGINES_OWN
        seen = {name: value for name, value in seen.items() if name in given}
    assert seen == given


async def test_the_working_directory_is_the_given_one(runtime: Runtime, here: Bench) -> None:
    """An agent begins in its workspace (req 8.2)."""
    await here.run(runtime, command(("/bin/pwd",), here.workspace), limits())

    assert list(runtime.lines(here.run_dir)) == [os.fsencode(here.workspace)]


async def test_a_long_prompt_arrives_whole(runtime: Runtime, here: Bench) -> None:
    """200 KiB on standard input arrive byte for byte, then comes the end (req 7.2)."""
    prompt = bytes(range(256)) * 800

    await here.run(runtime, command(("/bin/cat",), here.workspace, stdin=prompt), limits())

    assert b"".join(runtime.log(here.run_dir)) == prompt


async def test_nobody_has_to_read_the_prompt(runtime: Runtime, here: Bench) -> None:
    """An agent that never reads its input, or closes it, ends like any other."""
    for script in ("exit 0", "exec <&-; echo x; exit 0"):
        exit = await here.run(
            runtime, shell(script, here.workspace, stdin=b"p" * 3_000_000), limits()
        )

        assert (exit.cause, exit.code) == (Cause.EXITED, 0)


async def test_without_a_prompt_there_is_an_end_of_input_and_no_terminal(
    runtime: Runtime, here: Bench
) -> None:
    """An agent without input reads an end at once, and can never ask at a terminal."""
    script = "cat; tty; exec 3<>/dev/tty || echo none"

    exit = await here.run(runtime, shell(script, here.workspace), limits())

    assert exit.cause is Cause.EXITED
    assert list(runtime.lines(here.run_dir)) == [b"not a tty"]


async def test_hostile_bytes_are_kept_unchanged(runtime: Runtime, here: Bench) -> None:
    """NUL, broken UTF-8, escapes and forged records stay in the log as they were written."""
    hostile = b'\0\xff\xfe\x1b]52;c;x\x07\r\n{"cause": "exited"}\n\xe2\x82'

    exit = await here.run(runtime, shell("cat; exit 7", here.workspace, stdin=hostile), limits())

    assert b"".join(runtime.log(here.run_dir)) == hostile
    assert exit.code == 7


async def test_both_streams_are_in_the_log_as_they_came(runtime: Runtime, here: Bench) -> None:
    """The log holds both streams interleaved; lines are those of standard output (req 8.8)."""
    script = "for i in 1 2 3; do echo out$i; sleep 0.06; echo err$i >&2; sleep 0.06; done"
    seen = Seen()

    await here.run(runtime, shell(script, here.workspace), limits(), seen=seen)

    log = b"out1\nerr1\nout2\nerr2\nout3\nerr3\n"
    assert b"".join(runtime.log(here.run_dir)) == log
    assert b"".join(data for _, data in seen.pieces) == log
    assert list(runtime.lines(here.run_dir)) == [b"out1", b"out2", b"out3"]
    assert seen.text("stderr") == b"err1\nerr2\nerr3\n"


async def test_a_watcher_is_told_of_the_start_first_and_of_output_soon(
    runtime: Runtime, here: Bench
) -> None:
    """A watcher hears of the start once, before any output, and of output within 200 ms."""
    heard: list[tuple[str, float]] = []

    class Clock(Seen):
        async def started(self, started: object) -> None:
            heard.append(("started", time.time()))

        def output(self, stream: object, data: bytes) -> None:
            written = float(data.split()[-1])
            heard.append(("output", time.time() - written))

    code = "import time\nfor _ in range(4): print(time.time(), flush=True); time.sleep(0.15)"
    await here.run(runtime, program(code, here.workspace), limits(), seen=Clock())

    assert [what for what, _ in heard] == ["started"] + ["output"] * 4
    assert sorted(late for what, late in heard if what == "output")[1] < 0.2


async def test_a_deadline_ends_a_run_within_its_grace(runtime: Runtime, here: Bench) -> None:
    """A sleeping agent is ended at its limit, by the deadline (req 8.1, 17.3)."""
    begun = time.monotonic()

    exit = await here.run(
        runtime, shell("exec sleep 60", here.workspace), limits(wall_clock=0.5, grace=2)
    )

    assert exit.cause is Cause.DEADLINE
    assert exit.signal == signal.SIGINT
    assert 0.5 <= exit.seconds < 1.5
    assert time.monotonic() - begun < 3


async def test_a_deadline_stands_though_the_agent_exits_with_zero(
    runtime: Runtime, here: Bench
) -> None:
    """An agent that exits with 0 when told that its time is up has still run out of time
    (req 10.5).
    """
    script = "trap 'exit 0' INT; while :; do sleep 0.05; done"

    exit = await here.run(runtime, shell(script, here.workspace), limits(wall_clock=0.3, grace=3))

    assert (exit.cause, exit.code) == (Cause.DEADLINE, 0)


async def test_an_agent_that_ignores_requests_dies_when_its_grace_is_over(
    runtime: Runtime, here: Bench
) -> None:
    """Who ignores every signal is killed at limit and grace, and its child with it (req 8.7)."""
    exit = await here.run(
        runtime,
        adversary("ignore_signals", here.workspace),
        limits(wall_clock=0.6, grace=0.7),
    )

    assert (exit.cause, exit.signal) == (Cause.DEADLINE, signal.SIGKILL)
    assert 1.2 < exit.seconds < 2.3
    assert exit.leftover in left_over(runtime, 1)
    assert exit.clean
    assert here.nothing_is_alive()


async def test_the_stop_signal_reaches_the_children_of_an_agent(
    runtime: Runtime, here: Bench
) -> None:
    """A request to stop goes to the whole group, as by Ctrl-C (req 8.5)."""
    code = """
import os, signal, sys
name = "child" if os.fork() == 0 else "parent"
def told(*_):
    open(name, "w").close(); sys.exit(4)
signal.signal(signal.SIGINT, told)
if name == "parent":
    while not os.path.exists("set"): pass
    print("ready", flush=True)
else:
    open("set", "w").close()
while True: signal.pause()
"""

    exit = await here.run_until_ready(runtime, program(code, here.workspace), limits(grace=5))
    if runtime.name != "container":  # where the engine hands it to the first process only
        await until(lambda: (here.workspace / "child").exists() or exit.leftover)

    assert (exit.cause, exit.code) == (Cause.STOP_REQUESTED, 4)
    assert (here.workspace / "parent").exists()


async def test_the_stop_signal_is_the_one_of_the_command(runtime: Runtime, here: Bench) -> None:
    """An adapter's own stop signal is what its CLI gets."""
    script = "trap 'exit 15' TERM; trap 'exit 2' INT; echo ready; while :; do sleep 0.02; done"

    exit = await here.run_until_ready(
        runtime, shell(script, here.workspace, stop_signal=15), limits(grace=5)
    )

    assert exit.code == 15


async def test_a_cancel_stands_whatever_the_exit_code(runtime: Runtime, here: Bench) -> None:
    """A run that was asked to stop was stopped on request, also if it exits with 0 (req 10.6)."""
    script = "trap 'exit 0' INT; echo ready; while :; do sleep 0.02; done"

    exit = await here.run_until_ready(runtime, shell(script, here.workspace), limits(grace=5))

    assert (exit.cause, exit.code) == (Cause.STOP_REQUESTED, 0)


async def test_a_cancel_before_the_start_starts_nothing(runtime: Runtime, here: Bench) -> None:
    """A run that is already asked to stop leaves no trace of an agent (req 9.6)."""
    stop, seen = anyio.Event(), Seen()
    stop.set()

    exit = await here.run(
        runtime, shell("touch trace", here.workspace), limits(), stop=stop, seen=seen
    )

    assert exit.cause is Cause.STOP_REQUESTED
    assert seen.started_as == []
    assert not (here.workspace / "trace").exists()


async def test_a_cancel_during_the_start_is_not_lost(runtime: Runtime, here: Bench) -> None:
    """Whenever in the first milliseconds a cancel comes, the run ends by it (req 9.6)."""
    for delay in (0.0, 0.003, 0.01, 0.02, 0.03):
        stop = anyio.Event()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as both:
                ends: list[Exit] = []

                async def begin(stop: anyio.Event = stop, ends: list[Exit] = ends) -> None:
                    ends.append(
                        await here.run(
                            runtime,
                            adversary("ignore_signals", here.workspace),
                            limits(),
                            stop=stop,
                        )
                    )

                both.start_soon(begin)
                await anyio.sleep(delay)
                stop.set()

        assert ends[0].cause is Cause.STOP_REQUESTED
        assert here.nothing_is_alive()


async def test_a_held_standard_output_cannot_delay_the_end(runtime: Runtime, here: Bench) -> None:
    """A daemon that goes on writing to our pipe delays nothing, and the result stays in the log
    (req 8.7).
    """
    begun = time.monotonic()

    exit = await here.run(runtime, adversary("held_stdout", here.workspace), limits())

    assert time.monotonic() - begun < 2
    assert (exit.cause, exit.code) == (Cause.EXITED, 0)
    assert exit.leftover in left_over(runtime, 1)
    assert b"result" in list(runtime.lines(here.run_dir))
    assert here.nothing_is_alive()


@pytest.mark.parametrize("mode", ["leave", "stay"])
async def test_a_daemon_in_a_session_of_its_own_is_killed_and_counted(
    runtime: Runtime, here: Bench, mode: str
) -> None:
    """A double fork with setsid escapes a group, but not us (req 8.6)."""
    hostile = adversary("double_fork", here.workspace, mode)

    exit = await (
        here.run(runtime, hostile, limits())
        if mode == "leave"
        else here.run_until_ready(runtime, hostile, limits())
    )

    assert exit.cause is (Cause.EXITED if mode == "leave" else Cause.STOP_REQUESTED)
    assert exit.leftover in left_over(runtime, 1)
    assert exit.clean
    assert here.nothing_is_alive()


@pytest.mark.parametrize("what", ["missing", "not executable", "no program", "no directory"])
async def test_what_cannot_be_started_says_why(runtime: Runtime, here: Bench, what: str) -> None:
    """A program that cannot be started is a failed run with the program, the place and the
    system's own words (req 8.11).
    """
    plain = here.workspace / "plain"
    plain.write_text("x")
    broken = here.workspace / "broken"
    broken.write_bytes(b"\x7fELF\0garbage")
    broken.chmod(0o700)
    tries = {
        "missing": (command(("no-such-agent", "secret-argument"), here.workspace), "No such file"),
        "not executable": (command((str(plain),), here.workspace), "Permission denied"),
        "no program": (command((str(broken),), here.workspace), "Exec format error"),
        "no directory": (
            replace(shell("exit 0", here.workspace), cwd=plain),
            "Not a directory",
        ),
    }
    attempt, words = tries[what]
    seen = Seen()

    exit = await here.run(runtime, attempt, limits(), seen=seen)

    if runtime.name in {"bwrap", "container"} and what == "no program":
        # They start programs like a shell does: what is in no format is taken for a script.
        assert exit.code == 127
        return
    assert exit.cause is Cause.START_ERROR
    assert exit.error is not None
    assert words in exit.error
    assert attempt.argv[0] in exit.error
    assert str(attempt.cwd) in exit.error
    assert "secret-argument" not in exit.error
    assert exit.clean
    # A container counts as started with the engine's client.
    assert runtime.name == "container" or seen.started_as == []


async def test_private_files_are_there_for_the_agent_alone(runtime: Runtime, here: Bench) -> None:
    """What an adapter hands its CLI privately lies outside the workspace, readable by its owner
    only, before the first instruction (req 8.9).
    """
    private = here.root / "runs" / "1" / "private"
    script = f"cat {private}/settings.json"

    exit = await here.run(
        runtime,
        shell(script, here.workspace, private_files={"settings.json": b'{"a": 1}'}),
        limits(),
    )

    assert exit.code == 0
    assert list(runtime.lines(here.run_dir)) == [b'{"a": 1}']


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
async def test_nobody_else_may_read_a_run(runtime: Runtime, here: Bench, mask: int) -> None:
    """Run directories are 0700 and their files 0600, whatever the umask (req 8.9)."""
    (here.root / "runs").mkdir()
    before = os.umask(mask)
    try:
        await here.run(
            runtime, shell("echo x", here.workspace, private_files={"key": b"k"}), limits()
        )
    finally:
        os.umask(before)

    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in [here.run_dir, *here.run_dir.rglob("*")]}
    assert {modes[p] for p in modes if p.is_dir()} == {0o700}
    assert {modes[p] for p in modes if p.is_file()} == {0o600}


async def test_a_run_directory_is_used_once(runtime: Runtime, here: Bench) -> None:
    """A run directory that exists is refused and left as it is."""
    taken = here.root / "runs" / "1"
    taken.mkdir(parents=True)

    with pytest.raises(RuntimeUnavailable) as refused:
        await here.run(runtime, shell("touch trace", here.workspace), limits())

    assert refused.value.hint
    assert list(taken.iterdir()) == []
    assert not (here.workspace / "trace").exists()


async def test_where_no_record_can_be_kept_nothing_is_started(
    runtime: Runtime, here: Bench
) -> None:
    """An agent whose log could not be written is not started at all (req 8.9)."""
    (here.root / "runs").write_text("in the way")

    with pytest.raises(RuntimeUnavailable, match="run directory"):
        await here.run(runtime, shell("touch trace", here.workspace), limits())

    assert not (here.workspace / "trace").exists()


async def test_our_own_shutdown_leaves_nothing_alive(runtime: Runtime, here: Bench) -> None:
    """When the task itself is cancelled, the agent and its daemons are gone first (req 12.3)."""
    seen = Seen()
    async with anyio.create_task_group() as both:
        hostile = adversary("ignore_signals", here.workspace)
        both.start_soon(lambda: here.run(runtime, hostile, limits(grace=0.2), seen=seen))
        await seen.ready.wait()
        both.cancel_scope.cancel()

    assert here.nothing_is_alive()


async def test_a_failing_watcher_leaves_nothing_alive(runtime: Runtime, here: Bench) -> None:
    """When the service cannot note the start, its error comes out as it is and the agent ends."""

    class Refusing(Seen):
        async def started(self, started: object) -> None:
            raise LookupError("no such row")

    with pytest.raises(LookupError, match="no such row"):
        await here.run(
            runtime,
            adversary("ignore_signals", here.workspace),
            limits(grace=0.2),
            seen=Refusing(),
        )

    assert here.nothing_is_alive()


async def test_a_run_is_stopped_by_its_directory(runtime: Runtime, here: Bench) -> None:
    """Whoever knows the run directory can stop the run, twice if need be, and sees it gone."""
    seen, ends, gone = Seen(), list[Exit](), list[bool]()
    hostile = adversary("double_fork", here.workspace, "stay")
    async with anyio.create_task_group() as both:

        async def begin() -> None:
            ends.append(await here.run(runtime, hostile, limits(), seen=seen))

        async def stop() -> None:
            gone.append(await runtime.stop(here.run_dir, wait_seconds=10))

        both.start_soon(begin)
        await seen.ready.wait()
        both.start_soon(stop)
        both.start_soon(stop)

    assert gone == [True, True]
    assert ends[0].cause is Cause.STOP_REQUESTED
    assert here.nothing_is_alive()
    assert await runtime.stop(here.run_dir, wait_seconds=0.1)


async def test_a_run_that_never_was_cannot_be_stopped(runtime: Runtime, here: Bench) -> None:
    """Stopping a run that nobody has started says no, at once."""
    with anyio.fail_after(1):
        assert not await runtime.stop(here.root / "runs" / "none", wait_seconds=30)


async def test_a_run_without_output_has_an_empty_log(runtime: Runtime, here: Bench) -> None:
    """Reading the log of a run that wrote or started nothing yields nothing, not an error."""
    await here.run(runtime, shell("exit 0", here.workspace), limits())

    for folder in (here.run_dir, here.root / "none"):
        assert list(runtime.lines(folder)) == []
        assert list(runtime.log(folder)) == []
