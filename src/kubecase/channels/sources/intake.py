"""What a source hands over: faults, each with what was recorded about it, and remarks."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from kubecase.core.errors import FaultRejected
from kubecase.core.model import Collection, Fault, IncidentId, Resource
from kubecase.core.severity import Severity, severity_of

MAX_NAME = 1024
MAX_MESSAGE = 32 * 1024
MAX_LABELS = 200
MAX_LABEL = 4096

UNDERSTOOD = (
    'A fault is, as JSON: {"namespace": "shop", "resource": "Pod/api-0", "reason": "CrashLoop", '
    '"message": "..."}; or a fault of a Kubernetes MCP server, an Event of core/v1 or '
    "events.k8s.io/v1, an Alertmanager notification (version 4) or a single alert, a CloudEvent "
    "around one of these, a triage case, Kubernetes objects, a list or JSON Lines of these, or a "
    "folder of recorded objects, events and logs."
)


class Form(StrEnum):
    """The forms that kubecase takes, as they are shown to people."""

    FAULT = "kubecase fault"
    MCP = "fault of a Kubernetes MCP server"
    EVENT = "core/v1 Event"
    EVENT_V1 = "events.k8s.io/v1 Event"
    ALERTMANAGER = "Alertmanager notification"
    ALERT = "alert"
    CLOUDEVENT = "CloudEvent"
    CASE = "triage case"
    OBJECTS = "Kubernetes objects"
    WATCH = "watch notification"
    FOLDER = "recorded folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """How a payload came: when, through which source, and which cluster counts if none is named."""

    now: datetime
    cluster_default: str
    source: str = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInput:
    """One fault that was handed in.

    `incident_id` is the id that its sender wants the incident to have. `collection` is what was
    recorded with it, `None` for a fault alone. `notes` are for people: what was odd, cut or left
    out.
    """

    fault: Fault
    incident_id: IncidentId | None = None
    collection: Collection | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Everything one payload held. `faults` is empty only when all of its alerts are resolved.

    `notes` are about the payload as a whole.
    """

    form: str
    faults: tuple[FaultInput, ...]
    notes: tuple[str, ...] = ()


def rejected(what: str) -> FaultRejected:
    """The one error of this package: `what` is wrong or missing, and what would be right."""
    return FaultRejected(f"cannot take this as a fault: {what}", hint=UNDERSTOOD)


def text_of(value: Any) -> str:
    """`value` if it is a text, without white space around it; else the empty text."""
    return value.strip() if isinstance(value, str) else ""


def mapping_of(value: Any) -> Mapping[str, Any]:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def moment_of(value: Any) -> datetime | None:
    """The moment that an RFC 3339 text names, in UTC; `None` for anything else.

    The zero time of Go (year 1) is no moment either. A time without a zone counts as UTC.
    """
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year > 1 else None


def labels_of(value: Any) -> dict[str, str]:
    """The labels of a foreign payload: texts by text, at most 200, long values cut."""
    return {
        key[:MAX_NAME]: each[:MAX_LABEL]
        for key, each in list(mapping_of(value).items())[:MAX_LABELS]
        if isinstance(each, str)
    }


def severity_from(word: Any, notes: list[str]) -> tuple[Severity, str]:
    """The severity that `word` stands for and the word itself; an unknown one is noted."""
    raw = text_of(word)[:MAX_NAME]
    severity, known = severity_of(raw)
    if raw and not known:
        notes.append(f"unknown severity {ascii(raw)[:80]} counts as {severity}")
    return severity, raw


def message_from(value: str, notes: list[str]) -> str:
    """`value`, cut to 32768 characters if it is longer, which is noted."""
    if len(value) <= MAX_MESSAGE:
        return value
    notes.append(
        f"message of {len(value)} characters cut to {MAX_MESSAGE}; the raw payload has all"
    )
    return value[:MAX_MESSAGE]


def named(value: str, what: str) -> str:
    """`value` as the name of something: any characters, but there and not endless."""
    if not value:
        raise rejected(f"{what} is missing")
    if len(value) > MAX_NAME:
        raise rejected(f"{what} is longer than {MAX_NAME} characters")
    return value


def fingerprint_of(
    given: Any, cluster: str, resource: Resource, reason: str, field_path: str = ""
) -> str:
    """The fingerprint `given`, or 16 hex digits that are stable over repeats of the condition."""
    if isinstance(given, str) and given.strip():
        text = given.strip()
        return text if len(text) <= 128 else _digest(text)
    return _digest(
        cluster, resource.namespace or "", resource.kind, resource.uid or resource.name,
        reason, field_path,
    )  # fmt: skip


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]
