"""What Codex, Gemini CLI, opencode and Goose are seen doing, from streams of the real ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.agent import TRANSCRIPTS, an_exit, recorded
from kubecase.agents.codex import Codex
from kubecase.agents.gemini import Gemini
from kubecase.agents.goose import Goose
from kubecase.agents.opencode import Opencode
from kubecase.core.model import Exit, Reason, Verdict
from kubecase.core.ports import Agent, AgentEvent, Moment

AGENTS: dict[str, Agent] = {
    "codex": Codex(), "gemini": Gemini(), "goose": Goose(), "opencode": Opencode(),
}  # fmt: skip
# By recording: how the process ended (a negative number is a signal), the reason that the stream
# gives, and whether there is a report. A reason of None leaves it to the exit.
EXPECTED: dict[str, tuple[int, Reason | None, bool]] = {
    "codex/success": (0, None, True),
    "codex/mcp-only": (0, None, True),
    "codex/permission-denied": (0, None, False),  # its answer is too short to be a report
    "codex/api-401": (1, Reason.AUTH, False),
    "codex/api-500-no-retry": (1, Reason.EXIT_CODE, False),
    "codex/sigint-in-tool": (1, None, False),
    "codex/sigterm-in-tool": (-15, None, False),
    "gemini/success": (0, None, True),
    "gemini/permission-denied": (0, None, False),
    "gemini/api-401": (145, Reason.AUTH, False),
    "gemini/max-turns": (53, Reason.BUDGET, False),
    "gemini/sigint-waiting-for-api": (0, Reason.NO_REPORT, False),
    "gemini/sigterm-waiting-for-api": (0, Reason.NO_REPORT, False),
    "gemini/untrusted-dir": (55, None, False),
    "opencode/success": (0, None, True),
    "opencode/permission-denied": (0, None, False),
    "opencode/ask-rejected-abort": (0, Reason.NO_REPORT, False),
    "opencode/api-401": (1, Reason.AUTH, False),
    "opencode/sigint-in-tool": (-2, None, False),
    "opencode/sigterm-in-tool": (-15, None, False),
    "goose/success": (0, None, True),
    "goose/mcp-only": (0, None, True),
    "goose/api-401": (0, Reason.AUTH, False),
    "goose/approve-mode-fails": (1, None, False),
    "goose/sigint-in-tool": (0, Reason.NO_REPORT, False),
    "goose/sigterm-in-tool": (-15, None, False),
}


def ended(code: int) -> Exit:
    return an_exit(code) if code >= 0 else an_exit(None, signal=-code)


def judged(recording: str, code: int) -> Verdict:
    name, scenario = recording.split("/")
    return AGENTS[name].verdict(recorded(name, scenario), ended(code))


def seen(recording: str) -> list[AgentEvent]:
    name, scenario = recording.split("/")
    return [each for line in recorded(name, scenario) for each in AGENTS[name].events(line)]


def test_every_recording_is_judged_here() -> None:
    """No recorded stream of these four is left out."""
    there = {f"{name}/{path.stem}" for name in AGENTS for path in (TRANSCRIPTS / name).glob("*")}
    assert there == set(EXPECTED)


@pytest.mark.parametrize("recording", EXPECTED)
def test_a_stream_claims_what_it_is(recording: str) -> None:
    """Success, a refused key, used-up turns and a stream that stopped are told apart (req 10)."""
    code, reason, has_report = EXPECTED[recording]

    verdict = judged(recording, code)

    assert verdict.reason is reason
    assert (verdict.report is not None) == has_report
    assert not verdict.report or verdict.report.startswith("## Root cause")
    if reason is not None:
        assert verdict.failure


@pytest.mark.parametrize("recording", [name for name in EXPECTED if name.endswith("/success")])
def test_a_good_run_is_told_step_by_step(recording: str) -> None:
    """Words, tool calls with their arguments, results, tokens and the end appear in order."""
    events = seen(recording)
    moments = [each.moment for each in events]

    for moment in (Moment.MESSAGE, Moment.TOOL_CALL, Moment.TOOL_RESULT, Moment.USAGE):
        assert moment in moments
    assert moments[-1] is Moment.FINISHED
    calls = [each for each in events if each.moment is Moment.TOOL_CALL]
    assert "kubectl get pods -A" in calls[0].text
    assert Moment.GARBAGE not in moments
    usage = judged(recording, 0).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (3000, 150)


@pytest.mark.parametrize("name", ["gemini", "opencode"])
def test_refusals_are_told(name: str) -> None:
    """What the CLI refused to do is shown as denied (req 13.5); the other two say nothing of it."""
    denied = [each for each in seen(f"{name}/permission-denied") if each.moment is Moment.DENIED]
    assert len(denied) == 5


def test_a_failure_that_may_pass_is_marked() -> None:
    """An overloaded model may be asked again; a refused key may not."""
    assert judged("codex/api-500-no-retry", 1).transient
    assert not judged("codex/api-401", 1).transient


@pytest.mark.parametrize("name", AGENTS)
@given(lines=st.lists(st.binary(max_size=200) | st.sampled_from([
    b"null", b"[]", b"{}", b'{"type": 1}', b'{"type":"item.completed","item":7}',
    b'{"type":"text"}',
    b'{"type":"message","message":{"content":[1,{"type":"toolResponse"}]}}', b'{"type":"result"}',
    b'{"type":"turn.completed","usage":[]}', b'{"type":"step_finish","part":{"tokens":3}}',
    b'{"type":"tool_use","part":[]}', b'{"type":"error","error":"x"}', b'{"type":"complete"}',
]), max_size=12))  # fmt: skip
def test_no_line_makes_reading_fail(name: str, lines: list[bytes]) -> None:
    """Whatever a stream holds, it is read, and it claims no report that it does not have."""
    for line in lines:
        AGENTS[name].events(line)
    assert AGENTS[name].verdict(lines, ended(0)).report is None
