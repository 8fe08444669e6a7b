"""What an agent gives up between fork and exec: capabilities, user, network, files, calls.

The order matters. A network of its own needs a right that the system call filter takes away, the
user must be left before Landlock binds, and the filter comes last.
"""

import ctypes
import fcntl
import os
import struct

from .kernel import PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, prctl
from .landlock import restrict

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Mapping
    from typing import Any
else:
    import _signal as signal
    import _socket as socket  # what stands around these two takes longer to load than they do

_PR_SET_SECCOMP, _PR_CAPBSET_DROP = 22, 24
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x41
_BACKLOG = 128
MAX_LISTENERS = 16


class Confinement:
    """What the request says about it; made in the shim, entered in its child.

    `user` is (uid, gid) or None. `keeps_capabilities` leaves those of root to bubblewrap, which
    needs them to map that user and drops them itself. `landlock` are the rules of
    `landlock.restrict` or None, `seccomp` a BPF program or None, `listen` the TCP ports on the
    loopback of a network namespace of the agent's own, or None for no such namespace. `bwrap` holds
    `program`, `options`, a list of bytes in which a number stands for a descriptor that has that
    entry of `data` as its content and -1 for the status pipe, and `data`. With `bwrap` the filter
    is installed by that program. `engine` is there for the client of a container engine, with the
    `complaints` by which it says that it could not start the agent; its network is one of root's,
    without a namespace of users.
    """

    def __init__(self, values: "Mapping[str, Any]") -> None:
        self._values = values
        self.status: int | None = None
        self._status_writer: int | None = None
        self._listeners: tuple[socket.socket, socket.socket] | None = None
        if values.get("bwrap") is not None:
            self.status, self._status_writer = os.pipe()
            os.set_blocking(self.status, False)
        if values.get("listen"):
            self._listeners = socket.socketpair()

    @property
    def complaints(self) -> "list[bytes]":
        """How the program that makes the sandbox begins when it could not start another."""
        engine = self._values.get("engine")
        return [b"bwrap: "] if engine is None else list(engine["complaints"])

    @property
    def inherited(self) -> "list[int]":
        """Descriptors of ours that the child must not close before `enter` is done with them."""
        ends = [] if self._listeners is None else [self._listeners[1].fileno()]
        return ends if self._status_writer is None else [*ends, self._status_writer]

    def enter(self, shim: int) -> "list[bytes]":
        """In the child: give up everything; what has to stand before the agent's own argv.

        Raises OSError.
        """
        values = self._values
        if values.get("engine") is None:
            # Not for the client of an engine, which may need a set-user-id helper for its own
            # namespaces; inside the container it is set again.
            prctl(PR_SET_NO_NEW_PRIVS, 1)
        if not values.get("keeps_capabilities"):
            _drop_capabilities()
        _leave_user(values.get("user"))
        if values.get("listen") is not None:
            self._own_network(values["listen"])
        # Leaving the user has cleared it; and the shim may have died meanwhile.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != shim:
            os._exit(127)
        if values.get("landlock") is not None:
            restrict(values["landlock"])
        if values.get("bwrap") is not None:
            return self._bwrap(values["bwrap"], values.get("seccomp"))
        if values.get("seccomp") is not None:
            _filter_calls(values["seccomp"])
        return []

    def in_parent(self) -> None:
        """In the shim, after the fork: close what is the child's."""
        if self._status_writer is not None:
            os.close(self._status_writer)
        if self._listeners is not None:
            self._listeners[1].close()

    def listeners(self) -> "list[int]":
        """In the shim, once the agent runs: the listening sockets inside its network."""
        if self._listeners is None:
            return []
        ours = self._listeners[0]
        handles = receive_handles(ours, 1)[1]
        ours.close()
        return handles

    def _own_network(self, ports: "list[int]") -> None:
        """A network namespace; loopback up, listening there, the sockets handed out."""
        if self._values.get("engine") is None:
            _unshare_with_user()
        else:
            # An engine needs the rights that it has; what it starts stays in this network.
            _unshare(_CLONE_NEWNET)
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP_RUNNING))
        probe.close()
        if self._listeners is None:
            return
        made = []
        for port in ports:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.bind(("127.0.0.1", port))
            listener.listen(_BACKLOG)
            made.append(listener)
        send_handles(self._listeners[1], b"L", [each.fileno() for each in made])
        for listener in (self._listeners[1], *made):
            listener.close()

    def _bwrap(self, values: "Mapping[str, Any]", calls: bytes | None) -> "list[bytes]":
        """The sandbox program; its options on a descriptor, where no process list shows them."""
        status = self._status_writer
        assert status is not None  # noqa: S101 - made in the constructor
        os.set_inheritable(status, True)
        handles = [_held(data) for data in values["data"]]
        words = []
        for option in values["options"]:
            if isinstance(option, int):
                words.append(b"%d" % (status if option < 0 else handles[option]))
            else:
                words.append(option)
        if calls is not None:
            words += [b"--seccomp", b"%d" % _held(calls)]
        arguments = _held(b"\0".join([*words, b""]))
        return [values["program"], b"--args", b"%d" % arguments, b"--"]


def send_handles(to: "socket.socket", message: bytes, handles: "list[int]") -> None:
    """Send `message` with descriptors, by a local socket."""
    packed = b"".join(handle.to_bytes(4, "little") for handle in handles)
    to.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if handles else [])


def receive_handles(source: "socket.socket", size: int) -> "tuple[bytes, list[int]]":
    """At most `size` bytes of what was sent, and the descriptors that came with them."""
    message, ancillary, _, _ = source.recvmsg(
        size, socket.CMSG_SPACE(4 * MAX_LISTENERS), socket.MSG_CMSG_CLOEXEC
    )
    handles = [
        int.from_bytes(data[at : at + 4], "little")
        for level, kind, data in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        for at in range(0, len(data) - len(data) % 4, 4)
    ]
    return message, handles


def _drop_capabilities() -> None:
    """Every one of them, for this process from its exec on and for all that it starts."""
    for capability in range(64):
        try:
            prctl(_PR_CAPBSET_DROP, capability)
        except PermissionError:
            break  # without capabilities of our own there is nothing to hand down
        except OSError:
            break  # beyond the last one that the kernel knows


def _leave_user(user: "tuple[int, int] | None") -> None:
    if user is not None:
        uid, gid = user
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def _unshare_with_user() -> None:
    """A user namespace, in which whoever we are may have a network, and that network."""
    uid, gid = os.getuid(), os.getgid()
    # What is not dumpable belongs to root in /proc, also to itself; exec would undo it anyway.
    prctl(PR_SET_DUMPABLE, 1)
    _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    _write("/proc/self/setgroups", b"deny")
    _write("/proc/self/uid_map", b"%d %d 1" % (uid, uid))
    _write("/proc/self/gid_map", b"%d %d 1" % (gid, gid))


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(ctypes.c_int(flags)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _filter_calls(program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions of eight bytes, padding, where they are.
    described = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    header = ctypes.create_string_buffer(described, len(described))
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [ctypes.c_ulong(_SECCOMP_MODE_FILTER), header, ctypes.c_ulong(0), ctypes.c_ulong(0)]
    if libc.prctl(_PR_SET_SECCOMP, *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _held(data: bytes) -> int:
    """A descriptor from which `data` can be read, kept over exec."""
    handle = os.memfd_create("kubecase", 0)
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _write(path: str, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)
