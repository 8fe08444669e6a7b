"""What the HTTP API needs of the service behind it.

`accept` raises `service.intake.QueueFull` and `service.intake.Draining`, which become 503.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

from kubecase.channels.sources.intake import FaultInput
from kubecase.core.intake import Accepted
from kubecase.core.model import IncidentId


class ClusterStatus(StrEnum):
    """How the source of a cluster stands (docs/formats.md section 8)."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    SUBSCRIBING = "subscribing"
    ACTIVE = "active"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """One cluster as the service sees it. `retry_in` is in seconds; `permissions` is what the
    credential may do, in the form of docs/formats.md section 4, where that is known.
    """

    name: str
    status: ClusterStatus
    event_count: int = 0
    triage_enabled: bool = True
    last_event: datetime | None = None
    error: str | None = None
    permissions: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    retry_in: float | None = None


class Outcome(StrEnum):
    """What became of a wish to cancel or to retry.

    `requested`: it will be done. `already_requested`: somebody asked before. `done`: it is done.
    `refused`: it cannot be done as things stand, and the reason says why.
    """

    REQUESTED = "requested"
    ALREADY_REQUESTED = "already_requested"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """The outcome of a wish, and why in words."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a person says of a report. All texts are untrusted and bounded."""

    verdict: Literal["right", "wrong"]
    cause: str | None = None
    note: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What was answered under an idempotency key to the request with that digest."""

    digest: str
    status: int
    body: Any


class Backend(Protocol):
    """The service, as far as HTTP asks for it. Every method may raise KubecaseError."""

    @property
    def draining(self) -> bool:
        """Whether the service is shutting down."""

    async def accept(self, faults: Sequence[FaultInput]) -> Sequence[Accepted]:
        """What became of each fault, in their order; durable on return.

        Raises QueueFull or Draining when none was taken.
        """

    async def resolve(self, faults: Sequence[FaultInput]) -> Sequence[Accepted]:
        """Close what is open for `faults`, which their source says are over; durable on return."""

    async def cancel(self, incident_id: IncidentId) -> Acted:
        """Stop what is being done about an incident, or take it out of the queue."""

    async def retry(self, incident_id: IncidentId) -> Acted:
        """Let an incident that has ended wait for another attempt."""

    async def feedback(self, incident_id: IncidentId, feedback: Feedback) -> None:
        """Keep what a person said; durable on return."""

    async def remembered(self, key: str) -> Remembered | None:
        """What was answered under `key` within a day, also before a restart."""

    async def remember(self, key: str, answer: Remembered) -> None:
        """Keep an answer; the first one under a key stands."""

    def clusters(self) -> Sequence[ClusterState]:
        """Every configured cluster."""

    def not_ready(self) -> str | None:
        """Why the service cannot work faults now, in words; None if it can."""
