"""The outbox: messages that are to reach people, on record before anybody tries to send them.

A message is put in by the transaction that makes it true. Whoever sends one has claimed it first:
a lease for a bounded time, written with a token of its own, so that no two processes send the same
message at once, and what one that died had claimed is claimed by another. What is recorded of a
send asks for that token. Clocks of hosts that share a record may differ by less than a lease.
"""

import hashlib
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, Select, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kubecase.core.model import IncidentId
from kubecase.store.database import Database
from kubecase.store.schema import DeliveryState, delivery

LEASE_SECONDS = 120.0
_WORDS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressed:
    """A message for one sink, to be put on record. With `subject` None it is about the service.

    `kind` and `subject` name it; `payload` is what the record does not have of it anyway. `key`
    tells messages of one kind about one subject apart, where there may be several.
    """

    sink: str
    kind: str
    subject: tuple[IncidentId, int] | None
    payload: Mapping[str, Any]
    key: str = ""

    @property
    def reference(self) -> str:
        """The same for the same message, and for no other."""
        what = "\0".join((self.sink, self.kind, *map(str, self.subject or ()), self.key))
        return hashlib.sha256(what.encode("utf-8", "replace")).hexdigest()[:40]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message as it is on record. `tries` counts the claims; `lease` is that of the claimant."""

    id: int
    sink: str
    kind: str
    incident_id: IncidentId | None
    attempt: int | None
    payload: Mapping[str, Any]
    state: DeliveryState
    tries: int
    created_at: datetime
    next_try_at: datetime | None
    delivered_at: datetime | None
    reference: str
    last_error: str | None
    lease: str | None


async def put(
    connection: AsyncConnection, messages: Sequence[Addressed], at: datetime
) -> tuple[Addressed, ...]:
    """Put `messages` on record inside a writing transaction; those that were not there before."""
    wanted = {each.reference: each for each in messages}
    found = await connection.scalars(
        select(delivery.c.reference).where(delivery.c.reference.in_(wanted))
    )
    for known in found:
        del wanted[known]
    for reference, each in wanted.items():
        incident_id, attempt = each.subject or (None, None)
        await connection.execute(
            insert(delivery).values(
                incident_id=incident_id,
                attempt=attempt,
                sink=each.sink,
                # Two of one kind about one attempt are told apart by their key.
                kind=f"{each.kind} {each.key}".strip(),
                payload=dict(each.payload),
                state=DeliveryState.PENDING,
                tries=0,
                created_at=at,
                next_try_at=at,
                reference=reference,
            )
        )
    return tuple(wanted.values())


@dataclass(frozen=True, kw_only=True)
class Deliveries:
    """The outbox of one record. Every method raises StoreUnavailable."""

    database: Database
    clock: Callable[[], datetime]

    async def put(self, *messages: Addressed) -> tuple[Addressed, ...]:
        """Put `messages` on record; returns those that were not there before."""
        now = self.clock()
        return await self.database.write(lambda connection: put(connection, messages, now))

    async def claim(
        self,
        sinks: Collection[str],
        *,
        limit: int = 1,
        incident_id: IncidentId | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> tuple[Delivery, ...]:
        """At most `limit` messages for `sinks` that are due, oldest first, each claimed by this
        call alone until its lease has run out.
        """
        now = self.clock()
        query = select(delivery.c.id).where(
            delivery.c.state == DeliveryState.PENDING,
            delivery.c.next_try_at <= now,
            delivery.c.sink.in_(list(sinks)),
            or_(delivery.c.leased_until.is_(None), delivery.c.leased_until <= now),
        )
        if incident_id is not None:
            query = query.where(delivery.c.incident_id == incident_id)
        due = query.order_by(delivery.c.next_try_at, delivery.c.id).limit(limit)
        lease = {
            "lease": str(uuid.uuid4()),
            "leased_until": now + timedelta(seconds=lease_seconds),
            "tries": delivery.c.tries + 1,
        }
        return await self.database.write(lambda connection: _claim(connection, due, lease))

    async def delivered(self, claimed: Delivery) -> bool:
        """It has arrived; False if the lease was lost to another, which then has the word."""
        return await self._settle(
            claimed, state=DeliveryState.DELIVERED, delivered_at=self.clock(), next_try_at=None,
            last_error=None,
        )  # fmt: skip

    async def later(self, claimed: Delivery, error: str, at: datetime) -> bool:
        """It has not arrived and is to be tried again from `at` on; False if the lease was lost."""
        return await self._settle(claimed, next_try_at=at, last_error=error[:_WORDS])

    async def given_up(self, claimed: Delivery, error: str) -> bool:
        """It will not arrive; False if the lease was lost."""
        return await self._settle(
            claimed, state=DeliveryState.GIVEN_UP, next_try_at=None, last_error=error[:_WORDS]
        )

    async def of_incident(self, incident_id: IncidentId) -> tuple[Delivery, ...]:
        """Every message about one incident, oldest first."""
        query = select(delivery).where(delivery.c.incident_id == incident_id)
        return await self._read(query.order_by(delivery.c.id))

    async def waiting(self, limit: int = 100) -> tuple[Delivery, ...]:
        """At most `limit` messages that have not arrived and are not given up, next one first."""
        query = select(delivery).where(delivery.c.state == DeliveryState.PENDING)
        return await self._read(query.order_by(delivery.c.next_try_at, delivery.c.id).limit(limit))

    async def counts(self) -> Mapping[DeliveryState, int]:
        """How many messages are in each state."""

        async def count(connection: AsyncConnection) -> dict[DeliveryState, int]:
            query = select(delivery.c.state, func.count()).group_by(delivery.c.state)
            found = await connection.execute(query)
            return {row[0]: row[1] for row in found}

        return await self.database.read(count)

    async def _read(self, query: Any) -> tuple[Delivery, ...]:
        async def ask(connection: AsyncConnection) -> tuple[Delivery, ...]:
            return tuple(_delivery_of(row) for row in (await connection.execute(query)).mappings())

        return await self.database.read(ask)

    async def _settle(self, claimed: Delivery, **values: Any) -> bool:
        async def settle(connection: AsyncConnection) -> bool:
            changed = await connection.execute(
                update(delivery)
                .where(
                    delivery.c.id == claimed.id,
                    delivery.c.lease == claimed.lease,
                    delivery.c.state == DeliveryState.PENDING,
                )
                .values(lease=None, leased_until=None, **values)
                .returning(delivery.c.id)
            )
            return changed.first() is not None

        return await self.database.write(settle)


async def _claim(
    connection: AsyncConnection, due: Select[tuple[int]], lease: Mapping[str, Any]
) -> tuple[Delivery, ...]:
    ids = (await connection.scalars(due.with_for_update(skip_locked=True))).all()
    if not ids:
        return ()
    changed = await connection.execute(
        update(delivery).where(delivery.c.id.in_(ids)).values(**lease).returning(*delivery.c)
    )
    return tuple(sorted((_delivery_of(row) for row in changed.mappings()), key=lambda d: d.id))


def _delivery_of(row: RowMapping) -> Delivery:
    incident_id = row["incident_id"]
    return Delivery(
        id=row["id"],
        sink=row["sink"],
        kind=row["kind"].partition(" ")[0],
        incident_id=None if incident_id is None else IncidentId(incident_id),
        attempt=row["attempt"],
        payload=row["payload"],
        state=row["state"],
        tries=row["tries"],
        created_at=row["created_at"],
        next_try_at=row["next_try_at"],
        delivered_at=row["delivered_at"],
        reference=row["reference"],
        last_error=row["last_error"],
        lease=row["lease"],
    )
