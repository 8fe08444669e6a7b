"""More than one agent: in turn where one failed, or side by side, with the installed command."""

import json
from pathlib import Path

from .conftest import Home


def test_an_agent_that_is_not_there_is_followed_by_its_fallback(home: Home) -> None:
    """A missing program costs nothing but a note: the next agent of the chain leaves the report."""
    code, result = home.result(
        "--agent", "claude", str(home.fault()), env={"AGENT_RUNTIME_FALLBACK": "scripted,builtin"}
    )

    assert (code, result["status"], result["attempt"]) == (0, "success", 2)
    report = Path(result["reports"]["md"]).read_text()
    assert "attempt 1 by claude failed" in report
    assert "scripted was asked next" in report
    story = json.loads(home.run("show", "@last", "--json").stdout)
    assert [each["agent"] for each in story["attempts"]] == ["claude", "scripted"]


def test_two_agents_are_asked_at_once_and_one_report_compares_them(
    home: Home, leaves_report: str
) -> None:
    """`--agent a,b` makes two attempts at one incident, and the report names both agents."""
    agent = home.agent(leaves_report)

    done = home.run(
        "investigate", "--agent", "command,scripted", str(home.fault()),
        env={"KUBECASE_AGENTS__COMMAND__COMMAND": str(agent)},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr.decode()
    assert b"another opinion, by command" in done.stdout
    assert b"command: starting" in done.stderr
    story = json.loads(home.run("show", "@last", "--json").stdout)
    assert sorted(each["agent"] for each in story["attempts"]) == ["command", "scripted"]
    assert story["incident"]["state"] == "done"


def test_the_program_of_one_agent_is_not_given_to_another(home: Home, leaves_report: str) -> None:
    """agent_command is for the chosen agent; a fallback needs a program of its own."""
    agent = home.agent("exit 3")

    code, result = home.result(
        "--agent", "command", str(home.fault()),
        env={"AGENT_RUNTIME_COMMAND": str(agent), "AGENT_RUNTIME_FALLBACK": "codex"},
    )  # fmt: skip

    assert (code, result["reason"], result["attempt"]) == (2, "start_error", 2)
    assert "cannot use the agent codex" in result["error"]


def test_an_agent_that_keeps_failing_is_passed_over_by_another_process(home: Home) -> None:
    """What is on record opens the breaker: the third run gets the built-in report at once; who
    names the agent gets it all the same.
    """
    agent = home.agent("exit 3")
    (home.root / "kubecase.yaml").write_text(
        f"agent_runtime: {{agent: command, agent_command: {agent}, breaker_failures: 2}}\n"
    )
    fault = str(home.fault())
    for _ in range(2):
        assert home.result(fault)[1]["reason"] == "exit_code"

    code, result = home.result(fault)
    named = home.result("--agent", "command", fault)[1]

    assert (code, result["status"]) == (0, "success")
    report = Path(result["reports"]["md"]).read_text().replace("\\", "")
    assert "command was not asked: it failed 2 times in a row" in report
    assert named["reason"] == "exit_code"
