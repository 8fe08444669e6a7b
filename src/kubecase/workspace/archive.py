"""Archives: a workspace as one `.tar.zst`, which gets its name only when it proved complete."""

import errno
import json
import math
import os
import re
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from kubecase.core.errors import WorkspaceError
from kubecase.workspace.directory import Workspace, checked_root, told
from kubecase.workspace.handles import CREATING, FILE_MODE, open_regular, root_directory
from kubecase.workspace.names import shown
from kubecase.workspace.packing import (
    CHUNK_BYTES,
    ENCODING,
    ENCODING_ERRORS,
    FORMAT,
    RECORD_BYTES,
    ArchiveLimits,
    Member,
    Selection,
    Tick,
    forget_members,
    manifest_name,
    read_fully,
    write_archive,
)

SUFFIX = ".tar.zst"
LEVEL = 3

_MANIFEST_BYTES = 4 * 1024**2
_WINDOW_BYTES = 32 * 1024**2
_LOOK_BYTES = 8 * 1024**2
_SPACE_HINT = (
    "Free some space by hand, move archives elsewhere, or have agent_runtime.cleanup_policy delete "
    "without archives."
)
_UNFINISHED = re.compile(r"\.packing-[0-9a-f]{16}")


class NoSpace(WorkspaceError):
    """There is too little space for an archive where archives are kept."""


class ArchiveUnsound(WorkspaceError):
    """An archive is not what the workspace holds; it was removed and the workspace is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A workspace that was packed, and what its manifest says.

    `bytes` is the size of the archive, `left_out` counts what could not be packed, and `truncated`
    says why a part of the tree was not looked at, if so. `found` is True if it was there already.
    """

    path: Path
    bytes: int
    members: int
    left_out: int
    truncated: str | None
    found: bool


def pack(
    workspace: Workspace,
    directory: Path,
    *,
    about: Mapping[str, Any],
    limits: ArchiveLimits,
    tick: Tick,
) -> Archive:
    """Pack `workspace` into `directory`, as `<its name>.tar.zst`, and prove that it is all there.

    Regular files, directories and links (as links) are packed; everything else, and what is over
    the `limits`, is named in the manifest, the last member, together with `about` (JSON). Nothing
    is followed. It is written under another name, read back and compared with the tree byte by
    byte; then it gets its name, durably. An archive that has the name already is compared too.

    The tree must be at rest; directories in it that keep their owner out are opened up. Raises
    NoSpace, ArchiveUnsound, WorkspaceError and what `tick` raises; the workspace stays.
    """
    path, name = checked_root(directory), workspace.root.name
    target = name + SUFFIX
    packing = told(f"archive workspace {shown(name)} in {shown(str(path))}")
    with packing, root_directory(path, create=True) as shelf, workspace.opened() as top:
        found = _is_there(target, shelf)
        if found:
            with _sound_or_removed(target, shelf), _opened(target, shelf) as file:
                manifest = _compared(file, top, name, limits, tick)
        else:
            _require_space(shelf, limits, path)
            with _unfinished(shelf) as (file, temporary):
                with _compressed(file, shelf, limits) as stream:
                    write_archive(top, stream, name=name, about=about, limits=limits, tick=tick)
                _settle(file)
                manifest = _compared(file, top, name, limits, tick)
                os.rename(temporary, target, src_dir_fd=shelf, dst_dir_fd=shelf)
        os.fsync(shelf)
        size = os.stat(target, dir_fd=shelf, follow_symlinks=False).st_size
    return Archive(
        path=path / target,
        bytes=size,
        members=manifest["members"],
        left_out=manifest["left_out_count"],
        truncated=manifest["truncated"],
        found=found,
    )


def remove_unfinished(directory: Path) -> int:
    """Remove what a packing that was killed left in `directory`; returns how many files.

    Nobody may be packing there meanwhile. Raises OutsideWorkspace and WorkspaceError.
    """
    path = checked_root(directory)
    removed = 0
    with told(f"tidy up {shown(str(path))}"):
        try:
            with root_directory(path) as shelf:
                for name in filter(_UNFINISHED.fullmatch, os.listdir(shelf)):
                    os.unlink(name, dir_fd=shelf)
                    removed += 1
        except FileNotFoundError:
            return 0
    return removed


def _is_there(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _opened(name: str, shelf: int) -> Iterator[BinaryIO]:
    """The archive `name`, open for reading; it must be a regular file."""
    with open(open_regular(name, shelf), "rb", buffering=0) as file:
        yield cast(BinaryIO, file)


@contextmanager
def _sound_or_removed(name: str, shelf: int) -> Iterator[None]:
    try:
        yield
    except ArchiveUnsound:
        os.unlink(name, dir_fd=shelf)
        raise


@contextmanager
def _unfinished(shelf: int) -> Iterator[tuple[BinaryIO, str]]:
    """A new file under a name that says that it is not finished; gone unless it was renamed."""
    temporary = f".packing-{secrets.token_hex(8)}"
    handle = os.open(temporary, CREATING & ~os.O_WRONLY | os.O_RDWR, FILE_MODE, dir_fd=shelf)
    with ExitStack() as undo, open(handle, "r+b", buffering=0) as file:
        undo.callback(_remove_if_there, temporary, shelf)
        os.fchmod(handle, FILE_MODE)
        yield cast(BinaryIO, file), temporary


def _remove_if_there(name: str, directory: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


@contextmanager
def _compressed(file: BinaryIO, shelf: int, limits: ArchiveLimits) -> Iterator[BinaryIO]:
    """A stream that compresses into `file`. Raises NoSpace when the disk is, or becomes, full."""
    import zstandard  # noqa: PLC0415 - only who packs pays for the import

    out = cast(Any, _Guarded(file, shelf, limits))
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    try:
        with compressor.stream_writer(out, closefd=False) as stream:
            yield cast(BinaryIO, stream)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpace("no space is left where archives are kept", hint=_SPACE_HINT) from error
        raise


def _settle(file: BinaryIO) -> None:
    """Put `file` on the disk, and go to its beginning to read it back from there."""
    os.fsync(file.fileno())
    # As far as the system can be asked not to answer from memory.
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    file.seek(0)


class _Guarded:
    """Writes to a file as long as enough stays free on its disk."""

    def __init__(self, file: BinaryIO, shelf: int, limits: ArchiveLimits) -> None:
        self._file = file
        self._shelf = shelf
        self._limits = limits
        self._since = 0

    def write(self, data: bytes) -> int:
        """Write all of `data`. Raises NoSpace and OSError."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._since += len(data)
        if self._since >= _LOOK_BYTES:
            self._since = 0
            _require_space(self._shelf, self._limits, None)
        return len(data)


def _require_space(shelf: int, limits: ArchiveLimits, path: Path | None) -> None:
    status = os.fstatvfs(shelf)
    free = status.f_bavail * status.f_frsize
    if free < limits.keep_free:
        where = "" if path is None else f" in {shown(str(path))}"
        raise NoSpace(
            f"no archive can be written{where}: {free} bytes are free there, "
            f"and {limits.keep_free} are to stay free",
            hint=_SPACE_HINT,
        )


def _compared(
    file: BinaryIO, top: int, name: str, limits: ArchiveLimits, tick: Tick
) -> dict[str, Any]:
    """The manifest of the archive in `file`, once every member is what the tree below `top` holds.

    Raises ArchiveUnsound, and what `tick` raises.
    """
    import zstandard  # noqa: PLC0415 - only who packs pays for the import

    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        with decompressor.stream_reader(cast(Any, file), closefd=False) as stream:
            with tarfile.open(
                fileobj=stream, mode="r|", bufsize=RECORD_BYTES, encoding=ENCODING,
                errors=ENCODING_ERRORS,
            ) as tar:  # fmt: skip
                manifest = _walk_both(tar, top, name, limits, tick)
            # To the very end, where the checksum is.
            while stream.read(CHUNK_BYTES):
                pass
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise _unsound(name, f"it cannot be read back ({error})") from error
    return manifest


def _unsound(name: str, why: str) -> ArchiveUnsound:
    return ArchiveUnsound(
        f"the archive of {shown(name)} is not sound: {why}; it was removed, and the workspace kept"
    )


def _walk_both(
    tar: tarfile.TarFile, top: int, name: str, limits: ArchiveLimits, tick: Tick
) -> dict[str, Any]:
    selection = Selection(limits=limits, deadline=math.inf)
    with closing(selection.run(top)) as tree:
        root = tar.next()
        if root is None or root.name != name or not root.isdir():
            raise _unsound(name, "it does not begin with its directory")
        packed = 0
        while (entry := tar.next()) is not None:
            forget_members(tar)
            tick(0)
            if entry.name == manifest_name(name):
                return _ended(tar, entry, tree, name, packed)
            member = next(tree, None)
            if member is None:
                raise _unsound(name, f"{shown(entry.name)!r} is not in the workspace")
            _require_same(tar, entry, member, name, tick)
            packed += 1
    raise _unsound(name, "it has no manifest")


def _require_same(
    tar: tarfile.TarFile, entry: tarfile.TarInfo, member: Member, name: str, tick: Tick
) -> None:
    what = shown(member.relative)
    if entry.name != f"{name}/{member.relative}":
        raise _unsound(name, f"{shown(entry.name)!r} stands in the place of {what!r}")
    if member.link is not None:
        same = entry.issym() and entry.linkname == member.link
    elif member.handle is not None:
        same = entry.isreg() and entry.size == member.status.st_size
        same = same and _same_content(tar.extractfile(entry), member.handle, tick)
    else:
        same = entry.isdir()
    if not same:
        raise _unsound(name, f"{what!r} differs from the workspace")


def _same_content(packed: IO[bytes] | None, handle: int, tick: Tick) -> bool:
    """Whether both hold the same bytes to their ends: more than equal checksums could say."""
    if packed is None:
        return False
    while True:
        ours = read_fully(handle, CHUNK_BYTES, tick)
        if packed.read(CHUNK_BYTES) != ours:
            return False
        if not ours:
            return True


def _ended(
    tar: tarfile.TarFile, entry: tarfile.TarInfo, tree: Iterator[Member], name: str, packed: int
) -> dict[str, Any]:
    """The manifest, if it tells the truth about how far the archive goes."""
    file = tar.extractfile(entry) if entry.isreg() and entry.size <= _MANIFEST_BYTES else None
    try:
        manifest = json.loads(file.read()) if file is not None else None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _unsound(name, "its manifest cannot be read")
    if manifest.get("members") != packed or not isinstance(manifest.get("left_out_count"), int):
        raise _unsound(name, "its manifest counts other members than there are")
    if tar.next() is not None:
        raise _unsound(name, "something follows its manifest")
    missing = None if manifest.get("truncated") else next(tree, None)
    if missing is not None:
        raise _unsound(name, f"{shown(missing.relative)!r} is not in it")
    return manifest
