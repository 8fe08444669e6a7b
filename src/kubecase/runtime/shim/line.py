"""The conversation with whoever supervises: the one who started us, or one who takes over later."""

import os
import select
import struct
import time

from .confine import send_handles
from .kernel import process_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
else:
    import _socket as socket

STARTED, OUTPUT, EXIT, FORKING, LISTENERS = b"S", b"O", b"E", b"F", b"L"
CANCEL, HURRY = ord("C"), ord("H")
"""What the shim says on the line, and what it is told there: single bytes.

After STARTED and EXIT comes the record in question: JSON in one line. LISTENERS brings descriptors.
"""

SOCKET = "control"
SAY_SECONDS = 5.0
_DEEPEST = 1000


class Line:
    """One end of a socket, and a place in the run directory where another supervisor may call.

    `handle` is the descriptor to listen on, None while nobody is at the other end. `door` is the
    one that is readable when somebody calls, None where the file system has no sockets.
    """

    def __init__(self, handle: int, directory: int) -> None:
        self.handle: int | None = handle
        os.set_blocking(handle, False)
        self._door = _open_door(directory)
        self._started = b""
        self._listeners: list[int] = []

    @property
    def door(self) -> int | None:
        """The descriptor of the place where to call."""
        return None if self._door is None else self._door.fileno()

    def say(self, message: bytes) -> None:
        """Tell the supervisor, if there is one; one that does not listen is not waited for."""
        if self.handle is None:
            return
        try:
            os.write(self.handle, message)
        except OSError:
            pass  # busy, or gone: the loop finds that out by listening

    def say_record(self, kind: bytes, record: bytes) -> None:
        """Tell a record whole. One who does not listen is waited for, but bounded."""
        message = kind + record + b"\n"
        if kind == STARTED:
            self._started = message
        self._say_whole(message)

    def keep(self, listeners: "list[int]") -> None:
        """Hold these sockets as long as the run lasts, and hand them to whoever supervises."""
        self._listeners = listeners
        self._hand_over()

    def hear(self) -> bytes:
        """What the supervisor said; nothing if it went away, which closes the line."""
        if self.handle is None:
            return b""
        try:
            said = os.read(self.handle, 4096)
        except BlockingIOError:
            return b"\0"
        except OSError:
            said = b""
        if not said:
            self.hang_up()
        return said

    def hang_up(self) -> None:
        """Nobody is at the other end any more."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None

    def answer(self, forget: "Callable[[int], None]") -> bool:
        """Let in who calls, in the place of the supervisor before; whether anybody was let in.

        `forget` is told the descriptor that will be closed. Refused are other users, and whoever
        descends from this process: an agent must not supervise itself.
        """
        if self._door is None:
            return False
        try:
            handle = _accept(self._door)
        except OSError:
            return False
        if not _may_supervise(handle):
            os.close(handle)
            return False
        if self.handle is not None:
            forget(self.handle)
            self.hang_up()
        os.set_inheritable(handle, False)
        os.set_blocking(handle, False)
        self.handle = handle
        if self._started:
            self._say_whole(self._started)
        self._hand_over()
        return True

    def _hand_over(self) -> None:
        if self.handle is None or not self._listeners:
            return
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(self.handle))
        try:
            send_handles(line, LISTENERS, self._listeners)
        except OSError:
            pass
        finally:
            line.close()

    def _say_whole(self, message: bytes) -> None:
        if self.handle is None:
            return
        until = time.monotonic() + SAY_SECONDS
        poll = select.poll()
        poll.register(self.handle, select.POLLOUT)
        while message and poll.poll(max(0.0, until - time.monotonic()) * 1000):
            try:
                message = message[os.write(self.handle, message) :]
            except BlockingIOError:
                continue
            except OSError:
                return


def _open_door(directory: int) -> "socket.socket | None":
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # By the descriptor, since the path of a socket may have 107 bytes only.
        door.bind(f"/proc/self/fd/{directory}/{SOCKET}")
        door.listen(4)
    except OSError:
        door.close()
        return None
    return door


def _accept(door: "socket.socket") -> int:
    accepted = door._accept()  # type: ignore[attr-defined]  # of the C module, as in socket.py
    return int(accepted[0])


def _may_supervise(handle: int) -> bool:
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(handle))
    try:
        credentials = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    finally:
        caller.close()
    pid, uid = struct.unpack("3i", credentials)[:2]
    if uid not in (0, os.getuid()):
        return False
    for _ in range(_DEEPEST):
        if pid <= 1:
            return bool(pid == 1)
        if pid == os.getpid():
            return False
        stat = process_stat(pid)
        if stat is None:
            return False
        pid = stat.parent
        if pid == 0:
            return True
    return False
