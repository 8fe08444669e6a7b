"""`kubecase skills`: which skills agents are given, in which version, and what is in them."""

import json as jsonlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from kubecase.app.boundary import OPERATOR, SUCCESS, printable
from kubecase.app.commands.options import DEFAULT, Json, Shared

if TYPE_CHECKING:
    from kubecase.app.skills import Seen

app = App(
    name="skills",
    help="Skills that agents are given: list, add, pin, verify, remove, rollback. Nothing is ever "
    "downloaded, and no script of a skill is ever run. See docs/skills.md.",
)


@app.command(name="list")
def list_(*, json: Json = False, shared: Shared = DEFAULT) -> int:
    """List all skills: version, hash, pinned or not, enabled or not, source, and what is wrong.

    Parameters
    ----------
    json
        Print a JSON array.
    """
    from kubecase.app.skills import Skills

    seen = Skills.of(shared.settings().settings).seen()
    if json:
        print(jsonlib.dumps([each.as_json(findings=False) for each in seen], indent=2))
        return SUCCESS
    rows = [("NAME", "VERSION", "HASH", "PINNED", "ENABLED", "SOURCE"), *map(_row, seen)]
    widths = [max(len(row[n]) for row in rows) for n in range(5)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row[:5], widths, strict=True))
        print(printable("  ".join((*cells, row[5]))))
    for each in seen:
        for line in _remarks(each):
            print(printable(line))
    return SUCCESS


@app.command
def add(path: Path, /, *, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Copy the skill in the folder PATH into the data directory and give it to new runs, pinned.

    Adding a changed folder of the same name is the update; earlier versions are kept, so that
    `rollback` can go back to them. Running and ended investigations keep the copy they were given.

    Parameters
    ----------
    path
        A folder that holds SKILL.md; a local copy of a published skill, for instance.
    json
        Print the skill as JSON.
    """
    from kubecase.app.skills import Skills

    skills = Skills.of(shared.settings().settings)
    skill, _ = skills.add(path)
    return _changed(skills.seen((skill.about.name,)), "added", json=json)


@app.command
def pin(*names: str, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Pin skills to what their sources hold now: new runs refuse a source that changes afterwards.

    After a change that is meant, pin again; that is the update.

    Parameters
    ----------
    names
        Which; all that are enabled if none is named.
    json
        Print the skills as JSON.
    """
    from kubecase.app.skills import Skills

    skills = Skills.of(shared.settings().settings)
    pinned = skills.pin(names)
    return _changed(skills.seen(tuple(pinned)) if pinned else (), "pinned", json=json)


@app.command
def verify(
    *names: str,
    strict: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """Compare skills with their pins, and point out what their scripts would do to a cluster.

    Scripts that change a cluster, read Secrets or run what they fetch are told by file and line.
    No agent can run them; they are told for whoever decides about the skill. Exit code 2 if a
    skill that is enabled cannot be used.

    Parameters
    ----------
    names
        Which; all if none is named.
    strict
        Exit with 2 also where a script was pointed out.
    json
        Print a JSON array.
    """
    from kubecase.app.skills import Skills

    seen = Skills.of(shared.settings().settings).seen(names)
    if json:
        print(jsonlib.dumps([each.as_json(findings=True) for each in seen], indent=2))
    else:
        for each in seen:
            _print_verified(each)
    wrong = any(s.enabled and (s.problem or (strict and s.findings)) for s in seen)
    return OPERATOR if wrong else SUCCESS


@app.command
def remove(name: str, /, *, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Remove an added skill, or the pin of one that lies in a source, and the versions kept of it.

    The source itself is never touched.

    Parameters
    ----------
    name
        Which skill.
    json
        Print what was removed as JSON.
    """
    from kubecase.app.skills import Skills
    from kubecase.workspace import Use

    gone = Skills.of(shared.settings().settings).lock.forget(name)
    what = "skill" if gone.use is Use.ADDED else "pin"
    if json:
        print(jsonlib.dumps({"name": name, "removed": what, "versions": gone.versions}, indent=2))
    else:
        print(f"removed: {what} {name}, and {len(gone.versions)} version(s) kept of it")
    return SUCCESS


@app.command
def rollback(
    name: str, /, *, to: str | None = None, json: Json = False, shared: Shared = DEFAULT
) -> int:
    """Give new runs the version of a skill that was pinned before, or the one named by --to.

    The version comes from the data directory, so it works whatever became of the skill in its
    source.

    Parameters
    ----------
    name
        Which skill.
    to
        Hash of the version that is wanted, or its beginning; `list --json` shows which are kept.
    json
        Print the skill as JSON.
    """
    from kubecase.app.skills import Skills

    skills = Skills.of(shared.settings().settings)
    skills.lock.roll_back(name, to)
    return _changed(skills.seen((name,)), "rolled back", json=json)


def _changed(seen: "tuple[Seen, ...]", word: str, *, json: bool) -> int:
    if json:
        print(jsonlib.dumps([each.as_json(findings=True) for each in seen], indent=2))
        return SUCCESS
    for each in seen:
        print(printable(f"{word}: {each.name} {each.version or '-'} {_short(each.tree_hash)}"))
        for line in _remarks(each):
            print(printable(line))
        if each.findings:
            count = len(each.findings)
            print(
                f"  {count} line(s) of its scripts to look at: kubecase skills verify {each.name}"
            )
    return SUCCESS


def _print_verified(seen: "Seen") -> None:
    state = "not usable" if seen.problem else "as pinned" if seen.pinned else "usable, not pinned"
    off = "" if seen.enabled else ", disabled"
    print(printable(f"{seen.name} {seen.version or '-'} {_short(seen.tree_hash)}: {state}{off}"))
    for line in _remarks(seen):
        print(printable(line))
    for each in seen.findings:
        print(printable(f"  {each.path}:{each.line}: {each.what}"))
        print(printable(f"      {each.text}"))


def _row(seen: "Seen") -> tuple[str, ...]:
    pinned = "-" if seen.pinned is None else "yes" if not seen.problem else _short(seen.pinned)
    enabled = "yes" if seen.enabled else "no"
    version = seen.version or "-"
    return seen.name, version, _short(seen.tree_hash), pinned, enabled, seen.source


def _remarks(seen: "Seen") -> Iterator[str]:
    from kubecase.app.skills import NO_EFFECT

    if seen.problem:
        yield f"  {seen.name}: {seen.problem}"
        yield f"    → {seen.hint}"
    if seen.no_effect:
        yield f"  {seen.name}: {', '.join(seen.no_effect)}: {NO_EFFECT}"


def _short(tree_hash: str | None) -> str:
    return "-" if tree_hash is None else tree_hash[:12]
