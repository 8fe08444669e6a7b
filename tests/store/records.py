"""Incidents to put on record, a clock that is set by hand, and an observer that remembers."""

import asyncio
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kubecase.core.model import (
    Fault,
    Incident,
    Investigation,
    Reason,
    Resource,
    Status,
    parse_incident_id,
)
from kubecase.core.severity import Severity
from kubecase.store import Changes, Owner, Store

Place = Path | str
"""A file, or the address of a database on a server."""

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)

PATHS = {
    Status.CREATED: (),
    Status.STARTING: (Status.STARTING,),
    Status.RUNNING: (Status.STARTING, Status.RUNNING),
    Status.SUCCESS: (Status.STARTING, Status.RUNNING, Status.SUCCESS),
    Status.FAILED: (Status.STARTING, Status.RUNNING, Status.FAILED),
    Status.TIMEOUT: (Status.STARTING, Status.RUNNING, Status.TIMEOUT),
    Status.CANCELLED: (Status.STARTING, Status.RUNNING, Status.CANCELLED),
}


@dataclass
class HandClock:
    """A clock that moves only when told to."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Recorder:
    """Remembers every event; `probe` is asked at each one, as an outsider would see it."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    probe: Callable[[], Any] | None = None
    seen: list[Any] = field(default_factory=list)

    def record(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))
        if self.probe is not None:
            self.seen.append(self.probe())


def an_incident(
    id: str | None = None,
    *,
    cluster: str = "dev",
    namespace: str | None = "shop",
    fingerprint: str | None = None,
    opened_at: datetime = NOON,
    message: str = "container api exited 1",
    raw: bytes = b'{"a": 1}\xff',
) -> Incident:
    """An incident that nobody has seen yet."""
    fault = Fault(
        fingerprint=fingerprint or uuid.uuid4().hex,
        cluster=cluster,
        resource=Resource(
            kind="Pod", name="api-0", namespace=namespace, api_version="v1", uid="6b1d"
        ),
        reason="CrashLoop",
        message=message,
        severity=Severity.CRITICAL,
        severity_word="P1",
        seen_at=opened_at - timedelta(seconds=5),
        raw=raw,
        source="file",
        labels={"team": "shop"},
    )
    return Incident(id=parse_incident_id(id or str(uuid.uuid4())), fault=fault, opened_at=opened_at)


@asynccontextmanager
async def a_store(place: Place, **parts: Any) -> AsyncIterator[Store]:
    """The record at `place`, opened by this process."""
    async with Store.open(place, owner=Owner.current(), **parts) as store:
        yield store


async def moved(store: Store, investigation: Investigation, to: Status) -> Investigation:
    """`investigation` after one step, with the reason that a failure needs."""
    changes: Changes = {}
    if to is Status.FAILED:
        changes = {"reason": Reason.EXIT_CODE, "error": "agent exited with non-zero code: 1"}
    return await store.move(investigation, to, **changes)


async def brought_to(store: Store, status: Status, **begin: Any) -> Investigation:
    """A new investigation that has got as far as `status`."""
    investigation = await store.begin(an_incident(**begin), agent="scripted")
    for step in PATHS[status]:
        investigation = await moved(store, investigation, step)
    return investigation


def looked_up(place: Place, question: str, *values: object) -> list[tuple[Any, ...]]:
    """What another program finds in the record."""
    if isinstance(place, str):
        return _asked_of_server(place, question, values)
    connection = sqlite3.connect(f"file:{place}?mode=ro", uri=True)
    try:
        return connection.execute(question, values).fetchall()
    finally:
        connection.close()


def _asked_of_server(
    address: str, question: str, values: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    import asyncpg

    found: list[tuple[Any, ...]] = []

    async def ask() -> None:
        connection = await asyncpg.connect(address)
        try:
            found.extend(tuple(row) for row in await connection.fetch(question, *values))
        finally:
            await connection.close()

    # Asked from inside of a running loop, too, hence a thread with a loop of its own.
    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    thread.join()
    return found
