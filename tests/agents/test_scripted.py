"""The scripted agent: a real process that does what its plan says."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fakes.agent import PROMPT, a_briefing, an_exit, following
from kubecase.agents import AgentSettings
from kubecase.agents.scripted import PROGRAM, Scripted
from kubecase.core.errors import AgentUnavailable
from kubecase.core.model import Reason, Usage, Verdict
from kubecase.core.ports import AgentEvent, Moment


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace, with a place for private files beside it."""
    (tmp_path / "private").mkdir()
    (tmp_path / "incident-1").mkdir()
    return tmp_path / "incident-1"


Start = Callable[[Scripted], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(workspace: Path) -> Iterator[Start]:
    """Starts scripted agents in the workspace and leaves none of them behind."""
    started: list[subprocess.Popen[bytes]] = []

    def _start(agent: Scripted) -> "subprocess.Popen[bytes]":
        private = workspace.parent / "private"
        command = agent.command(a_briefing(workspace), workspace, private)
        for name, data in command.private_files.items():
            (private / name).write_bytes(data)
        process = subprocess.Popen(
            command.argv, cwd=command.cwd, env=dict(command.environment), start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdin is not None
        try:
            process.stdin.write(command.stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass
        process.stdin = None
        return process

    yield _start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def finished(process: "subprocess.Popen[bytes]") -> tuple[int, bytes, bytes]:
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


def appears(path: Path, lines: int = 1) -> list[str]:
    """The lines of a file, once it has as many."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if path.exists() and len(found := path.read_text().splitlines()) >= lines:
            return found
        time.sleep(0.005)
    raise AssertionError(f"{path} did not appear")


def test_without_a_plan_it_leaves_a_report(workspace: Path, start: Start) -> None:
    """The usual plan ends well, with events and a report that meets the output contract."""
    agent = Scripted(python=sys.executable)

    code, out, err = finished(start(agent))

    assert (code, err) == (0, b"")
    assert (workspace / "output/investigation.md").stat().st_size >= 100
    moments = [event.moment for line in out.splitlines() for event in agent.events(line)]
    assert moments == [Moment.STARTED, Moment.TOOL_CALL, Moment.FINISHED]
    assert agent.verdict(out.splitlines(), an_exit()) == Verdict(report=None)


def test_it_receives_the_prompt_and_tells_how_it_was_started(workspace: Path, start: Start) -> None:
    """Prompt, working directory, arguments and environment can be read back (req 8.2, 8.3)."""
    agent = following({"do": "read_prompt", "to": "prompt"}, {"do": "dump"})

    _, out, _ = finished(start(agent))

    told = json.loads(out)
    assert (workspace / "prompt").read_text() == PROMPT
    assert told["cwd"] == str(workspace)
    assert told["pgid"] == told["sid"] == told["pid"]
    # The interpreter itself adds this one where the locale is not UTF-8.
    told["env"].pop("LC_CTYPE", None)
    assert told["env"] == dict(a_briefing(workspace).environment)


@pytest.mark.parametrize("code", [0, 3, 255])
def test_it_ends_with_the_code_of_its_plan(start: Start, code: int) -> None:
    """Every exit code can be had (req 8.13)."""
    assert finished(start(following({"do": "exit", "code": code})))[0] == code


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV"])
def test_it_dies_by_the_signal_of_its_plan(start: Start, name: str) -> None:
    """Every death by a signal can be had (req 10.4)."""
    process = start(following({"do": "kill_self", "signal": name}))

    assert finished(process)[0] == -signal.Signals["SIG" + name]


def test_it_leaves_a_marker_when_it_is_interrupted(workspace: Path, start: Start) -> None:
    """An interrupt can be trapped, with an exit code of the agent's choice (req 10.5)."""
    process = start(
        following(
            {"do": "trap", "signal": "INT", "marker": "trapped", "exit": 0},
            {"do": "write", "path": "ready"},
            {"do": "sleep", "seconds": 60},
        )
    )
    ready = workspace / "ready"
    appears(ready, 0)

    os.killpg(process.pid, signal.SIGINT)

    assert finished(process)[0] == 0
    assert (workspace / "trapped").read_text() == "INT\n"


def test_it_can_ignore_being_asked_to_stop(workspace: Path, start: Start) -> None:
    """Signals can be ignored, so that only a kill ends it (req 8.7)."""
    process = start(
        following(
            {"do": "ignore", "signals": ["INT", "TERM"]},
            {"do": "write", "path": "ready"},
            {"do": "wait_for", "path": "go", "seconds": 60},
            {"do": "exit", "code": 5},
        )
    )
    appears(workspace / "ready", 0)

    for number in (signal.SIGINT, signal.SIGTERM):
        os.killpg(process.pid, number)
    (workspace / "go").touch()

    assert finished(process)[0] == 5


@pytest.mark.parametrize("escape", [{}, {"setsid": True}, {"setsid": True, "double_fork": True}])
def test_it_leaves_children_and_grandchildren_behind(
    workspace: Path, start: Start, escape: dict[str, Any]
) -> None:
    """Descendants outlive it, also in sessions of their own and cut off from it (req 8.6)."""
    spawn = {"do": "spawn", "depth": 3, "pids": "pids", "seconds": 60, "hold_output": False}

    process = start(following({**spawn, **escape}, {"do": "exit", "code": 0}))
    finished(process)

    pids = [int(line) for line in appears(workspace / "pids", 3)]
    alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    try:
        assert len(set(pids)) == 3
        assert len(alive) == 3
        outside = [child for child in alive if os.getsid(child.pid) != process.pid]
        assert bool(outside) == bool(escape)
    finally:
        for child in alive:
            child.kill()


def test_a_child_can_hold_the_output(workspace: Path, start: Start) -> None:
    """A grandchild may keep the pipe open after the agent itself is gone (req 8.7)."""
    process = start(following({"do": "spawn", "pids": "pids", "seconds": 60}))
    child = psutil.Process(int(appears(workspace / "pids")[0]))
    process.wait(timeout=10)

    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0.2)
    finally:
        child.kill()
    assert finished(process)[0] == 0


def test_it_floods_and_fills_and_leaves_strange_things(workspace: Path, start: Start) -> None:
    """Much output, large files, links and pipes can be left for the supervisor to deal with."""
    code, out, err = finished(
        start(
            following(
                {"do": "flood", "bytes": 100_000, "line_bytes": 80},
                {"do": "flood", "bytes": 70_000, "line_bytes": 0, "stream": "stderr"},
                {"do": "fill_disk", "path": "big", "bytes": 3_000_001},
                {"do": "link", "path": "output/artifacts/out", "target": "/etc/passwd"},
                {"do": "fifo", "path": "output/artifacts/pipe"},
                {"do": "mkdir", "path": "output/artifacts/d", "mode": "700"},
                {"do": "write", "path": "x", "text": "ab", "times": 3, "mode": "755"},
                {"do": "write", "path": "gone"},
                {"do": "remove", "path": "gone"},
                {"do": "report", "text": "short"},
                {"do": "emit", "lines": ["late"], "stream": "stderr"},
                {"do": "close", "stream": "stdout"},
            )
        )
    )

    assert code == 0
    assert (len(out), out.count(b"\n")) == (100_000, 1250)
    assert err == b"y" * 70_000 + b"late\n"
    assert (workspace / "big").stat().st_size == 3_000_001
    assert (workspace / "output/artifacts/out").is_symlink()
    assert (workspace / "output/artifacts/pipe").is_fifo()
    assert (workspace / "x").read_text() == "ababab"
    assert os.access(workspace / "x", os.X_OK)
    assert not (workspace / "gone").exists()
    assert (workspace / "output/investigation.md").read_text() == "short"


def test_a_full_disk_is_told_and_survived(start: Start) -> None:
    """A disk that takes no more ends the filling, not the agent."""
    code, _, err = finished(
        start(following({"do": "fill_disk", "path": "/dev/full", "bytes": 5_000_000}))
    )

    assert (code, err) == (0, b"disk refused: No space left on device\n")


def test_waiting_for_nothing_ends_with_a_code_of_its_own(start: Start) -> None:
    """A plan that waits in vain is told apart from every other end."""
    process = start(following({"do": "wait_for", "path": "never", "seconds": 0.05}))

    assert finished(process)[0] == 97


def test_lines_come_one_by_one(workspace: Path, start: Start) -> None:
    """Each line is out before the next is due, so that progress can be watched."""
    process = start(
        following(
            {"do": "emit", "lines": ["one"]},
            {"do": "wait_for", "path": "go", "seconds": 60},
            {"do": "emit", "lines": ["two", {"moment": "message"}], "interval": 0.01},
        )
    )

    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    (workspace / "go").touch()
    assert process.stdout.readline() == b"two\n"
    assert finished(process)[0] == 0


def test_it_runs_by_itself_with_a_plan_on_standard_input(tmp_path: Path) -> None:
    """The program needs nothing but an interpreter, so that any configuration can use it."""
    plan = {"steps": [{"do": "emit", "lines": ["alone"]}, {"do": "exit", "code": 7}]}

    done = subprocess.run(
        [sys.executable, "-I", "-S", str(PROGRAM), "-"],
        input=json.dumps(plan).encode(), capture_output=True, cwd=tmp_path, env={}, timeout=20,
    )  # fmt: skip
    usage = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, timeout=20)

    assert (done.returncode, done.stdout) == (7, b"alone\n")
    assert (usage.returncode, usage.stderr[:6]) == (2, b"usage:")


def test_a_plan_in_a_file_is_run_where_it_lies(
    tmp_path: Path, workspace: Path, start: Start
) -> None:
    """A configured plan is used as it is, by `script` or as the command (req 7.6)."""
    plan = tmp_path / "plan.json"
    plan.write_text('{"steps": [{"do": "exit", "code": 9}]}')

    by_script = Scripted.configured(AgentSettings(python=sys.executable, script=plan))
    by_program = Scripted.configured(AgentSettings(python=sys.executable, program=str(plan)))

    assert by_script == by_program
    assert finished(start(by_script))[0] == 9
    command = by_script.command(a_briefing(workspace), workspace, tmp_path)
    assert command.read_only_paths == (PROGRAM, plan)


def test_without_an_interpreter_it_takes_the_one_on_the_path() -> None:
    """An interpreter need not be configured; an empty name for one is refused."""
    assert Scripted.configured(AgentSettings()) == Scripted(python="python3")
    assert Scripted.configured(AgentSettings(python="py")) == Scripted(python="py")
    with pytest.raises(AgentUnavailable, match="agent_command is empty") as caught:
        Scripted(python=" ")
    assert "AGENT_RUNTIME_COMMAND" in str(caught.value.hint)


def test_its_claim_is_what_its_plan_says() -> None:
    """The last claim in its output is its verdict, whatever kind of end it plays."""
    agent = Scripted(python="python")
    report = "# Report\n" + "x" * 100
    usage = {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.5, "turns": 2}

    failed = agent.verdict(
        [
            json.dumps({"verdict": {"report": report}}).encode(),
            b"noise",
            json.dumps({"verdict": {"failure": "no key", "reason": "auth"}}).encode(),
        ],
        an_exit(),
    )
    good = agent.verdict(
        [json.dumps({"verdict": {"report": report, "usage": usage, "reason": "?"}}).encode()],
        an_exit(),
    )

    assert failed == Verdict(report=None, failure="no key", reason=Reason.AUTH)
    assert good == Verdict(
        report=report,
        usage=Usage(input_tokens=10, output_tokens=5, cost_usd=0.5, turns=2),
    )


def test_its_lines_are_events_when_they_say_so() -> None:
    """A printed object with a known moment is an event; other lines are garbage or nothing."""
    agent = Scripted(python="python")

    assert agent.events(b'{"moment":"tool_call","tool":"kubectl_read","text":{"a":1}}') == (
        AgentEvent(moment=Moment.TOOL_CALL, text='{"a":1}', tool="kubectl_read"),
    )
    assert agent.events(b"plain") == (AgentEvent(moment=Moment.GARBAGE, text="plain"),)
    assert agent.events(b'{"moment":"unknown"}') == ()
    assert agent.events(b"") == ()
