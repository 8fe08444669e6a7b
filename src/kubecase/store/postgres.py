"""PostgreSQL: how its connections are made, and which of its failures pass by themselves."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import text

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
"""How long one statement may take; a server that was frozen must not freeze us."""

LOCK_SECONDS = 60
"""How long a migration waits for another one."""

READING: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""One consistent view, however many statements it takes."""

WRITING: Mapping[str, Any] = {"isolation_level": "SERIALIZABLE"}
"""As if every change were made alone, which is what SQLite gives: what one has read is still so
when it writes. A change that this cannot be said of is refused, and is done again."""

_COLLIDED = frozenset({"40001", "40P01"})
_LOST = frozenset({"57P01", "57P02", "57P03", "25P03", "53300"})


class CannotConnect(Exception):
    """The server, or the driver, refused a connection. `sqlstate` is None where the driver did."""

    def __init__(self, message: str, sqlstate: str | None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


TROUBLES = (DBAPIError, CannotConnect, OSError)
"""Whatever comes out of a connection that cannot be made or used."""


def engine_of(url: URL, *, migrating: bool) -> AsyncEngine:
    """Connections to the server at `url`, none of them made yet.

    What stands in the address is read as libpq reads it (`sslmode`, `sslrootcert`, `host` for a
    directory with a socket). Raises ModuleNotFoundError without the driver.
    """
    import asyncpg  # noqa: PLC0415 - not for those whose record is a file

    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = {
        "application_name": f"kubecase {os.getpid()}",
        "timezone": "UTC",
        "lock_timeout": f"{LOCK_SECONDS if migrating else 10}s",
        # A process that was stopped in the middle of a change must not hold up all others.
        "idle_in_transaction_session_timeout": "30s",
    }

    async def connect() -> Any:
        try:
            return await asyncpg.connect(
                address,
                timeout=CONNECT_SECONDS,
                command_timeout=None if migrating else ANSWER_SECONDS,
                server_settings=settings,
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise CannotConnect(str(error), getattr(error, "sqlstate", None)) from error

    return create_async_engine(
        url,
        async_creator=connect,
        **({"poolclass": NullPool} if migrating else {"pool_pre_ping": True, "pool_size": 5}),
    )


def collided(error: BaseException) -> bool:
    """Whether two changes met, so that this one was undone and can be done again."""
    return code_of(error) in _COLLIDED


def lost(error: BaseException) -> bool:
    """Whether the connection was lost or the server is not there: it may come back."""
    code = code_of(error)
    if code is not None:
        return code in _LOST or code.startswith("08")
    if isinstance(error, DBAPIError):
        return True  # the driver's own words for a connection that is closed
    return isinstance(error, OSError)


def code_of(error: BaseException) -> str | None:
    """The five letters by which the server names what is wrong, if it was the server."""
    return next(
        (
            code
            for each in _chain(error)
            if isinstance(code := getattr(each, "sqlstate", None), str)
        ),
        None,
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = getattr(seen, "orig", None) or seen.__cause__


async def number_of(connection: AsyncConnection) -> int | None:
    """The number of the change that `connection` is in the middle of; None if it wrote nothing."""
    found = await connection.scalar(text("SELECT txid_current_if_assigned()"))
    return None if found is None else int(found)


async def was_committed(engine: AsyncEngine, number: int) -> bool | None:
    """What became of the change of that number; None while the server has not decided."""
    async with engine.connect() as connection:
        found = await connection.scalar(text("SELECT txid_status(:n)"), {"n": number})
    return {"committed": True, "aborted": False}.get(str(found))
