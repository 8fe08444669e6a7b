"""`kubecase db`: the database that the record is kept in."""

import json as jsonlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from kubecase.app.boundary import AGENT_FAILED, SUCCESS, printable
from kubecase.app.commands.options import DEFAULT, Json, Shared

if TYPE_CHECKING:
    from kubecase.store.upkeep import Standing

app = App(name="db", help="The database of the record: its schema, who has it open, a copy of it.")


@app.command
def check(*, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Say which revision of the schema is there, what is missing, and who has it open.

    Nothing is made or changed. Exit code 1 when `kubecase db upgrade` has something to do, or a
    table or column is missing.

    Parameters
    ----------
    json
        Print it as JSON.
    """
    import anyio

    from kubecase.app.wiring import record_place
    from kubecase.store.upkeep import standing

    found = anyio.run(standing, record_place(shared.settings().settings))
    if json:
        print(jsonlib.dumps({**asdict(found), "current": found.is_current}, indent=2))
    else:
        print(printable("\n".join(_in_words(found))))
    return SUCCESS if found.is_current else AGENT_FAILED


def _in_words(found: "Standing") -> list[str]:
    there = f"revision {found.revision}" if found.revision else "no tables yet"
    lines = [f"{found.place} ({found.kind})", f"schema   {there}, this program has {found.wanted}"]
    if found.pending:
        lines.append(f"pending  {', '.join(found.pending)}: `kubecase db upgrade` makes them")
    if found.missing:
        lines.append(f"MISSING  {', '.join(found.missing)}: restore a backup")
    for user in found.users:
        where = f" at {user.address}" if user.address else ""
        lines.append(f"open in  {user.program}, process {user.pid}{where}")
    return lines


@app.command
def upgrade(*, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Bring the database to the schema of this program. Commands that open it do that, too.

    Under an exclusive lock, and whole or not at all. Make a backup first.

    Parameters
    ----------
    json
        Print the revisions before and after as JSON.
    """
    import anyio

    from kubecase.app.wiring import record_place
    from kubecase.store.upkeep import upgrade as bring_up

    before, after = anyio.run(bring_up, record_place(shared.settings().settings))
    if json:
        print(jsonlib.dumps({"before": before, "after": after}, indent=2))
    elif before == after:
        print(f"nothing to do: the schema is at revision {after}")
    else:
        print(f"the schema went from {before or 'nothing'} to revision {after}")
    return SUCCESS


@app.command
def downgrade(revision: str, /, *, shared: Shared = DEFAULT) -> int:
    """Take the database back to an older schema, for an older kubecase. Make a backup first.

    What the older schema has no place for is lost. No other process may have it open.

    Parameters
    ----------
    revision
        The revision, such as 0001, or `base` for an empty database.
    """
    import anyio

    from kubecase.app.wiring import record_place
    from kubecase.store import downgrade as take_back

    anyio.run(take_back, record_place(shared.settings().settings), revision)
    print(f"the schema is at {printable(revision)}; the next kubecase that opens it upgrades it")
    return SUCCESS


@app.command
def backup(file: Path, /, *, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Write a checked copy of a SQLite database to a new file, also while others write to it.

    For PostgreSQL use pg_dump; docs/operations.md has both, and how each is restored.

    Parameters
    ----------
    file
        The new file; nothing is replaced.
    json
        Print file and size as JSON.
    """
    import anyio

    from kubecase.app.wiring import record_place
    from kubecase.store.upkeep import backup as copy

    target = Path.cwd() / file
    size = anyio.run(copy, record_place(shared.settings().settings), target)
    if json:
        print(jsonlib.dumps({"file": str(target), "bytes": size}, indent=2))
    else:
        print(printable(f"{target}: {size} bytes, checked"))
    return SUCCESS
