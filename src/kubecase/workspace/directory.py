"""One investigation's directory: made, written, read, measured and deleted by handle."""

import errno
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kubecase.core.errors import KubecaseError, OutsideWorkspace, WorkspaceError
from kubecase.workspace.handles import (
    CREATING,
    EXECUTABLE_MODE,
    FILE_MODE,
    Identity,
    below,
    create_directory,
    force_open,
    identity,
    is_directory,
    kind,
    look,
    open_directory,
    open_regular,
    put_file,
    root_directory,
)
from kubecase.workspace.names import DOOMED, directory_name, is_plain, parts_of, shown
from kubecase.workspace.removal import remove_entry, remove_tree
from kubecase.workspace.walk import Found, walk

TREE = (".claude", "context", "output", "output/artifacts")
LOG = "output/agent.log"

_HINTS: Mapping[int, str] = {
    errno.ENOSPC: "Free some space there, or keep workspaces for a shorter time.",
    errno.EDQUOT: "Free some space there, or raise the quota of kubecase's user.",
    errno.EACCES: "Give the user that kubecase runs as the right to write there.",
    errno.EPERM: "Give the user that kubecase runs as the right to write there.",
    errno.EROFS: "Name a workspace_root on a file system that can be written.",
    errno.EEXIST: "Every attempt has a directory of its own: retry the incident instead.",
    errno.ENOTDIR: "Name a workspace_root that is a directory.",
    errno.ENOENT: "Create it first.",
}


@contextmanager
def told(what: str, *, absence: bool = True) -> Iterator[None]:
    """Turn an error of the system within into a WorkspaceError that begins with "cannot `what`".

    Without `absence` a FileNotFoundError stays what it is: not to be there is then an answer.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not absence:
            raise
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0)
        raise WorkspaceError(f"cannot {what}: {reason}", hint=hint) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a workspace takes up, links not followed and every file counted once.

    `allocated` is what the disk gives for it, `apparent` the sum of the lengths of its files.
    `complete` is False when a part could not be looked at or a budget ran out: then the numbers
    are a lower bound.
    """

    allocated: int
    apparent: int
    entries: int
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A directory that knows its own boundary.

    `root` is its absolute path, without links. Everything is reached from `/` down by directory
    handles, without following a link, and only if the directory is still the very one that was
    created: whatever an agent puts in the way, no file outside is read, written or deleted.
    """

    root: Path
    identity: Identity = field(repr=False)

    @classmethod
    def create(cls, root: Path, incident_id: str, attempt: int) -> "Workspace":
        """Create the directory of one attempt below `root`, with its tree, modes 0700.

        `root` is created where absent. Raises InvalidIncidentId, OutsideWorkspace if a component
        of `root` is a link, WorkspaceError if the directory exists already (it is not touched) or
        cannot be made; then nothing is left of it.
        """
        name = directory_name(incident_id, attempt)
        path = checked_root(root)
        creating = told(f"create workspace {name} in {shown(str(path))}")
        with creating, root_directory(path, create=True) as parent, ExitStack() as undo:
            handle = create_directory(name, parent)
            undo.callback(_undo_creation, name, parent)
            try:
                for each in TREE:
                    with below(handle, each.split("/"), create=True):
                        pass
                made = identity(os.fstat(handle))
            finally:
                os.close(handle)
            undo.pop_all()
        return cls(root=path / name, identity=made)

    @classmethod
    def open(cls, root: Path, incident_id: str, attempt: int = 1) -> "Workspace":
        """The workspace of an attempt that was created earlier, perhaps by another process.

        Raises InvalidIncidentId, OutsideWorkspace if a link stands in its place or in `root`, and
        WorkspaceError if there is none.
        """
        name = directory_name(incident_id, attempt)
        path = checked_root(root)
        with told(f"open workspace {name} in {shown(str(path))}"), root_directory(path) as parent:
            handle = open_directory(name, parent)
            try:
                return cls(root=path / name, identity=identity(os.fstat(handle)))
            finally:
                os.close(handle)

    @classmethod
    def adopt(cls, path: Path) -> "Workspace":
        """The existing directory `path`, which somebody else has made, as a workspace.

        Raises OutsideWorkspace if a component of `path` is a link, WorkspaceError if it is no
        directory.
        """
        path = checked_root(path)
        with told(f"use {shown(str(path))} as a workspace"), root_directory(path) as handle:
            return cls(root=path, identity=identity(os.fstat(handle)))

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of the directory itself. Raises WorkspaceError if it was exchanged."""
        with root_directory(self.root.parent) as parent:
            self._require_ours(parent)
            handle = force_open(self.root.name, parent)
        try:
            if identity(os.fstat(handle)) != self.identity:
                raise WorkspaceError(f"cannot use workspace {self.root}: it was exchanged")
            yield handle
        finally:
            os.close(handle)

    def _require_ours(self, parent: int) -> None:
        found = look(self.root.name, parent)
        if not stat.S_ISDIR(found.st_mode):
            raise OutsideWorkspace(f"cannot use workspace {self.root}: it is {kind(found)} now")
        if identity(found) != self.identity:
            raise WorkspaceError(
                f"cannot use workspace {self.root}: another directory stands in its place",
                hint="Something moved directories below workspace_root; look at it by hand.",
            )

    def write(
        self,
        files: Mapping[str, bytes],
        *,
        executable: Collection[str] = (),
        durable: bool = False,
    ) -> None:
        """Write `files`, content by relative path, each all at once, modes 0600.

        Those also named in `executable` get 0700, missing directories 0700. Raises
        OutsideWorkspace for a path that leads out or through a link, and WorkspaceError; the file
        it speaks of is then as it was before, and nothing half-written is left.
        """
        split = {relative: parts_of(relative) for relative in files}
        with told(f"write into workspace {self.root}"), self.opened() as top:
            for relative, (*parents, name) in split.items():
                mode = EXECUTABLE_MODE if relative in executable else FILE_MODE
                writing = told(f"write {shown(relative)!r} into workspace {self.root}")
                with writing, below(top, parents, create=True) as directory:
                    put_file(name, directory, files[relative], mode=mode, durable=durable)

    def make_directory(self, relative: str) -> Path:
        """Make sure that the directory `relative` exists, mode 0700; returns its absolute path."""
        parts = parts_of(relative)
        creating = told(f"create {shown(relative)!r} in workspace {self.root}")
        with creating, self.opened() as top, below(top, parts, create=True):
            return self.root.joinpath(*parts)

    def create_log(self, relative: str = LOG) -> int:
        """A descriptor for appending to `relative`, which must not exist yet; mode 0600."""
        *parents, name = parts_of(relative)
        creating = told(f"create {shown(relative)} in workspace {self.root}")
        with creating, self.opened() as top, below(top, parents) as directory:
            handle = os.open(name, CREATING | os.O_APPEND, FILE_MODE, dir_fd=directory)
            os.fchmod(handle, FILE_MODE)
            return handle

    def read(self, relative: str, limit: int) -> bytes:
        """The content of the regular file `relative`, at most `limit` bytes long.

        Raises FileNotFoundError if there is none; OutsideWorkspace if a link, hard links
        included, stands anywhere on the way; WorkspaceError if it is no regular file, is longer
        than `limit`, or cannot be read. Never waits, whatever stands there.
        """
        data, more = self.read_start(relative, limit)
        if more:
            raise WorkspaceError(f"cannot read {shown(relative)!r}: longer than {limit} bytes")
        return data

    def read_start(self, relative: str, limit: int) -> tuple[bytes, bool]:
        """The first `limit` bytes of the regular file `relative`, and whether there is more.

        Raises as `read` does, but never for the length.
        """
        *parents, name = parts_of(relative)
        with told(f"read {shown(relative)!r}", absence=False), self.opened() as top:
            with below(top, parents) as directory:
                handle = open_regular(name, directory)
            with open(handle, "rb", buffering=0) as file:
                data = _read_up_to(file.fileno(), limit + 1)
        return data[:limit], len(data) > limit

    def files_below(self, relative: str, *, most: int, max_seconds: float = 2.0) -> tuple[str, ...]:
        """The first `most` regular files met below `relative`, relative to it, sorted; names that
        do not print are left out. Nothing where it is not there. Raises OutsideWorkspace for a link
        on the way, and WorkspaceError.
        """
        found: list[str] = []
        listing = told(f"list {shown(relative)!r}", absence=False)
        at = ExitStack()
        with suppress(FileNotFoundError), listing, at:
            directory = at.enter_context(below(at.enter_context(self.opened()), parts_of(relative)))
            deadline = time.monotonic() + max_seconds
            for each in walk(directory, deadline=deadline, max_depth=32):
                if isinstance(each, Found) and stat.S_ISREG(each.status.st_mode):
                    found += [each.relative] if is_plain(each.relative) else []
                if len(found) >= most:
                    break
        return tuple(sorted(found))

    def replace(self, relative: str, data: bytes | Iterable[bytes]) -> tuple[str, ...]:
        """Put a file with `data` at `relative`, whatever was left there; returns what had to go.

        For use after the agent is gone. A link, FIFO or directory at the place, or something that
        is no directory on the way to it, is removed, and named in the answer ("'output' was a
        symbolic link"). Raises WorkspaceError; what stood at the place may be gone then.
        """
        *parents, name = parts_of(relative)
        removed: list[str] = []
        replacing = told(f"replace {shown(relative)!r} in workspace {self.root}")
        with replacing, self.opened() as top, _cleared_way(top, parents, removed) as directory:
            with suppress(FileNotFoundError):
                found = look(name, directory)
                if not stat.S_ISREG(found.st_mode):
                    remove_entry(name, directory)
                    removed.append(f"{shown(relative)!r} was {kind(found)}")
            put_file(name, directory, data)
        return tuple(removed)

    def remove(self, relative: str) -> None:
        """Remove what stands at `relative`, a whole tree included; links are not followed.

        Raises FileNotFoundError if nothing does, OutsideWorkspace for a link on the way, and
        WorkspaceError.
        """
        *parents, name = parts_of(relative)
        what = f"remove {shown(relative)!r} from workspace {self.root}"
        removing = told(what, absence=False)
        with removing, self.opened() as top, below(top, parents) as directory:
            remove_entry(name, directory)

    def size(self) -> int:
        """The bytes that the disk gives for the workspace, as far as can be told in a few seconds.

        Never raises for what an agent did; a workspace that is gone takes up nothing.
        """
        return self.measure().allocated

    def measure(self, *, max_entries: int = 500_000, max_seconds: float = 5.0) -> Size:
        """What the workspace takes up: see `Size`. Tolerates everything that it meets."""
        try:
            with told(f"measure workspace {self.root}"), self.opened() as top:
                return _measure(top, max_entries, time.monotonic() + max_seconds)
        except KubecaseError:
            return Size(allocated=0, apparent=0, entries=0, complete=False)

    def set_aside(self) -> "Workspace":
        """The workspace under the name of one whose deletion has begun, which it has from now on.

        However the deletion is broken off, what is left is never again taken for a whole one.
        Raises FileNotFoundError if it is gone, OutsideWorkspace and WorkspaceError.
        """
        name = DOOMED + self.root.name
        moving = told(f"set aside workspace {self.root}", absence=False)
        with moving, root_directory(self.root.parent) as parent:
            self._require_ours(parent)
            with suppress(FileNotFoundError):
                remove_entry(name, parent)
            os.rename(self.root.name, name, src_dir_fd=parent, dst_dir_fd=parent)
        return Workspace(root=self.root.with_name(name), identity=self.identity)

    def delete(self) -> None:
        """Remove the workspace and everything in it; nothing happens if it is gone already.

        Raises OutsideWorkspace or WorkspaceError if something else stands in its place, or if a
        part cannot be removed; then as much as possible is gone.
        """
        with told(f"delete workspace {self.root}"):
            try:
                with root_directory(self.root.parent) as parent:
                    self._require_ours(parent)
                    remove_tree(self.root.name, parent)
            except FileNotFoundError:
                return


def checked_root(root: Path) -> Path:
    """`root` as an absolute path; links in it are found when it is entered."""
    path = root if root.is_absolute() else Path.cwd() / root
    if ".." in path.parts or "\0" in str(path):
        raise WorkspaceError(
            f"cannot use {shown(str(root))!r} as the root of workspaces",
            hint="Name an absolute path without '..'.",
        )
    return path


def _undo_creation(name: str, parent: int) -> None:
    with suppress(OSError, KubecaseError):  # what went wrong first is what is to be told
        remove_tree(name, parent)


def _read_up_to(handle: int, limit: int) -> bytes:
    pieces: list[bytes] = []
    while limit > 0:
        piece = os.read(handle, min(limit, 1024 * 1024))
        if not piece:
            break
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)


@contextmanager
def _cleared_way(top: int, parents: list[str], removed: list[str]) -> Iterator[int]:
    """A descriptor of the directory `parents`, made anew where something else stood."""
    handle = os.dup(top)
    try:
        for depth, name in enumerate(parents, start=1):
            if not is_directory(name, handle):
                with suppress(FileNotFoundError):
                    found = look(name, handle)
                    os.unlink(name, dir_fd=handle)
                    removed.append(f"{shown('/'.join(parents[:depth]))!r} was {kind(found)}")
                os.close(create_directory(name, handle))
            inner = force_open(name, handle)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def _measure(top: int, max_entries: int, deadline: float) -> Size:
    allocated = apparent = entries = 0
    complete = True
    several_names: set[Identity] = set()
    for each in walk(top, deadline=deadline):
        if entries >= max_entries:
            complete = False
            break
        entries += 1
        if not isinstance(each, Found):
            complete = False
            continue
        status = each.status
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if identity(status) in several_names:
                continue
            several_names.add(identity(status))
        allocated += status.st_blocks * 512
        apparent += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Size(allocated=allocated, apparent=apparent, entries=entries, complete=complete)
