"""Files and directories below a handle: opened, written and replaced without following a link.

Every function takes the descriptor of a directory that is known to be ours and one name in it.
None of them ever resolves a path of more than one component, so a link that someone exchanges for
a directory in between leads nowhere. Errors are those of the system (`OSError`), unless said.
"""

import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from kubecase.core.errors import OutsideWorkspace, WorkspaceError
from kubecase.workspace.names import shown

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
EXECUTABLE_MODE = 0o700

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
# Passing through needs no right to list, where the system knows the difference.
PASSAGE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO must not make us wait, and a terminal must not become ours.
READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
CREATING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

CHUNK_BYTES = 256 * 1024

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFREG: "a regular file",
}

Identity = tuple[int, int]
"""Device and inode: the same directory, whatever it is called by now."""


def identity(status: os.stat_result) -> Identity:
    """Which file or directory `status` speaks of."""
    return status.st_dev, status.st_ino


def kind(status: os.stat_result) -> str:
    """What `status` speaks of, in words with an article."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "a special file")


def look(name: str, directory: int) -> os.stat_result:
    """What `name` itself is; a link is not followed."""
    return os.stat(name, dir_fd=directory, follow_symlinks=False)


def is_directory(name: str, directory: int) -> bool:
    """Whether `name` is there and is a directory, not a link to one."""
    try:
        return stat.S_ISDIR(look(name, directory).st_mode)
    except FileNotFoundError:
        return False


def open_directory(name: str, directory: int, flags: int = DIRECTORY) -> int:
    """A descriptor of the directory `name`.

    Raises OutsideWorkspace if a link stands there, WorkspaceError for anything else that is no
    directory, and OSError.
    """
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        try:
            found = look(name, directory)
        except OSError:
            raise error from None
        if stat.S_ISLNK(found.st_mode):
            raise OutsideWorkspace(
                f"cannot enter {shown(name)!r}: it is a symbolic link, and links are not followed"
            ) from error
        if not stat.S_ISDIR(found.st_mode):
            raise WorkspaceError(
                f"cannot enter {shown(name)!r}: it is {kind(found)}, not a directory"
            ) from error
        raise


def create_directory(name: str, directory: int) -> int:
    """Create `name` exclusively with mode 0700, whatever the umask; returns its descriptor."""
    os.mkdir(name, DIRECTORY_MODE, dir_fd=directory)
    with ExitStack() as undo:
        undo.callback(os.rmdir, name, dir_fd=directory)
        handle = force_open(name, directory)
        undo.pop_all()
    return handle


def force_open(name: str, directory: int) -> int:
    """A descriptor of the directory `name`, with the rights that its mode may have denied us."""
    try:
        handle = os.open(name, DIRECTORY, dir_fd=directory)
    except PermissionError:
        make_accessible(name, directory)
        handle = os.open(name, DIRECTORY, dir_fd=directory)
    if stat.S_IMODE(os.fstat(handle).st_mode) != DIRECTORY_MODE:
        # Not ours, but perhaps ours to write in: what follows will tell.
        with suppress(PermissionError):
            os.fchmod(handle, DIRECTORY_MODE)
    return handle


def make_accessible(name: str, directory: int) -> None:
    """Give the directory `name` mode 0700 without following a link that might stand there."""
    if not hasattr(os, "O_PATH"):
        os.chmod(name, DIRECTORY_MODE, dir_fd=directory, follow_symlinks=False)
        return
    handle = os.open(name, PASSAGE, dir_fd=directory)
    try:
        # fchmod refuses such a handle and older kernels have no fchmodat that spares links: the
        # name under /proc means exactly the directory that is open.
        os.chmod(f"/proc/self/fd/{handle}", DIRECTORY_MODE)
    finally:
        os.close(handle)


@contextmanager
def root_directory(path: Path, *, create: bool = False) -> Iterator[int]:
    """A descriptor of `path`, an absolute directory with no link in any of its components.

    With `create`, what is missing of it is created with mode 0700. Raises OutsideWorkspace for a
    link, with the path to give instead as the hint.
    """
    handle = os.open("/", PASSAGE)
    try:
        for name in path.parts[1:]:
            handle = _step(handle, name, path, create=create)
        entered = os.open(".", DIRECTORY, dir_fd=handle)
    finally:
        os.close(handle)
    try:
        yield entered
    finally:
        os.close(entered)


def _step(handle: int, name: str, path: Path, *, create: bool) -> int:
    """The descriptor of the next component; the one before is closed if it could be had."""
    try:
        inner = open_directory(name, handle, PASSAGE)
    except FileNotFoundError:
        if not create:
            raise
        try:
            inner = create_directory(name, handle)
        except FileExistsError:
            # Another one was faster, which is as good.
            inner = open_directory(name, handle, PASSAGE)
    except OutsideWorkspace as error:
        raise OutsideWorkspace(
            f"cannot use {shown(str(path))!r}: its component {shown(name)!r} is a symbolic link",
            hint=f"Name the real directory: {shown(os.path.realpath(path))}",
        ) from error
    os.close(handle)
    return inner


@contextmanager
def below(top: int, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """A descriptor of the directory `parts` below `top`, entered one component at a time.

    With `create`, what is missing is created with mode 0700. Raises as `open_directory`.
    """
    handle = os.dup(top)
    try:
        for name in parts:
            try:
                inner = open_directory(name, handle)
            except FileNotFoundError:
                if not create:
                    raise
                inner = create_directory(name, handle)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def open_regular(name: str, directory: int) -> int:
    """A descriptor for reading the regular file `name`, which has no other name.

    Raises OutsideWorkspace for a link of either sort, WorkspaceError for what is not a file.
    A second name may belong to a file of somebody else's, so such a file is nobody's report.
    """
    before = look(name, directory)
    _require_own_file(name, before)
    handle = os.open(name, READING, dir_fd=directory)
    with ExitStack() as undo:
        undo.callback(os.close, handle)
        status = os.fstat(handle)
        _require_own_file(name, status)
        if identity(status) != identity(before):
            raise WorkspaceError(f"cannot read {shown(name)!r}: it was exchanged while opened")
        undo.pop_all()
    return handle


def _require_own_file(name: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OutsideWorkspace(
            f"cannot read {shown(name)!r}: it is a symbolic link, and links are not followed"
        )
    if not stat.S_ISREG(status.st_mode):
        raise WorkspaceError(f"cannot read {shown(name)!r}: it is {kind(status)}")
    if status.st_nlink > 1:
        raise OutsideWorkspace(
            f"cannot read {shown(name)!r}: the file has {status.st_nlink} names (hard links), "
            "and the others may lie elsewhere"
        )


def put_file(
    name: str,
    directory: int,
    data: bytes | Iterable[bytes],
    *,
    mode: int = FILE_MODE,
    durable: bool = False,
) -> None:
    """Make `name` a new file with `data`, all at once; what stood there, if no directory, is gone.

    With `durable` the content is on the disk before the name is. A failure leaves `name` as it was
    and nothing else behind.
    """
    temporary = f".kubecase-{secrets.token_hex(8)}"
    handle = os.open(temporary, CREATING, mode, dir_fd=directory)
    with ExitStack() as undo:
        undo.callback(os.unlink, temporary, dir_fd=directory)
        try:
            os.fchmod(handle, mode)
            for chunk in (data,) if isinstance(data, bytes) else data:
                _write_all(handle, chunk)
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        undo.pop_all()


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
