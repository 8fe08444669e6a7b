"""The agent's output on its way into the run directory, where the agent has no handle on it."""

import errno
import fcntl
import os

from .kernel import F_SETPIPE_SZ
from .record import write_all

PIPE_BYTES = 1 << 20
TAIL_BYTES = 64 * 1024
FINE_ENTRIES = 64

STDERR_BIT = 1 << 31
"""An entry of the file `order` is 32 bits, little-endian: this bit for the stream, then a count."""


class Order:
    """The file `order`: which stream grew by how many bytes, in the order in which they came.

    Within one flush at most 64 changes of the stream are kept apart; what comes beyond that is
    noted by stream, so that a hostile alternation cannot make this file larger than the output.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._pending: list[list[int]] = []
        self._broken = False

    def add(self, stream: int, count: int) -> None:
        """Note that the stream 0 or 1 grew by `count` bytes."""
        if count == 0:
            return
        pending = self._pending
        if pending and pending[-1][0] == stream:
            pending[-1][1] += count
        elif len(pending) < FINE_ENTRIES:
            pending.append([stream, count])
        else:
            pending[-2][1] += count  # the streams alternate: the last but one is of this one

    def flush(self) -> bool:
        """Write what was noted; True if there was anything."""
        if not self._pending:
            return False
        entries = [_entry(stream, count) for stream, count in self._pending]
        self._pending.clear()
        if not self._broken:
            try:
                write_all(self._file, b"".join(entries))
            except OSError:
                self._broken = True  # a reader then takes what has no entry stream by stream
        return True


class Capture:
    """One stream: from its pipe into its file up to `keep` bytes, then only its end is kept.

    `total` counts all bytes that came, `is_open` is false after the end of the stream. If the file
    cannot be written the agent goes on undisturbed, and `trouble` says why.
    """

    def __init__(self, stream: int, *, file: int, keep: int, order: Order) -> None:
        self.pipe, self.writer = os.pipe()
        try:
            fcntl.fcntl(self.pipe, F_SETPIPE_SZ, PIPE_BYTES)
        except PermissionError:
            pass  # over the user's quota of pipe memory: the default size works, only slower
        os.set_blocking(self.pipe, False)
        self.total = 0
        self.left_out = 0
        self.is_open = True
        self.trouble: str | None = None
        self._stream = stream
        self._file = file
        self._keep = keep
        self._order = order
        self._stored = 0
        self._tail = bytearray()
        self._buffer = bytearray()
        self._can_splice = True

    def pump(self) -> int:
        """Move what is there, at most one pipe full; how many bytes that was."""
        room = self._keep - self._stored
        try:
            count = self._store(min(room, PIPE_BYTES)) if room > 0 else self._skip()
        except BlockingIOError:
            return 0
        except OSError as error:
            self.trouble, self._keep = error.strerror, self._stored
            return 0
        if count == 0:
            self.is_open = False
        self.total += count
        return count

    def finish(self) -> None:
        """After the last pump: append the end, and before it the marker if bytes are missing."""
        os.close(self.pipe)
        self.left_out = self.total - self._stored - len(self._tail)
        marker = b"\n[kubecase: %d bytes of output are left out here]\n" % self.left_out
        end = (marker if self.left_out else b"") + bytes(self._tail)
        try:
            write_all(self._file, end)
            self._order.add(self._stream, len(end))
        except OSError as error:
            self.trouble = self.trouble or error.strerror

    def _store(self, count: int) -> int:
        if self._can_splice:
            try:
                moved = os.splice(self.pipe, self._file, count, flags=os.SPLICE_F_NONBLOCK)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._can_splice = False  # not every file system can
            else:
                self._note(moved)
                return moved
        return self._copy(count)

    def _copy(self, count: int) -> int:
        data = os.read(self.pipe, count)
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._file, view)
                self._note(written)
                view = view[written:]
        except OSError as error:
            self.trouble, self._keep = error.strerror, self._stored
            self._remember(view)
        return len(data)

    def _note(self, count: int) -> None:
        self._stored += count
        self._order.add(self._stream, count)

    def _skip(self) -> int:
        if not self._buffer:
            self._buffer = bytearray(PIPE_BYTES)
        count = os.readv(self.pipe, [self._buffer])
        self._remember(memoryview(self._buffer)[:count])
        return count

    def _remember(self, data: memoryview) -> None:
        self._tail += data[-TAIL_BYTES:]
        del self._tail[:-TAIL_BYTES]


def _entry(stream: int, count: int) -> bytes:
    return (count | (STDERR_BIT if stream else 0)).to_bytes(4, "little")
