"""Which status may follow which, and how an end is judged."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubecase.core.lifecycle import is_final, judge, may_follow, signal_name
from kubecase.core.model import Cause, Ended, Exit, Reason, Status, Verdict

ALLOWED = {
    (Status.CREATED, Status.STARTING), (Status.CREATED, Status.FAILED),
    (Status.CREATED, Status.CANCELLED),
    (Status.STARTING, Status.RUNNING), (Status.STARTING, Status.FAILED),
    (Status.STARTING, Status.CANCELLED),
    (Status.RUNNING, Status.SUCCESS), (Status.RUNNING, Status.FAILED),
    (Status.RUNNING, Status.TIMEOUT), (Status.RUNNING, Status.CANCELLED),
}  # fmt: skip
FINAL = {Status.SUCCESS, Status.FAILED, Status.TIMEOUT, Status.CANCELLED}
SILENT = Verdict(report=None)
ENOUGH = 100


def an_exit(code: int | None = 0, *, cause: Cause = Cause.EXITED, **changes: object) -> Exit:
    signal = changes.pop("signal", None)
    return Exit(cause=cause, code=code, signal=signal, seconds=12.4, clean=True, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Status, Status)))
def test_only_the_allowed_transitions_exist(before: Status, after: Status) -> None:
    """Of all 49 pairs of statuses exactly ten are transitions (req 9.2)."""
    assert may_follow(before, after) is ((before, after) in ALLOWED)


@pytest.mark.parametrize("status", Status)
def test_nothing_follows_an_end(status: Status) -> None:
    """The four ends are final, and nothing else is (req 9.2)."""
    assert is_final(status) is (status in FINAL)
    assert is_final(status) is not any(may_follow(status, other) for other in Status)


def test_every_path_leads_to_an_end() -> None:
    """From created every end can be reached, and no path is longer than four (req 9.2)."""
    paths = [(Status.CREATED,)]
    ended = []
    while paths:
        path = paths.pop()
        following = [s for s in Status if may_follow(path[-1], s)]
        paths += [(*path, s) for s in following]
        ended += [] if following else [path]

    assert {path[-1] for path in ended} == FINAL
    assert max(len(path) for path in ended) == 4


def test_code_zero_and_a_report_is_a_success() -> None:
    """An agent that exits with 0 and leaves a report of 100 bytes has succeeded (req 10.2)."""
    assert judge(an_exit(), SILENT, ENOUGH) == Ended(status=Status.SUCCESS, reason=None, error=None)


@pytest.mark.parametrize(
    ("size", "error"),
    [
        (None, "investigation.md file not found"),
        (0, "investigation.md too small: 0 bytes (expected >= 100)"),
        (99, "investigation.md too small: 99 bytes (expected >= 100)"),
    ],
)
def test_without_a_usable_report_there_is_no_success(size: int | None, error: str) -> None:
    """Exit code 0 without a report is a failure that says what is missing (req 10.2)."""
    ended = judge(an_exit(), SILENT, size)

    assert (ended.status, ended.reason, ended.error) == (Status.FAILED, Reason.NO_REPORT, error)


@pytest.mark.parametrize("size", [None, 0, 99, 100])
def test_the_plain_rule_can_be_restored(size: int | None) -> None:
    """With require_report off, exit code 0 alone is a success (req 10.2)."""
    assert judge(an_exit(), SILENT, size, require_report=False).status is Status.SUCCESS


@pytest.mark.parametrize("code", [1, 2, 3, 10, 11, 12, 127, 255])
def test_any_other_code_is_a_failure_that_names_it(code: int) -> None:
    """An exit code other than 0 fails with that code, whatever was left (req 10.3)."""
    ended = judge(an_exit(code), SILENT, ENOUGH)

    assert (ended.status, ended.reason) == (Status.FAILED, Reason.EXIT_CODE)
    assert ended.error == f"agent exited with non-zero code: {code}"


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (10, Status.FAILED, Reason.QUOTA),
        (11, Status.TIMEOUT, None),
        (12, Status.FAILED, Reason.AUTH),
        (13, Status.FAILED, Reason.EXIT_CODE),
        (0, Status.SUCCESS, None),
    ],
)
def test_exit_classes_give_three_codes_a_meaning(
    code: int, status: Status, reason: Reason | None
) -> None:
    """With exit_classes, 10 is quota, 11 a timeout, 12 a refused credential (req 10.3)."""
    ended = judge(an_exit(code), SILENT, ENOUGH, exit_classes=True)

    assert (ended.status, ended.reason) == (status, reason)


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (15, "SIGTERM"), (11, "SIGSEGV")])
def test_a_death_by_signal_is_recorded_by_name(number: int, name: str) -> None:
    """An agent that a signal killed has failed, and the signal is named (req 10.1, 10.4)."""
    ended = judge(an_exit(None, signal=number), SILENT, ENOUGH)

    assert (ended.status, ended.reason) == (Status.FAILED, Reason.SIGNAL)
    assert ended.error == f"agent killed by {name}"


def test_a_signal_without_a_name_keeps_its_number() -> None:
    """A real-time signal is told by its number (req 10.4)."""
    assert signal_name(40) == "signal 40"


ENDS = [an_exit(0), an_exit(3), an_exit(None, signal=9), an_exit(None, signal=2), an_exit(11)]
CLAIMS = [SILENT, Verdict(report="x", failure="no", reason=Reason.QUOTA)]


@pytest.mark.parametrize("exit", ENDS)
@pytest.mark.parametrize("verdict", CLAIMS)
@pytest.mark.parametrize("size", [None, ENOUGH])
@pytest.mark.parametrize(
    ("cause", "status"),
    [(Cause.DEADLINE, Status.TIMEOUT), (Cause.STOP_REQUESTED, Status.CANCELLED)],
)
def test_what_we_decided_stands(
    exit: Exit, verdict: Verdict, size: int | None, cause: Cause, status: Status
) -> None:
    """A deadline or a cancel stands whatever exit and report follow it (req 10.5, 10.6, 10.7)."""
    decided = Exit(
        cause=cause, code=exit.code, signal=exit.signal, seconds=exit.seconds, clean=True
    )

    ended = judge(decided, verdict, size, exit_classes=True)

    assert (ended.status, ended.reason) == (status, None)
    assert ended.error


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (Cause.STALLED, Reason.STALLED), (Cause.OUTPUT_LIMIT, Reason.OUTPUT_LIMIT),
        (Cause.DISK_LIMIT, Reason.DISK_LIMIT), (Cause.SUPERVISOR_LOST, Reason.LOST),
    ],
)  # fmt: skip
def test_a_limit_is_a_failure_with_its_own_reason(cause: Cause, reason: Reason) -> None:
    """An agent that a limit stopped has failed for that limit, even with code 0."""
    ended = judge(an_exit(0, cause=cause), SILENT, ENOUGH)

    assert (ended.status, ended.reason) == (Status.FAILED, reason)
    assert ended.error is not None
    assert ended.error.startswith("agent execution error: ")


@pytest.mark.parametrize(
    ("cause", "reason"), [(Cause.START_ERROR, Reason.START_ERROR), (Cause.LOST, Reason.LOST)]
)
def test_a_process_of_which_nothing_is_known_says_why(cause: Cause, reason: Reason) -> None:
    """What never started or was lost has failed, with the words of the system."""
    ended = judge(an_exit(None, cause=cause, error="No such file"), SILENT, None)

    assert (ended.status, ended.reason) == (Status.FAILED, reason)
    assert str(ended.error).endswith(": No such file")


@pytest.mark.parametrize("exit", [an_exit(0), an_exit(1), an_exit(None, signal=15)])
def test_the_agents_own_word_for_its_failure_comes_before_its_code(exit: Exit) -> None:
    """When the agent says that it failed, that is why, also with exit code 0 and a report."""
    verdict = Verdict(report="x" * 200, failure="API Error: 401", reason=Reason.AUTH)

    ended = judge(exit, verdict, ENOUGH)

    assert (ended.status, ended.reason) == (Status.FAILED, Reason.AUTH)
    assert ended.error == "agent execution error: API Error: 401"


def test_every_cause_has_a_judgement() -> None:
    """No cause of an end is left without a status (req 10.*)."""
    for cause in Cause:
        known = cause not in {Cause.START_ERROR, Cause.LOST}
        ended = judge(an_exit(0 if known else None, cause=cause), SILENT, ENOUGH)
        assert is_final(ended.status)


@given(
    cause=st.sampled_from(Cause),
    code=st.none() | st.integers(0, 255),
    number=st.integers(1, 64),
    size=st.none() | st.integers(0, 300),
    reason=st.none() | st.sampled_from(Reason),
    require_report=st.booleans(),
    exit_classes=st.booleans(),
)
def test_a_success_needs_code_zero_no_complaint_and_a_report(
    *, cause: Cause, code: int | None, number: int, size: int | None, reason: Reason | None,
    require_report: bool, exit_classes: bool,
) -> None:  # fmt: skip
    """Whatever comes together, success means: ended by itself, with 0, with its report."""
    unknown = cause in {Cause.START_ERROR, Cause.LOST}
    signal = None if unknown or code is not None else number
    exit = an_exit(None if unknown else code, cause=cause, signal=signal)

    ended = judge(
        exit, Verdict(report=None, reason=reason), size,
        require_report=require_report, exit_classes=exit_classes,
    )  # fmt: skip

    expected = (
        cause is Cause.EXITED
        and code == 0
        and reason is None
        and (not require_report or (size is not None and size >= 100))
    )
    assert (ended.status is Status.SUCCESS) is expected
