"""The files of a recorded folder, read by directory handle: no links, bounded in every way."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kubecase.channels.sources.intake import rejected
from kubecase.channels.sources.mapping import MAX_PAYLOAD

MAX_FOLDER = 64 * 1024 * 1024
MAX_ENTRIES = 2000
MAX_LEVELS = 3
MAX_LOG = 1024 * 1024

JSON_ENDINGS = (".json", ".jsonl", ".ndjson")


@dataclass(kw_only=True)
class RecordedFiles:
    """What was read: bytes by path relative to the folder, nearest the top first, and remarks."""

    files: dict[PurePosixPath, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    total: int = 0
    entries: int = 0


def read_files(folder: Path) -> RecordedFiles:
    """The JSON and log files in `folder`, by the limits at the top of this module.

    What is left out is noted. Raises FaultRejected if the folder cannot be read or is too large.
    """
    reading = RecordedFiles()
    try:
        # The folder itself was named by the operator and may be a link; nothing in it may.
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise rejected(f"cannot open the folder: {error.strerror}") from error
    _walk(top, PurePosixPath(), reading)
    return reading


def _walk(directory: int, where: PurePosixPath, reading: RecordedFiles) -> None:
    """Read what is of use below `directory`, and close it."""
    below: list[str] = []
    try:
        for name in _names(directory, reading):
            kind = stat.S_IFMT(os.lstat(name, dir_fd=directory).st_mode)
            if kind == stat.S_IFDIR:
                below.append(name)
            elif kind != stat.S_IFREG:
                reading.notes.append(f"{where / name}: not a regular file, left out")
            elif _is_of_use(name):
                _take_file(directory, name, where / name, reading)
        for name in below:
            if len(where.parts) + 1 >= MAX_LEVELS:
                reading.notes.append(f"{where / name}: deeper than {MAX_LEVELS} levels, left out")
                continue
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            _walk(os.open(name, flags, dir_fd=directory), where / name, reading)
    except OSError as error:
        raise rejected(f"cannot read the folder {where}: {error.strerror}") from error
    finally:
        os.close(directory)


def _names(directory: int, reading: RecordedFiles) -> Iterator[str]:
    with os.scandir(directory) as entries:
        names: list[str] = []
        for entry in entries:
            reading.entries += 1
            if reading.entries > MAX_ENTRIES:
                raise rejected(f"the folder has more than {MAX_ENTRIES} entries")
            names.append(entry.name)
    for name in sorted(names):
        try:
            name.encode()
        except UnicodeEncodeError:
            reading.notes.append(f"{name!a}: name is not UTF-8, left out")
            continue
        yield name


def _is_of_use(name: str) -> bool:
    is_log = name.startswith("logs-") and name.endswith(("-current.txt", "-previous.txt"))
    return is_log or name.endswith(JSON_ENDINGS)


def _take_file(directory: int, name: str, path: PurePosixPath, reading: RecordedFiles) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            reading.notes.append(f"{path}: not a regular file, left out")
            return
        is_json = path.suffix in JSON_ENDINGS
        limit = MAX_PAYLOAD if is_json else MAX_LOG
        if status.st_size > limit:
            if is_json:
                reading.notes.append(f"{path}: more than {limit} bytes, left out")
                return
            reading.notes.append(f"{path}: the last {limit} of {status.st_size} bytes")
            file.seek(-limit, os.SEEK_END)
        data = file.read(limit)
    reading.total += len(data)
    if reading.total > MAX_FOLDER:
        raise rejected(f"the folder holds more than {MAX_FOLDER} bytes")
    reading.files[path] = data
