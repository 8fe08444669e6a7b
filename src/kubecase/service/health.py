"""When people are told that an agent keeps failing, and that it answers again. Pure.

It follows from the ends on record, as the circuit breaker itself does, so every process on one
record comes to the same message at the same end, and it is told once.
"""

from collections.abc import Sequence

from kubecase.core.messages import Degraded, Recovered
from kubecase.core.model import Status
from kubecase.store.ends import AgentEnd

ENDS = 200
"""How many ends are looked at; a longer row of failures is told as this many."""


def message_after(
    agent: str, ends: Sequence[AgentEnd], *, failures: int
) -> Degraded | Recovered | None:
    """What the latest of `ends` (which come first) makes true: the last of `failures` failures in a
    row, or the first success after at least as many.
    """
    if not ends:
        return None
    latest, before = ends[0], ends[1:]
    row = _row(ends)
    if latest.status is not Status.SUCCESS:
        if len(row) != failures:
            return None
        return Degraded(
            agent=agent,
            failures=failures,
            window=(latest.ended_at - row[-1].ended_at).total_seconds(),
            reasons=tuple(str(end.reason or end.status) for end in row[:3]),
            at=latest.ended_at,
        )
    row = _row(before)
    if len(row) < failures:
        return None
    down_since = row[len(row) - failures].ended_at
    return Recovered(
        agent=agent,
        downtime=(latest.ended_at - down_since).total_seconds(),
        failures=len(row),
        at=latest.ended_at,
    )


def _row(ends: Sequence[AgentEnd]) -> list[AgentEnd]:
    """The failures before the latest success, the latest first."""
    row: list[AgentEnd] = []
    for end in ends:
        if end.status is Status.SUCCESS:
            break
        row.append(end)
    return row
