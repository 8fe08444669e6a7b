"""What the shim knows of processes, records and disks. Standard library only."""

import ctypes
import json
import os
import signal
import time
from typing import Any

PDEATHSIG, DUMPABLE, SUBREAPER, NO_NEW_PRIVS = 1, 4, 36, 38
KILL_SECONDS = 10.0
MAX_ENTRIES = 200_000
MAX_PENDING = 200

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """One option of this process; what a kernel does not know is no reason to fail."""
    _libc.prctl(option, value, 0, 0, 0)


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat: with the boot id it tells one process from any other."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rsplit(b")", 1)[1].split()[19])


def boot_id() -> str:
    """What tells this boot of the machine from any other."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def write_record(directory: int, name: str, record: dict[str, Any]) -> None:
    """Write `record` so that a reader finds it whole or not at all, also after a power cut."""
    handle = os.open(name + ".new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
    os.write(handle, json.dumps(record).encode() + b"\n")
    os.fsync(handle)
    os.close(handle)
    os.rename(name + ".new", name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def children_of(pid: int) -> list[int]:
    """The children of all threads of `pid`; none if it is gone."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def descendants() -> list[int]:
    """Every process below this one, as far as one look can tell."""
    found, todo = [], children_of(os.getpid())
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children_of(pid)
    return found


def kill(pid: int, number: int) -> None:
    """Send a signal to one process; that it is gone is fine."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


class Killed:
    """What killing everything came to: whether it is proved, and what was seen on the way.

    `status` and `usage` are those of the main process if it was reaped here; `leftover` counts the
    other descendants that were alive when the killing began.
    """

    def __init__(self) -> None:
        self.proved = False
        self.rounds = self.leftover = 0
        self.status: int | None = None
        self.usage: Any = None


def kill_all(main: int) -> Killed:
    """Kill every descendant until the kernel says that there is no child left.

    Only that end is sound: a sub-reaper without a child has no descendants, while a look at the
    process list that finds nothing may have looked between two forks.
    """
    killed = Killed()
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        below = descendants()
        if not killed.rounds:
            killed.leftover = sum(1 for pid in below if pid != main)
        killed.rounds += 1
        for pid in below:
            kill(pid, signal.SIGKILL)
        try:
            while _reap_one(main, killed):
                pass
        except ChildProcessError:
            killed.proved = True
            break
        time.sleep(0.001)
    return killed


def _reap_one(main: int, killed: Killed) -> bool:
    pid, status, usage = os.wait4(-1, os.WNOHANG)
    if pid == main:
        killed.status, killed.usage = status, usage
    return pid != 0


def disk_bytes(path: str) -> int:
    """What the disk gives for the tree at `path`: links not followed, entries budgeted.

    A file of several names is counted in parts; what cannot be looked at is left out.
    """
    total, left = 0, MAX_ENTRIES
    pending = [_open_directory(path, None)]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        break
                    total += _entry_bytes(entry, directory, pending)
        except OSError:
            pass
        finally:
            os.close(directory)
    return total


def _entry_bytes(entry: "os.DirEntry[str]", directory: int, pending: list[int]) -> int:
    try:
        status = entry.stat(follow_symlinks=False)
        if not entry.is_dir(follow_symlinks=False):
            return status.st_blocks * 512 // max(1, status.st_nlink)
        if len(pending) < MAX_PENDING:
            pending.append(_open_directory(entry.name, directory))
        return status.st_blocks * 512
    except OSError:
        return 0


def _open_directory(name: str, parent: int | None) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=parent)
