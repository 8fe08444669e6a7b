"""Incidents in their JSON form; what came from outside is redacted."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from kubecase.app.story import story_as_json
from kubecase.core.redact import Redactor
from kubecase.store import Story
from kubecase.store.desk import Course
from kubecase.store.searching import Found
from kubecase.workspace.artifacts import ARTIFACTS

REPORTS = ("md", "html", "json")
MAX_MESSAGE = 1000


def incident_as_json(found: Found, redactor: Redactor) -> dict[str, Any]:
    """One incident of a list; a long message is cut."""
    latest = found.latest
    return {
        "id": found.id,
        "state": found.state,
        "opened_at": found.opened_at.isoformat(),
        "opened_by": found.opened_by,
        "occurrences": found.occurrences,
        "cluster": found.cluster,
        "namespace": found.resource.namespace,
        "resource": str(found.resource),
        "reason": found.fault_reason,
        # Redacted before it is cut, but not all of what a hostile page of messages can hold.
        "message": redactor.text(found.message[: 2 * MAX_MESSAGE])[0][:MAX_MESSAGE],
        "severity": found.severity,
        "latest": None if latest is None else {
            "attempt": latest.attempt,
            "agent": latest.agent,
            "status": latest.status,
            "reason": latest.reason,
            "created_at": latest.created_at.isoformat(),
            "started_at": _moment(latest.started_at),
            "ended_at": _moment(latest.ended_at),
            "headline": latest.headline,
        },
    }  # fmt: skip


def whole_story(story: Story, course: Course, now: datetime, redactor: Redactor) -> dict[str, Any]:
    """All that is on record about one incident."""
    told = story_as_json(story, now, redactor)
    told["incident"] |= {"opened_by": story.opened_by, "occurrences": story.occurrences}
    return {
        **told,
        "evidence": list(_evidence(story)),
        "files": list(_files(story)),
        "intake": None if course.intake is None else _plain(course.intake, redactor),
        "decisions": [_plain(each, redactor) for each in course.decisions],
        "feedback": [_plain(each, redactor) for each in course.feedback],
    }


def _evidence(story: Story) -> Iterator[dict[str, Any]]:
    """The quotes of every report; of an attempt without one those of the built-in findings."""
    for saved in story.reports:
        for hypothesis in (saved.report or saved.findings or {}).get("hypotheses", ()):
            for each in hypothesis.get("evidence", ()):
                yield {
                    "attempt": saved.attempt, "root_cause": hypothesis.get("root_cause"), **each
                }  # fmt: skip


def _files(story: Story) -> Iterator[dict[str, Any]]:
    for attempt in story.attempts:
        done = attempt.investigation
        base = f"/api/v1/incidents/{done.incident_id}/attempts/{done.attempt}"
        if done.ended_at is not None:
            for kind in REPORTS:
                yield {"attempt": done.attempt, "kind": kind, "url": f"{base}/report.{kind}"}
        for each in done.artifacts:
            name = artifact_name(each.path.as_posix())
            if name is not None:
                yield {
                    "attempt": done.attempt, "kind": "artifact", "name": name, "size": each.size,
                    "sha256": each.sha256, "url": f"{base}/artifacts/{_quoted(name)}",
                }  # fmt: skip


def artifact_name(path: str) -> str | None:
    """The path of an artifact below the directory that agents leave them in."""
    _, found, name = path.rpartition(f"/{ARTIFACTS}/")
    return str(PurePosixPath(name)) if found and name else None


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name)


def _plain(row: Mapping[str, Any], redactor: Redactor) -> dict[str, Any]:
    """A row of ours for JSON."""
    return {
        name: _moment(each) if isinstance(each, datetime)
        else redactor.text(each)[0] if isinstance(each, str) else each
        for name, each in row.items()
        if name not in {"id", "incident_id"}
    }  # fmt: skip


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
