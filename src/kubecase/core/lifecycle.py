"""Which status may follow which, and how an end is judged. Tables and pure functions."""

from collections.abc import Mapping

from kubecase.core.model import Cause, Ended, Exit, Reason, Status, Verdict

MINIMUM_REPORT_BYTES = 100

_NEXT: Mapping[Status, frozenset[Status]] = {
    Status.CREATED: frozenset({Status.STARTING, Status.FAILED, Status.CANCELLED}),
    Status.STARTING: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.SUCCESS, Status.FAILED, Status.TIMEOUT, Status.CANCELLED}),
}

_SUPERVISION: Mapping[Cause, tuple[Reason, str]] = {
    Cause.STALLED: (Reason.STALLED, "agent execution error: no output for the idle limit"),
    Cause.OUTPUT_LIMIT: (Reason.OUTPUT_LIMIT, "agent execution error: wrote more than allowed"),
    Cause.DISK_LIMIT: (Reason.DISK_LIMIT, "agent execution error: workspace grew over its limit"),
    Cause.START_ERROR: (Reason.START_ERROR, "agent execution error: cannot start"),
    Cause.LOST: (Reason.LOST, "agent execution error: its supervisor died"),
    Cause.SUPERVISOR_LOST: (Reason.LOST, "agent execution error: its supervisor went away"),
}

_EXIT_CLASSES: Mapping[int, Ended] = {
    10: Ended(
        status=Status.FAILED,
        reason=Reason.QUOTA,
        error="agent reported: out of quota",
        transient=True,
    ),
    11: Ended(status=Status.TIMEOUT, reason=None, error="agent reported: out of time"),
    12: Ended(status=Status.FAILED, reason=Reason.AUTH, error="agent reported: not authorised"),
}


def is_final(status: Status) -> bool:
    """Whether nothing can follow `status`."""
    return status not in _NEXT


def may_follow(before: Status, after: Status) -> bool:
    """Whether an investigation may go from `before` to `after` in one step."""
    return after in _NEXT.get(before, frozenset())


_ANOTHER_AGENT = frozenset(
    {
        Reason.START_ERROR, Reason.EXIT_CODE, Reason.SIGNAL, Reason.NO_REPORT, Reason.STALLED,
        Reason.OUTPUT_LIMIT, Reason.DISK_LIMIT, Reason.QUOTA, Reason.AUTH,
    }
)  # fmt: skip

AGENT_FAULTS = _ANOTHER_AGENT - {Reason.OUTPUT_LIMIT, Reason.DISK_LIMIT}
"""Reasons that speak against an agent as such, not against one incident, a person or ourselves."""


def falls_back(ended: Ended) -> bool:
    """Whether another agent may do better after this end.

    Not after a cancel or a deadline, which are about the incident; not when the budget is used up,
    which another agent would spend as well; not for a fault of kubecase's own.
    """
    return ended.status is Status.FAILED and ended.reason in _ANOTHER_AGENT


def judge(
    exit: Exit,
    verdict: Verdict,
    report_bytes: int | None,
    *,
    report_refused: str | None = None,
    require_report: bool = True,
    exit_classes: bool = False,
) -> Ended:
    """How an investigation ended, from its process, its agent's claim and the report it left.

    `report_bytes` is the size of `output/investigation.md` as collected, `None` if there is none.
    What supervision decided (deadline, cancel, a limit) stands whatever the exit code says. Then
    the agent's own word for its failure, then signal and code, then the output contract: a report
    of at least 100 bytes. With `exit_classes` the codes 10, 11 and 12 carry their agreed meaning.
    """
    match exit.cause:
        case Cause.DEADLINE:
            return _ended(Status.TIMEOUT, None, f"stopped after {exit.seconds:.0f} s")
        case Cause.STOP_REQUESTED:
            return _ended(Status.CANCELLED, None, "stopped on request")
        case Cause.EXITED:
            pass
        case cause:
            reason, words = _SUPERVISION[cause]
            detail = f": {exit.error}" if exit.error else ""
            return _ended(Status.FAILED, reason, words + detail)
    if exit_classes and exit.code is not None and exit.code in _EXIT_CLASSES:
        return _EXIT_CLASSES[exit.code]
    if verdict.reason is not None:
        return _ended(
            Status.FAILED,
            verdict.reason,
            f"agent execution error: {verdict.failure or verdict.reason}",
            transient=verdict.transient,
        )
    if exit.signal is not None:
        return _ended(Status.FAILED, Reason.SIGNAL, f"agent killed by {signal_name(exit.signal)}")
    if exit.code != 0:
        return _ended(
            Status.FAILED, Reason.EXIT_CODE, f"agent exited with non-zero code: {exit.code}"
        )
    if not require_report:
        return Ended(status=Status.SUCCESS, reason=None, error=None)
    return _judge_report(report_bytes, report_refused)


def _judge_report(report_bytes: int | None, refused: str | None) -> Ended:
    if report_bytes is None and refused is not None:
        return _ended(Status.FAILED, Reason.NO_REPORT, f"investigation.md was not taken: {refused}")
    if report_bytes is None:
        return _ended(Status.FAILED, Reason.NO_REPORT, "investigation.md file not found")
    if report_bytes < MINIMUM_REPORT_BYTES:
        return _ended(
            Status.FAILED,
            Reason.NO_REPORT,
            f"investigation.md too small: {report_bytes} bytes "
            f"(expected >= {MINIMUM_REPORT_BYTES})",
        )
    return Ended(status=Status.SUCCESS, reason=None, error=None)


def _ended(status: Status, reason: Reason | None, error: str, *, transient: bool = False) -> Ended:
    return Ended(status=status, reason=reason, error=error, transient=transient)


_SIGNALS: Mapping[int, str] = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS",
    8: "SIGFPE", 9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE",
    14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip


def signal_name(number: int) -> str:
    """The name that Linux on the common architectures gives signal `number`."""
    return _SIGNALS.get(number, f"signal {number}")
