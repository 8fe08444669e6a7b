"""What the service asks of the record, besides what everybody does."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from kubecase.core.errors import IncidentUnknown
from kubecase.core.intake import Accepted, Rules
from kubecase.core.model import Fault, IncidentId, IncidentState
from kubecase.store import intake as taking
from kubecase.store import reading, working
from kubecase.store.intake_schema import answer, feedback

if TYPE_CHECKING:
    from kubecase.store.database import Database


REMEMBERED = timedelta(days=1)
"""How long an answer is given again to who asks under the same key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What the service knows of an incident: its intake (None for one opened by hand), what was
    decided about faults of it, and what people said of its report.
    """

    intake: Mapping[str, Any] | None
    decisions: tuple[Mapping[str, Any], ...]
    feedback: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The record as the service uses it. Every method raises StoreUnavailable.

    As with the `Store` that it comes from, what has returned is durable.
    """

    database: "Database"
    clock: Callable[[], datetime]

    async def take_in(
        self,
        faults: Sequence[Fault],
        rules: Callable[[str], Rules],
        wanted: Sequence[IncidentId | None] = (),
    ) -> tuple[Accepted, ...]:
        """What was decided about each of `faults`, by the `rules` of its cluster.

        `wanted` is the id that the incident of each is to have.
        """
        how = taking.Taking(rules=rules, at=self.clock(), new_id=_new_id)
        return await self.database.write(lambda c: taking.take_in(c, faults, how, wanted))

    async def resolve(self, faults: Sequence[Fault]) -> tuple[Accepted, ...]:
        """Close what is open for `faults`, which are over."""
        now = self.clock()
        return await self.database.write(lambda c: taking.resolve(c, faults, now))

    async def to_be_worked(self) -> tuple[working.Waiting, ...]:
        """Every incident of the service that has not ended, oldest first."""
        return await self.database.read(working.to_be_worked)

    async def claim(self, incident_id: IncidentId) -> working.Claimed | None:
        """An incident that the queue gave out, as active; None if it needs no work any more."""
        return await self.database.write(lambda c: working.claim(c, incident_id))

    async def give_back(self, incident_id: IncidentId) -> None:
        """Let a claimed one wait again."""
        await self.database.write(lambda c: working.give_back(c, incident_id))

    async def close(
        self, incident_id: IncidentId, state: IncidentState, note: str | None = None
    ) -> bool:
        """Put down that nothing more is done about it; False while an attempt has not ended."""
        now = self.clock()
        return await self.database.write(lambda c: working.close(c, incident_id, state, now, note))

    async def close_waiting(self, incident_id: IncidentId, note: str) -> bool:
        """Suppress one that waits; False if it does not."""
        now = self.clock()
        return await self.database.write(lambda c: working.close_waiting(c, incident_id, now, note))

    async def wait_again(self, incident_id: IncidentId) -> bool:
        """Let one that has ended wait for another attempt; False if it has not."""
        now = self.clock()
        return await self.database.write(lambda c: working.wait_again(c, incident_id, now))

    async def depth(self) -> Mapping[str, int]:
        """How many incidents of each cluster wait."""
        return await self.database.read(working.depth)

    async def course(self, incident_id: IncidentId) -> Course:
        """What the service knows of an incident."""
        own, decisions, said = await self.database.read(lambda c: working.course_of(c, incident_id))
        return Course(intake=own, decisions=decisions, feedback=said)

    async def add_feedback(
        self,
        incident_id: IncidentId,
        verdict: str,
        *,
        cause: str | None = None,
        note: str | None = None,
        by: str | None = None,
    ) -> None:
        """Keep what a person said of a report: `right` or `wrong`. Raises IncidentUnknown."""
        now = self.clock()

        async def add(connection: Any) -> None:
            try:
                await reading.row_of(connection, incident_id, None)
            except IncidentUnknown:
                raise reading.unknown(incident_id, None) from None
            await connection.execute(
                insert(feedback).values(
                    incident_id=incident_id, at=now, verdict=verdict, cause=cause, note=note, by=by
                )
            )

        await self.database.write(add)

    async def remembered(self, key: str) -> tuple[str, int, Any] | None:
        """Digest of the request, status and body of what was answered under an idempotency key,
        for a day.
        """
        since = self.clock() - REMEMBERED

        async def find(connection: Any) -> tuple[str, int, Any] | None:
            columns = (answer.c.digest, answer.c.status, answer.c.body)
            query = select(*columns).where(answer.c.key == key, answer.c.at > since)
            row = (await connection.execute(query)).first()
            return None if row is None else (row[0], row[1], row[2])

        return await self.database.read(find)

    async def remember(self, key: str, digest: str, status: int, body: Any) -> None:
        """Keep what was answered; the first answer under a key stands for a day."""
        now = self.clock()

        async def keep(connection: Any) -> None:
            old = delete(answer).where(answer.c.key == key, answer.c.at <= now - REMEMBERED)
            await connection.execute(old)
            known = await connection.scalar(select(answer.c.key).where(answer.c.key == key))
            if known is None:
                await connection.execute(
                    insert(answer).values(key=key, digest=digest, status=status, body=body, at=now)
                )

        await self.database.write(keep)

    async def prune(self, before: datetime) -> int:
        """Forget what is of no use any more: decisions about nothing, signs, answers."""
        return await self.database.write(lambda c: working.prune(c, before))


def _new_id() -> IncidentId:
    return IncidentId(str(uuid.uuid4()))
