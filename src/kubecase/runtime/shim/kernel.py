"""What the shim asks of Linux beyond the module `os`."""

import ctypes
import os

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
F_SETPIPE_SZ = 1031

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class ProcessStat:
    """One process as the kernel describes it. `start` is in clock ticks since the boot."""

    __slots__ = ("group", "parent", "session", "start", "state")

    def __init__(self, text: bytes) -> None:
        # The name before the last ")" is the process's own choice and may hold anything.
        fields = text[text.rindex(b")") + 2 :].split()
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.group = int(fields[2])
        self.session = int(fields[3])
        self.start = int(fields[19])

    @property
    def is_dead(self) -> bool:
        """Whether it has ended and only waits to be reaped."""
        return self.state in {"Z", "X", "x"}


def process_stat(pid: int) -> ProcessStat | None:
    """The process `pid`, or None if there is none."""
    try:
        return ProcessStat(read_small(f"/proc/{pid}/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def boot_id() -> str:
    """The identity of this boot: pids and start times mean nothing across two of them."""
    return read_small("/proc/sys/kernel/random/boot_id").decode().strip()


def children(pid: int) -> "Iterator[int]":
    """The direct children of `pid`, of all its threads, as far as they hold still."""
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in read_small(f"/proc/{pid}/task/{task}/children").split():
                yield int(child)
    except (FileNotFoundError, ProcessLookupError):
        return


def prctl(option: int, value: int) -> None:
    """One setting of this process. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [ctypes.c_ulong(number) for number in (value, 0, 0, 0)]
    if libc.prctl(option, *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def read_small(path: str) -> bytes:
    """The whole of a file that the kernel makes up as it is read."""
    handle = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(handle, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)
