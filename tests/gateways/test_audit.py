"""The record of what was asked and answered cannot be changed unnoticed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kubecase.gateways.audit import (
    GENESIS,
    MAX_KEPT,
    AuditLog,
    keep_answer,
    read_answer,
    read_lines,
    remove_old_answers,
    verify,
)

WRITER = """
import sys
from pathlib import Path
from kubecase.gateways.audit import AuditLog
log = AuditLog.open(Path(sys.argv[1]), Path(sys.argv[2]))
number = 0
while True:
    log.record("request", number=number, filler="x" * 2000)
    number += 1
"""


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "audit" / "run.jsonl", tmp_path / "answers"


def written(places: tuple[Path, Path], count: int = 4) -> AuditLog:
    log = AuditLog.open(*places)
    for number in range(count):
        log.record("request", path=f"/api/v1/{number}", answer=log.keep(b"answer %d" % number))
    return log


def test_a_record_that_nobody_touched_holds(places: tuple[Path, Path]) -> None:
    """Lines, answers and head are those that were written; nobody else can read them."""
    log = written(places)
    log.close()

    found = verify(places[0])

    assert (found.holds, found.lines, found.head) == (True, 4, log.head)
    assert len(found.digests) == 4
    assert all(read_answer(places[1], digest) for digest in found.digests)
    assert next(iter(read_lines(places[0])))["path"] == "/api/v1/0"
    for path in (places[0], *places[1].iterdir()):
        assert path.stat().st_mode & 0o077 == 0


def test_any_changed_byte_is_found_and_its_line_named(places: tuple[Path, Path]) -> None:
    """Whichever byte of the record is changed, verifying fails and names the first bad line."""
    written(places).close()
    data = places[0].read_bytes()
    begins = [0, *(at + 1 for at, byte in enumerate(data) if byte == 10)]

    for at in range(len(data)):
        places[0].write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        found = verify(places[0])
        line = sum(begin <= at for begin in begins)
        assert not found.holds
        assert found.bad_line in {line, line + 1}


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_line_that_was_taken_out_is_missed(places: tuple[Path, Path], gone: int) -> None:
    """Whoever takes out a line breaks the next one; the last one is missed by its head."""
    log = written(places)
    log.close()
    lines = places[0].read_bytes().splitlines(keepends=True)

    places[0].write_bytes(b"".join(line for number, line in enumerate(lines) if number != gone))
    assert verify(places[0]).bad_line == gone + 1

    places[0].write_bytes(b"".join(lines[:-1]))
    assert verify(places[0]).head != log.head


def test_half_a_line_is_sealed_by_the_next_process(places: tuple[Path, Path]) -> None:
    """What a killed process cut off is sealed by a line that says how much; the record holds, and
    what was cut off cannot be changed either.
    """
    written(places).close()
    data = places[0].read_bytes()
    places[0].write_bytes(data[:-40])
    assert not verify(places[0]).holds

    after = AuditLog.open(*places)
    after.record("request", path="/later")
    after.close()

    found = verify(places[0])
    assert found.holds
    assert [line["kind"] for line in read_lines(places[0])][-2:] == ["recovered", "request"]
    sealed = places[0].read_bytes()
    at = sealed.index(b"/api/v1/3")
    places[0].write_bytes(sealed[:at] + b"/api/v1/9" + sealed[at + 9 :])
    assert not verify(places[0]).holds


def test_a_writer_that_is_killed_leaves_a_record_that_can_go_on(
    places: tuple[Path, Path],
) -> None:
    """SIGKILL at any moment, three times over: the chain goes on and holds."""
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, *map(str, places)])
        size = places[0].stat().st_size if places[0].exists() else 0
        deadline = time.monotonic() + 20
        while not places[0].exists() or places[0].stat().st_size < size + 100_000:
            assert time.monotonic() < deadline
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()

    AuditLog.open(*places).close()

    assert verify(places[0]).holds


def test_an_answer_that_was_changed_is_no_answer(places: tuple[Path, Path]) -> None:
    """A kept answer is given out only while it is what was kept."""
    log = AuditLog.open(*places)
    digest = log.keep(b"pods: 3")
    log.close()

    (places[1] / digest).write_bytes(b"pods: 4")

    assert read_answer(places[1], digest) is None
    keep_answer(places[1], "other", b"x")
    assert read_answer(places[1], "missing") is None


def test_a_record_is_not_followed_through_a_link(places: tuple[Path, Path], tmp_path: Path) -> None:
    """A link in the place of a record is refused."""
    places[0].parent.mkdir()
    places[0].symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match=r"symbolic links|Too many"):
        AuditLog.open(*places)
    assert not (tmp_path / "elsewhere").exists()


def test_an_empty_record_begins_the_chain(places: tuple[Path, Path]) -> None:
    """A record without a line holds, and its head is where every chain begins."""
    AuditLog.open(*places).close()

    assert (verify(places[0]).holds, verify(places[0]).head) == (True, GENESIS)


def test_answers_that_nobody_used_for_long_are_removed(places: tuple[Path, Path]) -> None:
    """Old answers go, those that were used again stay, and the record holds without them."""
    log = written(places)
    for path in places[1].iterdir():
        os.utime(path, (1_000, 1_000))
    used = log.keep(b"answer 2")
    log.close()

    assert remove_old_answers(places[1], before=2_000) == (3, 24)
    assert [path.name for path in places[1].iterdir()] == [used]
    assert verify(places[0]).holds
    assert remove_old_answers(places[1] / "absent", before=2_000) == (0, 0)


def test_one_record_does_not_fill_the_disk(places: tuple[Path, Path]) -> None:
    """After its share a record keeps digests only, in pieces or whole."""
    log = AuditLog.open(*places)
    log._room = 10
    first, second = log.keep(b"12345678"), log.keep(b"123456")
    stream = log.keeping()
    stream.add(b"abcd")
    third = stream.done()
    log.close()

    assert MAX_KEPT < 2**30
    assert {path.name for path in places[1].iterdir()} == {first}
    assert len({first, second, third}) == 3
