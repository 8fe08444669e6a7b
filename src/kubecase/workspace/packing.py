"""What of a workspace goes into its archive, and the archive as a stream of bytes.

The same choice is made when an archive is checked against the tree, so it depends on the tree and
the limits only, except for the time that may run out.
"""

import io
import json
import os
import stat
import tarfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from kubecase.core.errors import WorkspaceError
from kubecase.workspace.handles import FILE_MODE, PASSAGE, READING, identity, kind
from kubecase.workspace.names import shown
from kubecase.workspace.walk import Found, Trouble, walk

CHUNK_BYTES = 1024 * 1024
RECORD_BYTES = 128 * 1024
FORMAT = "kubecase-archive/1"
ENCODING, ENCODING_ERRORS = "utf-8", "surrogateescape"
"""How names become bytes and back, also those that are not UTF-8."""

_HEADER_BYTES = 1024
_LISTED = 1000

Tick = Callable[[int], None]
"""Told of bytes that were read, often. May raise, to have the work given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """How far an archive may go; what is beyond is left out, and its manifest says so.

    `bytes` counts contents, names and headers as they are before compression, `seconds` the
    packing, `depth` the levels of directories. `keep_free` is what must stay free on the disk that
    the archive is written to.
    """

    bytes: int = 4 * 1024**3
    entries: int = 200_000
    depth: int = 4096
    seconds: float = 900.0
    keep_free: int = 64 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An entry that is packed. `handle` is open on a regular file, `link` is a link's target."""

    relative: str
    status: os.stat_result
    handle: int | None = None
    link: str | None = None


@dataclass(slots=True, kw_only=True)
class Selection:
    """Chooses what is packed, entry by entry; afterwards it says what was not.

    `left_out` names the first thousand with their reasons, `left_out_count` counts all of them.
    `truncated` says why the rest of the tree was not looked at, if it was not.
    """

    limits: ArchiveLimits
    deadline: float
    seen: int = 0
    bytes: int = 0
    members: int = 0
    left_out: list[dict[str, str]] = field(default_factory=list)
    left_out_count: int = 0
    truncated: str | None = None

    def run(self, top: int) -> Generator[Member]:
        """The members below `top`, directories before what is in them.

        The handle of a file is closed when the next member is asked for.
        """
        tree = walk(top, deadline=self.deadline, max_depth=self.limits.depth, force=True)
        for each in tree:
            if isinstance(each, Trouble):
                if not each.name:
                    self.truncated = each.why
                    return
                self._leave_out(each.relative, each.why)
                continue
            if self.seen >= self.limits.entries:
                self.truncated = f"more than {self.limits.entries} entries"
                return
            self.seen += 1
            yield from self._considered(each)

    def _considered(self, found: Found) -> Iterator[Member]:
        relative, status, handle = found.relative, found.status, None
        try:
            link = None
            self._spend(_HEADER_BYTES + 2 * len(relative))
            if stat.S_ISLNK(status.st_mode):
                link = os.readlink(found.name, dir_fd=found.directory)
            elif stat.S_ISREG(status.st_mode):
                self._spend(status.st_size)
                handle, status = _opened(found)
            elif not stat.S_ISDIR(status.st_mode):
                raise _LeftOut(kind(status))
        except _LeftOut as reason:
            self._leave_out(relative, str(reason))
            return
        except OSError as error:
            self._leave_out(relative, (error.strerror or "cannot be read").lower())
            return
        self.members += 1
        try:
            yield Member(relative=relative, status=status, handle=handle, link=link)
        finally:
            if handle is not None:
                os.close(handle)

    def _spend(self, amount: int) -> None:
        left = self.limits.bytes - self.bytes
        if amount > left:
            raise _LeftOut(f"{amount} bytes, where {left} of {self.limits.bytes} were left")
        self.bytes += amount

    def _leave_out(self, relative: str, why: str) -> None:
        self.left_out_count += 1
        if len(self.left_out) < _LISTED:
            self.left_out.append({"path": shown(relative), "why": why})


class _LeftOut(Exception):
    """Why an entry is not packed."""


def _opened(found: Found) -> tuple[int, os.stat_result]:
    """A descriptor of the regular file that was found, and its status."""
    try:
        handle = os.open(found.name, READING, dir_fd=found.directory)
    except PermissionError:
        _make_readable(found)
        handle = os.open(found.name, READING, dir_fd=found.directory)
    status = os.fstat(handle)
    same = identity(status) == identity(found.status) and stat.S_ISREG(status.st_mode)
    if not same or status.st_size != found.status.st_size:
        os.close(handle)
        raise WorkspaceError(f"{shown(found.relative)!r} changed while it was read")
    return handle, found.status


def _make_readable(found: Found) -> None:
    if found.status.st_nlink > 1:
        # Its mode is that of its other names too, and they may lie elsewhere.
        raise _LeftOut("may not be read, and has other names")
    handle = os.open(found.name, PASSAGE & ~os.O_DIRECTORY, dir_fd=found.directory)
    try:
        os.chmod(f"/proc/self/fd/{handle}", FILE_MODE)
    finally:
        os.close(handle)


def write_archive(
    top: int,
    out: BinaryIO,
    *,
    name: str,
    about: Mapping[str, Any],
    limits: ArchiveLimits,
    tick: Tick,
) -> None:
    """Write the tree below `top` to `out` as a tar, members `name`/..., its manifest at the end.

    Raises WorkspaceError if something changes meanwhile, OSError, and what `tick` raises.
    """
    selection = Selection(limits=limits, deadline=time.monotonic() + limits.seconds)
    with tarfile.open(
        fileobj=out, mode="w|", bufsize=RECORD_BYTES,
        # The names in it are bytes, which PAX headers have no agreed way to hold.
        format=tarfile.GNU_FORMAT, encoding=ENCODING, errors=ENCODING_ERRORS,
    ) as tar:  # fmt: skip
        _add(tar, _header(name, os.fstat(top)))
        for member in selection.run(top):
            tick(0)
            header = _header(f"{name}/{member.relative}", member.status, member.link)
            content = None if member.handle is None else _Source(member.handle, tick)
            try:
                _add(tar, header, content)
            except OSError as error:
                if error.errno is not None:
                    raise
                # Shorter than its header says, by now.
                what = shown(member.relative)
                raise WorkspaceError(f"{what!r} changed while it was read") from error
        manifest = json.dumps(_manifest(name, about, selection), indent=2).encode() + b"\n"
        last = tarfile.TarInfo(manifest_name(name))
        last.size, last.mode, last.mtime = len(manifest), FILE_MODE, int(time.time())
        _add(tar, last, io.BytesIO(manifest))


def manifest_name(name: str) -> str:
    """What the manifest in the archive of the workspace `name` is called."""
    return f"{name}.manifest.json"


def _manifest(name: str, about: Mapping[str, Any], selection: Selection) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "workspace": name,
        **about,
        "members": selection.members,
        "bytes": selection.bytes,
        "truncated": selection.truncated,
        "left_out_count": selection.left_out_count,
        "left_out": selection.left_out,
    }


def _header(name: str, status: os.stat_result, link: str | None = None) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    # Without the bits that lend a user's rights: root may be the one who unpacks.
    header.mode = status.st_mode & 0o777
    header.mtime = int(status.st_mtime)
    header.uid, header.gid = status.st_uid, status.st_gid
    if link is not None:
        header.type, header.linkname = tarfile.SYMTYPE, link
    elif stat.S_ISDIR(status.st_mode):
        header.type = tarfile.DIRTYPE
    else:
        header.size = status.st_size
    return header


def _add(tar: tarfile.TarFile, header: tarfile.TarInfo, content: object = None) -> None:
    tar.addfile(header, cast(Any, content))
    forget_members(tar)


def forget_members(tar: tarfile.TarFile) -> None:
    """Keep `tar` from remembering every member that passed, which a stream has no use for."""
    cast(Any, tar).members.clear()


class _Source:
    """A file that says how much of it was read."""

    def __init__(self, handle: int, tick: Tick) -> None:
        self._handle = handle
        self._tick = tick

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end of the file."""
        return read_fully(self._handle, size, self._tick)


def read_fully(handle: int, size: int, tick: Tick) -> bytes:
    """The next `size` bytes of a file, fewer only at its end."""
    pieces: list[bytes] = []
    while size > 0:
        piece = os.read(handle, min(size, CHUNK_BYTES))
        if not piece:
            break
        tick(len(piece))
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
