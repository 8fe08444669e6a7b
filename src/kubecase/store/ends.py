"""How the last investigations of one agent ended, as far as that speaks for or against it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kubecase.core.lifecycle import AGENT_FAULTS
from kubecase.core.model import Reason, Status
from kubecase.store.reading import UNFINISHED
from kubecase.store.schema import investigation


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEnd:
    """One end: `success`, `timeout`, or `failed` for a reason that speaks against the agent."""

    status: Status
    reason: Reason | None
    ended_at: datetime


async def agent_ends(connection: AsyncConnection, agent: str, limit: int) -> tuple[AgentEnd, ...]:
    """At most `limit` such ends of `agent`, the latest first."""
    columns = investigation.c
    query = (
        select(columns.status, columns.reason, columns.ended_at)
        .where(
            columns.agent == agent,
            or_(
                columns.status.in_((Status.SUCCESS, Status.TIMEOUT)),
                columns.reason.in_(AGENT_FAULTS),
            ),
        )
        .order_by(columns.ended_at.desc())
        .limit(limit)
    )
    return tuple(
        AgentEnd(status=status, reason=reason, ended_at=ended_at)
        for status, reason, ended_at in await connection.execute(query)
    )


async def begun_since(connection: AsyncConnection, agent: str, moment: datetime) -> int:
    """How many investigations of `agent` began after `moment` and have not ended."""
    columns = investigation.c
    query = select(func.count()).where(
        columns.agent == agent, columns.created_at > moment, columns.status.in_(UNFINISHED)
    )
    return int(await connection.scalar(query) or 0)
