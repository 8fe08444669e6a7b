"""What Claude Code's output claims, judged by recorded runs of the real program."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from fakes.agent import TRANSCRIPTS, an_exit, recorded
from kubecase.agents.claude import Claude
from kubecase.agents.claude_verdict import Demanded, verdict_of
from kubecase.core.lifecycle import judge
from kubecase.core.model import Reason, Status, Usage

SHELL = Demanded(tools=frozenset({"Bash", "Read"}))
EVERYTHING = frozenset(
    json.loads(recorded("claude", "background-task-two-results")[0])["tools"]
)  # fmt: skip
BACKGROUND = Demanded(tools=EVERYTHING, permission_mode="default")
TOOL_SERVER = Demanded(
    tools=frozenset({"mcp__k8s__delete_pod", "mcp__k8s__kubectl_read"}),
    mcp_servers=frozenset({"k8s"}),
)

# scenario: (exit, demanded, reason, words of the failure, has a report, turns)
EXPECTED: Mapping[str, tuple[int, Demanded, Reason | None, str | None, bool, int | None]] = {
    "success": (0, SHELL, None, None, True, 4),
    "api-529-recovered": (0, SHELL, None, None, True, 2),
    "mcp-only": (0, TOOL_SERVER, None, None, True, 4),
    # Too short for a report, and nothing wrong besides: the output contract decides.
    "permission-denied": (0, SHELL, None, None, False, 7),
    "background-task-two-results": (0, BACKGROUND, None, None, False, 3),
    "api-401": (1, SHELL, Reason.AUTH, "API Error: 401", False, 2),
    "no-credentials": (1, SHELL, Reason.AUTH, "Not logged in", False, 1),
    "api-500": (1, SHELL, Reason.EXIT_CODE, "API Error: 500", False, 2),
    "max-budget": (1, SHELL, Reason.BUDGET, "maximum budget", False, 1),
    "max-turns": (1, SHELL, Reason.BUDGET, "number of turns", False, 3),
    "slash-prompt-trap": (0, SHELL, Reason.NO_REPORT, "without asking the model", False, 0),
    "sigint-in-tool": (0, SHELL, Reason.NO_REPORT, "aborted_tools", False, 3),
    "sigint-waiting-for-api": (0, SHELL, Reason.NO_REPORT, "aborted_streaming", False, 3),
    "sigterm-in-tool": (143, SHELL, None, "without a result", False, None),
    "sigkill-in-tool": (-9, SHELL, None, "without a result", False, None),
}


def test_every_recorded_run_has_an_expected_verdict() -> None:
    """No recorded run of the real program is left out of the table."""
    assert {path.stem for path in (TRANSCRIPTS / "claude").glob("*.jsonl")} == set(EXPECTED)


@pytest.mark.parametrize("scenario", EXPECTED)
def test_a_recorded_run_gets_the_verdict_it_deserves(scenario: str) -> None:
    """What the real program printed is judged by its events, not by its exit code (req 10.2)."""
    code, demanded, reason, words, has_report, turns = EXPECTED[scenario]
    exit = an_exit(code) if code >= 0 else an_exit(signal=-code)

    verdict = verdict_of(recorded("claude", scenario), exit, demanded)

    assert verdict.reason is reason
    assert (verdict.failure is None) == (words is None)
    assert (words or "") in (verdict.failure or "")
    assert (verdict.report is not None) == has_report
    assert (verdict.usage.turns if verdict.usage else None) == turns


def test_a_good_run_is_a_success_with_its_report_and_its_price() -> None:
    """The answer and the cost of a good run are taken from its result."""
    verdict = verdict_of(recorded("claude", "success"), an_exit(), SHELL)

    assert verdict.report is not None
    assert verdict.report.startswith("## Root cause\ncheckout cannot reach its database")
    assert verdict.usage == Usage(input_tokens=3000, output_tokens=150, cost_usd=0.01125, turns=4)
    ended = judge(an_exit(), verdict, len(verdict.report.encode()))
    assert ended.status is Status.SUCCESS


@pytest.mark.parametrize("cut", ["in the middle", "by an error"])
def test_what_was_said_before_a_bad_end_is_kept(cut: str) -> None:
    """Text of a run that broke off becomes its partial report; it is still no success."""
    lines = recorded("claude", "success")
    said = {"type": "text", "text": "The database refuses every connection since the rollout. " * 3}
    message = json.dumps({"type": "assistant", "message": {"content": [said]}}).encode()
    end = [] if cut == "in the middle" else [recorded("claude", "max-turns")[-1]]

    verdict = verdict_of([*lines[:2], message, *end], an_exit(143), SHELL)

    assert verdict.report is not None
    assert "The database refuses" in verdict.report
    assert judge(an_exit(143), verdict, len(verdict.report)).status is Status.FAILED


@pytest.mark.parametrize(
    ("scenario", "transient"),
    [("api-500", True), ("api-401", False), ("max-budget", False), ("sigterm-in-tool", False)],
)
def test_only_what_may_pass_is_said_to(scenario: str, transient: bool) -> None:
    """A 5xx may be tried again; a refused log-in or a spent budget may not (req 21.7)."""
    code, demanded, *_ = EXPECTED[scenario]

    assert verdict_of(recorded("claude", scenario), an_exit(code), demanded).transient is transient


def test_what_was_spent_before_the_budget_ran_out_is_counted() -> None:
    """A run that is stopped for its budget still tells what it used."""
    verdict = verdict_of(recorded("claude", "max-budget"), an_exit(1), SHELL)

    assert verdict.usage == Usage(input_tokens=1000, output_tokens=50, cost_usd=0.00375, turns=1)


@pytest.mark.parametrize("scenario", ["success", "api-401", "sigterm-in-tool", "mcp-only"])
def test_a_start_with_other_tools_than_given_is_a_failure(scenario: str) -> None:
    """A run whose CLI offers more than Read has failed, whatever it reports (req 13.5)."""
    verdict = Claude().verdict(recorded("claude", scenario), an_exit())

    assert verdict.reason is Reason.START_ERROR
    assert "other tools" in str(verdict.failure)
    assert verdict.report is None


def changed(scenario: str, kind: str, **fields: Any) -> list[bytes]:
    """The recorded run with fields of its events of one type replaced."""
    lines = []
    for line in recorded("claude", scenario):
        event = json.loads(line)
        if kind in {event["type"], event.get("subtype")}:
            event.update(fields)
        lines.append(json.dumps(event).encode())
    return lines


@pytest.mark.parametrize(
    ("kind", "fields", "reason", "words"),
    [
        ("init", {"permissionMode": "bypassPermissions"}, Reason.START_ERROR, "permission mode"),
        ("init", {"tools": ["Bash", "Read", "Write"]}, Reason.START_ERROR, "other tools"),
        ("init", {"tools": []}, Reason.START_ERROR, "other tools"),
        ("init", {"tools": "Bash,Read"}, Reason.START_ERROR, "other tools"),
        ("init", {"mcp_servers": [{"name": "x", "status": "connected"}]}, Reason.START_ERROR,
         "tool servers"),
        ("init", {"mcp_servers": [{"name": "x", "status": "failed"}]}, Reason.START_ERROR,
         "tool servers"),
        ("init", {"subtype": "other"}, Reason.START_ERROR, "how it was started"),
        ("result", {"is_error": None}, Reason.NO_REPORT, "failed"),
        ("result", {"num_turns": 0}, Reason.NO_REPORT, "without asking"),
        ("result", {"num_turns": True}, Reason.NO_REPORT, "without asking"),
        ("result", {"result": " \n"}, Reason.NO_REPORT, "without an answer"),
        ("result", {"result": None}, Reason.NO_REPORT, "without an answer"),
        ("result", {"terminal_reason": "hook_stopped"}, Reason.NO_REPORT, "hook_stopped"),
        ("result", {"is_error": True, "api_error_status": 403}, Reason.AUTH, "may not use"),
        ("result", {"is_error": True, "api_error_status": 429}, Reason.QUOTA, "no answer"),
        ("result", {"is_error": True, "api_error_status": 529}, Reason.QUOTA, "no answer"),
        ("result", {"is_error": True, "api_error_type": "overloaded_error"}, Reason.QUOTA,
         "no answer"),
        ("result", {"is_error": True, "terminal_reason": "blocking_limit"}, Reason.NO_REPORT,
         "blocking_limit"),
        ("assistant", {"is_api_error_message": True, "error": "billing_error"}, Reason.QUOTA,
         "no answer"),
    ],
)  # fmt: skip
def test_a_single_wrong_field_makes_a_good_run_a_failure(
    kind: str, fields: dict[str, Any], reason: Reason, words: str
) -> None:
    """Nothing but a complete and unsuspicious result counts as the end of a run."""
    verdict = verdict_of(changed("success", kind, **fields), an_exit(), SHELL)

    assert verdict.reason is reason
    assert words in str(verdict.failure)
    # What was said on the way is kept, but nothing of a session that began in a strange way.
    assert reason is not Reason.START_ERROR or verdict.report is None
    assert judge(an_exit(), verdict, 5000).status is Status.FAILED


def test_one_strange_start_among_many_is_not_forgotten() -> None:
    """However many sessions one stream holds, a single one with other tools is a failure."""
    good = recorded("claude", "success")
    strange = changed("success", "init", tools=["Bash", "Read", "Write"])[0]

    verdict = verdict_of([*good, strange, *(good * 20)], an_exit(), SHELL)

    assert verdict.reason is Reason.START_ERROR


def test_a_hook_without_a_verdict_is_a_failure() -> None:
    """A check that crashed and so let a call through is not passed over."""
    hook = b'{"type":"system","subtype":"informational","tag":"hook_no_verdict","content":"x"}'
    first, *rest = recorded("claude", "success")

    verdict = verdict_of([first, hook, *rest], an_exit(), SHELL)

    assert verdict.reason is Reason.START_ERROR


def test_the_last_of_two_results_wins() -> None:
    """A second result in one stream replaces the first, in both directions."""
    good, bad = recorded("claude", "success"), recorded("claude", "api-401")

    assert verdict_of([*good, *bad], an_exit(1), SHELL).reason is Reason.AUTH
    assert verdict_of([*bad, *good], an_exit(), SHELL).report is not None


@pytest.mark.parametrize("cut", range(1, 11))
def test_a_stream_that_is_cut_off_has_no_report(cut: int) -> None:
    """A run whose output stops before its result has failed, also with exit code 0."""
    verdict = verdict_of(recorded("claude", "success")[:cut], an_exit(), SHELL)

    assert verdict.reason is Reason.NO_REPORT
    assert judge(an_exit(), verdict, 5000).status is Status.FAILED
    assert verdict.failure == "claude stopped without a result"


@pytest.mark.parametrize(("size", "is_report"), [(99, False), (100, True), (2_000_000, True)])
def test_a_report_has_at_least_100_bytes(size: int, is_report: bool) -> None:
    """A shorter answer is no report, a long one is kept whole."""
    verdict = verdict_of(changed("success", "result", result="x" * size), an_exit(), SHELL)

    assert verdict.reason is None
    assert verdict.report == ("x" * size if is_report else None)


def test_a_report_can_always_be_written_to_a_file() -> None:
    """Half characters and zero bytes in an answer do not stop it from being stored."""
    lines = changed("success", "result", result="\ud800\0" + "x" * 100)

    verdict = verdict_of(lines, an_exit(), SHELL)

    assert verdict.report == "?\ufffd" + "x" * 100


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1, 1e300, "1", None, True])
def test_a_price_that_is_no_price_is_not_taken(cost: object) -> None:
    """Only a finite amount that is not negative counts as cost."""
    verdict = verdict_of(changed("success", "result", total_cost_usd=cost), an_exit(), SHELL)

    assert verdict.usage is not None
    assert verdict.usage.cost_usd is None


def test_a_failed_run_that_was_killed_is_told_by_its_signal() -> None:
    """An unexplained failure takes its reason from how the process ended (req 10.4)."""
    lines = changed("success", "result", is_error=True, terminal_reason="aborted_tools")

    assert verdict_of(lines, an_exit(signal=15), SHELL).reason is Reason.SIGNAL
    assert verdict_of(lines, an_exit(1), SHELL).reason is Reason.EXIT_CODE
    assert verdict_of(lines, an_exit(0), SHELL).reason is Reason.NO_REPORT


def test_servers_in_a_form_that_is_not_known_are_a_failure() -> None:
    """A start that cannot be compared with what was demanded is not trusted."""
    lines = changed("success", "init", mcp_servers={"evil": {}})

    assert verdict_of(lines, an_exit(), SHELL).reason is Reason.START_ERROR
