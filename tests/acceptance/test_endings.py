"""Every way an investigation can end, with the installed command and real agents."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Home

Check = Callable[[dict[str, Any]], None]

ENDINGS = {
    "exit code": ("exit 3", "failed", "exit_code", 3),
    "no report": ("exit 0", "failed", "no_report", 0),
    "a report too small": ("echo short >output/investigation.md", "failed", "no_report", 0),
    "killed": ("kill -KILL $$", "failed", "signal", None),
    "terminated": ("kill -TERM $$", "failed", "signal", None),
}


def test_an_agent_that_leaves_a_report_succeeds(
    home: Home, leaves_report: str, reports_exist: Check
) -> None:
    """Exit code 0 and a report are a success, with every field of the result (req 1.2, 10.2)."""
    agent = home.agent(
        f"{leaves_report}\nmkdir -p output/artifacts/a\necho 1 >output/artifacts/a/b"
    )

    code, result = home.result(
        "--agent", "command", str(home.fault()), env={"AGENT_RUNTIME_COMMAND": str(agent)}
    )

    assert (code, result["status"], result["reason"]) == (0, "success", None)
    assert result["exit_code"] == 0
    assert result["error"] is None
    assert [Path(a["path"]).name for a in result["artifacts"]] == ["b"]
    assert Path(result["workspace_dir"]).is_dir()
    assert {
        "incident_id", "attempt", "status", "reason", "workspace_dir", "start_time", "end_time",
        "exit_code", "signal", "output_log", "artifacts", "rejected", "usage", "error",
    } <= set(result)  # fmt: skip
    reports_exist(result)
    assert home.processes_below() == []


@pytest.mark.parametrize("name", ENDINGS)
def test_an_agent_that_fails_is_failed_with_its_reason(
    home: Home, reports_exist: Check, name: str
) -> None:
    """Each failure of an agent has its reason, exit code 1 and three reports (req 10.3, 10.4)."""
    program, status, reason, exit_code = ENDINGS[name]
    agent = home.agent(program)

    code, result = home.result(
        "--agent", "command", str(home.fault()), env={"AGENT_RUNTIME_COMMAND": str(agent)}
    )

    assert (code, result["status"], result["reason"]) == (1, status, reason)
    assert result["exit_code"] == exit_code
    reports_exist(result)
    assert home.processes_below() == []


def test_an_agent_that_overstays_is_timed_out_with_its_children(
    home: Home, reports_exist: Check
) -> None:
    """The deadline ends the agent and what it started, and the report says so (req 10.5, 17.3)."""
    agent = home.agent("setsid sleep 300 &\nsleep 300")

    code, result = home.result(
        "--agent", "command", str(home.fault()), "--timeout", "2s",
        env={"AGENT_RUNTIME_COMMAND": str(agent), "AGENT_RUNTIME_GRACE": "1s"},
    )  # fmt: skip

    assert (code, result["status"], result["reason"]) == (1, "timeout", None)
    reports_exist(result)
    assert home.processes_below() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_investigation_is_cancelled_and_still_reports(
    home: Home, reports_exist: Check, number: signal.Signals
) -> None:
    """Ctrl-C ends the agent, leaves three reports, and exits with 130 (req 9.6, 12.3)."""
    agent = home.agent("touch here\nsleep 300")
    process = home.start(
        "investigate", "--agent", "command", str(home.fault()), "--json",
        env={"AGENT_RUNTIME_COMMAND": str(agent)},
    )  # fmt: skip
    _wait_for(lambda: list(home.data.glob("workspaces/*/here")))

    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    result = json.loads(out)
    assert (process.returncode, result["status"]) == (130, "cancelled"), err.decode()
    reports_exist(result)
    assert home.processes_below() == []


@pytest.mark.parametrize("command", ["/nonexistent/agent", "no-such-program-anywhere"])
def test_a_missing_agent_names_key_variable_and_remedy(
    home: Home, reports_exist: Check, command: str
) -> None:
    """A missing command is the operator's turn, and even that is reported (req 8.11)."""
    done = home.run(
        "investigate", "--agent", "command", str(home.fault()), "--json",
        env={"AGENT_RUNTIME_COMMAND": command},
    )  # fmt: skip

    assert done.returncode == 2
    words = done.stderr.decode()
    for word in (command, "agent_command", "AGENT_RUNTIME_COMMAND", "→"):
        assert word in words
    result = json.loads(done.stdout)
    assert (result["status"], result["reason"]) == ("failed", "start_error")
    reports_exist(result)


def test_an_agent_that_is_not_executable_is_a_start_error(home: Home, reports_exist: Check) -> None:
    """A script whose interpreter is missing fails at the start, program named (req 8.11)."""
    agent = home.agent("exit 0")
    agent.write_text("#!/nonexistent/interpreter\n")

    code, result = home.result(
        "--agent", "command", str(home.fault()), env={"AGENT_RUNTIME_COMMAND": str(agent)}
    )

    assert (code, result["status"], result["reason"]) == (2, "failed", "start_error")
    reports_exist(result)


def test_a_full_disk_while_collecting_still_ends_in_three_reports(
    home: Home, reports_exist: Check
) -> None:
    """When the agent fills the disk, the reports have had their space set aside (req 3.8, 12.5)."""
    root = home.root / "small"
    root.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", root], check=True)
    try:
        agent = home.agent(
            "cat >/dev/null\ndd if=/dev/zero of=output/artifacts/fill bs=64k; exit 0"
        )

        code, result = home.result(
            "--agent", "command", str(home.fault()),
            env={
                "AGENT_RUNTIME_COMMAND": str(agent), "AGENT_RUNTIME_WORKSPACE_ROOT": str(root),
            },
        )  # fmt: skip

        assert (code, result["status"]) == (1, "failed")
        assert Path(result["reports"]["md"]).is_relative_to(root)
        reports_exist(result)
    finally:
        subprocess.run(["umount", "-l", root], check=True)


def test_a_disk_full_from_the_start_still_ends_in_three_reports(
    home: Home, reports_exist: Check
) -> None:
    """When not even a workspace fits, the reports lie in the data directory (req 3.8, 12.5)."""
    root = home.root / "tiny"
    root.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k,mode=0700", "tmpfs", root], check=True)
    try:
        code, result = home.result(
            "--agent", "builtin", str(home.fault()), env={"AGENT_RUNTIME_WORKSPACE_ROOT": str(root)}
        )

        assert (code, result["status"], result["reason"]) == (2, "failed", "internal")
        reports_exist(result)
        kept = home.data / "artifacts" / f"{result['incident_id']}-1"
        assert len(list(kept.iterdir())) == 3
    finally:
        subprocess.run(["umount", "-l", root], check=True)


BROKEN_PLUGIN = """
class Broken:
    name = "broken"
    variables = frozenset()

    @classmethod
    def configured(cls, options):
        return cls()

    def command(self, briefing, workspace, private):
        return 1 / 0

    def events(self, line):
        return ()
"""


def test_a_bug_is_reported_three_times_and_told_once(home: Home) -> None:
    """An exception of ours ends in three reports, exit code 3 and a crash log (req 12.2, 12.5)."""
    plugin = home.root / "plugin"
    (plugin / "broken_agent-1.dist-info").mkdir(parents=True)
    (plugin / "broken_agent.py").write_text(BROKEN_PLUGIN)
    (plugin / "broken_agent-1.dist-info" / "METADATA").write_text(
        "Name: broken-agent\nVersion: 1\n"
    )
    (plugin / "broken_agent-1.dist-info" / "entry_points.txt").write_text(
        "[kubecase.agents]\nbroken = broken_agent:Broken\n"
    )

    done = home.run(
        "investigate", "--agent", "broken", str(home.fault()), env={"PYTHONPATH": str(plugin)}
    )

    words = done.stderr.decode()
    assert done.returncode == 3, words
    assert "this is a bug: ZeroDivisionError" in words
    assert "Traceback" not in words
    shown = json.loads(home.run("show", "@last", "--json").stdout)
    result = shown["attempts"][0]
    assert (result["status"], result["reason"]) == ("failed", "internal")
    assert "ZeroDivisionError" in result["error"]
    for name in ("final-report.md", "final-report.html", "final-report.json"):
        assert (Path(result["workspace_dir"]) / "output" / name).stat().st_size > 300


def _wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
