"""A certificate authority for a run, and faults to ask a cluster about."""

from pathlib import Path

import pytest

from fakes.kube_api import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One certificate authority, made once: key generation is slow."""
    return Authority.make(Path(tmp_path_factory.mktemp("authority")))
