"""The changes that the store makes. Each takes a connection inside a writing transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kubecase.core.errors import IllegalTransition, IncidentExists
from kubecase.core.lifecycle import is_final
from kubecase.core.model import Incident, IncidentId, IncidentState, Investigation, Status
from kubecase.store import reading, rows
from kubecase.store.owner import Owner
from kubecase.store.schema import OpenedBy, fault, incident, investigation, report, transition
from kubecase.store.values import (
    AlreadyOpen,
    Attempt,
    CancelOutcome,
    CancelRequested,
    IncidentBusy,
    SlotTaken,
    TakenOver,
)

_OPEN = (IncidentState.QUEUED, IncidentState.ACTIVE)
_BEFORE_THE_END = frozenset({Status.STARTING, Status.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """What every new attempt has: who works on it, who owns it, in which slot, since when."""

    agent: str
    owner: Owner
    slot: int | None
    at: datetime


async def open_incident(
    connection: AsyncConnection, opened: Incident, opened_by: OpenedBy, first: Newcomer
) -> RowMapping:
    """Fault, incident and attempt 1; the new row of the attempt.

    Raises IncidentExists, AlreadyOpen or SlotTaken, and then nothing is written.
    """
    known = await connection.scalar(select(incident.c.id).where(incident.c.id == opened.id))
    if known is not None:
        raise IncidentExists(
            f"incident {opened.id} is on record already",
            hint=f"See it with `kubecase show {opened.id}`, or leave the id out for a new one.",
        )
    if opened_by is OpenedBy.SERVICE:
        await refuse_open(connection, opened.fault.cluster, opened.fault.fingerprint)
    fault_id = await connection.scalar(
        insert(fault).values(rows.fault_row(opened.fault)).returning(fault.c.id)
    )
    await connection.execute(
        insert(incident).values(
            id=opened.id,
            fault_id=fault_id,
            state=IncidentState.ACTIVE,
            opened_at=opened.opened_at,
            opened_by=opened_by,
            cluster=opened.fault.cluster,
            fingerprint=opened.fault.fingerprint,
            occurrences=1,
        )
    )
    return await _add_attempt(connection, opened.id, 1, opened.fault.cluster, first)


async def add_attempt(
    connection: AsyncConnection, incident_id: IncidentId, next_one: Newcomer
) -> RowMapping:
    """The row of one attempt more, numbered after the last; the incident is active again.

    Raises IncidentUnknown, AlreadyOpen or SlotTaken, and then nothing is written.
    """
    found = (
        (await connection.execute(select(incident).where(incident.c.id == incident_id)))
        .mappings()
        .first()
    )
    if found is None:
        raise reading.unknown(incident_id, None)
    if found["opened_by"] is OpenedBy.SERVICE and found["state"] not in _OPEN:
        await refuse_open(connection, found["cluster"], found["fingerprint"])
    await _set_state(connection, incident_id, IncidentState.ACTIVE)
    last = await connection.scalar(
        select(func.max(investigation.c.attempt)).where(investigation.c.incident_id == incident_id)
    )
    return await _add_attempt(connection, incident_id, (last or 0) + 1, found["cluster"], next_one)


async def change_status(
    connection: AsyncConnection,
    before: Investigation,
    to: Status,
    *,
    owner: Owner,
    columns: Mapping[str, Any],
    at: datetime,
    detail: str | None,
    keep_open: bool,
) -> RowMapping:
    """The row of `before` after it went to `to`, with the transition recorded beside it.

    Only if the row still has the status of `before` and belongs to `owner`: of several that try,
    one succeeds, and none that was thought dead and taken over from. Raises IllegalTransition,
    CancelRequested, TakenOver or IncidentUnknown, and then nothing is written.
    """
    this = _this(before) & _owned_by(owner)
    query = update(investigation).where(this, investigation.c.status == before.status)
    if to in _BEFORE_THE_END:
        query = query.where(investigation.c.cancel_requested_at.is_(None))
    changed = await connection.execute(
        query.values(status=to, **columns).returning(*investigation.c)
    )
    row = changed.mappings().first()
    if row is None:
        await _explain_refusal(connection, before, to, owner)
        raise AssertionError("unreachable: a refused change has a reason")
    await connection.execute(
        insert(transition).values(
            incident_id=before.incident_id,
            attempt=before.attempt,
            from_status=before.status,
            to_status=to,
            at=at,
            detail=detail,
        )
    )
    if is_final(to) and not keep_open:
        await _close_when_done(connection, before.incident_id)
    return row


async def ask_to_cancel(
    connection: AsyncConnection, incident_id: IncidentId, attempt: int | None, at: datetime
) -> CancelOutcome:
    """Leave the wish to cancel on the row, once. Raises IncidentUnknown."""
    row = await reading.row_of(connection, incident_id, attempt)
    asked = await connection.execute(
        update(investigation)
        .where(
            investigation.c.incident_id == incident_id,
            investigation.c.attempt == row["attempt"],
            investigation.c.status.in_(reading.UNFINISHED),
            investigation.c.cancel_requested_at.is_(None),
        )
        .values(cancel_requested_at=at)
        .returning(investigation.c.attempt)
    )
    if asked.first() is not None:
        return CancelOutcome.REQUESTED
    # Read again: on a server with several writers it may have ended since the first look.
    row = await reading.row_of(connection, incident_id, row["attempt"])
    return CancelOutcome.ALREADY_FINAL if is_final(row["status"]) else (
        CancelOutcome.ALREADY_REQUESTED
    )  # fmt: skip


async def take_over(connection: AsyncConnection, orphan: Attempt, heir: Owner) -> RowMapping | None:
    """The row of `orphan` with `heir` as its owner; None if it has ended or has an heir already.

    The epoch decides: of several that try with the same one, one succeeds.
    """
    changed = await connection.execute(
        update(investigation)
        .where(
            _this(orphan.investigation),
            investigation.c.epoch == orphan.epoch,
            investigation.c.status.in_(reading.UNFINISHED),
        )
        .values(
            owner_host=heir.host_id,
            owner_boot=heir.boot_id,
            owner_pid=heir.pid,
            owner_started=heir.started,
            epoch=orphan.epoch + 1,
        )
        .returning(*investigation.c)
    )
    return changed.mappings().first()


def _this(of: Investigation) -> ColumnElement[bool]:
    return (investigation.c.incident_id == of.incident_id) & (investigation.c.attempt == of.attempt)


def _owned_by(owner: Owner) -> ColumnElement[bool]:
    return and_(
        investigation.c.owner_host == owner.host_id,
        investigation.c.owner_boot == owner.boot_id,
        investigation.c.owner_pid == owner.pid,
        investigation.c.owner_started == owner.started,
    )


async def keep_report(
    connection: AsyncConnection, of: Investigation, values: Mapping[str, Any], owner: Owner
) -> None:
    """Store the report of an attempt in place of an earlier one. IncidentUnknown, TakenOver."""
    row = await reading.row_of(connection, of.incident_id, of.attempt)
    if rows.owner_of(row) != owner:
        raise TakenOver(f"cannot keep a report of {of.key}: another process owns it by now")
    mine = (report.c.incident_id == of.incident_id) & (report.c.attempt == of.attempt)
    replaced = await connection.execute(
        update(report).where(mine).values(values).returning(report.c.attempt)
    )
    if replaced.first() is None:
        await connection.execute(
            insert(report).values(incident_id=of.incident_id, attempt=of.attempt, **values)
        )


async def settle(
    connection: AsyncConnection, incident_id: IncidentId, state: IncidentState
) -> None:
    """Set where an incident stands. Raises IncidentUnknown."""
    if not await _set_state(connection, incident_id, state):
        raise reading.unknown(incident_id, None)


async def forget(connection: AsyncConnection, incident_id: IncidentId) -> None:
    """Delete an incident with all that hangs on it. Raises IncidentUnknown, IncidentBusy."""
    fault_id = await connection.scalar(
        select(incident.c.fault_id).where(incident.c.id == incident_id)
    )
    if fault_id is None:
        raise reading.unknown(incident_id, None)
    if await _has_unfinished(connection, incident_id):
        raise IncidentBusy(
            f"cannot forget incident {incident_id}: an attempt at it has not ended",
            hint=f"Wait for its end, or stop it with `kubecase cancel {incident_id}`.",
        )
    await connection.execute(delete(incident).where(incident.c.id == incident_id))
    await connection.execute(delete(fault).where(fault.c.id == fault_id))


async def _add_attempt(
    connection: AsyncConnection,
    incident_id: IncidentId,
    number: int,
    cluster: str,
    newcomer: Newcomer,
) -> RowMapping:
    if newcomer.slot is not None:
        await _refuse_slot(connection, cluster, newcomer.slot)
    added = await connection.execute(
        insert(investigation)
        .values(
            incident_id=incident_id,
            attempt=number,
            agent=newcomer.agent,
            status=Status.CREATED,
            created_at=newcomer.at,
            artifacts=[],
            rejected=[],
            isolation_notes=[],
            slot=newcomer.slot,
            cluster=cluster,
            owner_host=newcomer.owner.host_id,
            owner_boot=newcomer.owner.boot_id,
            owner_pid=newcomer.owner.pid,
            owner_started=newcomer.owner.started,
            epoch=1,
        )
        .returning(*investigation.c)
    )
    return added.mappings().one()


async def refuse_open(connection: AsyncConnection, cluster: str, fingerprint: str) -> None:
    """Raise AlreadyOpen if the service has an open incident for this fingerprint."""
    found = await connection.scalar(
        select(incident.c.id).where(
            incident.c.cluster == cluster,
            incident.c.fingerprint == fingerprint,
            incident.c.opened_by == OpenedBy.SERVICE,
            incident.c.state.in_(_OPEN),
        )
    )
    if found is not None:
        raise AlreadyOpen(
            f"incident {found} is open for this fault already", incident_id=IncidentId(found)
        )


async def _refuse_slot(connection: AsyncConnection, cluster: str, slot: int) -> None:
    holder = await connection.scalar(
        select(investigation.c.incident_id).where(
            investigation.c.cluster == cluster,
            investigation.c.slot == slot,
            investigation.c.status.in_(reading.UNFINISHED),
        )
    )
    if holder is not None:
        raise SlotTaken(
            f"slot {slot} of cluster {cluster!r} is held by incident {holder}",
            hint="Wait for its end.",
        )


async def _explain_refusal(
    connection: AsyncConnection, before: Investigation, to: Status, owner: Owner
) -> None:
    row = await reading.row_of(connection, before.incident_id, before.attempt)
    if rows.owner_of(row) != owner:
        raise TakenOver(
            f"cannot move investigation {before.key} to {to}: another process owns it by now",
            hint=f"See what happened with `kubecase show {before.incident_id}`.",
        )
    if row["status"] is before.status and row["cancel_requested_at"] is not None:
        raise CancelRequested(
            f"investigation {before.key} is to be cancelled", hint="Nothing is started for it."
        )
    raise IllegalTransition(
        f"cannot move investigation {before.key} from {before.status} to {to}: "
        f"it is {row['status']} by now",
        hint=f"See what happened with `kubecase show {before.incident_id}`.",
    )


async def _close_when_done(connection: AsyncConnection, incident_id: IncidentId) -> None:
    if not await _has_unfinished(connection, incident_id):
        await _set_state(connection, incident_id, IncidentState.DONE)


async def _has_unfinished(connection: AsyncConnection, incident_id: IncidentId) -> bool:
    found = await connection.scalar(
        select(investigation.c.attempt)
        .where(
            investigation.c.incident_id == incident_id,
            investigation.c.status.in_(reading.UNFINISHED),
        )
        .limit(1)
    )
    return found is not None


async def _set_state(
    connection: AsyncConnection, incident_id: IncidentId, state: IncidentState
) -> bool:
    changed = await connection.execute(
        update(incident)
        .where(incident.c.id == incident_id)
        .values(state=state)
        .returning(incident.c.id)
    )
    return changed.first() is not None
