"""One shim as its supervisor holds it: a process handle and a socket to talk over."""

import contextlib
import marshal
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import anyio

from kubecase.core.errors import RuntimeUnavailable

PROGRAM = Path(__file__).with_name("shim") / "__main__.py"
SHIM_LOG = "shim.log"

FORKING, STARTED, OUTPUT, EXIT = b"F", b"S", b"O", b"E"
CANCEL, HURRY = b"C", b"H"
"""What the shim says on the socket, and what it is told there: single bytes, repeats allowed.

After STARTED and EXIT comes the record in question: JSON in one line.
"""

Message = tuple[bytes, bytes]
"""What it is, and the record that came with it, if any."""

_CONTROL = 3


class Shim:
    """A running shim. `pidfd` is readable once it has ended; `is_silent` once it says no more."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.status: int | None = None
        self._control = control
        self._requested = False
        self._said = b""
        self.is_silent = False

    async def send_request(self, request: Mapping[str, object]) -> None:
        """Hand over what to run; a shim that is dead already is found out by `hear`."""
        data = marshal.dumps(dict(request), 2)
        view = memoryview(len(data).to_bytes(8, "big") + data)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while view:
                try:
                    view = view[self._control.send(view) :]
                except BlockingIOError:
                    await anyio.wait_writable(self._control)
            self._requested = True

    def tell(self, message: bytes) -> None:
        """Say one thing to the shim, if it still listens. May be repeated."""
        # Not into the middle of a request: one that was cut off must stay incomplete.
        if self._requested:
            with contextlib.suppress(OSError):
                self._control.send(message)

    async def hear(self) -> list[Message]:
        """What the shim has said since, waited for; nothing once it has ended."""
        while not (messages := self.overhear()) and not self.is_silent:
            await anyio.wait_readable(self._control)
        return messages

    def overhear(self) -> list[Message]:
        """What the shim has said since, if anything."""
        if not self.is_silent:
            try:
                said = self._control.recv(65536)
            except BlockingIOError:
                return []
            except ConnectionResetError:
                said = b""
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
        self._control.close()

    def close(self) -> None:
        """Let go of it."""
        self._control.close()
        os.close(self.pidfd)

    def _reap(self) -> None:
        ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        self.status = ended.si_status if ended else 0


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
