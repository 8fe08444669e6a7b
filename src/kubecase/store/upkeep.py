"""What an administrator asks of the record: how it stands, who has it open, and a copy of it."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio.to_thread
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kubecase.core.errors import KubecaseError, StoreUnavailable
from kubecase.store import location, migrate
from kubecase.store.database import opened
from kubecase.store.schema import REVISIONS, metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A process that has the record open. `address` is where it is, where that is another host."""

    pid: int
    program: str
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a record stands. `place` is without a password; `revision` is None for an empty one.

    `pending` are the migrations that are to come; `missing` the tables and columns that are not
    there although the revision says so; `users` who has it open, as far as that can be seen.
    """

    place: str
    kind: Literal["sqlite", "postgresql"]
    revision: str | None
    wanted: str
    pending: tuple[str, ...]
    missing: tuple[str, ...]
    users: tuple[User, ...]

    @property
    def is_current(self) -> bool:
        """Whether this program can work on it as it is."""
        return not self.pending and not self.missing


async def standing(where: str | Path) -> Standing:
    """How the record at `where` stands; nothing is made or changed. Raises StoreUnavailable."""
    url = location.parse(where)
    file = location.file_of(url)
    if file is not None and not migrate.has_content(file):
        return _told(location.shown(url), "sqlite", None, (), ())
    async with opened(url) as database:
        revision = await database.read(migrate.revision_of)
        missing = await database.read(_missing) if revision == REVISIONS[-1] else ()
        if file is None:
            users = await database.read(_sessions)
            return _told(location.shown(url), "postgresql", revision, missing, users)
    users = await anyio.to_thread.run_sync(lambda: tuple(_openers(file)))
    return _told(location.shown(url), "sqlite", revision, missing, users)


async def upgrade(where: str | Path) -> tuple[str | None, str]:
    """Bring the record at `where` to this program's schema; the revisions before and after."""
    url = location.parse(where)
    file = location.file_of(url)
    if file is not None:
        location.prepare(file)
    before = (await standing(where)).revision
    async with opened(url) as database:
        await migrate.ensure_current(database, url)
    return before, REVISIONS[-1]


async def backup(where: str | Path, to: Path) -> int:
    """Write a whole, checked copy of the record at `where` to the new file `to`; its size.

    Others may go on writing: the copy is of one moment. Raises KubecaseError if `to` is there
    already, and for a server, which has programs of its own for that.
    """
    file = location.file_of(location.parse(where))
    if file is None:
        raise KubecaseError(
            "cannot copy a record on a server",
            hint="Use PostgreSQL's own: pg_dump --format=custom (docs/operations.md says how).",
        )
    if not migrate.has_content(file):
        raise StoreUnavailable(
            f"cannot copy {file}: there is no record", hint="Name it with store.url or --data-dir."
        )
    return await anyio.to_thread.run_sync(_copy, file, to)


def _told(
    place: str,
    kind: Literal["sqlite", "postgresql"],
    revision: str | None,
    missing: tuple[str, ...],
    users: tuple[User, ...],
) -> Standing:
    done = 0 if revision is None else REVISIONS.index(revision) + 1
    return Standing(
        place=place, kind=kind, revision=revision, wanted=REVISIONS[-1],
        pending=REVISIONS[done:], missing=missing, users=users,
    )  # fmt: skip


async def _missing(connection: AsyncConnection) -> tuple[str, ...]:
    """What the definition has and the database lacks: tables, and columns of those there are."""

    def look(sync: object) -> tuple[str, ...]:
        found = inspect(sync)
        tables = set(found.get_table_names())
        absent = [name for name in metadata.tables if name not in tables]
        for name, table in metadata.tables.items():
            if name in tables:
                there = {each["name"] for each in found.get_columns(name)}
                absent += [
                    f"{name}.{each.name}" for each in table.columns if each.name not in there
                ]
        return tuple(sorted(absent))

    return await connection.run_sync(look)


async def _sessions(connection: AsyncConnection) -> tuple[User, ...]:
    found = await connection.execute(
        text(
            "SELECT pid, application_name, host(client_addr) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend' ORDER BY backend_start LIMIT 200"
        )
    )
    return tuple(
        User(pid=pid, program=str(name or "unknown")[:60], address=address)
        for pid, name, address in found
    )


def _openers(file: Path) -> Iterator[User]:
    """The processes of this host that have `file` open, as far as this user may look."""
    wanted = str(file.resolve())
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda each: int(each.name)):
        if int(process.name) == os.getpid():
            continue
        try:
            links = {os.readlink(each) for each in (process / "fd").iterdir()}
            if wanted in links:
                name = (process / "comm").read_text(errors="replace").strip()
                yield User(pid=int(process.name), program=name, address=None)
        except OSError:
            continue  # gone meanwhile, or another user's


def _copy(file: Path, to: Path) -> int:
    try:
        # A folder of our own: SQLite makes the file with the rights of the umask.
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as private:
            part = Path(private) / "copy.db"
            _vacuum(file, part)
            part.chmod(0o600)
            with part.open("rb") as handle:
                os.fsync(handle.fileno())
            os.link(part, to)  # fails where there is something of that name
        return to.stat().st_size
    except FileExistsError as error:
        raise KubecaseError(
            f"cannot write {to}: it is there already", hint="Name a new file; nothing is replaced."
        ) from error
    except (OSError, sqlite3.Error) as error:
        raise KubecaseError(
            f"cannot copy {file} to {to}: {error}",
            hint="Name a file in a directory that this user may write, on a disk with space.",
        ) from error


def _vacuum(file: Path, part: Path) -> None:
    source = sqlite3.connect(f"file:{_quoted(file)}?mode=ro", uri=True, timeout=10)
    try:
        source.execute("VACUUM INTO ?", (str(part),))
    finally:
        source.close()
    copy = sqlite3.connect(f"file:{_quoted(part)}?mode=ro", uri=True)
    try:
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        copy.close()
    if found != "ok":
        raise KubecaseError(
            f"the copy of {file} is damaged: {str(found)[:200]}",
            hint="The record itself may be; restore an earlier copy.",
        )


def _quoted(file: Path) -> str:
    return str(file).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
