"""The small parts: records, the order of output, lines, and the size of a directory."""

import json
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubecase.runtime import ProcessRuntime
from kubecase.runtime.records import read_exit, read_started
from kubecase.runtime.shim.capture import Capture, Order
from kubecase.runtime.shim.disk import DiskWatch
from kubecase.runtime.shim.kernel import ProcessStat
from kubecase.runtime.shim.record import to_json, write_record
from kubecase.runtime.tail import MAX_LINE, Tail

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(JSON)
def test_records_are_json(value: object) -> None:
    """What the shim writes without the standard module, that module reads back unchanged."""
    assert json.loads(to_json(value)) == value


def test_a_record_replaces_the_one_before_as_a_whole(tmp_path: Path) -> None:
    """A reader finds the old record or the new one, and no temporary file stays behind."""
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        write_record(directory, "exit", {"n": 1})
        write_record(directory, "exit", {"n": 2})
    finally:
        os.close(directory)

    assert json.loads((tmp_path / "exit").read_text()) == {"n": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["exit"]
    assert (tmp_path / "exit").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"cause": "new"}', '{"pid": "x"}', "\x00" * 10]
)
def test_a_record_that_makes_no_sense_is_none(tmp_path: Path, content: str) -> None:
    """A record that was cut off or tampered with counts as not there."""
    for name in ("exit", "started"):
        (tmp_path / name).write_text(content)

    assert read_exit(tmp_path) is None
    assert read_started(tmp_path) is None


def test_a_process_cannot_forge_its_description_by_its_name() -> None:
    """Parentheses and spaces in a process's name do not shift the fields after it."""
    rest = " ".join(str(n) for n in range(2, 50))
    stat = ProcessStat(f"42 (a) Z 1 (b)) S {rest}".encode())

    assert (stat.state, stat.parent, stat.group, stat.session) == ("S", 2, 3, 4)
    assert stat.start == 20
    assert not stat.is_dead


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.binary(min_size=1, max_size=300)), max_size=200))
def test_the_order_of_output_is_kept_or_at_least_every_byte(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]]
) -> None:
    """What is read back is each stream whole; up to 64 changes at once also in their order."""
    folder = tmp_path_factory.mktemp("order")
    written = {0: b"", 1: b""}
    with Files(folder) as files:
        order = Order(files["order"])
        for stream, data in pieces:
            os.write(files["stderr" if stream else "stdout"], data)
            written[stream] += data
            order.add(stream, len(data))
        order.flush()

    tail = Tail(folder)
    read = list(iter(tail.take, None))
    tail.close()
    assert b"".join(d for s, d in read if s == "stdout") == written[0]
    assert b"".join(d for s, d in read if s == "stderr") == written[1]
    changes = sum(a[0] != b[0] for a, b in pairwise(pieces))
    if changes < 63:
        assert b"".join(d for _, d in read) == b"".join(d for _, d in pieces)


class Files:
    """The files of a run, open for writing."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_CREAT | os.O_WRONLY
        names = ("order", "stdout", "stderr")
        self._handles = {name: os.open(folder / name, flags, 0o600) for name in names}

    def __enter__(self) -> dict[str, int]:
        return self._handles

    def __exit__(self, *_: object) -> None:
        for handle in self._handles.values():
            os.close(handle)


def test_a_full_disk_does_not_hold_up_an_agent() -> None:
    """When the log cannot be written the agent writes on, its last words are counted, and the
    record says why they are missing.
    """
    full = os.open("/dev/full", os.O_WRONLY)
    order = os.open("/dev/null", os.O_WRONLY)
    capture = Capture(0, file=full, keep=1000, order=Order(order))

    os.write(capture.writer, b"x" * 5000)
    while capture.total < 5000:
        capture.pump()
    os.close(capture.writer)
    capture.pump()
    capture.finish()

    assert not capture.is_open
    assert capture.trouble == "No space left on device"
    os.close(full)
    os.close(order)


def test_a_line_is_bounded(tmp_path: Path) -> None:
    """Of a line over 8 MiB the beginning is given, and the next line is whole (case 21)."""
    long = b"x" * (MAX_LINE + 5_000_000)
    (tmp_path / "stdout").write_bytes(b"first\n" + long + b"\nlast\nno end")

    lines = list(ProcessRuntime().lines(tmp_path))

    assert lines == [b"first", long[:MAX_LINE], b"last", b"no end"]


def test_a_log_without_its_order_is_given_stream_by_stream(tmp_path: Path) -> None:
    """What a killed shim had stored and not yet put in order is not lost."""
    (tmp_path / "stdout").write_bytes(b"abcdef")
    (tmp_path / "stderr").write_bytes(b"xyz")
    (tmp_path / "order").write_bytes((2).to_bytes(4, "little") + b"\x01")

    assert b"".join(ProcessRuntime().log(tmp_path)) == b"abcdefxyz"


def test_a_deep_tree_is_measured_as_far_as_it_is_safe(tmp_path: Path) -> None:
    """Three thousand nested directories cost no descriptors and no recursion (case 19)."""
    before = os.listdir("/proc/self/fd")
    with deep(tmp_path, 1000):
        root = os.open(tmp_path, os.O_RDONLY)
        watch = DiskWatch(root, 1 << 40)
        for _ in range(2000):
            watch.step()
            if watch.used:
                break
        os.close(root)

    assert watch.used > 0
    assert watch.partial
    assert len(os.listdir("/proc/self/fd")) == len(before)


class deep:  # noqa: N801 - reads as a statement
    """A tree `levels` deep below `root`, built and removed by handle."""

    def __init__(self, root: Path, levels: int) -> None:
        self.root, self.levels = root, levels

    def __enter__(self) -> None:
        handle = os.open(self.root, os.O_RDONLY)
        for _ in range(self.levels):
            os.mkdir("d", dir_fd=handle)
            child = os.open("d", os.O_RDONLY, dir_fd=handle)
            os.close(handle)
            handle = child
        os.close(handle)

    def __exit__(self, *_: object) -> None:
        for _ in range(self.levels):
            # Pull the second level up and remove the first: no path ever grows long.
            if (self.root / "d" / "d").is_dir():
                os.rename(self.root / "d" / "d", self.root / "e")
                os.rmdir(self.root / "d")
                os.rename(self.root / "e", self.root / "d")
        os.rmdir(self.root / "d")


def test_many_files_are_measured_in_short_steps(tmp_path: Path) -> None:
    """Measuring a large tree never takes more than a moment at a time (case 17)."""
    for number in range(3000):
        (tmp_path / str(number)).touch()
    root = os.open(tmp_path, os.O_RDONLY)
    watch = DiskWatch(root, 1 << 40)
    longest = 0.0

    for step in steps(watch):
        longest = max(longest, step)
    os.close(root)

    assert longest < 0.2
    assert not watch.partial


def steps(watch: DiskWatch) -> Iterator[float]:
    """The seconds that each step of one measurement takes."""
    for _ in range(1000):
        before = time.monotonic()
        reached = watch.step()
        yield time.monotonic() - before
        assert not reached
        if watch.due - time.monotonic() > 0.5:
            return
