"""Brings a record to the schema of this program, once, however many processes ask for it."""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from kubecase.core.errors import StoreUnavailable
from kubecase.store import location
from kubecase.store.database import Database, engine_of, unavailable_told
from kubecase.store.schema import REVISIONS

_LOCK_SECONDS = 60.0
_ADVISORY_LOCK = 0x6B756265  # "kube": one number that all replicas agree on
_BASE = "base"

# Alembic keeps its state in global variables, so one migration at a time per process.
_ONE_AT_A_TIME = threading.Lock()


async def ensure_current(database: Database, url: URL) -> None:
    """Make the record at `url` one of this program's schema, creating it if need be.

    Without any change, and without importing alembic, when it is current already. Raises
    StoreUnavailable for a schema that this program does not know and for a foreign database.
    """
    file = location.file_of(url)
    if (file is None or has_content(file)) and await database.read(revision_of) == REVISIONS[-1]:
        return
    await _in_a_thread(url, REVISIONS[-1])


async def downgrade(where: str | Path, revision: str) -> None:
    """Take the record at `where` back to `revision`, one of `REVISIONS` or `base` (no tables).

    What the older schema has no place for is lost. No other process may have it open.
    """
    if revision not in {*REVISIONS, _BASE}:
        raise StoreUnavailable(
            f"cannot go back to schema {revision!r}: there is none of that name",
            hint=f"Known are {', '.join((_BASE, *REVISIONS))}.",
        )
    url = location.parse(where)
    file = location.file_of(url)
    if file is not None and not has_content(file):
        raise StoreUnavailable(
            f"cannot go back to schema {revision!r}: there is no record {file}",
            hint="Name the record with store.url or data_dir.",
        )
    await _in_a_thread(url, revision, down=True)


async def _in_a_thread(url: URL, target: str, *, down: bool = False) -> None:
    # A thread with a loop of its own: alembic blocks, and so does waiting for the lock.
    def work() -> None:
        with unavailable_told(url), _ONE_AT_A_TIME, _locked(location.file_of(url)):
            asyncio.run(_change(url, target, down=down))

    await anyio.to_thread.run_sync(work)


async def _change(url: URL, target: str, *, down: bool) -> None:
    engine = engine_of(url, migrating=True)
    try:
        async with engine.begin() as connection:
            if url.get_backend_name() == "postgresql":
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
            # Looked at once more: while this one waited, another may have done the work.
            steps = (_BASE, *REVISIONS)
            there = steps.index(await revision_of(connection) or _BASE)
            if there > steps.index(target) if down else there < steps.index(target):
                await connection.run_sync(_run_alembic(target, down=down))
    finally:
        await engine.dispose()


def _run_alembic(target: str, *, down: bool) -> Callable[[Connection], None]:
    # Here and not above: importing it takes longer than opening a current record.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    def run(connection: Connection) -> None:
        config = Config(attributes={"connection": connection})
        scripts = str(Path(__file__).with_name("migrations")).replace("%", "%%")
        config.set_main_option("script_location", scripts)
        config.set_main_option("path_separator", "os")
        (command.downgrade if down else command.upgrade)(config, target)

    return run


async def revision_of(connection: AsyncConnection) -> str | None:
    """The revision of the schema that is there, `None` for an empty database."""
    tables = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
    if not tables:
        return None
    found = None
    if "alembic_version" in tables:
        found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    where = location.shown(connection.engine.url)
    if found is None and tables - {"alembic_version"}:
        raise StoreUnavailable(
            f"cannot use {where} for the record: it belongs to another program",
            hint="Name an empty or absent database with store.url.",
        )
    if found is not None and found not in REVISIONS:
        raise StoreUnavailable(
            f"cannot use the record {where}: its schema {str(found)[:40]!r} is newer than this "
            f"program, which knows {REVISIONS[-1]}",
            hint="Use the kubecase that wrote it, or a later one.",
        )
    return found


def has_content(file: Path) -> bool:
    """Whether `file` is there and not merely a name that was taken for a record."""
    return file.exists() and file.stat().st_size > 0


@contextmanager
def _locked(file: Path | None) -> Iterator[None]:
    """Hold the lock beside `file`, which is created if need be, until this is left.

    A file of its own, as locking the record itself would meet SQLite's locks on it.
    """
    if file is None:
        yield
        return
    beside = file.with_name(file.name + ".lock")
    descriptor = os.open(beside, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(descriptor, beside)
        location.create(file)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, name: Path) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"cannot get the lock {name}: another process is changing the schema",
                    hint="Wait until it is done, or stop it.",
                ) from None
            time.sleep(0.02)
        else:
            return
