"""Reading what the shim stores of the output: as it grows, by stream, and interleaved."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from kubecase.core.ports import Stream

PIECE = 256 * 1024
MAX_LINE = 8 * 1024 * 1024
STREAMS: dict[bytes, Stream] = {b"o": "stdout", b"e": "stderr"}


class Tail:
    """Follows both streams of a run in the order in which they came, each byte once."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._files: dict[str, int] = {}
        self._rest = b""
        self._waiting: deque[tuple[Stream, int]] = deque()

    def take(self) -> tuple[Stream, bytes] | None:
        """The next piece of at most 256 KiB, None if nothing more was stored so far."""
        if not self._waiting:
            self._read_order()
        if not self._waiting:
            return None
        stream, count = self._waiting.popleft()
        data = self._read(stream, min(count, PIECE))
        if count > len(data):
            self._waiting.appendleft((stream, count - len(data)))
        return (stream, data) if data else None

    def _read_order(self) -> None:
        *lines, self._rest = (self._rest + self._read("order", PIECE)).split(b"\n")
        for line in lines:
            letter, count = line.split()
            self._waiting.append((STREAMS[letter], int(count)))

    def _read(self, name: str, count: int) -> bytes:
        if name not in self._files:
            try:
                self._files[name] = os.open(self._run_dir / name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        return os.read(self._files[name], count)

    def close(self) -> None:
        """Let go of the files."""
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()


def interleaved(run_dir: Path) -> Iterator[bytes]:
    """Both streams as they came, in pieces."""
    tail = Tail(run_dir)
    try:
        while piece := tail.take():
            yield piece[1]
    finally:
        tail.close()


def stored_lines(run_dir: Path) -> Iterator[bytes]:
    """The stored standard output line by line, without line ends, each at most 8 MiB of a line."""
    try:
        handle = os.open(run_dir / "stdout", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with open(handle, "rb") as file:
        while line := file.readline(MAX_LINE):
            complete = line.endswith(b"\n")
            yield line[:-1] if complete else line
            while not complete and (rest := file.readline(MAX_LINE)):
                # What a line has beyond the bound is left out.
                complete = rest.endswith(b"\n")
