"""Connections and transactions: how the tables are reached, and what may go wrong with that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import anyio
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from kubecase.core.errors import StoreUnavailable
from kubecase.store.location import shown

BUSY_SECONDS = 10.0
"""How long a statement waits for another process that is writing the same file."""

_T = TypeVar("_T")
_WRITING = "kubecase_writing"
_TRIES = 4

_HINTS: Mapping[str, str] = {
    "locked": "Another process holds the record for long. Try again, or stop that process.",
    "not a database": "Move the file away (a new one is made) or restore a backup.",
    "malformed": "Move the file away (a new one is made) or restore a backup.",
    "full": "Free some space on that disk.",
    "readonly": "Give this user the right to write the file and its directory.",
    "unable to open": "Give this user the right to write the file and its directory.",
}


class Database:
    """An open record. Use `opened` to get one.

    Work is handed in as a function of a connection, so that it can be repeated as a whole when
    another process got in between. Whoever asks may be cancelled meanwhile: what has begun is
    brought to its end first, so no transaction is half known.
    """

    def __init__(self, url: URL, engine: AsyncEngine) -> None:
        self._url = url
        self._readers = engine
        self._writers = engine.execution_options(**{_WRITING: True})
        # SQLite serves one writer at a time in no fair order; in here they queue up fairly.
        self._turn = anyio.Lock()

    async def read(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """What `work` finds, in one consistent view of the record."""
        with unavailable_told(self._url):
            return await _to_its_end(self._in_view(work))

    async def _in_view(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        async with self._readers.connect() as connection:
            return await work(connection)

    async def write(
        self,
        work: Callable[[AsyncConnection], Awaitable[_T]],
        then: Callable[[_T], None] | None = None,
    ) -> _T:
        """What `work` returns, once all that it wrote is durable; nothing of it if it raises.

        A `work` that ran into a constraint is done again from its beginning: it then sees what
        the other one wrote, and says so itself. `then` is told the result after the commit and
        before this process writes anything else.
        """
        return await _to_its_end(self._in_turn(work, then))

    async def _in_turn(
        self,
        work: Callable[[AsyncConnection], Awaitable[_T]],
        then: Callable[[_T], None] | None,
    ) -> _T:
        async with self._turn:
            # Only what the record itself raises is its being unavailable, not what `then` does.
            with unavailable_told(self._url):
                written = await self._repeated(work)
            if then is not None:
                then(written)
            return written

    async def _repeated(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        tries = 0
        while True:
            tries += 1
            try:
                async with self._writers.begin() as connection:
                    return await work(connection)
            except IntegrityError:
                if tries == _TRIES:
                    raise


async def _to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    """What `work` returns, also if the caller is cancelled meanwhile: it learns of that next.

    Both ways of being cancelled are held up, anyio's by the scope and asyncio's own (which is
    what an interrupt from the keyboard becomes) by hand. Otherwise a caller would not know
    whether its transaction was committed.
    """
    caller = asyncio.current_task()
    task = asyncio.get_running_loop().create_task(work)
    interruptions: list[tuple[object, ...]] = []
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as interruption:
                interruptions.append(interruption.args)
    if caller is not None and interruptions:
        for _ in interruptions:
            caller.uncancel()
        caller.cancel(*interruptions[0])
    return task.result()


@asynccontextmanager
async def opened(url: URL) -> AsyncIterator[Database]:
    """The record at `url`, whose schema must be current; closed when this is left."""
    engine = engine_of(url)
    try:
        yield Database(url, engine)
    finally:
        with anyio.CancelScope(shield=True):
            await engine.dispose()


def engine_of(url: URL, *, migrating: bool = False) -> AsyncEngine:
    """Connections to `url`, none of them made yet.

    `migrating` is for a change of the schema: foreign keys are not enforced (SQLite rebuilds a
    table by dropping it), every transaction is exclusive, and no connection outlives its use.
    """
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_async_engine(
                url,
                connect_args={"timeout": BUSY_SECONDS},
                **({"poolclass": NullPool} if migrating else {}),
            )
            _prepare_sqlite(engine, url, migrating)
            return engine
        return create_async_engine(url, **({"poolclass": NullPool} if migrating else {}))
    except ModuleNotFoundError as error:
        raise StoreUnavailable(
            f"cannot reach {shown(url)}: the module {error.name} is missing",
            hint=f"Install {error.name} beside kubecase, or keep the record in a file.",
        ) from error


@contextmanager
def unavailable_told(url: URL) -> Iterator[None]:
    """Turn what a database raises when it cannot be used into StoreUnavailable.

    A constraint, a value or a statement that it refuses is our own bug and passes unchanged.
    """
    try:
        yield
    except (IntegrityError, DataError, ProgrammingError):
        raise
    except DBAPIError as error:
        words = str(error.orig)
        hint = next(
            (hint for part, hint in _HINTS.items() if part in words), "Try: kubecase doctor"
        )
        raise StoreUnavailable(f"cannot use the record {shown(url)}: {words}", hint=hint) from error
    except (NoConnection, OSError) as error:
        raise StoreUnavailable(
            f"cannot reach the record {shown(url)}: {error}", hint="Try: kubecase doctor"
        ) from error


def _prepare_sqlite(engine: AsyncEngine, url: URL, migrating: bool) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        # Python's driver would begin transactions by its own rules; the listener below does it.
        connection.isolation_level = None
        cursor = connection.cursor()
        # Kept in the file; asked for each time, as a restored backup may have another.
        cursor.execute("PRAGMA journal_mode = WAL")
        mode = cursor.fetchone()[0]
        cursor.execute(f"PRAGMA foreign_keys = {'OFF' if migrating else 'ON'}")
        # A power cut must not undo what has been acknowledged; WAL's default would allow it.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()
        if mode != "wal":
            raise StoreUnavailable(
                f"cannot use the record {shown(url)}: its file system allows no write-ahead log",
                hint="Use a local disk, or a PostgreSQL server by store.url.",
            )

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        # A transaction that first reads and then writes would fail where it cannot wait, hence
        # the lock from the start.
        if migrating:
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
        elif connection.get_execution_options().get(_WRITING):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")
