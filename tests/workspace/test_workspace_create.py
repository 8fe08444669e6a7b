"""Creating a workspace: once, private, complete, or not at all."""

import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubecase.core.errors import InvalidIncidentId, KubecaseError, OutsideWorkspace, WorkspaceError
from kubecase.workspace import Workspace

ID = "6b1d0f3a-0000-4000-8000-0000000000a1"
TREE = [".claude", "context", "output", "output/artifacts"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def test_the_tree_is_there_before_anything_runs(root: Path) -> None:
    """A new workspace has every directory that an agent is promised (req 3.1, 3.2)."""
    workspace = Workspace.create(root, ID, 1)

    assert root / f"incident-{ID}" == workspace.root
    found = sorted(str(p.relative_to(workspace.root)) for p in workspace.root.rglob("*"))
    assert found == TREE


def test_later_attempts_are_siblings(root: Path) -> None:
    """Each attempt has a directory of its own and none lies inside another's."""
    first, second = Workspace.create(root, ID, 1), Workspace.create(root, ID, 2)

    assert f"incident-{ID}-attempt-2" == second.root.name
    assert first.root.parent == second.root.parent


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(root: Path, mask: int) -> None:
    """Directories are 0700 and files 0600 whatever umask the service has (req 3.3, 5.9)."""
    with umask(mask):
        workspace = Workspace.create(root / "deeper", ID, 1)
        workspace.write({"context/incident.json": b"{}", "PROMPT.md": b"look"})
        os.close(workspace.create_log())

    everything = [root, root / "deeper", workspace.root, *workspace.root.rglob("*")]
    assert {0o700} == {mode(p) for p in everything if p.is_dir()}
    assert {0o600} == {mode(p) for p in everything if p.is_file()}
    assert sum(p.is_file() for p in everything) == 3


def test_there_is_no_moment_with_a_wider_mode(root: Path) -> None:
    """Nobody who watches the root ever sees a workspace that others may enter (req 16.5)."""
    root.mkdir(mode=0o700)
    done = threading.Event()
    wide: list[int] = []

    def watch() -> None:
        while not done.is_set():
            modes = {entry.stat(follow_symlinks=False).st_mode for entry in os.scandir(root)}
            wide.extend(m for m in modes if m & 0o077)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with umask(0):
        for attempt in range(1, 200):
            Workspace.create(root, ID, attempt)
    done.set()
    watcher.join()

    assert wide == []


@pytest.mark.parametrize("kind", ["directory", "link", "dangling link", "file"])
def test_what_exists_already_is_not_touched(root: Path, outside: Path, kind: str) -> None:
    """A workspace is created once; whatever stands in its place stays as it is (req 3.4)."""
    root.mkdir()
    place = root / f"incident-{ID}"
    match kind:
        case "directory":
            place.mkdir()
            (place / "theirs").write_text("kept")
        case "link":
            place.symlink_to(outside)
        case "dangling link":
            place.symlink_to(root / "nowhere")
        case _:
            place.write_text("kept")
    before = place.lstat()

    with pytest.raises(WorkspaceError, match="File exists") as raised:
        Workspace.create(root, ID, 1)

    assert raised.value.hint
    assert before == place.lstat()
    assert kind != "directory" or (place / "theirs").read_text() == "kept"
    assert os.listdir(outside) == ["secret.txt"]


@pytest.mark.parametrize(
    "bad",
    [
        "", "../x", "..", "/", ID.upper(), "{" + ID + "}", ID + "\0", ID + "\n", ID + "/..",
        ID.replace("-", ""), "urn:uuid:" + ID, " " + ID, ID[:-1], ID + "0", ID[:-1] + "\uff11",
    ],
)  # fmt: skip
def test_only_a_canonical_uuid_becomes_a_directory(root: Path, bad: str) -> None:
    """Any other spelling of an id is refused and nothing is created (req 3.1, 16.1)."""
    with pytest.raises(InvalidIncidentId):
        Workspace.create(root, bad, 1)

    assert not root.exists()


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_no_text_but_a_uuid_gets_through(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Whatever text comes as an id, nothing is created for it."""
    root = tmp_path_factory.getbasetemp().resolve() / "never"

    with pytest.raises(InvalidIncidentId):
        Workspace.create(root, text, 1)

    assert not root.exists()


@settings(max_examples=20, deadline=None)
@given(id=st.uuids(), attempt=st.integers(1, 999))
def test_every_uuid_and_attempt_has_its_own_workspace(
    tmp_path_factory: pytest.TempPathFactory, id: object, attempt: int
) -> None:
    """A workspace can be made for every id, found again by it, and be taken away."""
    root = tmp_path_factory.mktemp("each").resolve()

    made = Workspace.create(root, str(id), attempt)

    assert made == Workspace.open(root, str(id), attempt)
    made.delete()
    assert os.listdir(root) == []


@pytest.mark.parametrize("position", ["the root", "above the root"])
def test_a_link_in_the_root_is_refused(tmp_path: Path, outside: Path, position: str) -> None:
    """No component of workspace_root may be a link; the hint names the real path (req 3.6)."""
    link = tmp_path.resolve() / "link"
    link.symlink_to(outside)
    root = link if position == "the root" else link / "workspaces"

    with pytest.raises(OutsideWorkspace, match="symbolic link") as raised:
        Workspace.create(root, ID, 1)

    assert str(outside) in str(raised.value.hint)
    assert os.listdir(outside) == ["secret.txt"]


def test_a_root_that_climbs_is_refused(root: Path) -> None:
    """A root with '..' in it is refused rather than guessed at (req 16.2)."""
    with pytest.raises(WorkspaceError, match="cannot use") as raised:
        Workspace.create(root / ".." / "elsewhere", ID, 1)

    assert ".." in str(raised.value.hint)
    assert not root.parent.joinpath("elsewhere").exists()


def test_a_relative_root_means_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace knows its absolute path, however the root was spelt."""
    monkeypatch.chdir(tmp_path)

    workspace = Workspace.create(Path("here"), ID, 1)

    assert tmp_path.resolve() / "here" / f"incident-{ID}" == workspace.root


@pytest.mark.parametrize("inodes", [2, 3, 4, 5])
def test_a_full_disk_leaves_no_half_workspace(
    small_disk: Callable[[str], Path], inodes: int
) -> None:
    """When the disk is full, creation is an error and leaves nothing behind (req 3.8, 12.5)."""
    place = small_disk(f"size=64k,nr_inodes={inodes}")

    with pytest.raises(WorkspaceError, match="No space left on device") as raised:
        Workspace.create(place, ID, 1)

    assert "space" in str(raised.value.hint)
    assert os.listdir(place) == []


def test_a_root_that_may_not_be_written_is_an_error_with_a_remedy(
    unprivileged: tuple[Path, Callable[[], AbstractContextManager[None]]],
) -> None:
    """Without the right to write, the operator is told what to do (req 3.8)."""
    directory, acting = unprivileged
    root = directory / "root"
    with acting():
        root.mkdir(mode=0o500)

        with pytest.raises(WorkspaceError, match="Permission denied") as raised:
            Workspace.create(root, ID, 1)

        assert os.listdir(root) == []
    assert "right to write" in str(raised.value.hint)


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A file in the place of the root is an error that says so."""
    (tmp_path / "file").write_text("x")

    with pytest.raises(WorkspaceError, match="not a directory"):
        Workspace.create(tmp_path.resolve() / "file" / "root", ID, 1)


def test_ten_at_once_for_one_attempt_make_one_workspace(root: Path) -> None:
    """However many try at one moment, one creates it and the others learn it (req 3.8)."""
    start = threading.Barrier(10)

    def create(_: int) -> bool:
        start.wait()
        try:
            Workspace.create(root, ID, 1)
        except WorkspaceError:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(create, range(10)))

    assert sum(made) == 1
    assert len(list((root / f"incident-{ID}").rglob("*"))) == 4


def test_ten_at_once_for_ten_attempts_do_not_disturb_one_another(root: Path) -> None:
    """Concurrent investigations have workspaces of their own (req 19.10)."""
    start = threading.Barrier(10)

    def create(attempt: int) -> Workspace:
        start.wait()
        workspace = Workspace.create(root, ID, attempt)
        workspace.write({"context/mine": str(attempt).encode()})
        return workspace

    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(create, range(1, 11)))

    assert len({w.root for w in made}) == 10
    read = [w.read("context/mine", 10) for w in made]
    assert [str(n).encode() for n in range(1, 11)] == read


def test_what_cannot_be_opened_says_why(root: Path, outside: Path) -> None:
    """Opening a workspace that is absent or a link is refused, not followed."""
    with pytest.raises(WorkspaceError, match="No such file"):
        Workspace.open(root, ID)

    root.mkdir()
    (root / f"incident-{ID}").symlink_to(outside)
    with pytest.raises(OutsideWorkspace):
        Workspace.open(root, ID)


def test_creation_holds_no_descriptor(root: Path, open_descriptors: Callable[[], int]) -> None:
    """A workspace is a value: nothing stays open, neither after success nor after refusal."""
    before = open_descriptors()

    Workspace.create(root, ID, 1)
    for _ in range(5):
        with pytest.raises(KubecaseError):
            Workspace.create(root, ID, 1)

    assert before == open_descriptors()
