"""Faults from files that appear in a directory: for programs that can write a file and no more.

A file is taken when its name does not begin with a dot and ends in `.json` or `.jsonl`; write it
under another name first and rename it. What was taken lies in `taken/` after that, what could not
be read in `refused/` with the reason beside it. A `.jsonl` file holds one fault, event or alert a
line.
"""

import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import anyio

from kubecase.channels.sources.file import load_intake
from kubecase.channels.sources.mapping import MAX_PAYLOAD
from kubecase.core.errors import FaultRejected, KubecaseError
from kubecase.core.model import Fault
from kubecase.core.ports import Observer

POLL_SECONDS = 1.0
MOST_FILES = 1000
TAKEN, REFUSED = "taken", "refused"


class DirectorySource:
    """Every fault of every file, in the order of their names; never exhausted."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], datetime],
        cluster_default: str,
        observer: Observer,
        poll: float = POLL_SECONDS,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._cluster_default = cluster_default
        self._observer = observer
        self._poll = poll

    @property
    def name(self) -> str:
        """The name in settings and metrics."""
        return "directory"

    async def faults(self) -> AsyncIterator[Fault]:
        """The faults as files appear. Raises KubecaseError for a directory that cannot be used."""
        for folder in (self._directory, self._directory / TAKEN, self._directory / REFUSED):
            _usable(folder)
        while True:
            for name in await anyio.to_thread.run_sync(self._names):
                for fault in await anyio.to_thread.run_sync(self._faults_of, name):
                    yield fault
                # Only now: what was not taken in before a kill is found again after it, and is one
                # incident all the same.
                self._move(name, TAKEN)
            await anyio.sleep(self._poll)

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._directory) as entries:
                names = [
                    entry.name
                    for entry in entries
                    if not entry.name.startswith(".")
                    and entry.name.endswith((".json", ".jsonl"))
                    and entry.is_file(follow_symlinks=False)
                ]
        except OSError as error:
            raise _unusable(self._directory, error) from error
        return sorted(names)[:MOST_FILES]

    def _faults_of(self, name: str) -> list[Fault]:
        try:
            data = _content(self._directory / name)
            parts = data.splitlines() if name.endswith(".jsonl") else [data]
            return list(self._read(parts))
        except (FaultRejected, OSError) as error:
            self._refuse(name, str(error))
            return []

    def _read(self, parts: list[bytes]) -> Iterator[Fault]:
        for part in parts:
            if part.strip():
                intake = load_intake(
                    part, now=self._clock(), cluster_default=self._cluster_default,
                    source="directory",
                )  # fmt: skip
                yield from (each.fault for each in intake.faults)

    def _refuse(self, name: str, why: str) -> None:
        self._observer.record("error", error_type="context", error=f"{name!a}: {why}")
        self._move(name, REFUSED)
        try:
            _write_new(self._directory / REFUSED, f"{name}.why.txt", f"{why}\n".encode())
        except OSError:
            return

    def _move(self, name: str, folder: str) -> None:
        try:
            os.replace(self._directory / name, self._directory / folder / name)
        except FileNotFoundError:
            return  # refused, and moved by that
        except OSError as error:
            raise _unusable(self._directory / folder, error) from error


def _content(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise FaultRejected("is no regular file")
        data = file.read(MAX_PAYLOAD + 1)
    if len(data) > MAX_PAYLOAD:
        raise FaultRejected(f"is larger than {MAX_PAYLOAD} bytes")
    return data


def _write_new(folder: Path, name: str, data: bytes) -> None:
    """Replace what stands there, a link itself and not its target: others may write here too."""
    within = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=within)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=within), "wb") as file:
            file.write(data)
    finally:
        os.close(within)


def _usable(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("it cannot be written")
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> KubecaseError:
    return KubecaseError(
        f"cannot take files from {folder}: {error.strerror or error}",
        hint="Set sources.<name>.path to a directory that kubecase may write.",
    )
