"""A record of this program's schema, made once and copied for each test."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from fakes.postgres import Postgres
from kubecase.store import Store

from .records import HandClock, Place, Recorder, a_store


@pytest.fixture(scope="session")
def empty_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record with tables and no rows."""
    file = tmp_path_factory.mktemp("record") / "kubecase.db"

    async def make() -> None:
        async with a_store(file):
            pass

    anyio.run(make)
    return file


@pytest.fixture
def file(empty_record: Path, tmp_path: Path) -> Path:
    """A record of one's own."""
    return Path(shutil.copy(empty_record, tmp_path / "kubecase.db"))


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """The name of a database on the server with tables and no rows."""
    name = postgres.new_database()

    async def make() -> None:
        async with a_store(postgres.address(name)):
            pass

    anyio.run(make)
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A record of one's own: once a file, once a database on a real server."""
    if request.param == "sqlite":
        yield request.getfixturevalue("file")
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.new_database(request.getfixturevalue("template"))
    yield server.address(name)
    server.drop(name)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def observer() -> Recorder:
    return Recorder()


@pytest.fixture
async def store(place: Place, clock: HandClock, observer: Recorder) -> AsyncIterator[Store]:
    """That record, open, with a clock and an observer to look at."""
    async with a_store(place, clock=clock, observer=observer) as opened:
        yield opened
