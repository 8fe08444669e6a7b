"""The walls of the house: import contracts, budgets, and nothing happens on import."""

import ast
import importlib
import json
import os
import pkgutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kubecase

PACKAGE = Path(kubecase.__file__).parent
ROOT = Path(__file__).parent.parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
FILE_LINES = 400
FUNCTION_LINES = 50
MIGRATIONS = "store/migrations/versions"

BOUNDARIES = {
    # where, and whose promise: everything else lets a bug be a bug
    "app/boundary.py": "the command line",
    "app/serve_sources.py": "per source",
    "service/dispatch.py": "per incident",
    "service/outbox.py": "per sink",
}


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in SOURCES:
        yield path, ast.parse(path.read_text())


def functions() -> Iterator[tuple[str, int]]:
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", length


def test_every_import_contract_holds() -> None:
    """No room imports what the design forbids it, and no unknown room exists."""
    linter = Path(sys.executable).with_name("lint-imports")

    result = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_files_stay_within_their_budget() -> None:
    """No source file is longer than 400 lines, and half of them are under 150."""
    lengths = {str(p.relative_to(PACKAGE)): len(p.read_text().splitlines()) for p in SOURCES}

    assert {name: n for name, n in lengths.items() if n > FILE_LINES} == {}
    assert statistics.median(lengths.values()) < 150


def test_functions_stay_within_their_budget() -> None:
    """No function is longer than 50 lines, and nine in ten have at most 25."""
    lengths = dict(functions())

    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES} == {}
    short = sum(1 for n in lengths.values() if n <= 25)
    assert short / len(lengths) >= 0.9, f"{short} of {len(lengths)} functions have at most 25 lines"


def test_broad_except_stands_only_at_the_named_boundaries() -> None:
    """Only the boundaries that the design names may catch every exception."""
    found = set()
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and _is_broad(node):
                found.add(str(path.relative_to(PACKAGE)))

    assert found <= set(BOUNDARIES), found - set(BOUNDARIES)


def _is_broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(n, ast.Name) and n.id in {"Exception", "BaseException"} for n in names)


def test_nothing_happens_on_import(tmp_path: Path) -> None:
    """Importing every module starts no thread, opens no file of its own and writes nothing."""
    names = [
        module.name
        for module in pkgutil.walk_packages([str(PACKAGE)], "kubecase.")
        if "migrations" not in module.name and "_program" not in module.name
    ]
    program = f"""
import importlib, json, os, sys, threading
before = set(os.listdir("/proc/self/fd"))
environ = dict(os.environ)
for name in {names!r}:
    importlib.import_module(name)
print(json.dumps({{
    "threads": threading.active_count(),
    "descriptors": len(set(os.listdir("/proc/self/fd")) - before),
    "environment": environ == dict(os.environ),
    "files": os.listdir("."),
}}))
"""

    result = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip

    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "threads": 1, "descriptors": 0, "environment": True, "files": [],
    }  # fmt: skip


def test_every_room_has_a_statute() -> None:
    """Each room says in its docstring what belongs in it and what never does."""
    rooms = [p.parent for p in PACKAGE.glob("*/__init__.py")]

    assert len(rooms) == 11
    for room in rooms:
        statute = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
        assert "ever" in statute, f"{room.name} does not say what never belongs in it"
        assert len(statute) > 150, room.name


def test_no_module_is_called_by_an_empty_word() -> None:
    """No module is called utils, helpers, common, misc or manager."""
    empty = {"utils", "util", "helpers", "common", "misc", "manager", "base"}

    assert [p for p in SOURCES if p.stem in empty] == []


def test_only_settings_read_the_environment() -> None:
    """Nothing but the settings reads the environment of the process."""
    readers = set()
    for path, tree in trees():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in {"environ", "getenv", "environb"}
                and isinstance(node.value, ast.Name)
                and node.value.id == "os"
            ):
                readers.add(str(path.relative_to(PACKAGE)))

    allowed = {r for r in readers if r.startswith("app/settings") or "_program" in r}
    assert readers - allowed == set()


@pytest.mark.parametrize("group", ["agents", "runtimes", "sources", "sinks"])
def test_what_is_built_in_registers_like_a_plugin(group: str) -> None:
    """The entry points of this package load, so that built-ins and plug-ins take one way."""
    from importlib.metadata import entry_points

    points = entry_points(group=f"kubecase.{group}")

    assert points
    for point in points:
        assert importlib.import_module(point.module)
        assert point.load() is not None


def test_nothing_left_for_later_is_hidden_in_the_code() -> None:
    """No source file holds a note that something is still to be done."""
    words = ("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error")

    found = [p for p in SOURCES if any(word in p.read_text() for word in words)]

    assert found == []
