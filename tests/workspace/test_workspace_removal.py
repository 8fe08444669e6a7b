"""Deleting and measuring trees that were built to defeat it."""

import os
import resource
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from kubecase.core.errors import WorkspaceError
from kubecase.workspace import CollectionBudget, Workspace, collect

ID = "6b1d0f3a-0000-4000-8000-0000000000a1"


@contextmanager
def few_descriptors(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def dig(start: Path, levels: int, name: str = "d") -> None:
    """Nest `levels` directories below `start`, with a file in the last."""
    handle = os.open(start, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=handle)
        inner = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    file = os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=handle)
    os.write(file, b"x" * 8192)
    os.close(file)
    os.close(handle)


def test_a_tree_3000_levels_deep_is_measured_and_deleted(workspace: Workspace) -> None:
    """Depth defeats neither the size nor the deletion, with 256 descriptors (case 19)."""
    dig(workspace.root / "output/artifacts", 3000)

    with few_descriptors(256):
        size = workspace.measure(max_seconds=60)
        workspace.delete()

    assert size.complete
    assert size.apparent == 8192
    assert size.entries == 3000 + 4 + 1
    assert os.listdir(workspace.root.parent) == []


def test_deep_and_wide_trees_with_long_names_are_deleted(workspace: Workspace) -> None:
    """Names of 255 bytes, nested beyond any path, next to names that look like ours."""
    for n in range(5):
        (workspace.root / f".removed-{n}-0").mkdir()
        dig(workspace.root / f".removed-{n}-0", 60, "n" * 255)

    workspace.delete()

    assert os.listdir(workspace.root.parent) == []


def test_directories_without_rights_are_deleted(
    unprivileged: tuple[Path, Callable[[], AbstractContextManager[None]]],
) -> None:
    """Modes that deny reading, entering or writing do not keep a tree alive (case 16)."""
    directory, acting = unprivileged
    with acting():
        workspace = Workspace.create(directory, ID, 1)
        for mode in (0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600):
            inner = workspace.root / f"output/m{mode:o}/inner/deeper"
            inner.mkdir(parents=True)
            (inner / "file").write_text("x")
            for each in (inner / "file", inner, inner.parent, inner.parent.parent):
                each.chmod(mode)
        workspace.root.chmod(0o000)

        workspace.delete()

        assert os.listdir(directory) == []


def test_links_are_deleted_and_not_followed(workspace: Workspace, outside: Path) -> None:
    """Deleting a tree of links to elsewhere leaves elsewhere as it was (req 3.7)."""
    (workspace.root / "output/dir").symlink_to(outside)
    (workspace.root / "output/file").symlink_to(outside / "secret.txt")
    (workspace.root / "output/loop").symlink_to("loop")
    (workspace.root / "output/hard").hardlink_to(outside / "secret.txt")
    os.mkfifo(workspace.root / "output/fifo")

    workspace.delete()

    assert os.listdir(workspace.root.parent) == []
    assert (outside / "secret.txt").read_text() == "the canary"


def test_what_is_mounted_inside_is_not_emptied(
    root: Path, small_disk: Callable[[str], Path]
) -> None:
    """A file system that somebody mounted in a workspace is left alone, and deletion says so."""
    workspace = Workspace.create(root, ID, 1)
    disk = small_disk("size=64k")
    (disk / "theirs").write_text("kept")
    inside = workspace.root / "output/artifacts"
    (workspace.root / "output/x").write_text("goes")
    assert os.system(f"mount --bind '{disk}' '{inside}'") == 0
    try:
        with pytest.raises(WorkspaceError, match="busy") as raised:
            workspace.delete()
    finally:
        assert os.system(f"umount '{next(workspace.root.rglob('artifacts'))}'") == 0

    assert "cannot remove" in str(raised.value)
    assert (disk / "theirs").read_text() == "kept"
    assert not list(workspace.root.rglob("x"))
    workspace.delete()
    assert os.listdir(root) == []


def test_deleting_twice_is_deleting_once(workspace: Workspace) -> None:
    """A workspace that is gone is no error, so that cleaning up can be repeated."""
    workspace.delete()
    workspace.delete()

    assert workspace.size() == 0


def test_what_cannot_be_removed_is_said_and_the_rest_is_gone(
    unprivileged: tuple[Path, Callable[[], AbstractContextManager[None]]],
) -> None:
    """One file of another user's keeps itself alive, nothing else (req 12.4)."""
    directory, acting = unprivileged
    if os.geteuid() != 0:
        pytest.skip("needs root to make a file of another user's")
    with acting():
        workspace = Workspace.create(directory, ID, 1)
        workspace.write({f"output/n{n}/file": b"x" for n in range(5)})
    foreign = workspace.root / "output/n2/foreign"
    foreign.mkdir(mode=0o700)
    (foreign / "file").write_text("x")

    with acting(), pytest.raises(WorkspaceError, match="cannot remove"):
        workspace.delete()

    left = [p.name for p in workspace.root.rglob("*") if p.is_file()]
    assert left == ["file"]
    shutil.rmtree(workspace.root)


def test_the_size_counts_disk_and_length(workspace: Workspace) -> None:
    """A sparse file takes up what the disk gives for it and is as long as it says (req 17.4)."""
    os.truncate(_file(workspace, "output/sparse", b""), 1 << 40)
    _file(workspace, "output/full", b"x" * (1 << 20))

    size = workspace.measure()

    assert size.apparent == (1 << 40) + (1 << 20)
    assert 1 << 20 <= size.allocated < 2 << 20
    assert size.allocated == workspace.size()


def test_the_size_counts_every_file_once(workspace: Workspace) -> None:
    """A thousand names for one file are one file, links are nothing (case 15, req 17.4)."""
    first = _file(workspace, "output/first", b"x" * (1 << 20))
    for n in range(1000):
        (workspace.root / f"output/n{n}").hardlink_to(first)
    (workspace.root / "output/link").symlink_to("/usr")

    size = workspace.measure()

    assert size.apparent == 1 << 20
    assert size.allocated < 2 << 20


def test_the_size_tolerates_what_it_cannot_see(
    unprivileged: tuple[Path, Callable[[], AbstractContextManager[None]]],
) -> None:
    """A directory that may not be read makes the size a lower bound, not an error (req 17.4)."""
    directory, acting = unprivileged
    with acting():
        workspace = Workspace.create(directory, ID, 1)
        workspace.write({"output/a": b"x" * 5000, "output/shut/b": b"x" * 5000})
        (workspace.root / "output/shut").chmod(0)

        size = workspace.measure()

    assert size.apparent == 5000
    assert not size.complete


def test_the_size_is_told_within_its_budget(workspace: Workspace) -> None:
    """Measuring ends when its budget does, and says that it saw only a part."""
    workspace.write({f"output/f{n}": b"x" for n in range(50)})

    few, hasty = workspace.measure(max_entries=10), workspace.measure(max_seconds=0)

    assert (few.entries, few.complete) == (10, False)
    assert not hasty.complete


def test_deletion_and_measure_leave_nothing_open(
    root: Path, open_descriptors: Callable[[], int]
) -> None:
    """No descriptor is left over by trees of any shape."""
    before = open_descriptors()

    for attempt in range(1, 4):
        workspace = Workspace.create(root, ID, attempt)
        dig(workspace.root / "output/artifacts", 40)
        workspace.measure(max_entries=10)
        collect(workspace, CollectionBudget(depth=3))
        workspace.delete()

    assert before == open_descriptors()


def _file(workspace: Workspace, relative: str, data: bytes) -> Path:
    workspace.write({relative: data})
    path = workspace.root / relative
    assert stat.S_ISREG(path.lstat().st_mode)
    return path
