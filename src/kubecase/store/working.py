"""The service's side of an incident: waiting, claimed, given up, expired, closed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kubecase.core.model import Incident, IncidentId, IncidentState
from kubecase.core.severity import Severity
from kubecase.store import rows, writing
from kubecase.store.intake_schema import answer, decision, feedback, intake, sign
from kubecase.store.reading import UNFINISHED
from kubecase.store.schema import OpenedBy, fault, incident, investigation

_OPEN = (IncidentState.QUEUED, IncidentState.ACTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An incident that somebody has to work: how urgent, since when, how often it was begun."""

    id: IncidentId
    cluster: str
    severity: Severity
    queued_at: datetime
    state: IncidentState
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An incident that is to be worked now."""

    incident: Incident
    waiting: Waiting
    reopened: int


def _waiting_of(row: RowMapping) -> Waiting:
    return Waiting(
        id=IncidentId(row["id"]),
        cluster=row["cluster"],
        severity=row["severity"],
        queued_at=row["queued_at"],
        state=row["state"],
        tries=row["tries"],
    )


def _query() -> Select[Any]:
    return select(
        incident.c.id, incident.c.cluster, incident.c.state, intake.c.severity,
        intake.c.queued_at, intake.c.tries, intake.c.reopened,
    ).join(intake, intake.c.incident_id == incident.c.id)  # fmt: skip


async def to_be_worked(connection: AsyncConnection) -> tuple[Waiting, ...]:
    """Every incident of the service that waits or was begun and has not ended, oldest first."""
    query = (
        _query()
        .where(incident.c.state.in_(_OPEN), incident.c.opened_by == OpenedBy.SERVICE)
        .order_by(intake.c.queued_at)
    )
    return tuple(_waiting_of(row) for row in (await connection.execute(query)).mappings())


async def claim(connection: AsyncConnection, incident_id: IncidentId) -> Claimed | None:
    """`incident_id` as active, begun once more; None if there is nothing to be done about it.

    Only for who was given it by the queue: two that claim the same one are not told apart here.
    """
    row = (
        (await connection.execute(_query().where(incident.c.id == incident_id))).mappings().first()
    )
    if row is None or row["state"] not in _OPEN:
        return None
    await connection.execute(
        update(incident).where(incident.c.id == incident_id).values(state=IncidentState.ACTIVE)
    )
    await connection.execute(
        update(intake).where(intake.c.incident_id == incident_id).values(tries=intake.c.tries + 1)
    )
    whole = (
        (await connection.execute(select(incident).where(incident.c.id == incident_id)))
        .mappings()
        .one()
    )
    opened_for = (
        (await connection.execute(select(fault).where(fault.c.id == whole["fault_id"])))
        .mappings()
        .one()
    )
    return Claimed(
        incident=rows.incident_of(whole, opened_for),
        waiting=_waiting_of(row),
        reopened=row["reopened"],
    )


async def give_back(connection: AsyncConnection, incident_id: IncidentId) -> None:
    """Let a claimed one wait again, as if it had not been begun."""
    await connection.execute(
        update(incident)
        .where(incident.c.id == incident_id, incident.c.state == IncidentState.ACTIVE)
        .values(state=IncidentState.QUEUED)
    )
    await connection.execute(
        update(intake)
        .where(intake.c.incident_id == incident_id, intake.c.tries > 0)
        .values(tries=intake.c.tries - 1)
    )


async def close(
    connection: AsyncConnection,
    incident_id: IncidentId,
    state: IncidentState,
    at: datetime,
    note: str | None,
) -> bool:
    """Set where an incident of the service stands in the end; False if it is not open any more.

    An attempt at it that has not ended keeps it open.
    """
    unfinished = select(investigation.c.attempt).where(
        investigation.c.incident_id == incident_id, investigation.c.status.in_(UNFINISHED)
    )
    if (await connection.execute(unfinished.limit(1))).first() is not None:
        return False
    changed = await connection.execute(
        update(incident)
        .where(incident.c.id == incident_id, incident.c.state.in_((*_OPEN, IncidentState.DONE)))
        .values(state=state)
        .returning(incident.c.id)
    )
    if changed.first() is None:
        return False
    await connection.execute(
        update(intake).where(intake.c.incident_id == incident_id).values(closed_at=at, note=note)
    )
    return True


async def close_waiting(
    connection: AsyncConnection, incident_id: IncidentId, at: datetime, note: str
) -> bool:
    """Suppress an incident that waits; False if it does not."""
    changed = await connection.execute(
        update(incident)
        .where(incident.c.id == incident_id, incident.c.state == IncidentState.QUEUED)
        .values(state=IncidentState.SUPPRESSED)
        .returning(incident.c.id)
    )
    if changed.first() is None:
        return False
    await connection.execute(
        update(intake).where(intake.c.incident_id == incident_id).values(closed_at=at, note=note)
    )
    return True


async def wait_again(connection: AsyncConnection, incident_id: IncidentId, at: datetime) -> bool:
    """Let an incident that has ended wait for another attempt; False if it has not ended.

    One that was opened by hand becomes the service's. Raises AlreadyOpen where another incident is
    open for the same.
    """
    row = (
        (await connection.execute(select(incident).where(incident.c.id == incident_id)))
        .mappings()
        .first()
    )
    if row is not None and row["state"] not in _OPEN:
        await writing.refuse_open(connection, row["cluster"], row["fingerprint"])
    changed = await connection.execute(
        update(incident)
        .where(incident.c.id == incident_id, incident.c.state.not_in(_OPEN))
        .values(state=IncidentState.QUEUED, opened_by=OpenedBy.SERVICE)
        .returning(incident.c.fault_id)
    )
    found = changed.first()
    if found is None:
        return False
    values = {"queued_at": at, "closed_at": None, "resolved_at": None, "note": None, "tries": 0}
    known = await connection.execute(
        update(intake)
        .where(intake.c.incident_id == incident_id)
        .values(**values)
        .returning(intake.c.incident_id)
    )
    if known.first() is None:
        source = (
            (await connection.execute(select(fault).where(fault.c.id == found[0]))).mappings().one()
        )
        await connection.execute(
            insert(intake).values(
                incident_id=incident_id, severity=source["severity"],
                namespace=source["namespace"], last_seen_at=at, reopened=0, **values,
            )
        )  # fmt: skip
    return True


async def depth(connection: AsyncConnection) -> Mapping[str, int]:
    """How many incidents of each cluster wait."""
    query = (
        select(incident.c.cluster, func.count())
        .where(incident.c.state == IncidentState.QUEUED)
        .group_by(incident.c.cluster)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def course_of(
    connection: AsyncConnection, incident_id: IncidentId
) -> tuple[Mapping[str, Any] | None, tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]:
    """What the service knows of an incident: its intake, its last 200 decisions, its feedback."""
    own = (
        (await connection.execute(select(intake).where(intake.c.incident_id == incident_id)))
        .mappings()
        .first()
    )
    decisions = await connection.execute(
        select(decision)
        .where(decision.c.incident_id == incident_id)
        .order_by(decision.c.id.desc())
        .limit(200)
    )
    said = await connection.execute(
        select(feedback).where(feedback.c.incident_id == incident_id).order_by(feedback.c.id)
    )
    return (
        None if own is None else dict(own),
        tuple(dict(row) for row in decisions.mappings())[::-1],
        tuple(dict(row) for row in said.mappings()),
    )


async def prune(connection: AsyncConnection, before: datetime) -> int:
    """Forget decisions about nothing, signs and answers from before `before`; how many."""
    count = 0
    for statement in (
        delete(decision).where(decision.c.at < before, decision.c.incident_id.is_(None)),
        delete(sign).where(sign.c.first_at < before),
        delete(answer).where(answer.c.at < before),
    ):
        count += (await connection.execute(statement)).rowcount
    return count
