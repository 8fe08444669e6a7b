"""Connections and transactions: how the tables are reached, and what may go wrong with that."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import unquote

import anyio
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from kubecase.core.errors import StoreUnavailable
from kubecase.store import postgres
from kubecase.store.location import shown

BUSY_SECONDS = 10.0
"""How long a statement waits for another process that is writing the same file."""

_T = TypeVar("_T")
_WRITING = "kubecase_writing"
_TRIES = 8
_COLLISIONS = 200
RETURN_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 4.0)
"""The pauses in which a server that was reached before may come back, as after a restart."""

PATIENCE_SECONDS = 30.0
"""After so long nothing is asked again: a server that hangs takes long over each refusal."""

_HINTS: Mapping[str, str] = {
    "locked": "Another process holds the record for long. Try again, or stop that process.",
    "not a database": "Move the file away (a new one is made) or restore a backup.",
    "malformed": "Move the file away (a new one is made) or restore a backup.",
    "full": "Free some space on that disk.",
    "readonly": "Give this user the right to write the file and its directory.",
    "unable to open": "Give this user the right to write the file and its directory.",
}

_AWAY = "See that the server runs and that host, port and TLS options of store.url are right."
_CODES: Mapping[str, str] = {
    "28P01": "Correct user and password of store.url (KUBECASE_STORE__URL).",
    "28000": "Let this user in by the server's pg_hba.conf, or correct store.url.",
    "3D000": "Create that database (`createdb NAME`), or correct the name in store.url.",
    "42501": "Let that user own the database and create tables in it (GRANT CREATE ON SCHEMA).",
    "40001": "Very many processes change the same at once; try again.",
    "40P01": "Very many processes change the same at once; try again.",
    "53300": "Raise the server's max_connections, or run fewer processes.",
    "55P03": "Another process is changing the same; wait until it is done. Try: kubecase db check",
    "57P03": "The server is starting or stopping; try again in a moment.",
    "25006": "That server is a read-only standby; name the primary in store.url.",
    "53100": "Free some space on the server's disk.",
}


class Undecided(StoreUnavailable):
    """The server went away in the middle of a commit and did not come back to tell of it."""


class Database:
    """An open record. Use `opened` to get one.

    Work is handed in as a function of a connection, so that it can be repeated as a whole when
    another process got in between. Whoever asks may be cancelled meanwhile: what has begun is
    brought to its end first, so no transaction is half known.
    """

    def __init__(self, url: URL, engine: AsyncEngine) -> None:
        self._url = url
        self._server = url.get_backend_name() == "postgresql"
        reading: Mapping[str, Any] = postgres.READING if self._server else {}
        writing: Mapping[str, Any] = postgres.WRITING if self._server else {_WRITING: True}
        self._readers = engine.execution_options(**reading)
        self._writers = engine.execution_options(**writing)
        # SQLite serves one writer at a time in no fair order; in here they queue up fairly.
        self._turn = anyio.Lock()
        self._reached = False

    async def read(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """What `work` finds, in one consistent view of the record."""
        with unavailable_told(self._url):
            return await _to_its_end(self._persistently(lambda: self._in_view(work)))

    async def _in_view(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        async with self._readers.connect() as connection:
            return await work(connection)

    async def write(
        self,
        work: Callable[[AsyncConnection], Awaitable[_T]],
        then: Callable[[_T], None] | None = None,
    ) -> _T:
        """What `work` returns, once all that it wrote is durable; nothing of it if it raises.

        A `work` that ran into a constraint, into another change or into a restart of the server is
        done again from its beginning: it then sees what the other one wrote, and says so itself.
        `then` is told the result after the commit and before this process writes anything else.
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
                written = await self._persistently(lambda: self._repeated(work))
            if then is not None:
                then(written)
            return written

    async def _persistently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """What `ask` returns, asked again while a server that was there before is away."""
        until = anyio.current_time() + PATIENCE_SECONDS
        for pause in (*RETURN_SECONDS, None):
            try:
                answer = await ask()
            except postgres.TROUBLES as error:
                late = pause is None or anyio.current_time() > until
                if late or not self._reached or not postgres.lost(error):
                    raise
            else:
                self._reached = self._server
                return answer
            await anyio.sleep(pause or 0)
        raise AssertionError("unreachable: the last try returns or raises")

    async def _repeated(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        refused = collisions = 0
        while True:
            try:
                return await self._once(work)
            except IntegrityError:
                refused += 1
                if refused == _TRIES:
                    raise
                await anyio.sleep(random.uniform(0, 0.002 * refused) * self._server)  # noqa: S311
            except DBAPIError as error:
                collisions += 1
                if collisions == _COLLISIONS or not postgres.collided(error):
                    raise
                await anyio.sleep(random.uniform(0, 0.005 * min(collisions, 20)))  # noqa: S311

    async def _once(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        if not self._server:
            async with self._writers.begin() as connection:
                return await work(connection)
        async with self._writers.connect() as connection:
            written = await work(connection)
            number = await postgres.number_of(connection)
            try:
                await connection.commit()
            except postgres.TROUBLES as error:
                if number is None or not postgres.lost(error):
                    raise
                if not await self._committed(number):
                    raise
            return written

    async def _committed(self, number: int) -> bool:
        """Whether the change of that number was made, asked of the server once it is back."""
        for pause in RETURN_SECONDS:
            await anyio.sleep(pause)
            try:
                found = await postgres.was_committed(self._readers, number)
            except postgres.TROUBLES as error:
                if not postgres.lost(error):
                    raise
            else:
                if found is not None:
                    return found
        raise Undecided(
            f"the record {shown(self._url)} went away while a change was made, and it is not known "
            "whether it was",
            hint="Look at what is on record before doing it again.",
        )


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
        return postgres.engine_of(url, migrating=migrating)
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
    except DBAPIError as error:
        code = postgres.code_of(error)
        ours = isinstance(error, IntegrityError | DataError | ProgrammingError)
        if ours and code not in _CODES:
            raise
        raise StoreUnavailable(
            f"cannot use the record {shown(url)}: {_without_password(str(error.orig), url)}",
            hint=_hint(str(error.orig), code),
        ) from error
    except (NoConnection, OSError, postgres.CannotConnect) as error:
        words = _without_password(str(error) or type(error).__name__, url)
        raise StoreUnavailable(
            f"cannot reach the record {shown(url)}: {words}",
            hint=_hint(words, postgres.code_of(error), away=url.get_backend_name() != "sqlite"),
        ) from error


def _hint(words: str, code: str | None, *, away: bool = False) -> str:
    if code is not None and (told := _CODES.get(code)):
        return told
    found = next((hint for part, hint in _HINTS.items() if part in words), None)
    if found is not None:
        return found
    return _AWAY if away else "Try: kubecase doctor"


def _without_password(words: str, url: URL) -> str:
    """`words` of a driver or a server, which may repeat what they were given."""
    for secret in {url.password or "", unquote(url.password or "")}:
        words = words.replace(secret, "***") if secret else words
    return words


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
