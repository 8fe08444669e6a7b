"""Reading the output that the shim stores: as it grows, line by line, and interleaved."""

import os
from collections import deque
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Literal

from kubecase.core.ports import Stream
from kubecase.runtime.records import open_regular
from kubecase.runtime.shim.capture import STDERR_BIT

PIECE = 64 * 1024
MAX_LINE = 8 * 1024 * 1024
ENTRY = 4
STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")


class Tail:
    """Follows both streams of a run in the order in which they came, each byte once.

    Files that are not there yet count as empty, and so do files that the agent has replaced by
    something that is none: never an OSError. To be closed when done.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._files: dict[str, int] = {}
        self._rest = b""
        self._due: deque[tuple[Stream, int]] = deque()

    def take(self) -> tuple[Stream, bytes] | None:
        """The next piece, at most 64 KiB; None if no more has been stored so far."""
        if not self._due:
            self._read_order()
        if not self._due:
            return None
        stream, count = self._due.popleft()
        data = self._read(stream, min(count, PIECE))
        if 0 < len(data) < count:
            self._due.appendleft((stream, count - len(data)))
        return (stream, data) if data else None

    def take_unordered(self) -> tuple[Stream, bytes] | None:
        """After the end: the next piece that no entry tells of, because the shim was killed."""
        for stream in STREAMS:
            if data := self._read(stream, PIECE):
                return stream, data
        return None

    def close(self) -> None:
        """Let go of the files."""
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()

    def _read_order(self) -> None:
        data = self._rest + self._read("order", PIECE)
        whole = len(data) - len(data) % ENTRY
        self._rest = data[whole:]
        for at in range(0, whole, ENTRY):
            entry = int.from_bytes(data[at : at + ENTRY], "little")
            self._due.append((STREAMS[bool(entry & STDERR_BIT)], entry & ~STDERR_BIT))

    def _read(self, name: Literal["order"] | Stream, count: int) -> bytes:
        try:
            if name not in self._files:
                self._files[name] = open_regular(self._run_dir / name)
            return os.read(self._files[name], count)
        except OSError:
            return b""


def interleaved(run_dir: Path) -> Iterator[bytes]:
    """Both streams as they came, in pieces; nothing for a run that has stored nothing."""
    tail = Tail(run_dir)
    try:
        while piece := tail.take():
            yield piece[1]
        while piece := tail.take_unordered():
            yield piece[1]
    finally:
        tail.close()


def stored_lines(run_dir: Path) -> Iterator[bytes]:
    """The stored standard output without line ends; of a longer line its first 8 MiB.

    Nothing, and never an OSError, if the agent has replaced the file by something that is none.
    """
    try:
        handle = open_regular(run_dir / "stdout")
    except OSError:
        return
    with open(handle, "rb") as file:
        while line := _line(file):
            ended = line.endswith(b"\n")
            yield line[:-1] if ended else line
            while not ended and (rest := _line(file)):
                ended = rest.endswith(b"\n")


def _line(file: BufferedReader) -> bytes:
    try:
        return file.readline(MAX_LINE)
    except OSError:
        return b""
