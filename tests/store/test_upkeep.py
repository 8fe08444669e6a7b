"""How a record stands, bringing it up to date, and copies that can be restored."""

import stat
import sys
from pathlib import Path

import anyio
import pytest

from fakes.postgres import Postgres
from kubecase.core.errors import KubecaseError
from kubecase.store import downgrade
from kubecase.store.schema import REVISIONS
from kubecase.store.upkeep import backup, standing, upgrade

from .records import Place, a_store, an_incident, looked_up

pytestmark = pytest.mark.anyio


async def test_a_current_record_is_said_to_be_current(place: Place) -> None:
    """The revision is told, and that nothing is pending or missing."""
    found = await standing(place)

    assert found.is_current
    assert (found.revision, found.pending, found.missing) == (REVISIONS[-1], (), ())
    assert "hunter2" not in found.place


async def test_what_is_to_come_and_what_is_gone_is_told(place: Place) -> None:
    """An older schema has pending migrations; a lost table or column is named."""
    await downgrade(place, "base")
    assert (await standing(place)).pending == REVISIONS

    assert await upgrade(place) == (None, REVISIONS[-1])
    assert await upgrade(place) == (REVISIONS[-1], REVISIONS[-1])
    async with a_store(place) as store:
        await store._database.write(
            lambda connection: connection.exec_driver_sql("ALTER TABLE report DROP headline")
        )
        await store._database.write(
            lambda connection: connection.exec_driver_sql("DROP TABLE delivery")
        )
    found = await standing(place)

    assert found.missing == ("delivery", "report.headline")
    assert not found.is_current


async def test_incidents_survive_the_way_back_and_forth(place: Place) -> None:
    """Going back to the first schema and forward again loses no incident and no attempt."""
    incident = an_incident()
    async with a_store(place) as store:
        await store.begin(incident, agent="claude")

    await downgrade(place, "0001")
    assert (await standing(place)).pending == REVISIONS[1:]
    assert await upgrade(place) == ("0001", REVISIONS[-1])

    async with a_store(place) as store:
        assert (await store.story(incident.id)).incident == incident
    assert (await standing(place)).is_current


async def test_looking_makes_nothing(tmp_path: Path, postgres: Postgres) -> None:
    """To ask how an absent record stands makes neither a file nor a table."""
    found = await standing(tmp_path / "absent" / "kubecase.db")
    assert (found.revision, found.pending) == (None, REVISIONS)
    assert list(tmp_path.iterdir()) == []

    name = postgres.new_database()
    assert (await standing(postgres.address(name))).pending == REVISIONS
    assert postgres.sql(name, "SELECT count(*) FROM pg_tables WHERE schemaname='public';") == "0\n"


async def test_who_has_the_record_open_is_told(place: Place) -> None:
    """Another process that has it open is listed with its number and name."""
    program = (
        "import asyncio, sys\n"
        "from kubecase.store import Owner, Store\n"
        "async def main():\n"
        "    async with Store.open(sys.argv[1], owner=Owner.current()) as store:\n"
        "        await store.list_investigations(1)\n"
        "        print('open', flush=True)\n"
        "        sys.stdin.read()\n"
        "asyncio.run(main())\n"
    )
    process = await anyio.open_process([sys.executable, "-c", program, str(place)])
    assert process.stdout is not None
    assert process.stdin is not None
    await process.stdout.receive()

    users = (await standing(place)).users

    await process.stdin.aclose()
    await process.wait()
    if isinstance(place, str):
        assert [user.program for user in users if user.address] == [f"kubecase {process.pid}"]
    else:
        assert [user.pid for user in users] == [process.pid]


async def test_a_copy_can_be_restored_and_is_of_one_moment(file: Path, tmp_path: Path) -> None:
    """What was on record when the copy was made is in it, private and whole; later changes not."""
    copy = tmp_path / "copies" / "kubecase.bak"
    copy.parent.mkdir()
    async with a_store(file) as store:
        kept = an_incident()
        await store.begin(kept, agent="claude")
        size = await backup(file, copy)
        await store.begin(an_incident(), agent="claude")

    assert size == copy.stat().st_size
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [each.name for each in copy.parent.iterdir()] == [copy.name]
    async with a_store(copy) as restored:
        rows = await restored.list_investigations(10)
        assert [row.incident_id for row in rows] == [kept.id]
        assert (await restored.story(kept.id)).incident == kept


async def test_a_copy_replaces_nothing(file: Path, tmp_path: Path, postgres: Postgres) -> None:
    """A file that is there stays; an absent record and a server are refused with the remedy."""
    there = tmp_path / "there"
    there.write_text("precious")
    for source, target, said in (
        (file, there, "there already"),
        (file, tmp_path / "no" / "directory" / "x", "cannot copy"),
        (tmp_path / "absent.db", tmp_path / "new", "no record"),
        (postgres.address("postgres"), tmp_path / "new", "on a server"),
    ):
        with pytest.raises(KubecaseError, match=said) as caught:
            await backup(source, target)
        assert caught.value.hint

    assert there.read_text() == "precious"
    assert not (tmp_path / "new").exists()


async def test_a_dump_of_a_server_can_be_restored(postgres: Postgres, template: str) -> None:
    """pg_dump and pg_restore, as documented, give back every row and rule."""
    name, other = postgres.new_database(template), postgres.new_database()
    async with a_store(postgres.address(name)) as store:
        incident = an_incident()
        await store.begin(incident, agent="claude")

    dump = str(postgres.directory / f"{name}.dump")
    postgres.call("pg_dump", *postgres.reached, "--format=custom", "--file", dump, name)
    postgres.call("pg_restore", *postgres.reached, "--no-owner", "--dbname", other, dump)

    address = postgres.address(other)
    assert (await standing(address)).is_current
    async with a_store(address) as store:
        assert (await store.story(incident.id)).incident == incident
        await store.begin(an_incident(), agent="claude")
    assert looked_up(address, "SELECT count(*) FROM incident") == [(2,)]
