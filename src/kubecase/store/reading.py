"""The questions that the store answers. Each takes a connection and changes nothing."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kubecase.core.errors import IncidentUnknown
from kubecase.core.lifecycle import is_final
from kubecase.core.model import IncidentId, Investigation, Status
from kubecase.store import rows
from kubecase.store.schema import fault, incident, investigation, report, transition
from kubecase.store.values import Attempt, Row, Story

UNFINISHED = tuple(status for status in Status if not is_final(status))
LAST = "@last"
_SHORTEST_PREFIX = 4
_CANDIDATES = 5


async def row_of(
    connection: AsyncConnection, incident_id: IncidentId, attempt: int | None
) -> RowMapping:
    """The row of one attempt, the latest if `attempt` is `None`. Raises IncidentUnknown."""
    query = select(investigation).where(investigation.c.incident_id == incident_id)
    if attempt is not None:
        query = query.where(investigation.c.attempt == attempt)
    query = query.order_by(investigation.c.attempt.desc()).limit(1)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise unknown(incident_id, attempt)
    return row


async def listed(
    connection: AsyncConnection,
    *,
    limit: int,
    status: Status | None,
    cluster: str | None,
    namespace: str | None,
) -> tuple[Row, ...]:
    """Investigations with the facts of their incidents, newest first."""
    query = _list_query()
    if status is not None:
        query = query.where(investigation.c.status == status)
    if cluster is not None:
        query = query.where(investigation.c.cluster == cluster)
    if namespace is not None:
        query = query.where(fault.c.namespace == namespace)
    found = await connection.execute(query.limit(limit))
    return tuple(rows.list_row_of(row) for row in found.mappings())


def _list_query() -> Select[tuple[object, ...]]:
    query: Select[tuple[object, ...]] = select(
        *(
            investigation.c[name]
            for name in (
                "incident_id", "attempt", "agent", "status", "reason", "cluster", "created_at",
                "started_at", "ended_at",
            )
        ),
        *(column for column in fault.c if column.name.startswith("resource_")),
        fault.c.namespace,
        fault.c.severity,
        fault.c.reason.label("fault_reason"),
        incident.c.opened_at,
        report.c.headline,
    )  # fmt: skip
    of_attempt = (report.c.incident_id == investigation.c.incident_id) & (
        report.c.attempt == investigation.c.attempt
    )
    return query.select_from(
        investigation.join(incident, incident.c.id == investigation.c.incident_id)
        .join(fault, fault.c.id == incident.c.fault_id)
        .outerjoin(report, of_attempt)
    ).order_by(
        investigation.c.created_at.desc(),
        investigation.c.incident_id.desc(),
        investigation.c.attempt.desc(),
    )


async def told(connection: AsyncConnection, incident_id: IncidentId) -> Story:
    """All that is on record about one incident. Raises IncidentUnknown."""
    found = (
        (await connection.execute(select(incident).where(incident.c.id == incident_id)))
        .mappings()
        .first()
    )
    if found is None:
        raise unknown(incident_id, None)
    opened_for = (
        (await connection.execute(select(fault).where(fault.c.id == found["fault_id"])))
        .mappings()
        .one()
    )
    attempts = await connection.execute(
        select(investigation)
        .where(investigation.c.incident_id == incident_id)
        .order_by(investigation.c.attempt)
    )
    moves = await connection.execute(
        select(transition)
        .where(transition.c.incident_id == incident_id)
        .order_by(transition.c.attempt, transition.c.id)
    )
    reports = await connection.execute(
        select(report).where(report.c.incident_id == incident_id).order_by(report.c.attempt)
    )
    return Story(
        incident=rows.incident_of(found, opened_for),
        opened_by=found["opened_by"],
        occurrences=found["occurrences"],
        attempts=tuple(rows.attempt_of(row) for row in attempts.mappings()),
        transitions=tuple(rows.transition_of(row) for row in moves.mappings()),
        reports=tuple(rows.saved_report_of(row) for row in reports.mappings()),
    )


async def resolved(connection: AsyncConnection, prefix: str) -> IncidentId:
    """The one incident that `prefix` names. Raises IncidentUnknown."""
    if prefix == LAST:
        return await _last(connection)
    wanted = prefix.strip().lower()
    # Only these characters go into the pattern, so none in it has a meaning of its own.
    if not re.fullmatch(r"[0-9a-f-]{4,36}", wanted):
        raise IncidentUnknown(
            f"{ascii(prefix)[:80]} is not the beginning of an incident id",
            hint=f"Give at least {_SHORTEST_PREFIX} characters of an id, or {LAST}.",
        )
    query = (
        select(incident.c.id)
        .where(incident.c.id.like(wanted + "%"))
        .order_by(incident.c.opened_at.desc(), incident.c.id)
        .limit(_CANDIDATES + 1)
    )
    found = tuple((await connection.scalars(query)).all())
    if len(found) == 1:
        return IncidentId(found[0])
    if not found:
        raise IncidentUnknown(f"no incident begins with {wanted}", hint="Try: kubecase list")
    shown = ", ".join(found[:_CANDIDATES]) + (", ..." if len(found) > _CANDIDATES else "")
    raise IncidentUnknown(
        f"{wanted} fits several incidents: {shown}", hint="Give more characters of the id."
    )


async def _last(connection: AsyncConnection) -> IncidentId:
    newest = (
        select(incident.c.id).order_by(incident.c.opened_at.desc(), incident.c.id.desc()).limit(1)
    )
    found = await connection.scalar(newest)
    if found is None:
        raise IncidentUnknown("there is no incident on record yet", hint="Try: kubecase demo")
    return IncidentId(found)


async def ended_before(connection: AsyncConnection, moment: datetime) -> tuple[Investigation, ...]:
    """The investigations that ended before `moment`, in the order they ended."""
    query = (
        select(investigation)
        .where(investigation.c.ended_at < moment)
        .order_by(investigation.c.ended_at)
    )
    found = await connection.execute(query)
    return tuple(rows.investigation_of(row) for row in found.mappings())


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where one attempt stands, and since when it has ended; no more than retention asks for."""

    status: Status
    ended_at: datetime | None


async def ends(
    connection: AsyncConnection, attempts: Collection[tuple[IncidentId, int]]
) -> Mapping[tuple[IncidentId, int], End]:
    """Where each of `attempts` stands; those that are not on record are left out."""
    columns = investigation.c
    # By the incidents alone, which is one index and few rows more.
    query = select(columns.incident_id, columns.attempt, columns.status, columns.ended_at).where(
        columns.incident_id.in_({incident_id for incident_id, _ in attempts})
    )
    wanted = set(attempts)
    return {
        (IncidentId(incident_id), attempt): End(status=status, ended_at=ended_at)
        for incident_id, attempt, status, ended_at in await connection.execute(query)
        if (incident_id, attempt) in wanted
    }


async def by_workspace(connection: AsyncConnection) -> Mapping[Path, Investigation]:
    """Every investigation that has a workspace, by that."""
    query = select(investigation).where(investigation.c.workspace.is_not(None))
    found = (rows.investigation_of(row) for row in (await connection.execute(query)).mappings())
    return {each.workspace: each for each in found if each.workspace is not None}


async def unfinished(connection: AsyncConnection) -> tuple[Attempt, ...]:
    """The attempts that have not ended, oldest first, with their owners."""
    query = (
        select(investigation)
        .where(investigation.c.status.in_(UNFINISHED))
        .order_by(investigation.c.created_at)
    )
    return tuple(rows.attempt_of(row) for row in (await connection.execute(query)).mappings())


def unknown(incident_id: str, attempt: int | None) -> IncidentUnknown:
    """The error for an incident, or an attempt at it, that is not on record."""
    which = "" if attempt is None else f", attempt {attempt},"
    return IncidentUnknown(
        f"incident {ascii(incident_id)[1:-1][:80]}{which} is not on record",
        hint="Try: kubecase list",
    )
