"""What the HTTP API answers with, as the OpenAPI document describes it."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kubecase.app.web.backend import ClusterStatus, Outcome
from kubecase.core.intake import Decision
from kubecase.core.model import IncidentState, Reason, Status
from kubecase.core.severity import Severity


class Shape(BaseModel):
    """An answer: exactly these keys."""

    model_config = ConfigDict(extra="forbid")


class FieldErrorShape(Shape):
    """What is wrong with one part of a request."""

    pointer: str = Field(
        description="JSON pointer into the body, or query.NAME, path.NAME, header.NAME."
    )
    detail: str


class ProblemShape(Shape):
    """An error, in the form of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    errors: list[FieldErrorShape] | None = None


class AcceptedShape(Shape):
    """What became of one fault."""

    incident_id: str | None = Field(description="The incident it belongs to, if there is one.")
    decision: Decision
    reason: str


class IgnoredShape(Shape):
    """One entry that no fault was made of, and why."""

    pointer: str
    detail: str


class IntakeShape(Shape):
    """What became of each fault, in the order sent; all of it is durable by now."""

    accepted: list[AcceptedShape]
    resolved: list[AcceptedShape] = Field(description="What became of those that are over.")
    ignored: list[IgnoredShape]


class AttemptShape(Shape):
    """The last attempt at an incident."""

    attempt: int
    agent: str
    status: Status
    reason: Reason | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    headline: str | None = Field(description="The best cause of its report, in one line.")


class IncidentShape(Shape):
    """One incident of a list."""

    id: str
    state: IncidentState
    opened_at: datetime
    opened_by: str
    occurrences: int
    cluster: str
    namespace: str | None
    resource: str
    reason: str
    message: str
    severity: Severity
    latest: AttemptShape | None


class PageShape(Shape):
    """One page of incidents, newest first. `next` is the cursor of the page after it."""

    incidents: list[IncidentShape]
    next: str | None


class StoryShape(BaseModel):
    """All that is on record about one incident. Attempts are AgentResults (docs/formats.md 2)."""

    incident: dict[str, Any]
    attempts: list[dict[str, Any]]
    transitions: list[dict[str, Any]]
    reports: list[dict[str, Any]]
    evidence: list[dict[str, Any]] = Field(description="Every quote of every report.")
    files: list[dict[str, Any]] = Field(description="Reports and artifacts, with their addresses.")
    intake: dict[str, Any] | None
    decisions: list[dict[str, Any]]
    feedback: list[dict[str, Any]]


class ActedShape(Shape):
    """What became of a wish."""

    incident_id: str
    outcome: Outcome
    reason: str


class ClusterShape(Shape):
    """One cluster, as the service sees it."""

    name: str
    status: ClusterStatus
    event_count: int
    triage_enabled: bool
    last_event: datetime | None
    error: str | None
    permissions: dict[str, Any] | None
    labels: dict[str, str]
    retry_in: float | None


class SummaryShape(Shape):
    """The clusters, counted."""

    total: int
    active: int
    unhealthy: int
    triage_enabled: int


class ClustersShape(Shape):
    """Every configured cluster."""

    clusters: list[ClusterShape]
    summary: SummaryShape


class HealthShape(Shape):
    """One word, and for who may know it the reason."""

    status: str
    reason: str | None = None


class FeedbackShape(Shape):
    """What a person says of a report."""

    verdict: str = Field(pattern="^(right|wrong)$", description="right or wrong")
    cause: str | None = Field(
        default=None, max_length=2000, description="What the cause really was."
    )
    note: str | None = Field(default=None, max_length=4000)
    by: str | None = Field(default=None, max_length=200)
