"""What an agent cannot do under the process layer, and what that layer says it can."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import anyio
import psutil
import pytest

from adversaries import Bench, Seen, adversary, limits, program, shell
from kubecase.core.model import Cause, Exit
from kubecase.runtime import ProcessRuntime

pytestmark = pytest.mark.anyio


async def test_150_children_are_gone_within_a_second(here: Bench) -> None:
    """A hundred and fifty children, half of them in sessions of their own, are all killed."""
    begun: list[float] = []

    class Timed(Seen):
        def output(self, stream: object, data: bytes) -> None:
            begun.append(time.monotonic())
            stop.set()

    stop = anyio.Event()
    exit = await here.run(
        ProcessRuntime(),
        adversary("many_children", here.workspace),
        limits(grace=0.2),
        stop=stop,
        seen=Timed(),
    )

    assert time.monotonic() - begun[0] < 2.2
    # Those in the agent's own group have followed the request to stop.
    assert 75 <= exit.leftover <= 150
    assert exit.clean
    assert here.nothing_is_alive()


async def test_a_tree_that_grows_again_is_cut_down(here: Bench) -> None:
    """A bounded fork bomb that re-forks what is cut ends clean, and its record says how many there
    were at once (case 6).
    """
    exit = await here.run_until_ready(
        ProcessRuntime(), adversary("fork_bomb", here.workspace, "stay"), limits(grace=0.1)
    )

    assert exit.clean
    assert here.nothing_is_alive()
    record = json.loads((here.run_dir / "exit").read_text())
    # More may be killed than there ever were at once: what is cut grows again.
    assert record["most_processes"] > 10
    assert exit.leftover > 10


@pytest.mark.parametrize("mode", ["leave", "stay"] * 4)
async def test_clean_is_said_of_a_moving_target_only_when_it_is_true(
    here: Bench, mode: str
) -> None:
    """Twelve chains that fork and end every two milliseconds are gone when we say so (case 7)."""
    hostile = adversary("moving_target", here.workspace, mode)

    exit = await (
        here.run(ProcessRuntime(), hostile, limits())
        if mode == "leave"
        else here.run_until_ready(ProcessRuntime(), hostile, limits(grace=0.1))
    )

    assert exit.clean == here.nothing_is_alive()
    assert exit.clean
    assert exit.leftover >= 1


@pytest.mark.parametrize(("name", "leftover"), [("disguise", 0), ("steal_orphans", 3)])
async def test_no_disguise_and_no_stolen_orphan_escapes(
    here: Bench, name: str, leftover: int
) -> None:
    """Names, empty environments and sub-reapers of the agent's own change nothing (8 and 9)."""
    if name == "disguise":
        exit = await here.run(
            ProcessRuntime(), adversary(name, here.workspace), limits(wall_clock=0.5)
        )
        assert exit.cause is Cause.DEADLINE
        assert exit.leftover == 1
    else:
        exit = await here.run_until_ready(
            ProcessRuntime(), adversary(name, here.workspace), limits()
        )
        assert exit.leftover == leftover

    assert exit.clean
    assert here.nothing_is_alive()


async def test_an_agent_that_stops_itself_is_woken_to_say_farewell(here: Bench) -> None:
    """A stopped agent has not ended; asked to stop, it is continued and its trap runs (case 5)."""
    seen = Seen()

    exit = await here.run(
        ProcessRuntime(),
        adversary("self_stop", here.workspace, stop_signal=signal.SIGTERM),
        limits(wall_clock=0.6, grace=5),
        seen=seen,
    )

    assert (exit.cause, exit.code) == (Cause.DEADLINE, 5)
    assert b"farewell" in seen.text("stdout")
    assert exit.seconds >= 0.6


async def test_an_agent_leads_a_session_and_a_group_of_its_own(here: Bench) -> None:
    """The agent's pid is its group and its session, and neither is ours (req 8.4)."""
    code = "import os; print(os.getpid(), os.getpgid(0), os.getsid(0))"
    seen = Seen()

    await here.run(ProcessRuntime(), program(code, here.workspace), limits(), seen=seen)

    pid, group, session = map(int, seen.text("stdout").split())
    assert pid == group == session == seen.started_as[0].pid
    assert os.getsid(0) != session


async def test_an_agent_is_given_three_descriptors_and_clean_signals(here: Bench) -> None:
    """Nothing of ours is open in an agent, no signal is blocked or ignored, and it can gain no
    privilege.
    """
    grep = "exec grep -E 'Sig(Blk|Ign)|NoNewPrivs' /proc/self/status"
    seen, listed = Seen(), Seen()

    await here.run(ProcessRuntime(), shell(grep, here.workspace), limits(), seen=seen)
    code = "import os; print(*sorted(map(int, os.listdir('/proc/self/fd'))))"
    await here.run(ProcessRuntime(), program(code, here.workspace), limits(), seen=listed)

    status = dict(line.split(b":\t") for line in seen.text("stdout").splitlines())
    assert status[b"NoNewPrivs"] == b"1"
    assert int(status[b"SigBlk"], 16) == 0
    # But for the two that the C library keeps to itself and lets nobody set.
    assert int(status[b"SigIgn"], 16) & ~(0b11 << 31) == 0
    # The fourth is the directory that is being listed.
    assert listed.text("stdout").split() == [b"0", b"1", b"2", b"3"]


async def test_the_number_of_open_files_is_limited(here: Bench) -> None:
    """An agent that opens files without end is refused at its limit (case 23)."""
    code = """
import os
opened = 3
try:
    while True: os.open("/dev/null", os.O_RDONLY); opened += 1
except OSError as error: print(error.strerror, opened)
"""
    seen = Seen()

    await here.run(
        ProcessRuntime(open_files=256), program(code, here.workspace), limits(), seen=seen
    )

    assert seen.text("stdout") == b"Too many open files 256\n"


async def test_a_process_is_refused_more_memory_than_its_limit(here: Bench) -> None:
    """One process of an agent cannot take all the memory of the host, and leaves no core."""
    code = """
import resource
try: bytearray(600_000_000)
except MemoryError: print("refused", resource.getrlimit(resource.RLIMIT_CORE))
"""
    seen = Seen()

    await here.run(
        ProcessRuntime(data_bytes=256 * 1024**2), program(code, here.workspace), limits(), seen=seen
    )

    assert seen.text("stdout") == b"refused (0, 0)\n"


async def test_forged_records_and_cut_logs_change_nothing(here: Bench) -> None:
    """An agent's own `exit` file, a truncated standard output and writes to high descriptors
    leave code and log as they were (case 24).
    """
    exit = await here.run(ProcessRuntime(), adversary("forge_state", here.workspace), limits())

    assert (exit.cause, exit.code) == (Cause.EXITED, 9)
    assert list(ProcessRuntime().lines(here.run_dir)) == [b"evidence"]


async def test_secrets_are_in_no_argument_and_in_no_file(here: Bench) -> None:
    """Environment and prompt are neither in any process's arguments nor in the run directory."""
    secret = "sk-secret-0123456789"
    marker = "prompt-0123456789"
    stop, seen = anyio.Event(), Seen()
    exposed: list[str] = []
    attempt = shell(
        "echo ready; sleep 60",
        here.workspace,
        environment={"PATH": "/usr/bin:/bin", "MODEL_KEY": secret},
        stdin=marker.encode(),
    )

    async with anyio.create_task_group() as both:
        both.start_soon(lambda: here.run(ProcessRuntime(), attempt, limits(), stop=stop, seen=seen))
        await seen.ready.wait()
        shim = psutil.Process(seen.started_as[0].pid).parent()
        assert shim is not None
        exposed += arguments_of_all()
        assert dict(shim.environ()) == {"LC_ALL": "C.UTF-8"} or os.getuid() != 0
        stop.set()

    files = [p.read_bytes() for p in here.run_dir.rglob("*") if p.is_file()]
    assert len(files) >= 5
    for text in (secret, marker):
        assert not [line for line in exposed if text in line]
        assert not [content for content in files if text.encode() in content]
    assert b"MODEL_KEY" in (here.run_dir / "request").read_bytes()


def arguments_of_all() -> list[str]:
    """The arguments of every process on this host, as anybody can read them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return found


async def test_the_shim_cannot_be_looked_into_by_its_user(here: Bench) -> None:
    """The process that holds an agent's credentials shows nobody of its user its memory."""
    stop, seen = anyio.Event(), Seen()
    async with anyio.create_task_group() as both:
        both.start_soon(
            lambda: here.run(
                ProcessRuntime(),
                shell("echo ready; sleep 60", here.workspace),
                limits(),
                stop=stop,
                seen=seen,
            )
        )
        await seen.ready.wait()
        shim = psutil.Process(seen.started_as[0].pid).ppid()
        agent_owner = os.stat(f"/proc/{seen.started_as[0].pid}/environ").st_uid
        look = subprocess.run(
            [
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "cat",
                f"/proc/{shim}/environ",
            ],
            capture_output=True,
            timeout=10,
        )
        stop.set()

    assert agent_owner == os.getuid()
    assert look.returncode != 0


async def test_what_this_layer_does_not_defend_against_is_on_record(here: Bench) -> None:
    """Each run says which attacks the process layer leaves open (cases 10, 11, 12 and 25)."""
    seen = Seen()

    await here.run(ProcessRuntime(), shell("exit 0", here.workspace), limits(), seen=seen)

    started = seen.started_as[0]
    assert started.isolation == "process"
    for word in ("signal", "inspect", "memory", "network", "files", "foreign daemons"):
        assert any(word in note for note in started.notes), word


async def test_fifty_runs_leave_no_zombie_and_no_descriptor(here: Bench) -> None:
    """After fifty runs this process has no child and no descriptor more than before (req 8.12)."""
    runtime = ProcessRuntime()
    await here.run(runtime, shell("exit 0", here.workspace), limits())
    myself = psutil.Process()
    before = set(os.listdir("/proc/self/fd"))

    for _ in range(5):
        async with anyio.create_task_group() as ten:
            for _ in range(10):
                ten.start_soon(here.run, runtime, shell("exit 0", here.workspace), limits())

    assert myself.children() == []
    assert len(set(os.listdir("/proc/self/fd")) - before) == 0


async def test_one_run_is_not_disturbed_by_the_end_of_another(here: Bench) -> None:
    """Killing all of one agent touches nothing of another."""
    ends: list[Exit] = []
    quiet, hostile = shell("sleep 1.2; exit 6", here.workspace), Seen()

    async def undisturbed() -> None:
        ends.append(await here.run(ProcessRuntime(), quiet, limits()))

    async with anyio.create_task_group() as both:
        both.start_soon(undisturbed)
        await anyio.lowlevel.checkpoint()
        await here.run(
            ProcessRuntime(),
            adversary("double_fork", here.workspace, "stay"),
            limits(wall_clock=0.5),
            seen=hostile,
        )

    assert (ends[0].code, ends[0].leftover) == (6, 0)


def test_this_interpreter_runs_the_shim() -> None:
    """The interpreter of the tests is the one the shim is started with."""
    assert ProcessRuntime().python == sys.executable
    assert ProcessRuntime().name == "process"
