"""The run directory: what is placed there before the start, and what the shim leaves."""

import errno
import fcntl
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Cause, Command, Exit
from kubecase.core.ports import Started
from kubecase.runtime.shim.kernel import boot_id, process_stat
from kubecase.runtime.shim.record import ABANDONED, write_all, write_record

PRIVATE = "private"
REQUEST, STARTED, EXIT = "request", "started", "exit"
MAX_RECORD = 1 << 20
NONSENSE = (KeyError, TypeError, ValueError, OverflowError, RecursionError)
"""What a record raises that the agent wrote in the shim's place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process beyond doubt: a pid means something only with a start time, within one boot."""

    pid: int
    start: int
    boot: str

    def is_alive(self) -> bool:
        """Whether it exists and has not ended; one that nobody has reaped yet has ended."""
        stat = process_stat(self.pid) if self.boot == boot_id() else None
        return stat is not None and stat.start == self.start and not stat.is_dead


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecord:
    """The record `started`."""

    agent: Process
    shim: Process
    started: Started


def create_run_dir(
    run_dir: Path, private_files: Mapping[str, bytes], *, reader: int | None = None
) -> None:
    """Make the directory, 0700 whatever the umask, and place the private files in it, 0600.

    With `reader`, a group, those may be read by it, and the way to them be passed by anybody.
    Raises RuntimeUnavailable if it exists or cannot be written.
    """
    for name in private_files:
        if "/" in name or name in {"", ".", ".."}:
            raise ValueError(f"{name!r} is not the name of a private file")
    with _told_to_the_operator(run_dir):
        run_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = run_dir / PRIVATE
        for directory in (run_dir, private):
            directory.mkdir(mode=0o700)
            directory.chmod(0o700)
        for name, content in private_files.items():
            handle = os.open(private / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.fchmod(handle, 0o600)
                write_all(handle, content)
                if reader is not None:
                    os.fchown(handle, -1, reader)
                    os.fchmod(handle, 0o640)
            finally:
                os.close(handle)
        if reader is not None:
            os.chown(private, -1, reader)
            private.chmod(0o750)
            for directory in (run_dir, run_dir.parent):
                directory.chmod(0o711)


def write_request(run_dir: Path, command: Command, request: Mapping[str, Any]) -> None:
    """Record what is about to be run, without values of the environment and without the input."""
    cleanup = request["cleanup"]
    _write(
        run_dir,
        REQUEST,
        {
            "argv": list(command.argv),
            "cwd": str(command.cwd),
            "environment": sorted(command.environment),
            "stdin_bytes": len(command.stdin),
            "private_files": sorted(command.private_files),
            "limits": request["limits"],
            "rlimits": request["rlimits"],
            "isolation": request["isolation"],
            "cleanup": cleanup
            and {
                "argv": [os.fsdecode(word) for word in cleanup["argv"]],
                "environment": {
                    os.fsdecode(name): os.fsdecode(value)
                    for name, value in cleanup["environment"].items()
                },
            },
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """What the record `request` says for those who have to clean up after a lost run."""

    cwd: str
    cleanup: tuple[tuple[str, ...], Mapping[str, str]] | None


def read_request(run_dir: Path) -> Requested | None:
    """The record of the request; None if there is none, or none that makes sense."""
    try:
        record = json.loads(_read(run_dir, REQUEST))
        cleanup = record.get("cleanup")
        return Requested(
            cwd=str(record["cwd"]),
            cleanup=cleanup
            and (
                tuple(map(str, cleanup["argv"])),
                {str(name): str(value) for name, value in cleanup["environment"].items()},
            ),
        )
    except (*NONSENSE, AttributeError):
        return None


def abandon(run_dir: Path) -> bool:
    """Make sure that no agent will ever be started there; False if a shim is at work on it.

    Who can have the lock knows that there is none, and one that comes later finds the mark.
    """
    with _told_to_the_operator(run_dir):
        directory = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            create = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            os.close(os.open(ABANDONED, create, 0o600, dir_fd=directory))
        except BlockingIOError:
            return False
        finally:
            os.close(directory)
    return True


def write_exit(run_dir: Path, exit: Exit) -> None:
    """Record an end that no shim recorded. Raises RuntimeUnavailable."""
    values = {field: getattr(exit, field) for field in Exit.__slots__}
    _write(run_dir, EXIT, {**values, "cause": str(exit.cause)})


def read_started(run_dir: Path) -> StartRecord | None:
    """The record of the start; None if there is none, or none that makes sense."""
    return parse_started(_read(run_dir, STARTED))


def parse_started(data: bytes) -> StartRecord | None:
    """The record of the start as the shim put it; None if it makes no sense."""
    try:
        record = json.loads(data)
        boot = str(record["boot_id"])
        return StartRecord(
            agent=Process(pid=int(record["pid"]), start=int(record["start"]), boot=boot),
            shim=Process(pid=int(record["shim_pid"]), start=int(record["shim_start"]), boot=boot),
            started=Started(
                pid=int(record["pid"]),
                at=datetime.fromisoformat(record["at"]).astimezone(UTC),
                isolation=str(record["isolation"]),
                notes=tuple(map(str, record["notes"])),
            ),
        )
    except NONSENSE:
        return None


def read_exit(run_dir: Path) -> Exit | None:
    """The record of the end; None if there is none, or none that makes sense."""
    return parse_exit(_read(run_dir, EXIT))


def parse_exit(data: bytes) -> Exit | None:
    """The record of the end as the shim put it; None if it makes no sense."""
    try:
        record = json.loads(data)
        seconds = float(record["seconds"])
        return Exit(
            cause=Cause(record["cause"]),
            code=_number(record["code"]),
            signal=_number(record["signal"]),
            seconds=seconds if math.isfinite(seconds) else 0.0,
            clean=record["clean"] is True,
            leftover=int(record["leftover"]),
            error=None if record["error"] is None else str(record["error"]),
        )
    except NONSENSE:
        return None


def open_regular(path: Path) -> int:
    """A handle to read from a file that others may have replaced by anything; never waits.

    Raises OSError, also if it is a link, a pipe, a device or a directory.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return handle


def _number(value: object) -> int | None:
    """A code or a signal, which both fit into a byte."""
    if value is None or (type(value) is int and 0 <= value <= 255):
        return value
    raise ValueError("neither a code nor a signal")


def _read(run_dir: Path, name: str) -> bytes:
    """What the file holds; nothing if there is none, or none that can be read."""
    try:
        with open(open_regular(run_dir / name), "rb") as file:
            return file.read(MAX_RECORD)
    except OSError:
        return b""


def _write(run_dir: Path, name: str, values: Mapping[str, object]) -> None:
    with _told_to_the_operator(run_dir):
        directory = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_record(directory, name, values)
        finally:
            os.close(directory)


@contextmanager
def _told_to_the_operator(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RuntimeUnavailable(
            f"cannot use the run directory {run_dir}: {error.strerror}",
            hint="Each run has one of its own below the data directory; is there space, may it be "
            "written, and is it not there already?",
        ) from error
