"""The filter of system calls that agents run under, assembled here and installed by the shim.

What no agent needs is refused: other namespaces, mounts, kernel modules, tracing, keys, io_uring,
and sockets beyond those of its network. The program itself is classic BPF as the kernel takes it:
eight bytes an instruction (Linux, `seccomp(2)`).
"""

import platform
import struct
from collections.abc import Mapping
from typing import Literal

Network = Literal["host", "none"]

_ARCHITECTURES: Mapping[str, tuple[int, str]] = {
    "x86_64": (0xC000003E, "x86_64"),
    "aarch64": (0xC00000B7, "generic"),
    "arm64": (0xC00000B7, "generic"),
}

# Name: number on x86-64, number on architectures with the generic table.
_CALLS: Mapping[str, tuple[int, int]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "bpf": (321, 280), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "quotactl": (179, 60), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "pidfd_getfd": (438, 438), "kcmp": (312, 272), "sethostname": (170, 161),
    "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "syslog": (103, 116),
}  # fmt: skip
_ONLY_X86: Mapping[str, int] = {
    "iopl": 172, "ioperm": 173, "modify_ldt": 154, "uselib": 134, "nfsservctl": 180
}  # fmt: skip
_SOCKET, _CLONE, _CLONE3, _IOCTL = (41, 198), (56, 220), (435, 435), (16, 29)
_MKNODAT, _MKNOD_X86 = (259, 33), 133

_NAMESPACES = 0x7E020000
"""Every CLONE_NEW* flag."""

_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_STREAM, _DATAGRAM = 1, 2

_LOAD, _EQUAL, _SET, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _EACCES, _ENOSYS = 1, 13, 38
_S_IFCHR, _S_IFBLK = 0o020000, 0o060000
_X32 = 0x40000000


def supported() -> bool:
    """Whether the numbers of this machine's system calls are known here."""
    return platform.machine() in _ARCHITECTURES


def program(network: Network, *, machine: str | None = None) -> bytes:
    """The filter for `machine`, this one by default, as the kernel takes it.

    With `network` "none" only TCP sockets can be made, and pairs of local ones (what TCP may reach
    is not the filter's business); with "host" also UDP, local sockets, by which a daemon of this
    host may be reached, and the netlink socket that tells of interfaces.
    Raises ValueError for a machine whose numbers are not known.
    """
    name = machine or platform.machine()
    if name not in _ARCHITECTURES:
        raise ValueError(f"no system call numbers are known for {name}")
    token, table = _ARCHITECTURES[name]
    column = 0 if table == "x86_64" else 1
    code = _Program()
    code.load(_ARCHITECTURE)
    code.jump_unless(_EQUAL, token, "kill")
    code.load(_NUMBER)
    if table == "x86_64":
        # The other numbering on the same processor would walk around every line below.
        code.jump_if(_AT_LEAST, _X32, "kill")
    for numbers in _CALLS.values():
        code.jump_if(_EQUAL, numbers[column], "refuse")
    if table == "x86_64":
        for number in _ONLY_X86.values():
            code.jump_if(_EQUAL, number, "refuse")
        code.jump_if(_EQUAL, _MKNOD_X86, "mknod")
    # The C library then takes clone, whose flags can be looked at.
    code.jump_if(_EQUAL, _CLONE3[column], "unknown")
    code.jump_if(_EQUAL, _CLONE[column], "clone")
    code.jump_if(_EQUAL, _IOCTL[column], "ioctl")
    code.jump_if(_EQUAL, _SOCKET[column], "socket")
    code.jump_if(_EQUAL, _MKNODAT[column], "mknodat")
    code.give("allow")
    _arguments(code, network)
    return code.assembled()


def _arguments(code: "_Program", network: Network) -> None:
    """Calls that depend on what they are given; each argument is eight bytes, low half first."""
    code.label("clone")
    code.load(_FIRST)
    code.jump_if(_SET, _NAMESPACES, "refuse")
    code.give("allow")
    code.label("ioctl")
    code.load(_FIRST + 8)
    code.jump_if(_EQUAL, _TIOCSTI, "refuse")
    code.jump_if(_EQUAL, _TIOCLINUX, "refuse")
    code.give("allow")
    for label, position in (("mknodat", 2), ("mknod", 1)):
        code.label(label)
        code.load(_FIRST + 8 * position)
        code.mask(0o170000)
        code.jump_if(_EQUAL, _S_IFCHR, "refuse")
        code.jump_if(_EQUAL, _S_IFBLK, "refuse")
        code.give("allow")
    code.label("socket")
    code.load(_FIRST)
    code.jump_if(_EQUAL, _AF_INET, "internet")
    code.jump_if(_EQUAL, _AF_INET6, "internet")
    if network == "host":
        code.jump_if(_EQUAL, _AF_UNIX, "allow")
        code.jump_if(_EQUAL, _AF_NETLINK, "netlink")
    code.give("forbid")
    code.label("internet")
    code.load(_FIRST + 8)
    code.mask(0xF)
    code.jump_if(_EQUAL, _STREAM, "allow")
    if network == "host":
        code.jump_if(_EQUAL, _DATAGRAM, "allow")
    code.give("forbid")
    code.label("netlink")
    code.load(_FIRST + 16)
    code.jump_if(_EQUAL, 0, "allow")
    code.give("forbid")


class _Program:
    """Instructions with names for places, which become distances at the end."""

    _ENDS: Mapping[str, int] = {
        "allow": _ALLOW, "kill": _KILL, "refuse": _ERRNO | _EPERM, "forbid": _ERRNO | _EACCES,
        "unknown": _ERRNO | _ENOSYS,
    }  # fmt: skip

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, str | None, str | None]] = []
        self._places: dict[str, int] = {}

    def load(self, offset: int) -> None:
        """Take four bytes of the call's description."""
        self._lines.append((_LOAD, offset, None, None))

    def mask(self, bits: int) -> None:
        """Keep only `bits` of what was loaded."""
        self._lines.append((_AND, bits, None, None))

    def jump_if(self, test: int, value: int, to: str) -> None:
        """Go to `to` if the test holds."""
        self._lines.append((test, value, to, None))

    def jump_unless(self, test: int, value: int, to: str) -> None:
        """Go to `to` if the test does not hold."""
        self._lines.append((test, value, None, to))

    def give(self, end: str) -> None:
        """Answer with one of the ends."""
        self._lines.append((_RETURN, self._ENDS[end], None, None))

    def label(self, name: str) -> None:
        """Name this place."""
        self._places[name] = len(self._lines)

    def assembled(self) -> bytes:
        """The whole, with the ends appended."""
        for end in self._ENDS:
            self.label(end)
            self.give(end)
        return b"".join(
            struct.pack("HBBI", test, self._distance(at, yes), self._distance(at, no), value)
            for at, (test, value, yes, no) in enumerate(self._lines)
        )

    def _distance(self, at: int, place: str | None) -> int:
        return 0 if place is None else self._places[place] - at - 1
