"""A message as our own JSON document, for programs: docs/notices.md describes every field. Pure."""

from typing import Any

from kubecase.channels.sinks import wording
from kubecase.core.fencing import visible
from kubecase.core.messages import Message, Notice, as_payload
from kubecase.core.report import Hypothesis

SCHEMA_VERSION = 1
TEXT = 4000


def webhook_document(message: Message, reference: str) -> dict[str, Any]:
    """`message` as plain JSON. Texts from anybody are visible and cut, and are still untrusted."""
    head = {"schema": "kubecase.notice", "schema_version": SCHEMA_VERSION, "reference": reference}
    if not isinstance(message, Notice):
        return {**head, **as_payload(message)}
    done = message.investigation
    return {
        **head,
        "kind": "ended",
        "title": wording.title(message),
        "incident": _incident(message),
        "investigation": {
            "attempt": done.attempt,
            "agent": done.agent,
            "status": done.status.value,
            "reason": done.reason.value if done.reason else None,
            "error": _text(done.error),
            "started_at": done.started_at.isoformat() if done.started_at else None,
            "ended_at": done.ended_at.isoformat() if done.ended_at else None,
        },
        "report": _report(message),
        "report_url": message.report_url,
    }


def _incident(notice: Notice) -> dict[str, Any]:
    fault = notice.incident.fault
    return {
        "id": notice.incident.id,
        "opened_at": notice.incident.opened_at.isoformat(),
        "cluster": _text(fault.cluster),
        "namespace": _text(fault.resource.namespace),
        "resource": {"kind": _text(fault.resource.kind), "name": _text(fault.resource.name)},
        "reason": _text(fault.reason),
        "message": _text(fault.message),
        "severity": fault.severity.value,
        "fingerprint": _text(fault.fingerprint),
    }


def _report(notice: Notice) -> dict[str, Any] | None:
    if notice.report is None:
        return None
    return {
        "by": notice.by,
        "summary": _text(notice.report.summary),
        "hypotheses": [_hypothesis(each) for each in notice.report.hypotheses],
    }


def _hypothesis(each: Hypothesis) -> dict[str, Any]:
    culprit = each.culprit
    return {
        "category": _text(each.category),
        "root_cause": _text(each.root_cause),
        "confidence": round(each.confidence, 3),
        "culprit": None if culprit is None else {
            "kind": _text(culprit.kind),
            "namespace": _text(culprit.namespace),
            "name": _text(culprit.name),
        },
        "next_steps": [_text(step) for step in each.next_steps],
    }  # fmt: skip


def _text(text: str | None) -> str | None:
    return None if text is None else visible(text[:TEXT])
