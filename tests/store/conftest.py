"""A record of this program's schema, made once and copied for each test."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from kubecase.store import Store

from .records import HandClock, Recorder, a_store


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


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def observer() -> Recorder:
    return Recorder()


@pytest.fixture
async def store(file: Path, clock: HandClock, observer: Recorder) -> AsyncIterator[Store]:
    """That record, open, with a clock and an observer to look at."""
    async with a_store(file, clock=clock, observer=observer) as opened:
        yield opened
