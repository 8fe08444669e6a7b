"""Any program as an agent, and what may be configured for it."""

from pathlib import Path
from typing import Any

import pytest

from fakes.agent import a_briefing, an_exit
from kubecase.agents import AgentSettings
from kubecase.agents.command import CommandAgent
from kubecase.core.errors import AgentUnavailable
from kubecase.core.lifecycle import judge
from kubecase.core.model import Reason, Status, Verdict
from kubecase.core.ports import AgentEvent, Credential, Moment

WORKSPACE = Path("/srv/cases/incident-1")


def test_arguments_are_passed_as_they_are() -> None:
    """Quotes, blanks, empty words and shell characters reach the program unchanged (req 7.7)."""
    argv = ("./triage", "", "a b", "'q'", "$(id)", "*", "--x=\n", "ü")

    command = CommandAgent(argv=argv).command(a_briefing(WORKSPACE), WORKSPACE, Path("/p"))

    assert command.argv == argv
    assert command.stop_signal == 2
    assert command.read_only_paths == ()


def test_the_configured_variables_and_key_are_added_and_nothing_else() -> None:
    """Its environment is the briefing's, the variables of the settings, and its key (req 8.3)."""
    key = Credential(variable="OPENAI_API_KEY", value="sk-test-000")
    briefing = a_briefing(WORKSPACE)
    agent = CommandAgent.configured(
        AgentSettings(
            program="/opt/triage", extra_args=("-v",), variables={"DEPTH": "3"}, credential=key
        )
    )

    command = agent.command(briefing, WORKSPACE, Path("/p"))

    assert command.argv == ("/opt/triage", "-v")
    assert command.environment == {
        **briefing.environment, "DEPTH": "3", "OPENAI_API_KEY": "sk-test-000",
    }  # fmt: skip
    assert agent.variables == {"DEPTH", "OPENAI_API_KEY"}
    assert command.read_only_paths == (Path("/opt/triage"),)


def test_a_whole_command_wins_over_a_program() -> None:
    """A configured argument list is taken whole."""
    options = AgentSettings(argv=("a", "b"), program="c", extra_args=("d",))

    assert CommandAgent.configured(options).argv == ("a", "b")


def test_without_a_program_the_operator_is_told_what_to_set() -> None:
    """A missing agent_command is named by its key and its environment name (req 7.6)."""
    with pytest.raises(AgentUnavailable, match="agent_command is not set") as caught:
        CommandAgent.configured(AgentSettings())

    assert "agent_runtime.agent_command" in str(caught.value.hint)
    assert "AGENT_RUNTIME_COMMAND" in str(caught.value.hint)


@pytest.mark.parametrize(
    "wrong",
    [
        {"argv": ("",)}, {"argv": ("a\0",)}, {"argv": ("a", "b\0")},
        {"argv": ("a",), "extra": {"INCIDENT_ID": "x"}},
        {"argv": ("a",), "extra": {"KUBECONFIG": "/etc/admin"}},
        {"argv": ("a",), "extra": {"PATH": "/x"}},
        {"argv": ("a",), "extra": {"LD_PRELOAD": "/x.so"}},
        {"argv": ("a",), "extra": {"PYTHONPATH": "/x"}},
        {"argv": ("a",), "extra": {"A=B": "x"}}, {"argv": ("a",), "extra": {"": "x"}},
        {"argv": ("a",), "extra": {"A": "secret\0"}},
        {"argv": ("a",), "credential": Credential(variable="HOME", value="secret")},
        {"argv": ("a", "--key=secret"), "credential": Credential(variable="K", value="secret")},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_or_may_not_be_set_is_refused(wrong: dict[str, Any]) -> None:
    """Variables of the briefing, of the loader, and a key among arguments are refused (req 5.6)."""
    with pytest.raises(AgentUnavailable, match=r"^cannot use the agent command") as caught:
        CommandAgent(**wrong)

    assert caught.value.hint
    assert "secret" not in str(caught.value) + caught.value.hint


def test_its_output_is_shown_and_its_report_file_decides() -> None:
    """Lines are messages; success and failure are read from exit and report (req 10.2)."""
    agent = CommandAgent(argv=("triage",))

    assert agent.events(b"looking at \xff pods\r\n") == (
        AgentEvent(moment=Moment.MESSAGE, text="looking at \ufffd pods"),
    )
    assert agent.events(b"\n") == ()
    verdict = agent.verdict([b"all fine"], an_exit())
    assert verdict == Verdict(report=None)
    assert judge(an_exit(), verdict, 500).status is Status.SUCCESS
    assert judge(an_exit(), verdict, None).reason is Reason.NO_REPORT
    assert judge(an_exit(3), verdict, 500).reason is Reason.EXIT_CODE
