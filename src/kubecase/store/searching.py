"""Finding incidents page by page, and following one while it is worked."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, RowMapping, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kubecase.core.model import IncidentId, IncidentState, Reason, Resource, Status
from kubecase.core.severity import Severity
from kubecase.store import rows
from kubecase.store.intake_schema import decision
from kubecase.store.reading import unknown
from kubecase.store.schema import OpenedBy, fault, incident, investigation, report, transition
from kubecase.store.values import Transition

Position = tuple[datetime, IncidentId]
"""Where a page ended: when its last incident was opened, and its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which incidents are wanted; None fits any. `status` is that of the latest attempt.

    `since` is included, `until` is not; both are about when an incident was opened. `text` is
    looked for in message, reason, name of the resource, headline and id, in any case. `after` is
    where the page before ended.
    """

    limit: int
    state: IncidentState | None = None
    status: Status | None = None
    cluster: str | None = None
    namespace: str | None = None
    severity: Severity | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    after: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestAttempt:
    """The last attempt at an incident."""

    attempt: int
    agent: str
    status: Status
    reason: Reason | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    headline: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One incident for a list; `latest` is None for one that nobody has worked yet."""

    id: IncidentId
    state: IncidentState
    opened_at: datetime
    opened_by: OpenedBy
    occurrences: int
    cluster: str
    resource: Resource
    fault_reason: str
    message: str
    severity: Severity
    latest: LatestAttempt | None


async def searched(connection: AsyncConnection, search: Search) -> tuple[Found, ...]:
    """The incidents that fit, newest first, at most `search.limit`."""
    query = _query().where(*_conditions(search)).limit(search.limit)
    return tuple(_found_of(row) for row in (await connection.execute(query)).mappings())


def _query() -> Select[tuple[object, ...]]:
    latest = (
        select(func.max(investigation.c.attempt))
        .where(investigation.c.incident_id == incident.c.id)
        .correlate(incident)
        .scalar_subquery()
    )
    of_latest = and_(
        investigation.c.incident_id == incident.c.id, investigation.c.attempt == latest
    )
    of_report = and_(
        report.c.incident_id == investigation.c.incident_id,
        report.c.attempt == investigation.c.attempt,
    )
    query: Select[tuple[object, ...]] = select(
        incident.c.id, incident.c.state, incident.c.opened_at, incident.c.opened_by,
        incident.c.occurrences, incident.c.cluster,
        *(column for column in fault.c if column.name.startswith("resource_")),
        fault.c.namespace, fault.c.severity, fault.c.message,
        fault.c.reason.label("fault_reason"),
        *(
            investigation.c[name]
            for name in (
                "attempt", "agent", "status", "reason", "created_at", "started_at", "ended_at",
            )
        ),
        report.c.headline,
    )  # fmt: skip
    return query.select_from(
        incident.join(fault, fault.c.id == incident.c.fault_id)
        .outerjoin(investigation, of_latest)
        .outerjoin(report, of_report)
    ).order_by(incident.c.opened_at.desc(), incident.c.id.desc())


def _conditions(search: Search) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [
        column == value
        for column, value in (
            (incident.c.state, search.state),
            (investigation.c.status, search.status),
            (incident.c.cluster, search.cluster),
            (fault.c.namespace, search.namespace),
            (fault.c.severity, search.severity),
        )
        if value is not None
    ]
    if search.since is not None:
        wanted.append(incident.c.opened_at >= search.since)
    if search.until is not None:
        wanted.append(incident.c.opened_at < search.until)
    if search.text is not None:
        wanted.append(_holds(search.text))
    if search.after is not None:
        moment, last = search.after
        same = and_(incident.c.opened_at == moment, incident.c.id < last)
        wanted.append(or_(incident.c.opened_at < moment, same))
    return wanted


def _holds(text: str) -> ColumnElement[bool]:
    columns = (
        fault.c.message, fault.c.reason, fault.c.resource_name, report.c.headline, incident.c.id,
    )  # fmt: skip
    return or_(*(column.icontains(text, autoescape=True) for column in columns))


def _found_of(row: RowMapping) -> Found:
    latest = None
    if row["attempt"] is not None:
        latest = LatestAttempt(**{name: row[name] for name in LatestAttempt.__slots__})
    return Found(
        id=IncidentId(row["id"]),
        state=row["state"],
        opened_at=row["opened_at"],
        opened_by=row["opened_by"],
        occurrences=row["occurrences"],
        cluster=row["cluster"],
        resource=rows.resource_of(row),
        fault_reason=row["fault_reason"],
        message=row["message"],
        severity=row["severity"],
        latest=latest,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided about one fault of an incident."""

    id: int
    at: datetime
    decision: str
    reason: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an incident is: its state, each attempt with its agent and status, every transition,
    and the decisions after the one that was asked for.
    """

    state: IncidentState
    attempts: tuple[tuple[int, str, Status], ...]
    transitions: tuple[Transition, ...]
    decisions: tuple[Decided, ...]


async def progressed(
    connection: AsyncConnection, incident_id: IncidentId, *, after: int, limit: int
) -> Progress:
    """How far it is, with at most `limit` decisions after the one numbered `after`.

    Raises IncidentUnknown.
    """
    state = await connection.scalar(select(incident.c.state).where(incident.c.id == incident_id))
    if state is None:
        raise unknown(incident_id, None)
    columns = investigation.c
    attempts = await connection.execute(
        select(columns.attempt, columns.agent, columns.status)
        .where(columns.incident_id == incident_id)
        .order_by(columns.attempt)
    )
    moves = await connection.execute(
        select(transition)
        .where(transition.c.incident_id == incident_id)
        .order_by(transition.c.attempt, transition.c.id)
    )
    decisions = await connection.execute(
        select(*(decision.c[name] for name in Decided.__slots__))
        .where(decision.c.incident_id == incident_id, decision.c.id > after)
        .order_by(decision.c.id)
        .limit(limit)
    )
    return Progress(
        state=state,
        attempts=tuple((number, agent, status) for number, agent, status in attempts),
        transitions=tuple(rows.transition_of(row) for row in moves.mappings()),
        decisions=tuple(Decided(**row) for row in decisions.mappings()),
    )
