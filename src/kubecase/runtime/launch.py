"""One shim as its supervisor holds it: a process handle and a socket to talk over.

A supervisor has started it, or has taken over from one that died.
"""

import contextlib
import marshal
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anyio

from kubecase.core.errors import RuntimeUnavailable
from kubecase.runtime.shim.confine import MAX_LISTENERS
from kubecase.runtime.shim.line import EXIT, FORKING, LISTENERS, OUTPUT, SOCKET, STARTED

__all__ = ["EXIT", "FORKING", "LISTENERS", "OUTPUT", "STARTED", "Message", "Shim"]

PROGRAM = Path(__file__).with_name("shim") / "__main__.py"
SHIM_LOG = "shim.log"

CANCEL, HURRY = b"C", b"H"
"""What the shim is told on the socket: single bytes, repeats allowed."""

Message = tuple[bytes, bytes]
"""What it is, and the record that came with it, if any."""

_CONTROL = 3


class Shim:
    """A running shim. `pidfd` is readable once it has ended; `is_silent` once it says no more.

    Of one that is no child of ours the `status` is never known; it counts as 0, and the record that
    it left decides. Without `control` it says nothing, and is told to stop by a signal.
    """

    def __init__(
        self, pid: int, control: socket.socket | None, *, pidfd: int | None = None
    ) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid) if pidfd is None else pidfd
        self.status: int | None = None
        self.listeners: list[int] = []
        self._control = control
        # One that was taken over has its request.
        self._requested = pidfd is not None
        self._said = b""
        self.is_silent = control is None

    async def send_request(self, request: Mapping[str, object], listeners: Sequence[int]) -> None:
        """Hand over what to run; a shim that is dead already is found out by `hear`."""
        if self._control is None or len(listeners) > MAX_LISTENERS:
            raise ValueError("no line to send a request on, or too many listeners")
        data = marshal.dumps(dict(request), 2)
        view = memoryview(data)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # The line has just been made, so eight bytes have room.
            socket.send_fds(self._control, [len(data).to_bytes(8, "big")], list(listeners))
            while view:
                try:
                    view = view[self._control.send(view) :]
                except BlockingIOError:
                    await anyio.wait_writable(self._control)
            self._requested = True

    def tell(self, message: bytes) -> None:
        """Say one thing to the shim, if it still listens. May be repeated."""
        # Not into the middle of a request: one that was cut off must stay incomplete.
        if self._requested and self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(message)
        elif self._control is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    async def hear(self) -> list[Message]:
        """What the shim has said since, waited for; nothing once it has ended."""
        while not (messages := self.overhear()) and not self.is_silent:
            if self._control is not None:
                await anyio.wait_readable(self._control)
        return messages

    def overhear(self) -> list[Message]:
        """What the shim has said since, if anything."""
        if self._control is not None and not self.is_silent:
            try:
                said, handles, _, _ = socket.recv_fds(self._control, 65536, MAX_LISTENERS)
            except BlockingIOError:
                return []
            except ConnectionResetError:
                said, handles = b"", []
            for handle in handles:
                os.set_inheritable(handle, False)
            self.listeners += handles
            self._said += said
            self.is_silent = not said
        return list(self._messages())

    def _messages(self) -> Iterator[Message]:
        """Those that are there whole."""
        while self._said:
            kind, rest = self._said[:1], self._said[1:]
            record = b""
            if kind in {STARTED, EXIT}:
                record, end, rest = rest.partition(b"\n")
                if not end:
                    return
            self._said = rest
            yield kind, record

    async def wait(self) -> None:
        """Return once the shim has ended, and reap it."""
        if self.status is None:
            await anyio.wait_readable(self.pidfd)
            self._reap()

    def kill(self) -> None:
        """End it at once. The agent's main process dies with it, what that started may not."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def hang_up(self) -> None:
        """Close the socket: under `die_with_me` that is the order to end the agent."""
        if self._control is not None:
            self._control.close()

    def close(self) -> None:
        """Let go of it, and of the listeners that nobody has taken."""
        self.hang_up()
        for handle in (self.pidfd, *self.listeners):
            os.close(handle)

    def _reap(self) -> None:
        try:
            ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        except ChildProcessError:
            ended = None  # another process started it
        self.status = ended.si_status if ended else 0


def call(pid: int, pidfd: int, run_dir: Path) -> Shim:
    """The shim `pid`, which another process started, on a line of our own.

    Whoever had the line before has lost it. Takes over `pidfd`.
    """
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        control.setblocking(False)
        # By the descriptor, since the path of a socket may have 107 bytes only.
        control.connect(f"/proc/self/fd/{directory}/{SOCKET}")
    except OSError:
        control.close()
        return Shim(pid, None, pidfd=pidfd)
    finally:
        os.close(directory)
    return Shim(pid, control, pidfd=pidfd)


def launch(python: str, run_dir: Path) -> Shim:
    """Start a shim that waits for its request.

    Its environment is two settings, its arguments are its own path, and the only descriptor it
    gets besides the three standard ones is the socket. Raises RuntimeUnavailable.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            pid = _spawn(python, theirs.fileno(), run_dir / SHIM_LOG)
        except OSError as error:
            ours.close()
            raise RuntimeUnavailable(
                f"cannot start {python} as the shim: {error.strerror}",
                hint="The shim runs with the interpreter that runs kubecase; is it still there?",
            ) from error
    ours.setblocking(False)
    return Shim(pid, ours)


def _spawn(python: str, control: int, log: Path) -> int:
    create = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    return os.posix_spawn(
        python,
        [python, "-I", "-S", str(PROGRAM)],
        {"LC_ALL": "C.UTF-8"},
        file_actions=[
            # The socket first: its number may be one of those that are opened next.
            (os.POSIX_SPAWN_DUP2, control, _CONTROL),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(log), create, 0o600),
        ],
        setsid=True,
        # Until it can heed them: a request to stop must not kill it before the agent is watched.
        setsigmask=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD],
        setsigdef=[signal.SIGPIPE],
    )
