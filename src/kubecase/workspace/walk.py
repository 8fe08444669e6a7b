"""Walks through a tree that may be hostile: no link followed, any depth, few descriptors."""

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from kubecase.workspace.handles import DIRECTORY, DIRECTORY_MODE, Identity, force_open, identity


@dataclass(slots=True)
class Level:
    """A directory on the way down. It knows the one above, not its path: those of a tree of some
    ten thousand levels would fill the memory.
    """

    above: "Level | None"
    name: str
    identity: Identity
    pending: list[str] = field(default_factory=list)

    def path_of(self, name: str) -> str:
        """The path from the top to `name` in this directory, unescaped."""
        parts = [name]
        level: Level | None = self
        while level is not None and level.above is not None:
            parts.append(level.name)
            level = level.above
        return "/".join(reversed(parts))


@dataclass(frozen=True, slots=True)
class Found:
    """An entry as it was when met. `directory` is the descriptor it lies in, open until the next.

    `level` is that directory.
    """

    level: Level
    name: str
    directory: int
    status: os.stat_result

    @property
    def relative(self) -> str:
        """The path from the top, unescaped."""
        return self.level.path_of(self.name)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something below the top that could not be looked at, and why.

    Without a `name` it is the end of the walk: nothing more was looked at.
    """

    level: Level
    name: str
    why: str

    @property
    def relative(self) -> str:
        """The path from the top, unescaped."""
        return self.level.path_of(self.name)


def walk(
    top: int, *, deadline: float, max_depth: int | None = None, force: bool = False
) -> Iterator[Found | Trouble]:
    """Everything below the directory that `top` is open on, directories before what is in them.

    Entries of one directory come in the order of the file system. Directories deeper than
    `max_depth` (1 is the top's own entries) are found but not entered, and said to be so; neither
    are those on another file system. Ends early, with a `Trouble`, when `time.monotonic()` passes
    `deadline` or when the tree is moved about so that the way back is lost. With `force`,
    directories whose mode keeps their owner out are given mode 0700 when they are entered.
    """
    with closing(_Walk(top=top, deadline=deadline, max_depth=max_depth, force=force)) as state:
        yield from state.run()


@dataclass(slots=True)
class _Walk:
    """`here` is the only directory that is open; the way back up is checked by identity."""

    top: int
    deadline: float
    max_depth: int | None
    force: bool
    here: int = -1
    levels: list[Level] = field(default_factory=list)

    def close(self) -> None:
        if self.here >= 0:
            os.close(self.here)

    def run(self) -> Iterator[Found | Trouble]:
        self.here = os.dup(self.top)
        device = os.fstat(self.here).st_dev
        yield from self._enter("")
        while self.levels:
            if time.monotonic() > self.deadline:
                yield Trouble(self.levels[-1], "", "no time left to look further")
                return
            level = self.levels[-1]
            if level.pending:
                yield from self._descend(level, level.pending.pop(), device)
            elif not self._ascend():
                yield Trouble(level, "", "moved elsewhere while it was looked at")
                return

    def _enter(self, name: str) -> Iterator[Found | Trouble]:
        """Tell what is in the directory that was just opened, and note what is to be entered."""
        above = self.levels[-1] if self.levels else None
        level = Level(above=above, name=name, identity=identity(os.fstat(self.here)))
        self.levels.append(level)
        with os.scandir(self.here) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError as error:
                    yield Trouble(level, entry.name, _why(error))
                    continue
                yield Found(level, entry.name, self.here, status)
                if stat.S_ISDIR(status.st_mode):
                    level.pending.append(entry.name)
                if time.monotonic() > self.deadline:
                    return

    def _descend(self, level: Level, name: str, device: int) -> Iterator[Found | Trouble]:
        if self.max_depth is not None and len(self.levels) >= self.max_depth:
            yield Trouble(level, name, f"deeper than {self.max_depth} levels")
            return
        try:
            inner = self._opened(name)
        except OSError as error:
            yield Trouble(level, name, _why(error))
            return
        if os.fstat(inner).st_dev != device:
            os.close(inner)
            yield Trouble(level, name, "lies on another file system")
            return
        os.close(self.here)
        self.here = inner
        yield from self._enter(name)

    def _opened(self, name: str) -> int:
        if self.force:
            found = os.stat(name, dir_fd=self.here, follow_symlinks=False)
            if stat.S_IMODE(found.st_mode) & DIRECTORY_MODE != DIRECTORY_MODE:
                return force_open(name, self.here)
        return os.open(name, DIRECTORY, dir_fd=self.here)

    def _ascend(self) -> bool:
        """Go back to the directory before; False if it is no longer the one above."""
        self.levels.pop()
        if not self.levels:
            return True
        outer = os.open("..", DIRECTORY, dir_fd=self.here)
        os.close(self.here)
        self.here = outer
        return identity(os.fstat(outer)) == self.levels[-1].identity


def _why(error: OSError) -> str:
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return "became something else while it was looked at"
    return (error.strerror or "cannot be looked at").lower()
