"""Writing, reading and replacing: inside only, all at once, whatever stands in the way."""

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubecase.core.errors import KubecaseError, OutsideWorkspace, WorkspaceError
from kubecase.workspace import Workspace, keep_files

ID = "6b1d0f3a-0000-4000-8000-0000000000a1"
CLIMBING = [
    "../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a/.", "", "/", "a/", "..", "a\0b",
    "context/../../x",
]  # fmt: skip


def names(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if not p.is_dir())


def test_what_was_written_is_read_back(workspace: Workspace) -> None:
    """Files come back byte for byte, directories on the way are made."""
    files = {"PROMPT.md": b"look", "a/b/c.bin": bytes(range(256)), "context/empty": b""}

    workspace.write(files, durable=True)

    assert files == {name: workspace.read(name, 1000) for name in files}
    assert sorted(files) == names(workspace.root)


def test_files_named_executable_are(workspace: Workspace) -> None:
    """Only files that are meant to run get the right to."""
    workspace.write({"run": b"#!", "text": b""}, executable=["run"])

    modes = {n: stat.S_IMODE((workspace.root / n).stat().st_mode) for n in ("run", "text")}
    assert modes == {"run": 0o700, "text": 0o600}


@pytest.mark.parametrize("relative", CLIMBING)
def test_no_path_leads_out(workspace: Workspace, relative: str) -> None:
    """Every access refuses a path that is not plainly below the workspace (req 3.7, 16.3)."""
    for access in (
        lambda: workspace.write({relative: b"x"}),
        lambda: workspace.read(relative, 10),
        lambda: workspace.replace(relative, b"x"),
        lambda: workspace.remove(relative),
        lambda: workspace.make_directory(relative),
    ):
        with pytest.raises(OutsideWorkspace):
            access()

    assert names(workspace.root) == []
    assert [workspace.root.name] == os.listdir(workspace.root.parent)


@settings(max_examples=150, deadline=None)
@given(relative=st.text(st.characters(), max_size=30) | st.from_regex(r"[./a\0\n]{0,12}"))
def test_any_text_as_a_path_stays_inside(
    tmp_path_factory: pytest.TempPathFactory, relative: str
) -> None:
    """Whatever text is taken for a path, a file appears below the workspace or not at all."""
    root = tmp_path_factory.mktemp("any").resolve()
    workspace = Workspace.create(root, ID, 1)

    try:
        workspace.write({relative: b"content"})
    except KubecaseError:
        assert names(workspace.root) == []
    else:
        assert workspace.read(relative, 100) == b"content"

    assert [workspace.root.name] == os.listdir(root)
    assert workspace.root == next(p for p in root.iterdir())


@pytest.mark.parametrize("where", ["context", "output", ".claude"])
def test_a_link_planted_in_the_tree_is_not_followed(
    workspace: Workspace, outside: Path, where: str
) -> None:
    """A directory replaced by a link: nothing outside is read, written or deleted (req 3.7)."""
    for each in sorted((workspace.root / where).rglob("*"), reverse=True):
        each.rmdir()
    (workspace.root / where).rmdir()
    (workspace.root / where).symlink_to(outside)

    for access in (
        lambda: workspace.write({f"{where}/new": b"x"}),
        lambda: workspace.read(f"{where}/secret.txt", 100),
        lambda: workspace.remove(f"{where}/secret.txt"),
        lambda: workspace.make_directory(f"{where}/new"),
    ):
        with pytest.raises(OutsideWorkspace, match="symbolic link"):
            access()

    assert os.listdir(outside) == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == "the canary"


def test_a_write_replaces_a_link_and_not_its_target(workspace: Workspace, outside: Path) -> None:
    """A file written where a link stands takes the link's place (req 16.3)."""
    (workspace.root / "context/x").symlink_to(outside / "secret.txt")

    workspace.write({"context/x": b"ours"})

    assert workspace.read("context/x", 10) == b"ours"
    assert (outside / "secret.txt").read_text() == "the canary"


def test_a_disk_that_fills_up_leaves_the_old_file_whole(small_disk: Callable[[str], Path]) -> None:
    """What does not fit is an error; the file before it stays, no piece is left (req 5.9)."""
    workspace = Workspace.create(small_disk("size=64k"), ID, 1)
    workspace.write({"context/a": b"old"})

    with pytest.raises(WorkspaceError, match=r"cannot write 'context/a'.*No space left"):
        workspace.write({"context/a": b"n" * 200_000})

    assert workspace.read("context/a", 10) == b"old"
    assert names(workspace.root) == ["context/a"]


def test_a_producer_that_fails_leaves_no_piece(workspace: Workspace) -> None:
    """When the data breaks off, the old file stays and no temporary file is left."""
    workspace.write({"output/x": b"old"})

    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise WorkspaceError("cannot go on")

    with pytest.raises(WorkspaceError, match="cannot go on"):
        workspace.replace("output/x", chunks())

    assert workspace.read("output/x", 10) == b"old"
    assert names(workspace.root) == ["output/x"]


def test_the_log_is_created_once_and_appended_to(workspace: Workspace) -> None:
    """The log exists before the agent does; one that is there already is refused (req 8.9)."""
    log = workspace.create_log()
    os.write(log, b"one\n")
    os.write(log, b"two\n")
    os.close(log)

    assert workspace.read("output/agent.log", 100) == b"one\ntwo\n"
    with pytest.raises(WorkspaceError, match="File exists"):
        workspace.create_log()


def test_an_absent_file_is_an_answer(workspace: Workspace) -> None:
    """A report that is not there is told apart from one that cannot be read."""
    for relative in ("output/investigation.md", "no/such/directory"):
        with pytest.raises(FileNotFoundError):
            workspace.read(relative, 10)
    with pytest.raises(FileNotFoundError):
        workspace.remove("output/nothing")


def test_a_file_over_the_limit_is_not_read(workspace: Workspace) -> None:
    """A report may be exactly as long as allowed, and not a byte longer, sparse or not."""
    workspace.write({"output/a": b"12345"})
    os.truncate(workspace.root / "output/a", 5)

    assert workspace.read("output/a", 5) == b"12345"
    with pytest.raises(WorkspaceError, match="longer than 4 bytes"):
        workspace.read("output/a", 4)
    os.truncate(workspace.root / "output/a", 1 << 40)
    with pytest.raises(WorkspaceError, match="longer than 4 bytes"):
        workspace.read("output/a", 4)


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "device", "link", "hard link"])
def test_a_report_that_is_no_file_is_refused_at_once(
    workspace: Workspace, outside: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that an agent puts in the place of its report makes us wait or look elsewhere."""
    place = workspace.root / "output/investigation.md"
    plant(kind, place, outside, monkeypatch)

    with pytest.raises(KubecaseError, match=r"cannot read 'investigation\.md'") as raised:
        workspace.read("output/investigation.md", 1000)

    assert ("link" in kind) == isinstance(raised.value, OutsideWorkspace)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "kind", ["nothing", "file", "fifo", "socket", "directory", "device", "link", "hard link"]
)
def test_the_final_report_takes_the_place_of_whatever_was_left(
    workspace: Workspace, outside: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the kill our report stands where it belongs, and nothing outside has changed."""
    place = workspace.root / "output/final-report.md"
    plant(kind, place, outside, monkeypatch)

    told = workspace.replace("output/final-report.md", iter([b"the ", b"report"]))

    assert workspace.read("output/final-report.md", 100) == b"the report"
    assert stat.S_IMODE(place.lstat().st_mode) == 0o600
    assert (outside / "secret.txt").read_text() == "the canary"
    assert (outside / "secret.txt").stat().st_nlink == 1
    assert (kind in {"nothing", "file", "hard link"}) == (told == ())


@pytest.mark.parametrize("kind", ["link", "fifo", "file", "nothing"])
def test_an_output_directory_that_is_gone_is_made_anew(
    workspace: Workspace, outside: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reports arrive even if the agent has put something else where `output/` was (req 3.7)."""
    (workspace.root / "output/artifacts").rmdir()
    (workspace.root / "output").rmdir()
    plant(kind, workspace.root / "output", outside, monkeypatch)

    told = workspace.replace("output/final-report.md", b"the report")

    assert workspace.read("output/final-report.md", 100) == b"the report"
    assert os.listdir(outside) == ["secret.txt"]
    assert (kind != "nothing") == any(t.startswith("'output' was ") for t in told)


def plant(kind: str, place: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put something of `kind` at `place`, leading to `outside` where it can."""
    match kind:
        case "file":
            place.write_text("theirs")
        case "fifo":
            os.mkfifo(place)
        case "socket":
            monkeypatch.chdir(place.parent)
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(place.name)
        case "device":
            if os.geteuid() != 0:
                pytest.skip("needs root to make a device")
            os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 5))
        case "directory":
            (place / "a/b").mkdir(parents=True)
            (place / "a/link").symlink_to(outside)
        case "link":
            place.symlink_to(outside / "secret.txt" if place.suffix else outside)
        case "hard link":
            place.hardlink_to(outside / "secret.txt")
        case _:
            pass


def test_a_directory_without_rights_does_not_stop_the_report(
    unprivileged: tuple[Path, Callable[[], AbstractContextManager[None]]],
) -> None:
    """An agent that takes away all rights from `output/` still gets its report there."""
    directory, acting = unprivileged
    with acting():
        workspace = Workspace.create(directory, ID, 1)
        (workspace.root / "output").chmod(0)

        workspace.replace("output/final-report.md", b"the report")

        assert workspace.read("output/final-report.md", 100) == b"the report"


def test_another_directory_in_its_place_is_not_taken_for_the_workspace(root: Path) -> None:
    """Two workspaces exchanged by name are noticed, so that no run reads another's files."""
    mine, theirs = Workspace.create(root, ID, 1), Workspace.create(root, ID, 2)
    theirs.write({"output/investigation.md": b"theirs"})
    mine.root.rename(root / "aside")
    theirs.root.rename(mine.root)

    for access in (
        lambda: mine.read("output/investigation.md", 10),
        lambda: mine.write({"x": b""}),
        mine.delete,
    ):
        with pytest.raises(WorkspaceError, match="another directory"):
            access()

    assert names(mine.root) == ["output/investigation.md"]


def test_a_link_in_its_place_is_not_taken_for_the_workspace(
    workspace: Workspace, outside: Path
) -> None:
    """A workspace replaced by a link is refused by name of what stands there now (req 3.7)."""
    workspace.root.rename(workspace.root.with_name("aside"))
    workspace.root.symlink_to(outside)

    for access in (lambda: workspace.read("secret.txt", 100), workspace.delete):
        with pytest.raises(OutsideWorkspace, match="a symbolic link now"):
            access()

    assert os.listdir(outside) == ["secret.txt"]


def test_a_refusal_shows_a_hostile_name_escaped(workspace: Workspace) -> None:
    """A message names the path without passing on what a terminal would act on (req 16.4)."""
    with pytest.raises(OutsideWorkspace) as raised:
        workspace.read("../\x1b]52;c;x\x07\n\u202e" + "y" * 5000, 10)

    assert str(raised.value).isprintable()
    assert "\\x1b" in str(raised.value)
    assert len(str(raised.value)) < 600


def test_an_empty_directory_can_be_asked_for(workspace: Workspace) -> None:
    """A home for the agent is made with the mode of everything else, twice over if need be."""
    for _ in range(2):
        assert workspace.root / ".home/x" == workspace.make_directory(".home/x")

    assert stat.S_IMODE((workspace.root / ".home").stat().st_mode) == 0o700


def test_nothing_stays_open(workspace: Workspace, open_descriptors: Callable[[], int]) -> None:
    """No access leaves a descriptor behind, refused or not."""
    (workspace.root / "output/l").symlink_to("/etc")
    before = open_descriptors()

    for _ in range(5):
        workspace.write({"a/b": b"x"})
        workspace.read("a/b", 10)
        workspace.replace("output/l2/x", b"")
        workspace.measure()
        for bad in ("output/l/passwd", "a/b/c", "output/l"):
            with pytest.raises(KubecaseError):
                workspace.read(bad, 10)

    assert before == open_descriptors()


def test_what_kubecase_keeps_for_itself_is_private_and_whole(tmp_path: Path, outside: Path) -> None:
    """Kept files are 0600 in 0700 directories, replaced at once, and never behind a link."""
    place = tmp_path.resolve() / "data/artifacts/one"

    keep_files(place, {"report.md": b"old", "deep/er": b"x"})
    keep_files(place, {"report.md": b"new"})

    assert (place / "report.md").read_bytes() == b"new"
    assert names(place) == ["deep/er", "report.md"]
    assert {0o600, 0o700} == {stat.S_IMODE(p.stat().st_mode) for p in (place, *place.rglob("*"))}
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(OutsideWorkspace):
        keep_files(tmp_path.resolve() / "link", {"x": b""})
    assert os.listdir(outside) == ["secret.txt"]
