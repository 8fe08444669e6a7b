"""The run directory: what the shim and its supervisors leave there, and reading it again."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Cause, Command, Exit
from kubecase.core.ports import Started

NOTES = (
    (
        "the agent has the rights of the user that runs kubecase: it can read that user's files, "
        "reach the network, and signal and inspect that user's other processes"
    ),
    "memory is not limited for the agent as a whole",
)
MAX_RECORD = 1 << 20


def create(run_dir: Path, command: Command) -> None:
    """Make the run directory, 0700 under any umask, with the request and the private files.

    The request is kept without environment values and without the bytes for standard input.
    Raises RuntimeUnavailable if it exists or cannot be made.
    """
    try:
        run_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_dir.mkdir(mode=0o700)
        run_dir.chmod(0o700)
        private = run_dir / "private"
        private.mkdir(mode=0o700)
        private.chmod(0o700)
        for name, content in command.private_files.items():
            if "/" in name or name in {"", ".", ".."}:
                raise ValueError(f"{name!r} is not the name of a private file")
            _write(private / name, content)
        request = {
            "argv": list(command.argv),
            "cwd": str(command.cwd),
            "environment": sorted(command.environment),
            "stdin_bytes": len(command.stdin),
            "stop_signal": command.stop_signal,
        }
        _write(run_dir / "request", json.dumps(request).encode() + b"\n")
    except OSError as error:
        raise RuntimeUnavailable(
            f"cannot make the run directory {run_dir}: {error.strerror}",
            hint="Each attempt has one of its own, below the data directory; look at it by hand.",
        ) from error


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(handle, "wb") as file:
        os.fchmod(handle, 0o600)
        file.write(content)


def read(run_dir: Path, name: str) -> dict[str, Any] | None:
    """The record `name` (`started` or `exit`), None if there is none."""
    try:
        with open(run_dir / name, "rb") as file:
            value = json.loads(file.read(MAX_RECORD))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return value if isinstance(value, dict) else None


def exit_of(record: Mapping[str, Any]) -> Exit:
    """The end that a shim put on record."""
    return Exit(
        cause=Cause(record["cause"]),
        code=record["code"],
        signal=record["signal"],
        seconds=record["seconds"],
        clean=record["clean"],
        leftover=record["leftover"],
        error=record["error"],
    )


def started_of(record: Mapping[str, Any]) -> Started:
    """The start that a shim put on record."""
    return Started(
        pid=record["pid"],
        at=datetime.fromtimestamp(record["at"], UTC),
        isolation=record["isolation"],
        notes=NOTES,
    )


def boot_id() -> str:
    """What tells this boot of the machine from any other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, None if there is no such process, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] == b"Z" else int(fields[19])


def is_alive(record: Mapping[str, Any], who: str) -> bool:
    """Whether the process that the start record calls `who` (`shim` or `agent`) still exists."""
    pid, start = ("shim_pid", "shim_start") if who == "shim" else ("pid", "start")
    return bool(record["boot_id"] == boot_id() and start_time(record[pid]) == record[start])
