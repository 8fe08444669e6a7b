"""What the tests of the runtime share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adversaries import Bench, bench


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made
