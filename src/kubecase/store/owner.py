"""Who owns a running attempt, and whether that process is still alive.

An owner is one process of one host and one boot. Process ids mean something only within their
PID namespace, so two containers of one machine count as two hosts here.
"""

import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
_MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One process, told apart from every later one that gets its number.

    `host_id` is a digest, never the machine's own id. `started` is the moment the process began,
    in clock ticks since the boot `boot_id`; where the platform does not tell, it is 0 and
    `boot_id` is empty.
    """

    host_id: str
    boot_id: str
    pid: int
    started: int

    @classmethod
    def current(cls) -> Self:
        """The process that asks."""
        return cls(
            host_id=_host_id(),
            boot_id=_first_line(_PROC / "sys/kernel/random/boot_id"),
            pid=os.getpid(),
            started=_started(os.getpid()) or 0,
        )


def owner_is_alive(owner: Owner) -> bool | None:
    """Whether `owner` still runs; `None` where this process cannot know.

    `False` is a proof: same host, and another boot, or no such process, or a younger process
    under its number, or one that has ended and was not reaped. `None` is the answer for another
    host, another PID namespace, and a platform without /proc on which the number is in use.
    """
    here = Owner.current()
    if owner.host_id != here.host_id:
        return None
    if owner.boot_id != here.boot_id:
        return False
    if not here.started:
        return None if _number_in_use(owner.pid) else False
    return _started(owner.pid) == owner.started


def _host_id() -> str:
    machine = next((line for line in map(_first_line, _MACHINE_IDS) if line), socket.gethostname())
    try:
        namespace = os.readlink(_PROC / "self/ns/pid")
    except OSError:
        namespace = ""
    # The id of a machine is confidential by its own manual page; a digest serves as well.
    return hashlib.sha256(f"kubecase\0{machine}\0{namespace}".encode()).hexdigest()[:32]


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """Clock ticks from the boot to the start of `pid`; `None` if it is not running."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may itself hold spaces and parentheses: count from the last one.
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def _number_in_use(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
