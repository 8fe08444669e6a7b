"""The circuit breaker: an agent that keeps failing is not asked for a while.

Its state is not kept anywhere: it follows from the ends that are on record, so that it is the same
for every process on one record, survives all of them, and cannot disagree with what happened.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from kubecase.core.model import Status
from kubecase.store import Store
from kubecase.store.ends import AgentEnd


class Position(StrEnum):
    """`closed`: the agent is asked. `open`: it is not. `half_open`: one probe is let through."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """What follows from an agent's last ends.

    `failures` are those in a row up to the latest, `reasons` their last three, newest first;
    `since` is when the first of them ended, `until` when a probe may be made.
    """

    agent: str
    position: Position
    failures: int = 0
    reasons: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    @property
    def passes(self) -> bool:
        """Whether the agent may be asked now."""
        return self.position is not Position.OPEN

    def in_words(self) -> str:
        """Why it is not asked, for the report."""
        until = ""
        if self.until is not None:
            until = f", and is tried again after {self.until:%H:%M:%S} UTC"
        times = f"{self.failures} times in a row ({', '.join(self.reasons)})"
        return f"{self.agent} was not asked: it failed {times}{until}"


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """Opens after `failures` ends in a row that speak against an agent, for `cooldown` seconds."""

    store: Store
    clock: Callable[[], datetime]
    failures: int = 5
    cooldown: float = 300.0

    async def state(self, agent: str) -> BreakerState:
        """Where `agent` stands. Raises StoreUnavailable."""
        ends = await self.store.agent_ends(agent, limit=self.failures)
        state = judged(agent, ends, self.clock(), failures=self.failures, cooldown=self.cooldown)
        if state.position is not Position.HALF_OPEN or not ends:
            return state
        if await self.store.begun_since(agent, ends[0].ended_at):
            # The probe is under way; nobody else is let through until it has ended.
            return BreakerState(
                agent=agent, position=Position.OPEN, failures=state.failures,
                reasons=state.reasons, since=state.since,
            )  # fmt: skip
        return state


def judged(
    agent: str, ends: Sequence[AgentEnd], now: datetime, *, failures: int, cooldown: float
) -> BreakerState:
    """The state that follows from `ends`, the latest first."""
    row: list[AgentEnd] = []
    for end in ends:
        if end.status is Status.SUCCESS:
            break
        row.append(end)
    if not row:
        return BreakerState(agent=agent, position=Position.CLOSED)
    until = row[0].ended_at + timedelta(seconds=cooldown)
    position = Position.CLOSED
    if len(row) >= failures:
        position = Position.OPEN if now < until else Position.HALF_OPEN
    return BreakerState(
        agent=agent,
        position=position,
        failures=len(row),
        reasons=tuple(str(end.reason or end.status) for end in row[:3]),
        since=row[-1].ended_at,
        until=until,
    )
