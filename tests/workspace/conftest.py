"""What the tests of workspaces share: roots, ids, an unprivileged user, small file systems."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from kubecase.workspace import Workspace

ID = "6b1d0f3a-0000-4000-8000-0000000000a1"
NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root of workspaces that does not exist yet."""
    return tmp_path.resolve() / "workspaces"


@pytest.fixture
def workspace(root: Path) -> Workspace:
    """A fresh workspace."""
    return Workspace.create(root, ID, 1)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory that is none of the agent's business, with a secret in it."""
    directory = tmp_path.resolve() / "outside"
    directory.mkdir()
    (directory / "secret.txt").write_text("the canary")
    return directory


@pytest.fixture
def open_descriptors() -> Callable[[], int]:
    """How many descriptors this process has open."""
    return lambda: len(os.listdir("/proc/self/fd"))


@pytest.fixture
def unprivileged() -> Iterator[tuple[Path, Callable[[], AbstractContextManager[None]]]]:
    """A directory of an ordinary user, and a way to act as that user: modes bind only such."""
    directory = Path(tempfile.mkdtemp(prefix="kubecase-test-")).resolve()

    @contextmanager
    def acting() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    yield directory, acting
    subprocess.run(["chmod", "-R", "u+rwx", directory], check=False)
    shutil.rmtree(directory)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes file systems that are soon full, by mount options."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path.resolve() / f"disk-{len(mounted)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True
        )
        if done.returncode:
            pytest.skip("this host lets nobody mount a tmpfs")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", place], check=True)
