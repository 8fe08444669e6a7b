"""The schema and its history: one definition, two databases, any number of processes at once."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from kubecase.core.errors import StoreUnavailable
from kubecase.store import downgrade
from kubecase.store.schema import REVISIONS, metadata

from .records import a_store, an_incident, looked_up

pytestmark = pytest.mark.anyio

DEFINITIONS = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%'"


def definitions(file: Path) -> dict[tuple[str, str], str | None]:
    return {
        (kind, name): sql and re.sub(r"\s+", " ", sql)
        for kind, name, sql in looked_up(file, DEFINITIONS)
        if "alembic" not in (sql or "") and not name.startswith("sqlite_")
    }


async def test_the_migrations_make_what_the_program_expects(file: Path, tmp_path: Path) -> None:
    """Every table, column, rule and index of the definition is made by the migrations."""
    engine = create_engine(f"sqlite:///{tmp_path / 'defined.db'}")
    metadata.create_all(engine)
    engine.dispose()

    migrated, defined = definitions(file), definitions(tmp_path / "defined.db")

    assert migrated.keys() == defined.keys()
    for name, sql in defined.items():
        assert _parts(migrated[name]) == _parts(sql), name
    assert looked_up(file, "SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]


def _parts(sql: str | None) -> list[str]:
    """The columns and rules of a definition; their order differs with the way they were made."""
    inside = (sql or "").partition("(")[2].rpartition(")")[0]
    return sorted(part.strip() for part in re.split(r",(?![^()]*\))", inside))


def test_the_program_knows_every_migration_that_it_ships() -> None:
    """The list of revisions is the history in `migrations/versions`, in order."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import kubecase.store

    config = Config()
    folder = Path(kubecase.store.__file__).with_name("migrations")
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)

    history = [each.revision for each in script.walk_revisions()]
    assert tuple(reversed(history)) == REVISIONS


async def test_a_newer_record_is_not_touched_by_an_older_program(file: Path) -> None:
    """A program that is older than the record says so and changes nothing."""
    connection = sqlite3.connect(file)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()

    with pytest.raises(StoreUnavailable, match="newer than this program") as caught:
        async with a_store(file):
            pass

    assert caught.value.hint
    assert looked_up(file, "SELECT version_num FROM alembic_version") == [("9999",)]


async def test_a_record_can_go_back_and_forth(file: Path) -> None:
    """Going back to `base` leaves no table, opening again makes them anew."""
    async with a_store(file) as store:
        await store.begin(an_incident(), agent="claude")

    await downgrade(file, "base")
    assert definitions(file) == {}
    await downgrade(file, "base")

    async with a_store(file) as store:
        assert await store.list_investigations(5) == ()


async def test_going_back_to_nowhere_is_an_error(file: Path, tmp_path: Path) -> None:
    """An unknown revision and an absent record are refused, and no file is made."""
    with pytest.raises(StoreUnavailable, match="none of that name"):
        await downgrade(file, "0000")
    with pytest.raises(StoreUnavailable, match="there is no record"):
        await downgrade(tmp_path / "absent.db", REVISIONS[0])

    assert not (tmp_path / "absent.db").exists()


def test_opening_a_current_record_needs_no_alembic(file: Path) -> None:
    """The migration tool is imported only when there is something to migrate."""
    program = f"""
import asyncio, sys
from pathlib import Path
from kubecase.store import Owner, Store
async def main():
    async with Store.open(Path({str(file)!r}), owner=Owner.current()) as store:
        print(await store.list_investigations(3), "alembic" in sys.modules)
asyncio.run(main())
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )

    assert result.stdout == "() False\n", result.stderr


async def test_a_failed_migration_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    """A record that cannot be migrated whole is not migrated by half."""
    file = tmp_path / "kubecase.db"
    connection = sqlite3.connect(file)
    # What an unlucky start could leave: the version table, and one index's name taken.
    connection.executescript(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);"
        "CREATE VIEW delivery AS SELECT 1"
    )
    connection.close()

    with pytest.raises(StoreUnavailable):
        async with a_store(file):
            pass

    assert looked_up(file, "SELECT name FROM sqlite_master WHERE type = 'table'") == [
        ("alembic_version",)
    ]
