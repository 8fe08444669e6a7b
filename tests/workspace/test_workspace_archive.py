"""Workspaces are packed whole, proved, and never by following anything."""

import json
import os
import resource
import stat
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from kubecase.core.errors import OutsideWorkspace, WorkspaceError
from kubecase.workspace import (
    Archive,
    ArchiveLimits,
    ArchiveUnsound,
    NoSpace,
    Workspace,
    held_alone,
    pack,
    remove_unfinished,
)

ID = "6b1d0f3a-0000-4000-8000-0000000000a1"
LIMITS = ArchiveLimits(keep_free=0)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Where archives go; it does not exist yet."""
    return tmp_path.resolve() / "data/archives"


def packed(workspace: Workspace, shelf: Path, limits: ArchiveLimits = LIMITS) -> Archive:
    return pack(workspace, shelf, about={"status": "success"}, limits=limits, tick=lambda _: None)


def unpacked(archive: Archive, place: Path) -> Path:
    """The workspace as the distribution's tar brings it back."""
    place.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", archive.path, "-C", place], check=True)
    return place / archive.path.name.removesuffix(".tar.zst")


def manifest(archive: Archive) -> dict[str, Any]:
    """The last member of an archive."""
    name = archive.path.name.removesuffix(".tar.zst") + ".manifest.json"
    done = subprocess.run(
        ["tar", "--zstd", "-xOf", archive.path, name], capture_output=True, check=True
    )
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value


def tree(top: Path) -> dict[bytes, tuple[str, object]]:
    """Every file, directory and link below `top`, by the bytes of its path."""
    found: dict[bytes, tuple[str, object]] = {}
    start = os.fsencode(top)
    for place, directories, files in os.walk(start):
        for name in (*directories, *files):
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            key = os.path.relpath(path, start)
            if stat.S_ISLNK(mode):
                found[key] = ("link", os.readlink(path))
            elif stat.S_ISDIR(mode):
                found[key] = ("directory", stat.S_IMODE(mode))
            elif stat.S_ISREG(mode):
                found[key] = ("file", (stat.S_IMODE(mode), Path(os.fsdecode(path)).read_bytes()))
    return found


def fill(workspace: Workspace, outside: Path) -> None:
    """What ordinary and odd agents leave, and what has a place in an archive."""
    root = workspace.root
    workspace.write({
        "PROMPT.md": b"look\n", "output/agent.log": os.urandom(300_000), "context/empty": b"",
        "output/artifacts/big": b"0123456789" * 300_000,
    }, executable={"PROMPT.md"})  # fmt: skip
    (root / "secret").symlink_to(outside / "secret.txt")
    (root / "folder").symlink_to(outside)
    (root / "nowhere").symlink_to("x" * 3000)
    os.link(root / "PROMPT.md", root / "again")
    for name in (b"latin-\xe9\xff", b"new\nline", b" ", b"-rf", b"n" * 255, "ünï".encode()):
        path = os.path.join(os.fsencode(root), name)
        os.mkdir(path)
        Path(os.fsdecode(os.path.join(path, name))).write_bytes(name)


@contextmanager
def few_descriptors(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_unpacked_equals_the_original(
    workspace: Workspace, shelf: Path, outside: Path, tmp_path: Path
) -> None:
    """Plain tar brings back every file, mode, link and name, and no file of others (req 21.5)."""
    fill(workspace, outside)

    archive = packed(workspace, shelf)

    back = unpacked(archive, tmp_path / "back")
    assert tree(back) == tree(workspace.root)
    assert os.readlink(back / "secret") == str(outside / "secret.txt")
    assert archive.members == len(tree(back))
    assert (archive.left_out, archive.truncated, archive.found) == (0, None, False)
    assert manifest(archive)["status"] == "success"


def test_an_archive_is_private(workspace: Workspace, shelf: Path) -> None:
    """An archive is 0600 in a directory of mode 0700, under any umask, and nothing is beside it."""
    before = os.umask(0)
    try:
        archive = packed(workspace, shelf)
    finally:
        os.umask(before)

    assert stat.S_IMODE(archive.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(shelf.stat().st_mode) == 0o700
    assert os.listdir(shelf) == [archive.path.name]
    assert archive.bytes == archive.path.stat().st_size


def test_what_cannot_be_packed_is_named(
    workspace: Workspace, shelf: Path, open_descriptors: Callable[[], int]
) -> None:
    """FIFOs, sockets, devices and sparse terabytes are left out by name, never waited for."""
    root = workspace.root
    os.mkfifo(root / "fifo")
    os.mknod(root / "socket", stat.S_IFSOCK | 0o600)
    if os.geteuid() == 0:
        os.mknod(root / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    with (root / "sparse").open("wb") as file:
        file.truncate(1024**4)
    workspace.write({"plain": b"x"})
    before = open_descriptors()

    archive = packed(workspace, shelf)

    said = {each["path"]: each["why"] for each in manifest(archive)["left_out"]}
    assert said.pop("device", "a character device") == "a character device"
    assert set(said) == {"fifo", "socket", "sparse"}
    assert (said["fifo"], said["socket"]) == ("a FIFO", "a socket")
    assert "1099511627776 bytes" in said["sparse"]
    assert archive.left_out >= 3
    assert open_descriptors() == before


def test_a_tree_3000_levels_deep_is_packed(workspace: Workspace, shelf: Path) -> None:
    """Depth defeats no packing, with 64 descriptors; beyond the limit it is said (case 19)."""
    handle = os.open(workspace.root / "output/artifacts", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)

    with few_descriptors(64):
        archive = packed(workspace, shelf)
    shallow = packed(workspace, shelf.with_name("shallow"), ArchiveLimits(keep_free=0, depth=10))
    workspace.delete()  # not every program that tidies up copes with it

    assert archive.members == 3000 + 4
    assert archive.left_out == 0
    assert manifest(shallow)["left_out"][0]["why"] == "deeper than 10 levels"


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (ArchiveLimits(keep_free=0, entries=7), "more than 7 entries"),
        (ArchiveLimits(keep_free=0, seconds=0.0), "no time left"),
    ],
    ids=["entries", "seconds"],
)
def test_a_cut_archive_says_so(
    workspace: Workspace, shelf: Path, limits: ArchiveLimits, why: str
) -> None:
    """Over a limit an archive ends early and its manifest says why; it is sound even so."""
    workspace.write({f"f{n}": b"x" for n in range(9)})

    archive = packed(workspace, shelf, limits)

    assert why in (archive.truncated or "")
    assert manifest(archive)["truncated"] == archive.truncated
    assert archive.members < 13
    assert packed(workspace, shelf, limits).found


def test_what_is_too_large_is_left_out_and_the_rest_taken(
    workspace: Workspace, shelf: Path
) -> None:
    """A file over the limit on bytes is named in the manifest, and small ones are packed."""
    workspace.write({"large": b"y" * 2_000_000, **{f"f{n}": b"x" for n in range(9)}})
    limits = ArchiveLimits(keep_free=0, bytes=1_000_000)

    archive = packed(workspace, shelf, limits)

    said = manifest(archive)
    assert [each["path"] for each in said["left_out"]] == ["large"]
    assert (said["members"], said["truncated"]) == (4 + 9, None)
    assert packed(workspace, shelf, limits).found


def test_many_left_out_entries_do_not_swell_the_manifest(workspace: Workspace, shelf: Path) -> None:
    """Of what is left out a thousand entries are named and all are counted."""
    for n in range(1500):
        os.mkfifo(workspace.root / f"fifo-{n}")

    archive = packed(workspace, shelf)

    assert archive.left_out == 1500
    assert len(manifest(archive)["left_out"]) == 1000


def test_modes_that_deny_everything_do_not_keep_it_out(
    unprivileged: tuple[Path, Callable[[], AbstractContextManager[None]]], tmp_path: Path
) -> None:
    """Directories and files of mode 000 are packed, with the modes that they had (case 16)."""
    directory, acting = unprivileged
    with acting():
        workspace = Workspace.create(directory, ID, 1)
        for mode in (0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600):
            inner = workspace.root / f"m{mode:o}"
            inner.mkdir()
            (inner / "file").write_text(f"in {mode:o}")
            (inner / "file").chmod(mode & 0o600)
            inner.chmod(mode)
        archive = packed(workspace, directory / "archives")

    assert archive.left_out == 0
    listed = subprocess.run(
        ["tar", "--zstd", "-tvf", archive.path], capture_output=True, text=True, check=True
    ).stdout
    assert "d---------" in listed
    assert "----------" in listed
    for mode in (0o000, 0o300, 0o500):
        member = f"{workspace.root.name}/m{mode:o}/file"
        held = subprocess.run(
            ["tar", "--zstd", "-xOf", archive.path, member], capture_output=True, check=True
        )
        assert held.stdout == f"in {mode:o}".encode()


def test_rights_of_others_are_not_lent_by_an_archive(
    workspace: Workspace, shelf: Path, tmp_path: Path
) -> None:
    """A set-user-id file comes back without that bit, even if root unpacks it."""
    workspace.write({"shell": b"#!/bin/sh\n"})
    (workspace.root / "shell").chmod(0o6755)

    back = unpacked(packed(workspace, shelf), tmp_path / "back")

    assert stat.S_IMODE((back / "shell").stat().st_mode) == 0o755


def corrupt(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    match how:
        case "flipped":
            data[len(data) // 2] ^= 0xFF
        case "cut":
            del data[len(data) * 2 // 3 :]
        case "emptied":
            data.clear()
        case "garbage":
            data[:] = os.urandom(5000)
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "garbage"])
def test_an_archive_that_is_not_sound_is_removed_and_the_workspace_kept(
    workspace: Workspace, shelf: Path, outside: Path, how: str
) -> None:
    """Damage is found when an archive is verified; then it goes, and nothing else (req 21.5)."""
    fill(workspace, outside)
    archive = packed(workspace, shelf)
    before = tree(workspace.root)
    corrupt(archive.path, how)

    with pytest.raises(ArchiveUnsound, match="workspace kept"):
        packed(workspace, shelf)

    assert os.listdir(shelf) == []
    assert tree(workspace.root) == before
    assert packed(workspace, shelf).found is False


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "PROMPT.md").write_bytes(b"lxxk\n"),
        lambda root: (root / "PROMPT.md").write_bytes(b"longer than before"),
        lambda root: (root / "new").write_bytes(b""),
        lambda root: (root / "context/empty").unlink(),
        lambda root: ((root / "secret").unlink(), (root / "secret").symlink_to("elsewhere")),
        lambda root: ((root / "again").unlink(), (root / "again").mkdir()),
        lambda root: (root / "folder").rename(root / "renamed"),
    ],
    ids=["content", "length", "added", "removed", "link", "kind", "name"],
)
def test_any_difference_is_found(
    workspace: Workspace, shelf: Path, outside: Path, change: Callable[[Path], object]
) -> None:
    """An archive passes only if every entry is what the tree holds, both ways (req 21.5)."""
    fill(workspace, outside)
    packed(workspace, shelf)
    change(workspace.root)

    with pytest.raises(ArchiveUnsound):
        packed(workspace, shelf)

    assert os.listdir(shelf) == []


def test_an_archive_that_is_there_is_verified_not_written_again(
    workspace: Workspace, shelf: Path, outside: Path
) -> None:
    """After a crash between archive and deletion the archive is proved once more (req 21.5)."""
    fill(workspace, outside)
    first = packed(workspace, shelf)
    inode = first.path.stat().st_ino

    second = packed(workspace, shelf)

    assert second.found
    assert second.path.stat().st_ino == inode
    assert (second.members, second.bytes) == (first.members, first.bytes)


def test_what_changes_while_it_is_packed_is_not_archived(workspace: Workspace, shelf: Path) -> None:
    """A file that somebody still writes to makes the packing fail, and leaves nothing."""
    path = workspace.root / "growing"
    path.write_bytes(b"x" * 5_000_000)

    def cut(amount: int) -> None:
        if amount:
            path.write_bytes(b"")

    with pytest.raises(WorkspaceError, match="growing"):
        pack(workspace, shelf, about={}, limits=LIMITS, tick=cut)

    assert os.listdir(shelf) == []
    assert workspace.root.is_dir()


def test_packing_can_be_given_up(workspace: Workspace, shelf: Path) -> None:
    """What the tick raises ends the packing at once, and nothing is left of it."""
    workspace.write({"large": b"x" * 3_000_000})

    def stop(amount: int) -> None:
        if amount:
            raise InterruptedError("enough")

    with pytest.raises((InterruptedError, WorkspaceError)):
        pack(workspace, shelf, about={}, limits=LIMITS, tick=stop)

    assert os.listdir(shelf) == []


def test_a_full_disk_is_told_and_left_as_it_was(
    workspace: Workspace, small_disk: Callable[[str], Path]
) -> None:
    """Without space there is no archive and no leftover, and the workspace stays (req 21.4)."""
    workspace.write({"noise": os.urandom(3_000_000)})
    disk = small_disk("size=2m")

    with pytest.raises(NoSpace):
        packed(workspace, disk / "archives")
    with pytest.raises(NoSpace, match="are to stay free"):
        packed(workspace, disk / "archives", ArchiveLimits(keep_free=64 * 1024**2))

    assert os.listdir(disk / "archives") == []
    assert workspace.root.is_dir()


def test_leftovers_of_a_killed_packing_are_removed(workspace: Workspace, shelf: Path) -> None:
    """Half-written files go at the next pass; archives and files of others stay."""
    assert remove_unfinished(shelf) == 0
    archive = packed(workspace, shelf)
    (shelf / ".packing-0123456789abcdef").write_bytes(b"half")
    (shelf / ".packing-notes").write_bytes(b"of somebody")

    assert remove_unfinished(shelf) == 1

    assert set(os.listdir(shelf)) == {archive.path.name, ".packing-notes"}


def test_no_link_is_followed_to_a_place_for_archives(
    workspace: Workspace, shelf: Path, outside: Path
) -> None:
    """A linked directory of archives is refused; a link in an archive's place leads nowhere."""
    shelf.parent.mkdir()
    shelf.symlink_to(outside)
    with pytest.raises(OutsideWorkspace):
        packed(workspace, shelf)
    shelf.unlink()
    shelf.mkdir(mode=0o700)
    (shelf / f"{workspace.root.name}.tar.zst").symlink_to(outside / "secret.txt")

    with pytest.raises(OutsideWorkspace):
        packed(workspace, shelf)

    assert (outside / "secret.txt").read_text() == "the canary"
    assert os.listdir(outside) == ["secret.txt"]


def test_memory_does_not_grow_with_what_is_packed(workspace: Workspace, shelf: Path) -> None:
    """Packing and proving two thousand files takes no more memory than two hundred."""

    def peak(count: int) -> int:
        for n in range(count):
            (workspace.root / f"output/{n}").write_bytes(b"x" * 1000)
        (workspace.root / "large").write_bytes(b"y" * 10_000 * count)
        tracemalloc.start()
        packed(workspace, shelf / str(count))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    few, many = peak(200), peak(2000)

    assert many < few * 1.5 + 500_000


def test_a_lock_is_had_once(tmp_path: Path) -> None:
    """Of two who ask for the same lock one has it, the other learns so without waiting."""
    where = tmp_path.resolve() / "data"
    with held_alone(where, "gc.lock") as first, held_alone(where, "gc.lock") as second:
        assert (first, second) == (True, False)
    with held_alone(where, "gc.lock") as again:
        assert again
