"""Collecting what an agent left, with everything it may have put in the way."""

import hashlib
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubecase.core.errors import KubecaseError
from kubecase.workspace import Collected, CollectionBudget, Workspace, collect

ID = "6b1d0f3a-0000-4000-8000-0000000000a1"
BUDGET = CollectionBudget()


@pytest.fixture
def place(workspace: Workspace) -> Path:
    """The directory of artifacts."""
    return workspace.root / "output/artifacts"


def why(collected: Collected) -> dict[str, str]:
    return {each.path.removeprefix("output/artifacts/"): each.why for each in collected.rejected}


def test_three_nested_files_are_found(workspace: Workspace, place: Path) -> None:
    """Files of any depth come sorted, by absolute path, with size and digest (req 11.1, 11.2)."""
    contents = {"b.txt": b"two", "a/z.json": b"{}", "a/b/c": b""}
    workspace.write({f"output/artifacts/{name}": data for name, data in contents.items()})

    collected = collect(workspace, BUDGET)

    assert [place / "a/b/c", place / "a/z.json", place / "b.txt"] == [
        a.path for a in collected.artifacts
    ]
    assert [a.size for a in collected.artifacts] == [0, 2, 3]
    assert hashlib.sha256(b"two").hexdigest() == collected.artifacts[2].sha256
    assert collected.rejected == ()
    assert collected.truncated == 0


def test_nothing_left_is_nothing_found(workspace: Workspace, place: Path) -> None:
    """An empty directory, an absent one and an absent `output/` have no artifacts (req 11.6)."""
    empty = collect(workspace, BUDGET)
    place.rmdir()
    absent = collect(workspace, BUDGET)
    place.parent.rmdir()

    assert Collected() == empty == absent == collect(workspace, BUDGET)


@pytest.mark.parametrize("level", ["output", "output/artifacts"])
@pytest.mark.parametrize("target", ["/etc", "loop", "../.."])
def test_a_link_in_the_place_of_the_directory_is_refused(
    workspace: Workspace, place: Path, level: str, target: str
) -> None:
    """`artifacts -> /etc` gives nothing of /etc, and is listed with its reason (case 13)."""
    place.rmdir()
    if level == "output":
        place.parent.rmdir()
    (workspace.root / level).symlink_to(target)

    collected = collect(workspace, BUDGET)

    assert collected.artifacts == ()
    (refused,) = collected.rejected
    assert refused.path == "output/artifacts"
    assert "symbolic link" in refused.why


def test_links_are_listed_and_the_rest_is_collected(
    workspace: Workspace, place: Path, outside: Path
) -> None:
    """No link is followed wherever it leads; a good file beside it is taken (case 13, req 11.3)."""
    links = {
        "environ": "/proc/self/environ",
        "secret": str(outside / "secret.txt"),
        "directory": str(outside),
        "up": "../../..",
        "loop": "loop",
        "dangling": "nowhere",
        "inner": "good.txt",
        "d/deep": "/etc/passwd",
    }
    (place / "d").mkdir()
    for name, target in links.items():
        (place / name).symlink_to(target)
    workspace.write({"output/artifacts/good.txt": b"good"})

    collected = collect(workspace, BUDGET)

    assert [place / "good.txt"] == [a.path for a in collected.artifacts]
    assert dict.fromkeys(links, "is a symbolic link") == why(collected)


def test_special_files_are_named_for_what_they_are(
    workspace: Workspace, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIFOs, sockets and devices are listed within two seconds, unopened (case 16, req 11.4)."""
    os.mkfifo(place / "report.md")
    monkeypatch.chdir(place)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    expected = {"report.md": "is a FIFO", "socket": "is a socket"}
    if os.geteuid() == 0:
        os.mknod(place / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        expected["null"] = "is a character device"
    workspace.write({"output/artifacts/good": b"x"})
    begun = time.monotonic()

    collected = collect(workspace, BUDGET)

    assert time.monotonic() - begun < 2
    assert expected == why(collected)
    assert len(collected.artifacts) == 1


def test_hard_links_are_refused(workspace: Workspace, place: Path, outside: Path) -> None:
    """A second name for a file of somebody else's is not an artifact (case 15)."""
    (place / "stolen").hardlink_to(outside / "secret.txt")
    workspace.write({"output/artifacts/a": b"x", "output/artifacts/good": b"x"})
    (place / "b").hardlink_to(place / "a")

    collected = collect(workspace, BUDGET)

    assert [place / "good"] == [a.path for a in collected.artifacts]
    assert {"stolen", "a", "b"} == set(why(collected))
    assert {"has 2 names (hard links)"} == set(why(collected).values())


def test_files_of_another_user_are_refused(workspace: Workspace, place: Path) -> None:
    """What the agent's user does not own, the agent did not write (case 15)."""
    workspace.write({"output/artifacts/a": b"x"})

    mine = collect(workspace, BUDGET, agent_uid=os.geteuid())
    theirs = collect(workspace, BUDGET, agent_uid=os.geteuid() + 1)

    assert len(mine.artifacts) == 1
    assert why(theirs) == {"a": "belongs to another user"}
    assert theirs.artifacts == ()


def test_odd_names_are_taken_or_shown_escaped(workspace: Workspace, place: Path) -> None:
    """No name breaks what it is shown or stored in; printable ones of any script stay (case 18)."""
    good = [
        "-rf",
        "<img src=x>",
        "日本.txt",
        "שלום",
        "n" * 255,
        "exit",
        "$(id)",
        "a b",
        "back\\slash",
    ]
    bad = {
        b"new\nline": "new\\nline",
        b"\xff\xfe": "\\xff\\xfe",
        b"\x1b]0;x\x07": "\\x1b]0;x\\x07",
        "right\u202eleft".encode(): "right\\u202eleft",
        b"tab\there": "tab\\there",
    }
    for name in [*good, *bad]:
        with open(os.path.join(os.fsencode(place), os.fsencode(name)), "wb") as file:
            file.write(os.fsencode(name))

    collected = collect(workspace, BUDGET)

    assert sorted(good) == [a.path.name for a in collected.artifacts]
    assert set(bad.values()) == set(why(collected))
    for each in collected.rejected:
        assert (each.path + each.why).isprintable()
    for artifact in collected.artifacts:
        str(artifact.path).encode("utf-8")
        assert hashlib.sha256(artifact.path.name.encode()).hexdigest() == artifact.sha256


def test_what_lies_in_an_oddly_named_directory_is_refused(
    workspace: Workspace, place: Path
) -> None:
    """A file below a name that does not print is listed, not taken."""
    (place / "a\nb").mkdir()
    (place / "a\nb/file").write_text("x")

    collected = collect(workspace, BUDGET)

    assert why(collected) == {"a\\nb/file": "its name is not printable text"}


def test_a_sparse_giant_costs_nothing(workspace: Workspace, place: Path) -> None:
    """A file of 1 TiB that takes up no disk is refused by its size and the rest taken (case 17)."""
    workspace.write({"output/artifacts/giant": b"", "output/artifacts/z": b"small"})
    os.truncate(place / "giant", 1 << 40)
    begun = time.monotonic()

    collected = collect(workspace, BUDGET)

    assert time.monotonic() - begun < 2
    assert why(collected)["giant"].startswith(f"too large: {1 << 40} bytes")
    assert [place / "z"] == [a.path for a in collected.artifacts]


def test_all_bytes_together_are_bounded(workspace: Workspace) -> None:
    """The budget of bytes holds over all files, whichever come first."""
    workspace.write({f"output/artifacts/{n}": b"x" * 10 for n in range(10)})

    collected = collect(workspace, CollectionBudget(bytes=35))

    assert len(collected.artifacts) == 3
    assert len(collected.rejected) == 7
    assert {"too large: 10 bytes, 5 of 35 are left"} == set(why(collected).values())


def test_a_tree_that_is_too_deep_is_said_to_be(workspace: Workspace, place: Path) -> None:
    """Levels beyond the budget are not entered; the first of them is listed (case 19)."""
    (place / "1/2/3/4/5").mkdir(parents=True)
    (place / "1/2/3/4/5/lost").write_text("x")
    (place / "1/2/found").write_text("x")

    collected = collect(workspace, CollectionBudget(depth=3))

    assert [place / "1/2/found"] == [a.path for a in collected.artifacts]
    assert why(collected) == {"1/2/3": "deeper than 3 levels"}


def test_a_hundred_thousand_files_are_cut_counted_and_deleted(
    workspace: Workspace, place: Path
) -> None:
    """Too many files are bounded: some taken, the others counted, all gone, soon (req 11.6)."""
    handle = os.open(place, os.O_RDONLY)
    for n in range(100_000):
        os.mknod(f"{n}", stat.S_IFREG | 0o600, dir_fd=handle)
    os.close(handle)
    begun = time.monotonic()

    collected = collect(workspace, CollectionBudget(entries=1000, seconds=60))
    size = workspace.measure(max_seconds=60)
    workspace.delete()

    assert time.monotonic() - begun < 60
    assert len(collected.artifacts) == 1000
    assert collected.truncated == 99_000
    (told,) = collected.rejected
    assert told.why == "truncated: 99000 left out (over 1000 entries)"
    assert size.entries == 100_004
    assert os.listdir(workspace.root.parent) == []


def test_collecting_ends_when_its_time_is_up(workspace: Workspace) -> None:
    """Without time left nothing is taken and that is said, rather than going on."""
    workspace.write({"output/artifacts/a": b"x"})

    collected = collect(workspace, CollectionBudget(seconds=-1))

    assert collected.artifacts == ()
    assert any("no time left" in reason for reason in why(collected).values())


@contextmanager
def running(program: str, *arguments: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A real process that works against us; ready once it has printed a line."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", program, *map(str, arguments)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


GROW = """
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
print("ready", flush=True)
while True:
    os.write(file, b"x")
"""


def test_a_file_that_grows_is_refused(workspace: Workspace, place: Path) -> None:
    """A file that somebody still writes to is no artifact, and reading it ends (case 17)."""
    workspace.write({"output/artifacts/growing": b"x" * 8_000_000, "output/artifacts/still": b"x"})
    with running(GROW, place / "growing"):
        deadline = time.monotonic() + 20
        reasons: dict[str, str] = {}
        while "growing" not in reasons and time.monotonic() < deadline:
            reasons = why(collected := collect(workspace, BUDGET))

    assert reasons == {"growing": "changed while it was read"}
    assert [place / "still"] == [a.path for a in collected.artifacts]


EXCHANGE = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
pairs = [(os.fsencode(a), os.fsencode(b)) for a, b in zip(sys.argv[1::2], sys.argv[2::2])]
AT_FDCWD, RENAME_EXCHANGE = -100, 2
print("ready", flush=True)
while True:
    for one, other in pairs:
        # Fails while another pair of names is exchanged: then the next time round.
        libc.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE)
"""


def test_exchanging_files_and_links_leaks_nothing(
    workspace: Workspace, place: Path, outside: Path, open_descriptors: Callable[[], int]
) -> None:
    """While a process swaps files, directories, links, no byte from outside is taken (case 14)."""
    canary = hashlib.sha256(b"the canary").hexdigest()
    workspace.write(
        {"output/artifacts/f": b"harmless", "output/artifacts/d/secret.txt": b"harmless"}
    )
    (place / "l").symlink_to(outside / "secret.txt")
    (place / "m").symlink_to(outside)
    (workspace.root / "output/elsewhere").symlink_to(outside)
    before = open_descriptors()
    taken, refused, read = [], 0, []
    deadline = time.monotonic() + 8
    pairs = [place / "f", place / "l", place / "d", place / "m", place, place.parent / "elsewhere"]

    with running(EXCHANGE, *pairs) as attacker:
        for _ in range(2000):
            collected = collect(workspace, BUDGET)
            taken += [a.sha256 for a in collected.artifacts]
            refused += len(collected.rejected)
            for relative in ("output/artifacts/f", "output/artifacts/d/secret.txt"):
                try:
                    read.append(workspace.read(relative, 100))
                except (KubecaseError, FileNotFoundError):
                    refused += 1
            if time.monotonic() > deadline:
                break
        assert attacker.poll() is None

    assert canary not in taken
    assert {b"harmless"} == set(read)
    assert {hashlib.sha256(b"harmless").hexdigest()} == set(taken)
    assert refused > 0
    assert before == open_descriptors()
    assert (outside / "secret.txt").read_text() == "the canary"


def test_exchanging_directories_does_not_delete_outside(root: Path, outside: Path) -> None:
    """Deleting while a process swaps directories for links removes nothing outside (req 3.7)."""
    for attempt in range(1, 21):
        workspace = Workspace.create(root, ID, attempt)
        workspace.write({f"output/d/f{n}": b"x" for n in range(50)})
        link = workspace.root / "output/l"
        link.symlink_to(outside)
        with running(EXCHANGE, workspace.root / "output/d", link):
            workspace.delete()

        assert not workspace.root.exists()

    assert (outside / "secret.txt").read_text() == "the canary"
