"""What the store answers with, and the refusals that are its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypedDict

from kubecase.core.errors import KubecaseError
from kubecase.core.model import (
    Artifact,
    Exit,
    Incident,
    IncidentId,
    Investigation,
    Reason,
    Rejected,
    Resource,
    Status,
    Usage,
)
from kubecase.core.severity import Severity
from kubecase.store.owner import Owner
from kubecase.store.schema import OpenedBy


class CancelRequested(KubecaseError):
    """The attempt is to be cancelled: nothing may be started for it any more."""


class TakenOver(KubecaseError):
    """Another process owns the attempt by now: what this one knows of it is history."""


class SlotTaken(KubecaseError):
    """Another unfinished attempt holds this slot of the cluster."""


class AlreadyOpen(KubecaseError):
    """The service has an open incident for this fingerprint; `incident_id` says which."""

    def __init__(self, message: str, *, incident_id: IncidentId) -> None:
        super().__init__(message, hint="The fault belongs to that incident.")
        self.incident_id = incident_id


class IncidentBusy(KubecaseError):
    """An incident cannot be forgotten while an attempt at it is unfinished."""


class CancelOutcome(StrEnum):
    """What a request to cancel found."""

    REQUESTED = "requested"
    ALREADY_REQUESTED = "already_requested"
    ALREADY_FINAL = "already_final"


class Changes(TypedDict, total=False):
    """What a move may write besides the status. What is left out stays as it was.

    `reason`, `error`, `exit`, `usage`, `artifacts`, `rejected` and `ended_at` belong to an end
    and are refused before it. `started_at` and `ended_at` are the moment of the move if left out.
    """

    workspace: Path
    run_dir: Path
    output_log: Path
    started_at: datetime
    isolation: str
    isolation_notes: tuple[str, ...]
    reason: Reason | None
    error: str | None
    exit: Exit | None
    usage: Usage | None
    artifacts: tuple[Artifact, ...]
    rejected: tuple[Rejected, ...]
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One investigation with what only those who run it need to know.

    `epoch` counts its owners. `slot` is `None` for one that was started by hand.
    """

    investigation: Investigation
    cluster: str
    slot: int | None
    run_dir: Path | None
    isolation_notes: tuple[str, ...]
    cancel_requested_at: datetime | None
    owner: Owner
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of status, as it was recorded."""

    incident_id: IncidentId
    attempt: int
    before: Status
    after: Status
    at: datetime
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedReport:
    """The conclusion of one attempt in its machine form, and the built-in findings beside it."""

    attempt: int
    report: Mapping[str, Any] | None
    findings: Mapping[str, Any] | None
    headline: str | None
    saved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that is on record about one incident. Attempts and transitions in order."""

    incident: Incident
    opened_by: OpenedBy
    occurrences: int
    attempts: tuple[Attempt, ...]
    transitions: tuple[Transition, ...]
    reports: tuple[SavedReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One investigation with the facts of its incident, for a list."""

    incident_id: IncidentId
    attempt: int
    agent: str
    status: Status
    reason: Reason | None
    cluster: str
    namespace: str | None
    resource: Resource
    fault_reason: str
    severity: Severity
    opened_at: datetime
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    headline: str | None

    @property
    def key(self) -> str:
        """`<incident id>-<attempt>`, like that of the investigation."""
        return f"{self.incident_id}-{self.attempt}"


class Timed(Protocol):
    """Something that may have started and may have ended."""

    @property
    def started_at(self) -> datetime | None:
        """When its agent's process came to be."""

    @property
    def ended_at(self) -> datetime | None:
        """When its end was recorded."""


def duration(timed: Timed, now: datetime) -> float:
    """Seconds that `timed` has run at `now`: 0 before its start, never changing after its end."""
    if timed.started_at is None:
        return 0.0
    return max(0.0, ((timed.ended_at or now) - timed.started_at).total_seconds())
