"""The record of what was asked and answered: JSON lines chained by hashes, and the answers.

A line is one JSON object that ends with its own `hash`: the SHA-256 of the hash before it and of
everything in the line up to there. Whoever changes a byte of a line breaks that line; whoever takes
one out breaks the next. The hash of the last line (the head) is kept elsewhere too, as a row.

A process that is killed may leave half a line. The next one to open the file seals it: a line of
the kind `recovered` says how many bytes were cut off and what their digest is.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

GENESIS = "0" * 64
"""What stands for the hash before the first line."""

RECOVERED = "recovered"
MAX_LINE = 1024 * 1024
MAX_ANSWER = 8 * 1024 * 1024
"""Of a longer answer nothing is kept but its digest and size."""

MAX_KEPT = 256 * 1024 * 1024
"""Of so many bytes one record keeps answers; of what comes later the digest."""

_HASH_FIELD = b',"hash":"'
_TAIL = len(_HASH_FIELD) + 64 + len(b'"}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a look at a whole record found.

    `lines` were read up to the end or the first bad one. `bad_line` counts from 1, and `why` says
    what is wrong with it; both are None for a record that holds. `head` is the hash of the last
    good line. `digests` are those of all answers that the lines speak of.
    """

    lines: int
    head: str
    bad_line: int | None = None
    why: str | None = None
    digests: frozenset[str] = frozenset()

    @property
    def holds(self) -> bool:
        """Whether no byte was changed."""
        return self.bad_line is None


class AuditLog:
    """An open record. Its methods are quick and must be called from one thread.

    `answers` is the directory in which answers are kept by their digest, shared by all records.
    """

    def __init__(self, file: int, answers: Path, head: str, clock: Callable[[], datetime]) -> None:
        self._file = file
        self._answers = answers
        self._clock = clock
        self._room = MAX_KEPT
        self.head = head

    @classmethod
    def open(
        cls,
        path: Path,
        answers: Path,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> "AuditLog":
        """The record at `path`, 0600, begun or gone on with. Raises OSError.

        Half a line at its end is sealed. Lines that were tampered with are gone on with: that is
        for `verify` to find.
        """
        for directory in (path.parent, answers):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
        head, cut = _end_of(file)
        log = cls(file, answers, head, clock)
        if cut:
            os.write(file, b"\n")
            log.record(RECOVERED, bytes=len(cut), sha256=hashlib.sha256(cut).hexdigest())
        return log

    def record(self, kind: str, /, **fields: Any) -> str:
        """Append one line and return its hash. Raises OSError if it could not be written.

        `fields` must be JSON; `at`, `kind` and `hash` are set here. What must not be on record (a
        secret) is the caller's business.
        """
        line, digest = _line({"at": self._clock().isoformat(), "kind": kind, **fields}, self.head)
        view = memoryview(line)
        while view:
            view = view[os.write(self._file, view) :]
        self.head = digest
        return digest

    def keep(self, answer: bytes) -> str:
        """Keep a (redacted) answer by its digest, which is returned. Raises OSError.

        One over 8 MiB is not kept, nor what is over 256 MiB in all; its digest is returned all
        the same.
        """
        digest = hashlib.sha256(answer).hexdigest()
        if len(answer) <= min(MAX_ANSWER, self._room):
            self._room -= len(answer)
            keep_answer(self._answers, digest, answer)
        return digest

    def keeping(self) -> "AnswerFile":
        """Keeps an answer that comes in pieces. Raises OSError."""
        return AnswerFile(self._answers, self._room)

    def close(self) -> None:
        """Make what was written durable, as far as that can be done, and let go of it."""
        with suppress(OSError):  # a line that is lost shows when the record is verified
            os.fsync(self._file)
        os.close(self._file)


class AnswerFile:
    """An answer that is kept as it comes, and digested whole; its methods never fail.

    Of one over 8 MiB or over `room` nothing is kept, and of one that cannot be written neither.
    """

    def __init__(self, answers: Path, room: int = MAX_ANSWER) -> None:
        self._answers = answers
        self._most = min(MAX_ANSWER, room)
        self._digest = hashlib.sha256()
        self._size = 0
        self._path = answers / f".stream.{os.urandom(8).hex()}"
        self._file = -1

    def add(self, data: bytes) -> None:
        """The next piece."""
        self._digest.update(data)
        self._size += len(data)
        if self._size > self._most:
            self._drop()
            return
        try:
            if self._file < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            self._size = MAX_ANSWER + 1
            self._drop()

    def done(self) -> str:
        """The digest of all of it, under which it is kept from now on."""
        digest = self._digest.hexdigest()
        with suppress(OSError):
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
                self._path.rename(self._answers / digest)
            elif not self._size:
                keep_answer(self._answers, digest, b"")
        return digest

    def _drop(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        with suppress(OSError):
            self._path.unlink()


def keep_answer(answers: Path, digest: str, answer: bytes) -> None:
    """Store `answer` under `digest` unless it is there; whole or not at all. Raises OSError."""
    path = answers / digest
    if path.exists():
        os.utime(path)  # it is as old as its last use
        return
    temporary = answers / f".{digest}.{os.urandom(6).hex()}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(answer)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)
    temporary.rename(path)


def remove_old_answers(answers: Path, *, before: float) -> tuple[int, int]:
    """Remove answers last used before this time (seconds since 1970); how many, and their bytes.

    Records stay: their lines have the digest of each answer, also of those that are gone.
    """
    removed = freed = 0
    with suppress(FileNotFoundError), os.scandir(answers) as entries:
        for entry in entries:
            with suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if entry.is_file(follow_symlinks=False) and found.st_mtime < before:
                    os.unlink(entry.path)
                    removed, freed = removed + 1, freed + found.st_size
    return removed, freed


def read_answer(answers: Path, digest: str) -> bytes | None:
    """The answer kept under `digest`; None if there is none, or it is not what it was."""
    try:
        data = (answers / digest).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None


def read_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of a record as parsed JSON, those that do not parse left out. Checks nothing."""
    for line in _lines(path):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def verify(path: Path) -> Verified:
    """Check every hash of the record at `path`. Raises OSError if it cannot be read."""
    head, digests, pending = GENESIS, set[str](), None
    number = 0
    for number, line in enumerate(_lines(path), start=1):
        value = _checked(line, head)
        if value is None:
            if pending is not None:
                return Verified(lines=number - 1, head=head, bad_line=number - 1, why=pending[0])
            pending = ("its hash does not fit", line)
            continue
        if pending is not None:
            cut = pending[1]
            if not _seals(value, cut):
                return Verified(lines=number - 1, head=head, bad_line=number - 1, why=pending[0])
            pending = None
        head = str(value["hash"])
        digests |= {str(value[key]) for key in ("answer", "answer_sha256") if value.get(key)}
    if pending is not None:
        return Verified(lines=number, head=head, bad_line=number, why=pending[0])
    return Verified(lines=number, head=head, digests=frozenset(digests))


def _line(values: Mapping[str, Any], head: str) -> tuple[bytes, str]:
    text = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
    body = text.encode()[:-1]
    digest = hashlib.sha256(head.encode() + body).hexdigest()
    return body + _HASH_FIELD + digest.encode() + b'"}\n', digest


def _checked(line: bytes, head: str) -> Mapping[str, Any] | None:
    """The line, parsed, if its hash follows from `head` and from itself."""
    body, end = line[:-_TAIL], line[-_TAIL:]
    digest = hashlib.sha256(head.encode() + body).hexdigest()
    if end != _HASH_FIELD + digest.encode() + b'"}':
        return None
    try:
        value: Mapping[str, Any] = json.loads(line)
    except ValueError:
        return None
    return value


def _seals(value: Mapping[str, Any], cut: bytes) -> bool:
    return (
        value.get("kind") == RECOVERED
        and value.get("bytes") == len(cut)
        and value.get("sha256") == hashlib.sha256(cut).hexdigest()
    )


def _lines(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while line := file.readline(MAX_LINE):
            yield line.removesuffix(b"\n")


def _end_of(file: int) -> tuple[str, bytes]:
    """The hash that the last whole line carries, and what stands after that line."""
    head, rest = GENESIS, b""
    with open(os.dup(file), "rb") as reader:
        reader.seek(0)
        while line := reader.readline(MAX_LINE):
            if not line.endswith(b"\n"):
                rest = line
                break
            end = line.removesuffix(b"\n")[-_TAIL:]
            if end.startswith(_HASH_FIELD) and end.endswith(b'"}'):
                head = end[len(_HASH_FIELD) : -2].decode("ascii", "replace")
    return head, rest
