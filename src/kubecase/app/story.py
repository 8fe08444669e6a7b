"""One incident's record for machines."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubecase.core.redact import Redactor
    from kubecase.store import Story


def story_as_json(story: "Story", now: datetime, redactor: "Redactor") -> dict[str, Any]:
    """The incident, its attempts as AgentResults, every transition, and the saved reports."""
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
    }
