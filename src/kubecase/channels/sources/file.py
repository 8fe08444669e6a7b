"""Faults given by hand: a file, a folder, standard input, or bytes that are there already."""

import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

from kubecase.channels.sources.folder import faults_in_folder
from kubecase.channels.sources.intake import UNDERSTOOD, Arrival, Intake, rejected
from kubecase.channels.sources.mapping import MAX_PAYLOAD, faults_in
from kubecase.core.errors import FaultRejected
from kubecase.core.model import Fault


def load_intake(
    given: Path | str | bytes, *, now: datetime, cluster_default: str, source: str = "file"
) -> Intake:
    """The faults in what was given by hand: a path, `-` for standard input, or the bytes.

    A file may be a pipe; a folder is read as a recording. `now` is when the payload came, and
    `cluster_default` the cluster that counts where the payload names none. Raises FaultRejected
    for what cannot be read, is larger than 8 MiB (a folder 64 MiB), or holds no fault.
    """
    arrival = Arrival(now=now, cluster_default=cluster_default, source=source)
    if isinstance(given, bytes):
        return faults_in(given, arrival)
    if str(given) == "-":
        return faults_in(sys.stdin.buffer.read(MAX_PAYLOAD + 1), arrival)
    path = Path(given)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(mode):
        return faults_in_folder(path, arrival)
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise rejected(f"{ascii(str(path))[:200]} is neither a file nor a folder")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PAYLOAD + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    return faults_in(data, arrival)


def _unreadable(path: Path, error: OSError | ValueError) -> FaultRejected:
    why = error.strerror if isinstance(error, OSError) else "not a path"
    return FaultRejected(f"cannot read {ascii(os.fspath(path))[:200]}: {why}", hint=UNDERSTOOD)


class FileSource:
    """A source that is exhausted once the faults of one file or folder have been taken."""

    def __init__(
        self, given: Path | str | bytes, *, clock: Callable[[], datetime], cluster_default: str
    ) -> None:
        self._given = given
        self._clock = clock
        self._cluster_default = cluster_default

    @property
    def name(self) -> str:
        """The name in settings and metrics."""
        return "file"

    async def faults(self) -> AsyncIterator[Fault]:
        """The faults of the file, in its order. Raises FaultRejected as `load_intake` does."""
        intake = load_intake(self._given, now=self._clock(), cluster_default=self._cluster_default)
        for each in intake.faults:
            yield each.fault
