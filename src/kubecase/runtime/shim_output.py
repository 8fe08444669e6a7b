"""How the shim keeps an agent's output: two files, and the order in which they grew."""

import fcntl
import os

SET_PIPE_SIZE = 1031
PIPE_BYTES = 1 << 20
TAIL_BYTES = 64 * 1024


class Capture:
    """One stream of the agent: its head goes to a file, its last bytes are kept, all is counted."""

    def __init__(self, name: str, directory: int, cap: int, order: "Order") -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self.file = os.open(name, flags, 0o600, dir_fd=directory)
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.writer, SET_PIPE_SIZE, PIPE_BYTES)
        except OSError:
            pass
        os.set_blocking(self.reader, False)
        self.name, self.left, self.order = name[3:4], cap, order
        self.total, self.tail, self.over = 0, b"", False

    def take(self) -> int:
        """Move what is there; returns how many bytes, 0 at the end, -1 when nothing is there."""
        try:
            if self.left > 0:
                count = os.splice(self.reader, self.file, min(self.left, PIPE_BYTES))
                self.left -= count
                self.order.add(self.name, count)
            else:
                piece = os.read(self.reader, PIPE_BYTES)
                self.tail = (
                    (self.tail + piece)[-TAIL_BYTES:]
                    if len(piece) < TAIL_BYTES
                    else piece[-TAIL_BYTES:]
                )
                self.over = self.over or bool(piece)
                count = len(piece)
        except BlockingIOError:
            return -1
        self.total += count
        return count

    def finish(self) -> None:
        """Append what was kept of the end, after a line that says how much is missing."""
        missing = self.total - (os.fstat(self.file).st_size + len(self.tail))
        if missing > 0:
            self._append(b"\n[kubecase: %d bytes were left out here]\n" % missing)
        self._append(self.tail)
        os.close(self.file)

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = os.write(self.file, view)
            self.order.add(self.name, count)
            view = view[count:]


class Order:
    """Which stream wrote how much, in the order it came: lines such as `o 120`, merged."""

    def __init__(self, directory: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self.file = os.open("order", flags, 0o600, dir_fd=directory)
        self.stream, self.count = "", 0

    def add(self, stream: str, count: int) -> None:
        """Note that `stream` (`o` or `e`) grew by `count` bytes."""
        if not count:
            return
        if stream != self.stream:
            self.flush()
            self.stream = stream
        self.count += count

    def flush(self) -> None:
        """Write what was noted and not yet written."""
        if self.count:
            os.write(self.file, b"%s %d\n" % (self.stream.encode(), self.count))
            self.count = 0
