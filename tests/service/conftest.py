"""A record and an observer for every test of the service that asks for them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubecase.store import Owner, Store
from service.workshop import Heard


@pytest.fixture
def heard() -> Heard:
    """An observer that remembers."""
    return Heard()


@pytest.fixture
async def store(tmp_path: Path, heard: Heard) -> AsyncIterator[Store]:
    """A record of its own."""
    path = tmp_path / "data" / "kubecase.db"
    async with Store.open(path, owner=Owner.current(), observer=heard) as opened:
        yield opened
