"""What comes in, put on record: each fault gets its decision and, where need be, its incident.

One transaction for a batch: when it is committed, every fault of it is durable, and its decision
with it. The rules that need no memory stand in `core.intake`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import zip_longest
from typing import Any

from sqlalchemy import RowMapping, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kubecase.core.folding import fold_key
from kubecase.core.intake import Accepted, Decision, Rules, filtered, waits
from kubecase.core.model import Fault, IncidentId, IncidentState
from kubecase.core.severity import Severity
from kubecase.store import rows
from kubecase.store.intake_schema import decision, intake, sign
from kubecase.store.schema import OpenedBy, fault, incident, investigation

STORM = "storm"
_OPEN = (IncidentState.QUEUED, IncidentState.ACTIVE)
_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
_WORDS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """How one batch is taken in: by which rules for each cluster, when, and where ids come from."""

    rules: Callable[[str], Rules]
    at: datetime
    new_id: Callable[[], IncidentId]


async def take_in(
    connection: AsyncConnection,
    faults: Sequence[Fault],
    taking: Taking,
    wanted: Sequence[IncidentId | None] = (),
) -> tuple[Accepted, ...]:
    """The decision about each of `faults`, in their order.

    `wanted` is the id that the incident of each is to have, should it open one; None for any. A
    fault whose id is on record already was taken before.
    """
    found = []
    for each, own in zip_longest(faults, wanted):
        accepted = await _again(connection, own)
        if accepted is None:
            how = taking if own is None else replace(taking, new_id=partial(IncidentId, own))
            accepted = await _decide(connection, each, how)
        await _put_down(connection, each, accepted, taking.at)
        found.append(accepted)
    return tuple(found)


async def _again(connection: AsyncConnection, own: IncidentId | None) -> Accepted | None:
    """That an incident has this id already, if one has."""
    if own is None:
        return None
    known = await connection.scalar(select(incident.c.id).where(incident.c.id == own))
    reason = "an incident with this id is on record"
    return known and Accepted(decision=Decision.JOINED, reason=reason, incident_id=own)


async def _decide(connection: AsyncConnection, each: Fault, taking: Taking) -> Accepted:
    rules = taking.rules(each.cluster)
    why = filtered(each, rules, taking.at)
    if why is not None:
        return Accepted(decision=Decision.FILTERED, reason=why)
    key = fold_key(each)
    latest = await _latest(connection, each.cluster, key)
    if latest is not None and latest["state"] in _OPEN:
        await _count(connection, latest, each, taking.at)
        return _about(latest, Decision.JOINED, f"an incident is open for {key}")
    if latest is not None and _is_repetition(latest, rules, taking.at):
        await _count(connection, latest, each, taking.at)
        return _about(latest, Decision.SUPPRESSED, "its incident has its report; counted onto it")
    if waits(each) and not await _second_sign(connection, each, key, rules, taking.at):
        return Accepted(
            decision=Decision.PENDING, reason=f"{each.reason} may pass; a second sign decides"
        )
    if await _waiting(connection) >= rules.max_queued:
        return Accepted(
            decision=Decision.REFUSED, reason=f"{rules.max_queued} incidents wait already"
        )
    if latest is not None:
        await _reopen(connection, latest, each, taking.at)
        return _about(latest, Decision.REOPENED, "it came back after its incident was done")
    return await _open_or_join_storm(connection, each, key, rules, taking)


def _about(row: RowMapping, word: Decision, reason: str) -> Accepted:
    return Accepted(decision=word, reason=reason, incident_id=IncidentId(row["id"]))


async def _latest(connection: AsyncConnection, cluster: str, key: str) -> RowMapping | None:
    """The service's last incident of that key, open ones first."""
    ended = (
        select(func.max(investigation.c.ended_at))
        .where(investigation.c.incident_id == incident.c.id)
        .scalar_subquery()
    )
    columns = (intake.c.closed_at, intake.c.resolved_at, intake.c.severity)
    query = (
        select(incident, *columns, ended.label("ended_at"))
        .join(intake, intake.c.incident_id == incident.c.id)
        .where(
            incident.c.cluster == cluster,
            incident.c.fingerprint == key,
            incident.c.opened_by == OpenedBy.SERVICE,
        )
        .order_by(incident.c.state.in_(_OPEN).desc(), incident.c.opened_at.desc())
        .limit(1)
    )
    return (await connection.execute(query)).mappings().first()


def _is_repetition(latest: RowMapping, rules: Rules, now: datetime) -> bool:
    """Whether a report that tells of this is fresh enough, and nobody said that it had healed."""
    # Who was killed between the end of an attempt and the closing has left the first of them.
    closed: datetime | None = latest["closed_at"] or latest["ended_at"]
    if closed is None or latest["state"] is not IncidentState.DONE:
        return False
    return latest["resolved_at"] is None and now - closed < timedelta(seconds=rules.repeat_after)


async def _count(connection: AsyncConnection, row: RowMapping, each: Fault, now: datetime) -> None:
    await connection.execute(
        update(incident)
        .where(incident.c.id == row["id"])
        .values(occurrences=incident.c.occurrences + 1)
    )
    # It fires again while it is still worked: it is not over any more.
    changes: dict[str, Any] = {"last_seen_at": now, "resolved_at": None}
    if _RANK[each.severity] > _RANK[row["severity"]]:
        changes["severity"] = each.severity
    await connection.execute(
        update(intake).where(intake.c.incident_id == row["id"]).values(**changes)
    )


async def _second_sign(
    connection: AsyncConnection, each: Fault, key: str, rules: Rules, now: datetime
) -> bool:
    """Whether this is the second sign; else it is remembered as the first."""
    # By reason as well: a failed probe and a failed mount do not confirm one another.
    name = f"{key} {each.reason}"
    this = (sign.c.cluster == each.cluster) & (sign.c.fingerprint == name)
    first = await connection.scalar(select(sign.c.first_at).where(this))
    if first is not None and now - first <= timedelta(seconds=rules.sign_window):
        if now - first < timedelta(seconds=rules.second_sign):
            await connection.execute(update(sign).where(this).values(count=sign.c.count + 1))
            return False
        await connection.execute(delete(sign).where(this))
        return True
    await connection.execute(delete(sign).where(this))
    await connection.execute(
        insert(sign).values(cluster=each.cluster, fingerprint=name, first_at=now, count=1)
    )
    return False


async def _waiting(connection: AsyncConnection) -> int:
    query = select(func.count()).where(incident.c.state == IncidentState.QUEUED)
    return int(await connection.scalar(query) or 0)


async def _reopen(connection: AsyncConnection, row: RowMapping, each: Fault, now: datetime) -> None:
    await connection.execute(
        update(incident)
        .where(incident.c.id == row["id"])
        .values(state=IncidentState.QUEUED, occurrences=incident.c.occurrences + 1)
    )
    await connection.execute(
        update(intake)
        .where(intake.c.incident_id == row["id"])
        .values(
            queued_at=now, last_seen_at=now, closed_at=None, resolved_at=None, note=None, tries=0,
            reopened=intake.c.reopened + 1, severity=each.severity,
        )
    )  # fmt: skip


async def _open_or_join_storm(
    connection: AsyncConnection, each: Fault, key: str, rules: Rules, taking: Taking
) -> Accepted:
    """A new incident; in a storm one for all that is left of it."""
    namespace = each.resource.namespace
    if not rules.storm or not await _storms(connection, each, rules, taking.at):
        return await _open(connection, each, key, taking, "a new fault")
    key = f"{STORM}/{namespace or ''}"
    latest = await _latest(connection, each.cluster, key)
    if latest is not None and latest["state"] in _OPEN:
        await _count(connection, latest, each, taking.at)
        return _about(latest, Decision.MEMBER, f"a storm in namespace {namespace or '(none)'}")
    if latest is not None and _is_repetition(latest, rules, taking.at):
        await _count(connection, latest, each, taking.at)
        return _about(latest, Decision.MEMBER, "a storm that has its report")
    if latest is not None:
        await _reopen(connection, latest, each, taking.at)
        return _about(latest, Decision.REOPENED, "a storm came back")
    return await _open(connection, each, key, taking, f"{rules.storm} new incidents: a storm")


async def _storms(connection: AsyncConnection, each: Fault, rules: Rules, now: datetime) -> bool:
    since = now - timedelta(seconds=rules.storm_window)
    query = (
        select(func.count())
        .select_from(incident.join(intake, intake.c.incident_id == incident.c.id))
        .where(
            incident.c.cluster == each.cluster,
            incident.c.opened_at > since,
            intake.c.namespace.is_(None)
            if each.resource.namespace is None
            else intake.c.namespace == each.resource.namespace,
        )
    )
    return int(await connection.scalar(query) or 0) >= rules.storm


async def _open(
    connection: AsyncConnection, each: Fault, key: str, taking: Taking, reason: str
) -> Accepted:
    fault_id = await connection.scalar(
        insert(fault).values(rows.fault_row(each)).returning(fault.c.id)
    )
    new = taking.new_id()
    await connection.execute(
        insert(incident).values(
            id=new,
            fault_id=fault_id,
            state=IncidentState.QUEUED,
            opened_at=taking.at,
            opened_by=OpenedBy.SERVICE,
            cluster=each.cluster,
            fingerprint=key,
            occurrences=1,
        )
    )
    await connection.execute(
        insert(intake).values(
            incident_id=new,
            severity=each.severity,
            namespace=each.resource.namespace,
            queued_at=taking.at,
            last_seen_at=taking.at,
            tries=0,
            reopened=0,
        )
    )
    return Accepted(decision=Decision.OPENED, reason=reason, incident_id=new)


async def _put_down(
    connection: AsyncConnection, each: Fault, accepted: Accepted, at: datetime
) -> None:
    await connection.execute(insert(decision).values(decision_row(each, accepted, at)))


def decision_row(each: Fault, accepted: Accepted, at: datetime) -> Mapping[str, Any]:
    """The row of one decision."""
    return {
        "at": at,
        "incident_id": accepted.incident_id,
        "cluster": each.cluster,
        "source": each.source,
        "fingerprint": each.fingerprint[:_WORDS],
        "resource": str(each.resource)[:_WORDS],
        "fault": each.reason[:_WORDS],
        "decision": accepted.decision,
        "reason": accepted.reason[:_WORDS],
    }


async def resolve(
    connection: AsyncConnection, faults: Sequence[Fault], at: datetime
) -> tuple[Accepted, ...]:
    """Close what is open for `faults`, which their source says are over.

    An incident is over with the last of the alerts it stands for. One that waits is then done
    without an investigation; one that is being worked goes on to its report and is marked.
    """
    found = []
    for each in faults:
        latest = await _latest(connection, each.cluster, fold_key(each))
        accepted = Accepted(decision=Decision.FILTERED, reason="resolved, and nothing is open")
        if latest is not None and latest["resolved_at"] is None:
            accepted = await _resolve_one(connection, latest, each, at)
        await _put_down(connection, each, accepted, at)
        found.append(accepted)
    return tuple(found)


async def _resolve_one(
    connection: AsyncConnection, latest: RowMapping, each: Fault, at: datetime
) -> Accepted:
    fires = await _fires(connection, latest["id"], each.source)
    own = each.fingerprint[:_WORDS]
    if own not in fires:
        return Accepted(
            decision=Decision.FILTERED, reason="resolved, and its incident stands for others"
        )
    if len(fires) > 1:
        return _about(
            latest, Decision.RESOLVED, f"over, but {len(fires) - 1} more of the incident are not"
        )
    await _mark_resolved(connection, latest, at)
    return _about(latest, Decision.RESOLVED, "its source says that it is over")


async def _fires(connection: AsyncConnection, incident_id: str, source: str) -> set[str]:
    """The fingerprints that `source` told of since the incident was last opened, and has not taken
    back. What came before that may have ended without a word.
    """
    of = decision.c.incident_id == incident_id
    begun = (
        select(func.max(decision.c.id))
        .where(of, decision.c.decision.in_((Decision.OPENED, Decision.REOPENED)))
        .scalar_subquery()
    )
    last = (
        select(func.max(decision.c.id))
        .where(of, decision.c.source == source, decision.c.id >= func.coalesce(begun, 0))
        .group_by(decision.c.fingerprint)
    )
    query = select(decision.c.fingerprint).where(
        decision.c.id.in_(last), decision.c.decision != Decision.RESOLVED
    )
    return set((await connection.scalars(query)).all())


async def _mark_resolved(connection: AsyncConnection, row: RowMapping, at: datetime) -> None:
    values: dict[str, Any] = {"resolved_at": at}
    if row["state"] is IncidentState.QUEUED:
        values |= {"closed_at": at, "note": "resolved before anybody looked"}
        await connection.execute(
            update(incident).where(incident.c.id == row["id"]).values(state=IncidentState.DONE)
        )
    await connection.execute(
        update(intake).where(intake.c.incident_id == row["id"]).values(**values)
    )
