"""One incident's record for machines."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubecase.core.redact import Redactor
    from kubecase.store import Story
    from kubecase.store.desk import Course


def story_as_json(
    story: "Story", now: datetime, redactor: "Redactor", course: "Course | None" = None
) -> dict[str, Any]:
    """The incident, its attempts as AgentResults, every transition, and the saved reports; with a
    `course`, what the service decided about its faults, and what people said.
    """
    from kubecase.service.report import agent_result
    from kubecase.store import duration

    fault = story.incident.fault
    return {
        "incident": {
            "id": story.incident.id,
            "state": story.incident.state,
            "cluster": fault.cluster,
            "namespace": fault.resource.namespace,
            "resource": str(fault.resource),
            "reason": fault.reason,
            "message": redactor.text(fault.message)[0],
            "severity": fault.severity,
            "timestamp": fault.seen_at.isoformat(),
            "opened_at": story.incident.opened_at.isoformat(),
        },
        "attempts": [
            {
                **agent_result(attempt.investigation),
                "agent": attempt.investigation.agent,
                "isolation": attempt.investigation.isolation,
                "duration_seconds": round(duration(attempt.investigation, now), 3),
            }
            for attempt in story.attempts
        ],
        "transitions": [
            {"attempt": t.attempt, "from": t.before, "to": t.after, "at": t.at.isoformat()}
            for t in story.transitions
        ],
        "reports": [
            {"attempt": r.attempt, "report": r.report, "findings": r.findings}
            for r in story.reports
        ],
        **({} if course is None else course_as_json(course)),
    }


def course_as_json(course: "Course") -> dict[str, Any]:
    """What the service knows of an incident: its intake (null for one opened by hand), the last 200
    decisions about faults of it, and what people said of its report.
    """
    return {
        "intake": None if course.intake is None else _plain(course.intake, leave_out={"id"}),
        "decisions": [_plain(each, leave_out={"id", "incident_id"}) for each in course.decisions],
        "feedback": [_plain(each, leave_out={"id", "incident_id"}) for each in course.feedback],
    }


def _plain(row: "Mapping[str, Any]", *, leave_out: set[str]) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in row.items()
        if key not in leave_out
    }
