"""Where the record may lie, who may read it, and what is said when it cannot be used."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kubecase.core.errors import StoreUnavailable
from kubecase.store import Owner, Store
from kubecase.store.location import file_system, parse, prepare, shown

from .records import a_store, an_incident, looked_up

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
async def test_nobody_else_may_read_the_record(tmp_path: Path, umask: int) -> None:
    """Directory 0700 and files 0600, whatever the umask says."""
    file = tmp_path / "a" / "b" / "kubecase.db"
    before = os.umask(umask)
    try:
        async with a_store(file) as store:
            await store.begin(an_incident(), agent="claude")
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    finally:
        os.umask(before)

    assert modes.pop("a") == modes.pop("b") == 0o700
    assert {"kubecase.db", "kubecase.db-wal"} <= modes.keys()
    assert {name: mode & 0o177 for name, mode in modes.items()} == dict.fromkeys(modes, 0)
    assert modes["kubecase.db"] == 0o600


async def test_a_record_that_others_could_read_is_made_private(file: Path) -> None:
    """A file with wide rights gets mode 0600; the directory that was there stays as it is."""
    file.chmod(0o644)
    file.parent.chmod(0o755)

    async with a_store(file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755


async def test_a_record_is_durable_and_strict(file: Path) -> None:
    """The file has a write-ahead log, and a broken reference is refused."""
    async with a_store(file) as store:
        await store.begin(an_incident(), agent="claude")
        assert looked_up(file, "PRAGMA journal_mode") == [("wal",)]
        settings = await store._database.read(_settings)

    assert settings == {"foreign_keys": 1, "synchronous": 2, "busy_timeout": 10000}


async def _settings(connection: object) -> dict[str, int]:
    found = {}
    for name in ("foreign_keys", "synchronous", "busy_timeout"):
        result = await connection.exec_driver_sql(f"PRAGMA {name}")  # type: ignore[attr-defined]
        found[name] = result.scalar_one()
    return found


async def test_an_address_works_like_a_path(tmp_path: Path) -> None:
    """`sqlite:///path` names the same record as the path, odd characters included."""
    file = tmp_path / "100% #odd? ä.db"
    async with a_store(file) as store:
        incident = an_incident()
        await store.begin(incident, agent="claude")

    plain = tmp_path / "plain.db"
    file.rename(plain)
    async with Store.open(f"sqlite:///{plain}", owner=Owner.current()) as store:
        assert (await store.story(incident.id)).incident == incident


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"this is a text file and no record, " * 40, "not a database"),
        (b"SQLite format 3\0" + b"\xff" * 4096, "(not a database|malformed|disk I/O)"),
    ],
)
async def test_a_corrupted_file_is_said_to_be_one(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """A file that is no record is reported with what to do, and is not touched."""
    file = tmp_path / "kubecase.db"
    file.write_bytes(content)

    with pytest.raises(StoreUnavailable, match=said) as caught:
        async with a_store(file):
            pass

    assert caught.value.hint
    assert file.read_bytes() == content


async def test_damage_that_is_found_later_is_said_too(file: Path) -> None:
    """A record that breaks while it is used ends in an error with a hint, not in a traceback."""
    async with a_store(file) as store:
        for _ in range(20):
            await store.begin(an_incident(raw=b"x" * 5000), agent="claude")
    size = file.stat().st_size
    with file.open("r+b") as handle:
        handle.seek(4096 * 4)
        handle.write(b"\xa5" * (size - 4096 * 4))

    async def use() -> None:
        async with a_store(file) as store:
            await store.list_investigations(10)
            await store.begin(an_incident(), agent="claude")

    with pytest.raises(StoreUnavailable, match="malformed") as caught:
        await use()

    assert caught.value.hint is not None
    assert "backup" in caught.value.hint


async def test_the_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A database with other tables is refused and unchanged."""
    file = tmp_path / "kubecase.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()

    with pytest.raises(StoreUnavailable, match="another program"):
        async with a_store(file):
            pass

    assert looked_up(file, "SELECT name FROM sqlite_master") == [("bookmarks",)]


@pytest.mark.parametrize("place", ["/proc/kubecase/kubecase.db", "{tmp}/file/x/kubecase.db"])
async def test_an_impossible_place_is_said_to_be_one(tmp_path: Path, place: str) -> None:
    """A directory that cannot be made is reported with what to do."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreUnavailable, match="cannot use") as caught:
        async with a_store(Path(place.format(tmp=tmp_path))):
            pass

    assert caught.value.hint


async def test_only_a_regular_file_is_a_record(tmp_path: Path, file: Path) -> None:
    """A link, a directory and a pipe are refused."""
    (tmp_path / "link.db").symlink_to(file)
    (tmp_path / "directory.db").mkdir()
    os.mkfifo(tmp_path / "pipe.db")

    for name in ("link.db", "directory.db", "pipe.db"):
        with pytest.raises(StoreUnavailable, match="not a regular file"):
            async with a_store(tmp_path / name):
                pass


def test_a_record_that_may_not_be_written_is_refused(empty_record: Path) -> None:
    """A user without the right to write the record is told so when it is opened."""
    program = """
import asyncio, os, sys
from pathlib import Path
from kubecase.core.errors import StoreUnavailable
from kubecase.store import Owner, Store
owner = Owner.current()
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def main():
    async with Store.open(Path(sys.argv[1]), owner=owner):
        print("opened")
try:
    asyncio.run(main())
except StoreUnavailable as error:
    print(error, error.hint, sep="|")
"""
    # Not below pytest's own directory, which other users may not enter.
    with tempfile.TemporaryDirectory() as directory:
        file = Path(shutil.copy(empty_record, directory))
        file.chmod(0o444)
        Path(directory).chmod(0o555)
        result = subprocess.run(
            [sys.executable, "-c", program, file], capture_output=True, text=True, timeout=60
        )
        Path(directory).chmod(0o700)

    message, _, hint = result.stdout.partition("|")
    assert message == f"cannot write the record {file}", result.stderr
    assert "right to write" in hint


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /mnt/a\\040b rw - nfs4 server:/x rw
31 22 0:41 / /mnt/over rw - cifs //server/x rw
32 31 0:42 / /mnt/over rw - tmpfs tmpfs rw
33 22 0:43 / /home rw,nosuid shared:7 master:1 - fuse.sshfs me@host: rw
broken line
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", "ext4"),
        ("/mnt", "ext4"),
        ("/mnt/a b", "nfs4"),
        ("/mnt/a b/c", "nfs4"),
        ("/mnt/a bc", "ext4"),
        ("/mnt/over/x", "tmpfs"),
        ("/home/me", "fuse.sshfs"),
    ],
)
def test_the_mount_that_counts_is_found(directory: str, kind: str) -> None:
    """Of all mounts the innermost, and of those on one point the last, holds a directory."""
    assert file_system(Path(directory), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "glusterfs"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    """The record is not made where locks do not hold."""
    mounts = tmp_path / "mountinfo"
    place = (tmp_path / "share").resolve()
    mounts.write_text(
        f"22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:40 / {place} rw - {kind} server:/x rw\n"
    )

    with pytest.raises(StoreUnavailable, match=f"network file system \\({kind}\\)") as caught:
        prepare(place / "data" / "kubecase.db", mounts=mounts)
    prepare(tmp_path / "local" / "kubecase.db", mounts=mounts)

    assert "PostgreSQL" in (caught.value.hint or "")
    assert not (place / "data" / "kubecase.db").exists()


@pytest.mark.parametrize(
    "address", ["mysql://host/db", "://", "sqlite://", "sqlite:///:memory:", "postgresql://h:x/d"]
)
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    """What is neither a file nor PostgreSQL is refused with the forms that are known."""
    with pytest.raises(StoreUnavailable) as caught:
        parse(address)

    assert "postgresql://" in (caught.value.hint or "")


async def test_a_password_is_never_shown() -> None:
    """No message about a server holds its password."""
    address = "postgresql://kubecase:hunter2@127.0.0.1:9/kubecase"

    with pytest.raises(StoreUnavailable) as caught:
        async with Store.open(address, owner=Owner.current()):
            pass

    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    assert "hunter2" not in shown(parse(address))
    with pytest.raises(StoreUnavailable) as caught:
        parse("postgresql://kubecase:hunter2@h:port/kubecase")
    assert "hunter2" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
