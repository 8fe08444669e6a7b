"""Where the record lies: a database server's address, or one file and its directory."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from kubecase.core.addresses import password_problem
from kubecase.core.errors import StoreUnavailable

MOUNTS = Path("/proc/self/mountinfo")

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre",
     "gpfs", "beegfs", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs",
     "fuse.rclone", "fuse.gcsfuse", "fuse.davfs2", "fuse.curlftpfs", "fuse.juicefs"}
)  # fmt: skip


def parse(location: str | Path) -> URL:
    """The address of the record: a path, `sqlite:///path`, or `postgresql://...`.

    The driver is always the asynchronous one of this project, whatever the address names.
    Raises StoreUnavailable for anything else, and for a record in memory.
    """
    if isinstance(location, Path) or "://" not in location:
        return _sqlite(Path(location))
    try:
        url = make_url(location)
    except (ArgumentError, ValueError) as error:
        # Not chained: the library's message would repeat an address that may hold a password.
        del error
        raise StoreUnavailable(
            "cannot use store.url: it is not a database address", hint=_FORMS
        ) from None
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            return _sqlite(Path(url.database))
        case "postgresql" | "postgres":
            problem = password_problem(location)
            if problem is not None:
                raise StoreUnavailable(f"cannot use store.url: it {problem}", hint=_FORMS)
            return url.set(drivername="postgresql+asyncpg")
    raise StoreUnavailable(f"cannot keep the record in {url.drivername!r}", hint=_FORMS)


def file_of(url: URL) -> Path | None:
    """The file that `url` names, or `None` for a server."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def shown(url: URL) -> str:
    """`url` in the words of a message: the path, or the address without its password."""
    file = file_of(url)
    if file:
        return str(file)
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def prepare(file: Path, *, mounts: Path = MOUNTS) -> None:
    """Make sure that `file` can be a record: its directory is there, it is ours and it is private.

    Missing directories are made with mode 0700; one that is there already is left as it is, it
    may be shared. A file that is there gets mode 0600. Raises StoreUnavailable for a network file
    system, a link, or anything but a file that this process may write.
    """
    try:
        _make_directories(file.parent)
        _refuse_network(file.parent, mounts)
        _make_private(file)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot use {file} for the record: {error.strerror or error}",
            hint="Name a writable place with store.url or data_dir.",
        ) from error
    if not (os.access(file.parent, os.W_OK | os.X_OK) and _is_writable(file)):
        raise StoreUnavailable(
            f"cannot write the record {file}",
            hint="Give this user the right to write it and its directory, or name another place.",
        )


def create(file: Path) -> None:
    """An empty `file` with mode 0600 whatever the umask, unless it is there already."""
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def file_system(directory: Path, mountinfo: str) -> str | None:
    """The type of the file system that holds `directory` (absolute, without links).

    `mountinfo` is the text of proc(5)'s file of that name. Of several mounts on one point the
    last one counts, as it hides the others.
    """
    best: tuple[int, str] | None = None
    for point, kind in _mounts(mountinfo):
        if directory.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = len(point.parts), kind
    return best[1] if best else None


def _sqlite(file: Path) -> URL:
    # Built from parts: a path may hold characters that mean something in an address.
    return URL.create("sqlite+aiosqlite", database=str(file.expanduser().absolute()))


def _mounts(mountinfo: str) -> Iterator[tuple[Path, str]]:
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split()
        if separator and len(fields) > 4 and after.split():
            # Spaces and the like are written as octal escapes there.
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            yield Path(point), after.split()[0]


def _refuse_network(directory: Path, mounts: Path) -> None:
    try:
        text = mounts.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return  # not Linux: the check of the journal mode still catches most of them
    kind = file_system(directory.resolve(), text)
    if kind in _NETWORK:
        raise StoreUnavailable(
            f"cannot keep the record in {directory}: it is a network file system ({kind})",
            hint="Locks do not hold there. Use a local disk, or a PostgreSQL server by store.url.",
        )


def _make_directories(directory: Path) -> None:
    if directory.is_dir():
        return
    _make_directories(directory.parent)
    try:
        directory.mkdir(0o700)
    except FileExistsError:
        if not directory.is_dir():
            raise
        return
    directory.chmod(0o700)


def _make_private(file: Path) -> None:
    # By name only. Opening and closing the file here would drop the locks that SQLite holds on it
    # for other connections of this process (that is how POSIX locks work).
    try:
        found = file.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnavailable(
            f"cannot use {file} for the record: it is not a regular file",
            hint="Name the file itself, not a link or a directory.",
        )
    if stat.S_IMODE(found.st_mode) != 0o600 and found.st_uid == os.geteuid():
        file.chmod(0o600)


def _is_writable(file: Path) -> bool:
    return not file.exists() or os.access(file, os.R_OK | os.W_OK)


_FORMS = "Use a path, sqlite:///path/kubecase.db, or postgresql://user@host/database."
