"""Everything the three reports show, as one plain document: the renderers only arrange it."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kubecase.core.fencing import visible
from kubecase.core.lifecycle import is_final, signal_name
from kubecase.core.model import Cause, Investigation, Limits, Reason, Status, Usage
from kubecase.core.redact import Redactor
from kubecase.core.report import report_as_json
from kubecase.service.report.extract import extract, machine_part
from kubecase.service.report.opinions import opinions_shown
from kubecase.service.report.result import agent_result, usage_of

if TYPE_CHECKING:
    from kubecase.service.report.final import FinalReport

SCHEMA_VERSION = 1
MAX_AGENT_REPORT = 1024 * 1024
MAX_LOG_TAIL = 64 * 1024
BUILTIN = "builtin"

_FAILURES = {
    Reason.START_ERROR: "could not be started",
    Reason.NO_REPORT: "ended without a usable report",
    Reason.STALLED: "went silent and was stopped",
    Reason.OUTPUT_LIMIT: "wrote more output than allowed and was stopped",
    Reason.DISK_LIMIT: "filled more disk than allowed and was stopped",
    Reason.BUDGET: "used up its budget and was stopped",
    Reason.QUOTA: "was refused by its model for lack of quota",
    Reason.AUTH: "was refused by its model: the credential was not accepted",
    Reason.LOST: "was lost: its supervisor died",
    Reason.INTERNAL: "did not get to its end because kubecase itself failed",
}


def view(report: "FinalReport", redactor: Redactor) -> dict[str, Any]:
    """`report` as plain JSON values: redacted, every character visible, sizes bounded."""
    answer = _answer(report)
    findings = report_as_json(report.findings)
    document = {
        "schema_version": SCHEMA_VERSION,
        "outcome": _outcome(report, answer),
        "incident": _incident(report),
        "result": {**agent_result(report.investigation), "rejected": _rejected(report)},
        "report": answer,
        "agent_report": (report.agent_report or "")[:MAX_AGENT_REPORT] or None,
        "agent_report_cut": max(0, len(report.agent_report or "") - MAX_AGENT_REPORT),
        "findings": findings,
        "cause": _cause(report, answer, findings),
        "opinions": opinions_shown(report.opinions, answer),
        "collected": _collected(report),
        "timeline": _timeline(report),
        "run": _run(report),
        "notes": list(report.notes[:200]),
        "log_tail": report.log_tail[-MAX_LOG_TAIL:],
    }
    clean, _ = redactor.json(document)
    return dict(_shown(clean))


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_shown(each) for each in value]
    if isinstance(value, dict):
        return {visible(key): _shown(each) for key, each in value.items()}
    return value


def _answer(report: "FinalReport") -> dict[str, Any] | None:
    """The agent's report in machine form: as left, from a fenced block, or read from headings."""
    left = report.agent_json
    if left is None and report.agent_report:
        left = machine_part(report.agent_report)
    if left is not None:
        return {"extracted": False, **report_as_json(left)}
    return extract(report.agent_report) if report.agent_report else None


def _outcome(report: "FinalReport", answer: dict[str, Any] | None) -> dict[str, Any]:
    investigation = report.investigation
    status = investigation.status
    ended_well = status is Status.SUCCESS
    has_answer = bool(report.agent_report or answer)
    return {
        "status": status.value,
        "reason": investigation.reason.value if investigation.reason else None,
        "words": _words(investigation),
        "error": None if ended_well else investigation.error,
        "partial": has_answer and not ended_well,
        "duration": duration_words(_seconds(investigation)),
    }


def _words(investigation: Investigation) -> str:
    """How it ended, in one sentence of our own."""
    who = "The built-in investigator" if investigation.agent == BUILTIN else (
        f"The agent {investigation.agent}"
    )  # fmt: skip
    match investigation.status:
        case Status.SUCCESS:
            return f"{who} finished its investigation."
        case Status.TIMEOUT:
            return f"{who} ran out of time and was stopped."
        case Status.CANCELLED:
            return "The investigation was stopped on request."
        case Status.FAILED:
            return f"{who} {_failure(investigation)}."
    return f"{who} has not ended yet ({investigation.status.value})."


def _failure(investigation: Investigation) -> str:
    exit = investigation.exit
    if investigation.reason is Reason.EXIT_CODE and exit is not None:
        return f"failed with exit code {exit.code}"
    if investigation.reason is Reason.SIGNAL and exit is not None and exit.signal is not None:
        return f"was killed by {signal_name(exit.signal)}"
    if (
        investigation.reason is Reason.START_ERROR
        and exit is not None
        and exit.cause is not Cause.START_ERROR
    ):
        return "did not start as it was asked to, and was stopped"
    return _FAILURES.get(investigation.reason or Reason.INTERNAL, "failed")


def _cause(
    report: "FinalReport", answer: dict[str, Any] | None, findings: dict[str, Any]
) -> dict[str, Any] | None:
    """The best hypothesis there is, and whose it is: the agent's before the built-in rules'.

    What could only be read from an unfinished text comes last: it may break off in mid-sentence.
    """
    builtin = report.investigation.agent == BUILTIN
    sources = [(answer, report.investigation.agent), (findings, BUILTIN)]
    if answer and answer["extracted"] and report.investigation.status is not Status.SUCCESS:
        sources.reverse()
    for source, by in sources:
        if source and source["hypotheses"]:
            best = dict(source["hypotheses"][0])
            best["by"] = "the built-in rules" if builtin or by == BUILTIN else f"the agent {by}"
            best["extracted"] = bool(source.get("extracted"))
            return best
    return None


def _incident(report: "FinalReport") -> dict[str, Any]:
    fault = report.incident.fault
    return {
        "id": report.incident.id,
        "cluster": fault.cluster,
        "namespace": fault.resource.namespace,
        "resource": str(fault.resource)[:400],
        "reason": fault.reason[:400],
        "message": fault.message[:4000],
        "message_cut": max(0, len(fault.message) - 4000),
        "severity": fault.severity.value,
        "source": fault.source,
        "timestamp": fault.seen_at.isoformat(),
        "opened_at": report.incident.opened_at.isoformat(),
        "fingerprint": fault.fingerprint[:200],
    }


def _rejected(report: "FinalReport") -> list[dict[str, str]]:
    return [{"path": r.path[:500], "why": r.why[:500]} for r in report.investigation.rejected]


def _collected(report: "FinalReport") -> dict[str, Any]:
    collection = report.collection
    if collection is None:
        gap = {"what": "everything", "why": "the investigation ended before that"}
        return {
            "origin": None, "at": None, "objects": 0, "events": 0, "logs": [], "gaps": [gap],
        }  # fmt: skip
    return {
        "origin": collection.origin,
        "at": collection.collected_at.isoformat(),
        "objects": len(collection.objects),
        "events": len(collection.events),
        "logs": [
            {"name": name[:500], "bytes": len(text.encode("utf-8", "replace"))}
            for name, text in sorted(collection.logs.items())[:200]
        ],
        "gaps": [{"what": g.what[:500], "why": g.why[:1000]} for g in collection.gaps[:200]],
    }


def _timeline(report: "FinalReport") -> list[dict[str, Any]]:
    """What happened and when, in the order of time; `after` counts from the step before."""
    fault, attempt = report.incident.fault, report.investigation
    collected = report.collection.collected_at if report.collection else None
    steps: list[tuple[datetime | None, str]] = [
        (fault.seen_at, f"{fault.reason[:200] or 'A fault'} was reported for {fault.resource}"),
        (report.incident.opened_at, "The incident was opened"),
        (attempt.created_at, f"Attempt {attempt.attempt} began"),
        (collected, "The facts are from this moment"),
        (attempt.started_at, f"{attempt.agent} started"),
        *((step.at, step.what) for step in report.timeline),
        (attempt.ended_at if is_final(attempt.status) else None,
         f"The investigation ended: {attempt.status.value}"),
    ]  # fmt: skip
    known = sorted(((at, what) for at, what in steps if at is not None), key=lambda s: s[0])
    before = [known[0][0], *(at for at, _ in known)]
    return [
        {"at": at.isoformat(), "after": duration_words((at - last).total_seconds()), "what": what}
        for last, (at, what) in zip(before, known, strict=False)
    ]


def _run(report: "FinalReport") -> dict[str, Any]:
    investigation = report.investigation
    exit, ran = investigation.exit, report.ran
    return {
        "agent": investigation.agent,
        "version": ran.version[:100] if ran and ran.version else None,
        "model": ran.model[:200] if ran and ran.model else None,
        "models": [each[:200] for each in ran.models[:20]] if ran else [],
        "usage": usage_of(investigation.usage or Usage()),
        "denials": ran.denials if ran else None,
        "isolation": investigation.isolation,
        "isolation_notes": list(report.isolation_notes),
        "limits": _limits(report.limits),
        "skills": list(report.skills),
        "clean": exit.clean if exit else None,
        "leftover": exit.leftover if exit else None,
        "seconds": _seconds(investigation),
    }


def _limits(limits: Limits | None) -> dict[str, str]:
    if limits is None:
        return {}
    return {
        "wall clock": duration_words(limits.wall_clock),
        "grace": duration_words(limits.grace),
        "without output": duration_words(limits.idle) if limits.idle is not None else "no limit",
        "output": size_words(limits.output_bytes),
        "disk": size_words(limits.disk_bytes),
    }


def _seconds(investigation: Investigation) -> float | None:
    begun = investigation.started_at or investigation.created_at
    if investigation.ended_at is None:
        return None
    return round(max(0.0, (investigation.ended_at - begun).total_seconds()), 3)


def duration_words(seconds: float | None) -> str:
    """`seconds` for people: `10 ms`, `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return "not known"
    if 0 < seconds < 0.05:
        return f"{max(1, round(seconds * 1000))} ms"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    units: Sequence[tuple[int, int, str, str]] = (
        (86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s"),
    )  # fmt: skip
    for size, below, big, small in units:
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {big}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def size_words(size: float) -> str:
    """`size` in bytes for people: `512 B`, `1.5 KiB`, `64 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.1f}".removesuffix(".0") + f" {unit}"
