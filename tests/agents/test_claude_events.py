"""What Claude Code is seen doing while it runs, from recorded streams of the real program."""

import json

import pytest

from fakes.agent import TRANSCRIPTS, recorded
from kubecase.agents.claude import Claude
from kubecase.core.ports import AgentEvent, Moment


def seen(scenario: str) -> list[AgentEvent]:
    return [event for line in recorded("claude", scenario) for event in Claude().events(line)]


def test_a_good_run_is_told_step_by_step() -> None:
    """Start, words, tools, their results, the price and the end appear in order (req 21.1)."""
    events = seen("success")

    assert [event.moment.value for event in events] == [
        "started", "message", "tool_call", "tool_result", "message", "tool_call", "tool_call",
        "tool_result", "tool_result", "message", "usage", "finished",
    ]  # fmt: skip
    assert events[0].text == "claude 2.1.330 with the model claude-sonnet-4-5"
    assert (events[2].tool, json.loads(events[2].text)["command"]) == (
        "Bash",
        "kubectl get pods -A",
    )
    assert "CrashLoopBackOff" in events[3].text
    assert events[10].text == "4 turns, 3000 tokens in, 150 out, 0.0112 USD"
    assert events[11].text.startswith("## Root cause")


def test_every_refusal_is_told_with_its_tool() -> None:
    """What the program refused to do is shown as denied, once for each call (req 13.5)."""
    denied = [event for event in seen("permission-denied") if event.moment is Moment.DENIED]

    assert [event.tool for event in denied] == ["Bash"] * 4
    assert "kubectl get secrets -o yaml has been denied" in denied[2].text


def test_retries_are_told_with_their_reason() -> None:
    """Waiting for an overloaded model is visible, not silence."""
    retries = [event.text for event in seen("api-529-recovered") if event.moment is Moment.RETRY]

    assert retries == ["retry 1 of 3: 529 overloaded", "retry 2 of 3: 529 overloaded"]


def test_a_tool_server_s_answer_is_told_as_text() -> None:
    """Results that come as a list of blocks are shown as their text."""
    results = [event.text for event in seen("mcp-only") if event.moment is Moment.TOOL_RESULT]

    assert results[0] == 'MCP called "kubectl_read"'


@pytest.mark.parametrize("scenario", sorted(p.stem for p in (TRANSCRIPTS / "claude").glob("*")))
def test_every_recorded_stream_is_read_without_garbage(scenario: str) -> None:
    """No line of a real stream is taken for garbage, and each begins with a start."""
    events = seen(scenario)

    assert events[0].moment is Moment.STARTED
    assert Moment.GARBAGE not in {event.moment for event in events}
    assert all(len(event.text) <= 2000 for event in events)


def test_long_texts_are_cut_and_strange_lines_are_shown() -> None:
    """Text is cut to 2000 characters; what is no event is shown as garbage or left out."""
    agent = Claude()
    long = json.dumps({"type": "assistant", "message": {"content": "y" * 5000}}).encode()

    assert agent.events(long) == (AgentEvent(moment=Moment.MESSAGE, text="y" * 2000),)
    assert agent.events(b"Segmentation fault\n") == (
        AgentEvent(moment=Moment.GARBAGE, text="Segmentation fault"),
    )
    assert agent.events(b"\n") == ()
    assert agent.events(b'{"type":"something new","x":1}') == ()
    assert agent.events(b'{"type":"system","subtype":"something new"}') == ()
