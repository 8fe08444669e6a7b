"""How much disk a directory takes that a hostile process is writing in meanwhile."""

import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

INTERVAL = 1.0
STEP = 0.005
PAUSE = 0.02
MAX_DEPTH = 200
MAX_ENTRIES = 2_000_000
MAX_LINKED = 100_000


class DiskWatch:
    """Measures the directory behind the descriptor `root` again and again, in short steps.

    What counts is what the file system has allotted, each inode once; links are never followed.
    What lies deeper than 200 levels or beyond two million entries is not counted, and `partial`
    says so.
    """

    def __init__(self, root: int, limit: int) -> None:
        self.due = time.monotonic() + INTERVAL
        self.used = 0
        self.partial = False
        self._root = root
        self._limit = limit
        self._walk: Iterator[int] | None = None
        self._sum = 0
        self._began = 0.0

    def step(self) -> bool:
        """Measure for a few milliseconds; True once the limit has been reached."""
        now = time.monotonic()
        if self._walk is None:
            self._walk, self._sum, self._began = self._sizes(), 0, now
        for size in self._walk:
            self._sum += size
            if self._sum >= self._limit:
                self.used = self._sum
                return True
            if time.monotonic() - now > STEP:
                self.due = time.monotonic() + PAUSE
                return False
        self._walk, self.used = None, self._sum
        # A tree that takes long to measure is measured less often.
        self.due = now + max(INTERVAL, 4 * (now - self._began))
        return False

    def _sizes(self) -> "Iterator[int]":
        """What each entry takes, from the top down."""
        linked: set[tuple[int, int]] = set()
        open_directories = [_Directory(os.dup(self._root))]
        entries = 0
        try:
            while open_directories:
                entry = next(open_directories[-1].entries, None)
                entries += 1
                if entry is None or entries > MAX_ENTRIES:
                    self.partial |= entry is not None
                    open_directories.pop().close()
                    continue
                found = _stat(entry)
                if found is None:
                    continue
                yield _allotted(found, linked)
                if stat.S_ISDIR(found.st_mode):
                    self._descend(open_directories, entry.name)
        finally:
            for directory in open_directories:
                directory.close()

    def _descend(self, open_directories: "list[_Directory]", name: str) -> None:
        if len(open_directories) >= MAX_DEPTH:
            self.partial = True
            return
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            handle = os.open(name, flags, dir_fd=open_directories[-1].handle)
        except OSError:
            return  # gone, or exchanged for a link, or not ours to read
        open_directories.append(_Directory(handle))


class _Directory:
    __slots__ = ("entries", "handle")

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.entries = os.scandir(handle)

    def close(self) -> None:
        self.entries.close()
        os.close(self.handle)


def _stat(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None


def _allotted(found: os.stat_result, linked: set[tuple[int, int]]) -> int:
    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
        inode = (found.st_dev, found.st_ino)
        if inode in linked:
            return 0
        if len(linked) < MAX_LINKED:
            linked.add(inode)
    return found.st_blocks * 512
