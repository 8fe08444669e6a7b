"""What a pass over all workspaces needs beside deciding: its lock, the space, other directories."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubecase.workspace.directory import Workspace, checked_root, told
from kubecase.workspace.handles import (
    FILE_MODE,
    PASSAGE,
    identity,
    open_directory,
    root_directory,
)
from kubecase.workspace.names import shown

_LOCKING = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@contextmanager
def held_alone(directory: Path, name: str) -> Iterator[bool]:
    """Whether the lock `name` in `directory` could be had, which then is ours within the block.

    Never waits. Missing directories are created. Raises OutsideWorkspace and WorkspaceError.
    """
    path = checked_root(directory)
    with told(f"lock {name} in {shown(str(path))}"), root_directory(path, create=True) as top:
        handle = os.open(name, _LOCKING, FILE_MODE, dir_fd=top)
    try:
        with told(f"lock {name} in {shown(str(path))}"):
            ours = _locked(handle)
        yield ours
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def free_bytes(directory: Path) -> int | None:
    """How much an ordinary user may still write on the disk of `directory`; None if there is none.

    Raises OutsideWorkspace and WorkspaceError.
    """
    path = checked_root(directory)
    with told(f"look at the disk of {shown(str(path))}"):
        try:
            with root_directory(path) as top:
                status = os.fstatvfs(top)
        except FileNotFoundError:
            return None
    return status.f_bavail * status.f_frsize


def directory_in(parent: Path, name: str) -> Workspace | None:
    """The directory `name` in `parent`, to be measured or deleted as a workspace is.

    None if it is not there. `name` is one component. Raises OutsideWorkspace if a link stands there
    or on the way, and WorkspaceError.
    """
    path = checked_root(parent)
    if "/" in name or name in {"", ".", ".."}:
        raise ValueError(f"not the name of a directory: {name!r}")
    opening = told(f"open {shown(name)} in {shown(str(path))}", absence=False)
    try:
        with opening, root_directory(path) as top:
            # Its mode may keep us out of it for now.
            handle = open_directory(name, top, PASSAGE)
            try:
                return Workspace(root=path / name, identity=identity(os.fstat(handle)))
            finally:
                os.close(handle)
    except FileNotFoundError:
        return None
