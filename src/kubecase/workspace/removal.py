"""Removes trees that somebody hostile has built: any depth, size and mode, no link followed."""

import os
import secrets
from dataclasses import dataclass

from kubecase.core.errors import WorkspaceError
from kubecase.workspace.handles import force_open, is_directory, make_accessible
from kubecase.workspace.names import shown


def remove_entry(name: str, directory: int) -> None:
    """Remove `name`, whatever it is, and if it is a directory all that is in it.

    Raises FileNotFoundError if there is nothing by that name, WorkspaceError if something
    could not be removed; then as much as possible is gone.
    """
    if is_directory(name, directory):
        remove_tree(name, directory)
    else:
        os.unlink(name, dir_fd=directory)


def remove_tree(name: str, directory: int) -> None:
    """Remove the directory `name` and all that is in it, with few descriptors and no recursion.

    Subdirectories of any depth are moved up to the top of the tree and emptied there, so that
    neither the length of a path nor a stack is ever exhausted. A mount point cannot be moved and is
    therefore never emptied. Raises as `remove_entry`.
    """
    top = force_open(name, directory)
    try:
        _Removal(top=top).empty()
    finally:
        os.close(top)
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        raise WorkspaceError(f"cannot remove {shown(name)!r}: {error.strerror}") from error


@dataclass(kw_only=True)
class _Removal:
    """Empties the directory that `top` is open on."""

    top: int
    moved: int = 0
    removed: int = 0
    failure: OSError | None = None

    def __post_init__(self) -> None:
        # What was there already may bear any name; this one it cannot have foreseen.
        self.prefix = f".removed-{secrets.token_hex(8)}-"

    def empty(self) -> None:
        while True:
            before = self.moved, self.removed
            found = self._pass()
            if not found:
                return
            if (self.moved, self.removed) == before:
                why = self.failure.strerror if self.failure else "it fills up again"
                raise WorkspaceError(f"cannot remove a part of the workspace: {why}")

    def _pass(self) -> bool:
        """Remove what is at the top now; True if anything was found there."""
        found, self.failure = False, None
        with os.scandir(self.top) as entries:
            for entry in entries:
                found = True
                try:
                    self._remove(entry)
                except OSError as error:
                    self.failure = self.failure or error
        return found

    def _remove(self, entry: os.DirEntry[str]) -> None:
        name = entry.name
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(name, dir_fd=self.top)
        else:
            if not name.startswith(self.prefix):
                name = self._move_up(name, self.top)
            self._empty_one(name)
            os.rmdir(name, dir_fd=self.top)
        self.removed += 1

    def _empty_one(self, name: str) -> None:
        inner = force_open(name, self.top)
        try:
            with os.scandir(inner) as entries:
                for entry in entries:
                    try:
                        self._take_out(entry, inner)
                    except OSError as error:
                        self.failure = self.failure or error
        finally:
            os.close(inner)

    def _take_out(self, entry: os.DirEntry[str], inner: int) -> None:
        if entry.is_dir(follow_symlinks=False):
            self._move_up(entry.name, inner)
        else:
            os.unlink(entry.name, dir_fd=inner)
            self.removed += 1

    def _move_up(self, name: str, directory: int) -> str:
        """Move the directory `name` to the top under a name of ours; a mount point refuses."""
        target = f"{self.prefix}{self.moved}"
        try:
            os.rename(name, target, src_dir_fd=directory, dst_dir_fd=self.top)
        except PermissionError:
            # To move a directory is to rewrite its "..", which its mode may forbid.
            make_accessible(name, directory)
            os.rename(name, target, src_dir_fd=directory, dst_dir_fd=self.top)
        self.moved += 1
        return target
