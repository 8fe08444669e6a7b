"""Agents that leave traps instead of fighting: what is collected, what is refused, what is left."""

import ctypes
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from adversaries import HERE
from adversaries.host import LAYERS, runtime_of
from kubecase.core.model import Status
from kubecase.service import Concluded
from kubecase.store import Owner, Store
from kubecase.workspace import CollectionBudget, Workspace, collect
from service.workshop import Heard, Shell, an_incident, investigator

pytestmark = pytest.mark.anyio


@dataclass
class Trapped:
    """What came of an agent that left a trap."""

    concluded: Concluded
    seconds: float
    workspace: Workspace
    taken: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass
class Ground:
    """A place where agents leave traps and investigations end."""

    root: Path
    store: Store

    async def fall_into(self, trap: str, layer: str) -> Trapped:
        agent = Shell(
            argv=(sys.executable, "-I", "-S", str(HERE / "leaves_traps.py"), trap),
            extra={},
        )
        made = investigator(
            self.root, self.store, Letting(agent), Heard(), runtime=runtime_of(layer)
        )
        begun = time.monotonic()
        concluded = await made.investigate(an_incident(), anyio.Event())
        done = concluded.investigation
        result = Trapped(
            concluded=concluded,
            seconds=time.monotonic() - begun,
            workspace=Workspace.open(made.workspaces, done.incident_id, done.attempt),
        )
        result.taken = [each.path.name for each in done.artifacts]
        result.refused = {each.path.rpartition("/")[2]: each.why for each in done.rejected}
        assert done.status is Status.SUCCESS, done.error
        assert all(path.stat().st_size > 300 for path in concluded.reports.values())
        return result


class Letting:
    """An agent whose sandbox lets the adversaries' folder in."""

    def __init__(self, agent: Shell) -> None:
        self._agent = agent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    def command(self, *arguments: Any) -> Any:
        from dataclasses import replace

        return replace(self._agent.command(*arguments), read_only_paths=(HERE,))


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    async with Store.open(tmp_path / "data" / "kubecase.db", owner=Owner.current()) as store:
        yield Ground(root=tmp_path, store=store)


@pytest.mark.parametrize("layer", LAYERS)
async def test_links_are_listed_and_never_followed(ground: Ground, layer: str) -> None:
    """Links of every kind are refused by that name, and the one real file is taken (case 13)."""
    left = await ground.fall_into("links", layer)

    assert left.taken == ["good"]
    assert {"etc", "environ", "chain", "loop", "inner"} == set(left.refused)
    assert all("symbolic link" in why for why in left.refused.values())


@pytest.mark.parametrize("layer", LAYERS)
async def test_hard_links_are_refused(ground: Ground, layer: str) -> None:
    """Files of several names are refused, foreign ones too, and nothing is counted twice
    (case 15).
    """
    left = await ground.fall_into("hard_links", layer)

    assert left.taken == ["good"]
    assert len([why for why in left.refused.values() if "hard links" in why]) >= 201
    assert left.workspace.size() < 8 * 1024 * 1024


@pytest.mark.parametrize("layer", LAYERS)
async def test_special_files_hold_nobody_up(ground: Ground, layer: str) -> None:
    """FIFOs, sockets, devices and closed directories are listed with their type at once, and the
    workspace can be deleted (case 16).
    """
    left = await ground.fall_into("special", layer)

    assert left.taken == ["good"]
    assert "FIFO" in left.refused["report.md"]
    assert left.seconds < 10
    left.workspace.delete()
    assert not left.workspace.root.exists()


@pytest.mark.parametrize("layer", LAYERS)
async def test_many_and_huge_files_are_bounded(ground: Ground, layer: str) -> None:
    """A sparse terabyte cannot be made, twenty thousand files are cut short and counted, and what
    is kept is bounded (case 17).
    """
    left = await ground.fall_into("huge", layer)

    budget = CollectionBudget()
    assert (left.workspace.root / "output/artifacts/sparse").stat().st_size < 1 << 30
    assert len(left.taken) <= budget.entries
    assert any("left out" in why for why in left.refused.values())
    assert sum(each.size for each in left.concluded.investigation.artifacts) <= budget.bytes


@pytest.mark.parametrize("layer", LAYERS)
async def test_names_cannot_harm_who_reads_them(ground: Ground, layer: str) -> None:
    """Names with control characters are refused and shown escaped; look-alikes of our own files
    change no state (case 18).
    """
    left = await ground.fall_into("names", layer)

    assert {"-rf", "exit", "started", "agent.log"} <= set(left.taken)
    for path in left.concluded.reports.values():
        text = path.read_bytes()
        assert b"\x1b" not in text
        assert b"\n-rf" not in text
        text.decode()
    html = left.concluded.reports["html"].read_text()
    assert "<img src" not in html
    assert "&lt;img src=x&gt;" in html
    for line in left.concluded.reports["md"].read_text().splitlines():
        assert "<img" not in line or line.count("`") == 2
    done = left.concluded.investigation
    assert done.exit is not None
    assert done.exit.code == 0


@pytest.mark.parametrize("layer", LAYERS)
async def test_a_deep_tree_is_left_and_deleted(ground: Ground, layer: str) -> None:
    """Three thousand levels are reported as too deep, and deletion gets all of them (case 19)."""
    left = await ground.fall_into("deep", layer)

    assert any("deeper than" in why for why in left.refused.values())
    left.workspace.delete()
    assert not left.workspace.root.exists()


def test_nothing_leaks_while_files_are_exchanged(tmp_path: Path) -> None:
    """While a file and a link change places without pause, no collection reads what the link leads
    to (case 14).
    """
    workspace = Workspace.create(tmp_path, an_incident().id, 1)
    foreign = Path("/etc/passwd").stat().st_size
    child = os.fork()
    if child == 0:
        os.chdir(workspace.root)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(sys.executable, [sys.executable, "-I", "-S", str(HERE / "swap_race.py")])
    try:
        deadline = time.monotonic() + 10
        while not (workspace.root / "output/artifacts/dirlink").is_symlink():
            assert time.monotonic() < deadline
        taken = [collect(workspace, CollectionBudget()) for _ in range(300)]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)

    sizes = {each.size for one in taken for each in one.artifacts}
    assert sizes <= {4}
    assert foreign not in sizes
    assert any(one.rejected for one in taken)


def test_this_system_can_exchange_files() -> None:
    """The race above is a race: the system call that it uses is there."""
    assert ctypes.CDLL(None).renameat2
