"""The queue, by PgQueuer: in memory beside a record in a file, or in the PostgreSQL of the record.

It holds no truth of its own: which incidents wait is on record, and what it forgets is told to it
again. In PostgreSQL any number of processes share one; what a dead one had is given to another when
its lease has run out.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from kubecase.core.errors import StoreUnavailable
from kubecase.core.model import IncidentId
from kubecase.core.ports import Handler, Observer, Silence
from kubecase.store import location

if TYPE_CHECKING:
    from pgqueuer import PgQueuer

POLL = timedelta(seconds=5)
"""How often it looks by itself; usually it is woken."""

_PREFIX = "incident:"
_LOCK = 0x6B756271  # "kubq": one number that all processes agree on


class EmbeddedQueue:
    """The queue of one process. `at_once` incidents are given out at a time, over all clusters."""

    def __init__(self, *, at_once: int, lease: float = 30.0, observer: Observer | None = None):
        self._at_once = at_once
        self._turns = asyncio.Semaphore(at_once)
        self._lease = timedelta(seconds=lease)
        self._observer = observer or Silence()
        self._limits: dict[str, int] = {}
        self._waiting: dict[IncidentId, int] = {}
        self._handler: Handler | None = None
        self._engine = self._made()

    def _made(self) -> "PgQueuer":
        from pgqueuer import PgQueuer  # noqa: PLC0415 - only a service pays for the import

        return PgQueuer.in_memory()

    async def enqueue(self, incident: IncidentId, *, cluster: str, priority: int) -> bool:
        """Hand in `incident`; False if it is queued or being worked already."""
        (job,) = await self._engine.qm.queries.enqueue(
            _PREFIX + cluster, incident.encode(), priority, dedupe_key=incident,
            on_conflict="skip",
        )  # fmt: skip
        if job is None:
            return False
        self._waiting[incident] = int(job)
        return True

    async def cancel_queued(self, incident: IncidentId) -> bool:
        """Take `incident` out before it is given to anybody; False if it is not waiting."""
        job = self._waiting.pop(incident, None)
        if job is None:
            return False
        await self._engine.qm.queries.mark_job_as_cancelled([_id(job)])
        return True

    async def register(self, cluster: str, limit: int) -> None:
        """From now on give out incidents of `cluster`, at most `limit` at a time."""
        self._limits[cluster] = limit
        if self._handler is not None:
            self._take_up(cluster, limit)

    async def run(self, handler: Handler) -> None:
        """Give out incidents until `stop`; returns when those given out are done with."""
        self._handler = handler
        for cluster, limit in self._limits.items():
            self._take_up(cluster, limit)
        # The engine wants room for two batches.
        await self._engine.run(
            dequeue_timeout=POLL,
            batch_size=1,
            max_concurrent_tasks=max(2, self._at_once),
            heartbeat_timeout=self._lease,
        )

    async def stop(self) -> None:
        """Give out nothing more."""
        self._engine.shutdown.set()

    async def stats(self) -> Mapping[str, int]:
        """How many incidents of each cluster wait."""
        counted: Counter[str] = Counter()
        for each in await self._engine.qm.queries.queue_size():
            if each.status == "queued":
                counted[each.entrypoint.removeprefix(_PREFIX)] += each.count
        return counted

    def _take_up(self, cluster: str, limit: int) -> None:
        name = _PREFIX + cluster
        if name in self._engine.qm.entrypoint_registry:
            return

        async def work(job: Any) -> None:
            from pgqueuer import RetryRequested  # noqa: PLC0415

            incident = IncidentId(bytes(job.payload or b"").decode("ascii", "replace"))
            self._waiting.pop(incident, None)
            assert self._handler is not None  # noqa: S101 - run() has set it
            async with self._turns:
                again = await self._handler(incident)
            if again is not None:
                raise RetryRequested(delay=timedelta(seconds=again))

        self._engine.entrypoint(name, concurrency_limit=limit)(work)


class PostgresQueue(EmbeddedQueue):
    """The queue that any number of processes share, in the PostgreSQL of the record."""

    def __init__(
        self, url: str, *, at_once: int, lease: float = 30.0, observer: Observer | None = None
    ):
        super().__init__(at_once=at_once, lease=lease, observer=observer)
        self._address = location.parse(url).set(drivername="postgresql")
        self._stopping = False
        self._pool: Any = None

    @classmethod
    async def connected(
        cls, url: str, *, at_once: int, lease: float = 30.0, observer: Observer | None = None
    ) -> Self:
        """The queue at `url`, its tables made if need be. Raises StoreUnavailable."""
        queue = cls(url, at_once=at_once, lease=lease, observer=observer)
        with _told():
            await queue._connect()
        return queue

    async def _connect(self) -> None:
        import asyncpg  # noqa: PLC0415
        from pgqueuer import PgQueuer  # noqa: PLC0415

        if self._pool is not None:
            self._pool.terminate()
        self._pool = await asyncpg.create_pool(
            self._address.render_as_string(hide_password=False), min_size=1, max_size=8
        )
        self._engine = PgQueuer.from_asyncpg_pool(self._pool)
        async with self._pool.acquire() as connection:
            # One of several that start at once makes the tables.
            await connection.execute(f"SELECT pg_advisory_lock({_LOCK})")
            try:
                queries: Any = self._engine.qm.queries
                if not await queries.has_table(queries.qbe.settings.queue_table):
                    await queries.install()
            finally:
                await connection.execute(f"SELECT pg_advisory_unlock({_LOCK})")

    async def enqueue(self, incident: IncidentId, *, cluster: str, priority: int) -> bool:
        """As of every queue; raises StoreUnavailable without a connection."""
        with _told():
            return await super().enqueue(incident, cluster=cluster, priority=priority)

    async def run(self, handler: Handler) -> None:
        """Give out incidents until `stop`, also when the connection was lost meanwhile."""
        pause = 0.5
        while not self._stopping:
            try:
                await super().run(handler)
            except _lost() as error:
                self._observer.record("error", error_type="store", error=error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 15.0)
                with suppress(*_lost()):
                    await self._connect()
                    pause = 0.5
        await self._pool.close()

    async def stop(self) -> None:
        """Give out nothing more."""
        self._stopping = True
        await super().stop()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except _lost() as error:
        raise StoreUnavailable(
            f"cannot reach the queue: {type(error).__name__}", hint="Try: kubecase db check"
        ) from error


def _lost() -> tuple[type[BaseException], ...]:
    """What a lost connection raises."""
    import asyncpg  # noqa: PLC0415

    return (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


def _id(job: int) -> Any:
    from pgqueuer import JobId  # noqa: PLC0415

    return JobId(job)
