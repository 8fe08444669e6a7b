"""A kubecase is killed at any point: its investigation is neither lost, nor run twice, nor left."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from kubecase.core.model import Investigation, Reason, Status
from kubecase.runtime.records import StartRecord, read_exit, read_started
from kubecase.service import Concluded, Recovery
from kubecase.store import Attempt, CancelOutcome, Owner, Store
from service.workshop import LEAVES_REPORT, WAITS, Heard, an_incident, investigator, shell

pytestmark = pytest.mark.anyio

KILLED = Path(__file__).with_name("killed.py")
ID = an_incident().id


@dataclass
class Scene:
    """What a killed kubecase has left, and the means to go on with it."""

    root: Path
    heard: Heard

    @property
    def run_dir(self) -> Path:
        return self.root / "data" / "runs" / f"{ID}-1"

    @property
    def workspace(self) -> Path:
        return self.root / "workspaces" / f"incident-{ID}"

    def leave(self, where: str, script: str) -> None:
        """Have a kubecase killed at `where`, while its agent does `script`."""
        done = subprocess.run([sys.executable, KILLED, self.root, where, script], timeout=60)
        assert done.returncode == -signal.SIGKILL

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Store, Recovery]]:
        path = self.root / "data" / "kubecase.db"
        async with Store.open(path, owner=Owner.current(), observer=self.heard) as store:

            def made(attempt: Attempt) -> object:
                return investigator(self.root, store, shell("exit 99"), self.heard)

            yield store, Recovery(store=store, made=made)  # type: ignore[arg-type]

    async def recover(self) -> list[Concluded]:
        async with self.opened() as (_, recovery):
            return [each async for each in recovery.conclude_all(anyio.Event())]

    async def started(self) -> StartRecord:
        """The record of the start, which the shim writes after it has told its supervisor."""
        with anyio.fail_after(10):
            while (record := read_started(self.run_dir)) is None:
                await anyio.sleep(0.01)
        return record

    def nothing_is_alive(self) -> bool:
        mark = f"INCIDENT_WORKSPACE={self.workspace}".encode()
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    return False
            except OSError:
                continue
        return True


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(root=tmp_path, heard=Heard())


def the_one(concluded: list[Concluded]) -> Investigation:
    assert len(concluded) == 1
    reports = concluded[0].reports
    assert sorted(reports) == ["html", "json", "md"]
    assert all(path.stat().st_size > 300 for path in reports.values())
    assert any("kubecase was killed" in note for note in concluded[0].notes)
    return concluded[0].investigation


@pytest.mark.parametrize("where", ["while facts are collected", "before the start"])
async def test_what_was_never_started_is_lost_with_a_report(scene: Scene, where: str) -> None:
    """An attempt whose kubecase was killed before its agent began is failed, reason lost."""
    scene.leave(where, "exit 0")

    done = the_one(await scene.recover())

    assert (done.status, done.reason) == (Status.FAILED, Reason.LOST)
    assert "before the agent had been started" in (done.error or "")
    assert await scene.recover() == []


async def test_an_agent_that_goes_on_is_followed_to_its_end(scene: Scene) -> None:
    """A running agent survives its kubecase; its exit code and report are those of the record."""
    scene.leave("while it runs", f"{WAITS} 7")
    started = await scene.started()
    assert started.agent.is_alive()

    async with scene.opened() as (_, recovery), anyio.create_task_group() as both:
        found: list[Concluded] = []

        async def follow() -> None:
            found.extend([each async for each in recovery.conclude_all(anyio.Event())])

        both.start_soon(follow)
        with anyio.fail_after(20):
            while not scene.heard.named("agent_reattached"):
                await anyio.sleep(0.01)
        (scene.workspace / "go").touch()

    done = the_one(found)
    assert (done.status, done.reason) == (Status.FAILED, Reason.EXIT_CODE)
    assert done.exit is not None
    assert done.exit.code == 7
    assert done.exit.clean
    assert (scene.workspace / "output/investigation.md").stat().st_size > 100
    assert scene.nothing_is_alive()


async def test_an_agent_that_ended_alone_is_judged_by_its_record(scene: Scene) -> None:
    """What ended while nobody supervised it is a success if its exit and its report say so."""
    scene.leave("while it runs", LEAVES_REPORT)
    with anyio.fail_after(20):
        while read_exit(scene.run_dir) is None:
            await anyio.sleep(0.01)

    done = the_one(await scene.recover())

    assert done.status is Status.SUCCESS
    assert done.exit is not None
    assert done.exit.code == 0


@pytest.mark.parametrize("where", ["while it is judged", "at the last moment"])
async def test_a_conclusion_that_was_cut_off_is_drawn_again(scene: Scene, where: str) -> None:
    """Killed after the agent's end, at whatever line, the same end is put on record."""
    scene.leave(where, LEAVES_REPORT)

    concluded = await scene.recover()

    # At the last moment the end was on record already, so nothing was left to be done.
    expected = [] if where == "at the last moment" else [Status.SUCCESS]
    assert [each.investigation.status for each in concluded] == expected
    async with scene.opened() as (store, _):
        assert (await store.status(ID)).status is Status.SUCCESS


async def test_a_shim_that_was_killed_too_makes_a_lost_run(scene: Scene) -> None:
    """With neither kubecase nor shim left the run is lost, and what can be found is killed."""
    scene.leave("while it runs", f"{WAITS} 0")
    started = await scene.started()
    os.kill(started.shim.pid, signal.SIGKILL)
    with anyio.fail_after(10):
        while started.shim.is_alive():
            await anyio.sleep(0.01)

    done = the_one(await scene.recover())

    assert (done.status, done.reason) == (Status.FAILED, Reason.LOST)
    assert scene.nothing_is_alive()


async def test_a_cancel_is_heeded_by_whoever_takes_over(scene: Scene) -> None:
    """A request to cancel that came while nobody supervised ends the agent at the take-over."""
    scene.leave("while it runs", f"{WAITS} 0")
    async with scene.opened() as (store, _):
        assert await store.request_cancel(ID) is CancelOutcome.REQUESTED

    done = the_one(await scene.recover())

    assert done.status is Status.CANCELLED
    assert scene.nothing_is_alive()


async def test_of_two_that_recover_one_gets_each_attempt(scene: Scene) -> None:
    """Two processes that recover at once share the work; no attempt is concluded twice."""
    scene.leave("while it runs", LEAVES_REPORT)
    with anyio.fail_after(20):
        while read_exit(scene.run_dir) is None:
            await anyio.sleep(0.01)

    async with scene.opened() as (_, first), scene.opened() as (store, second):
        (orphan,) = await first.orphans()
        found: list[Concluded | None] = []

        async def conclude(recovery: Recovery) -> None:
            found.append(await recovery.conclude(orphan, anyio.Event()))

        async with anyio.create_task_group() as both:
            both.start_soon(conclude, first)
            both.start_soon(conclude, second)
        assert (await store.attempt(ID)).epoch == 2

    assert sum(each is not None for each in found) == 1
    assert len([e for e in scene.heard.named("state_changed") if e["to"] == "success"]) == 1


async def test_what_has_a_living_owner_is_not_touched(scene: Scene) -> None:
    """Beside a living kubecase nothing is found to recover, and taking over is refused."""
    async with scene.opened() as (store, recovery):
        await store.begin(an_incident(), agent="command")

        assert await recovery.orphans() == ()
        with pytest.raises(ValueError, match="may be alive"):
            await store.take_over(await store.attempt(ID))
        assert (await store.attempt(ID)).epoch == 1


async def test_findings_from_before_the_crash_are_in_the_report(scene: Scene) -> None:
    """What the built-in investigator had found is not lost with its kubecase."""
    scene.leave("while it runs", LEAVES_REPORT)
    async with scene.opened() as (store, recovery):
        (orphan,) = await recovery.orphans()
        saved = (await store.story(ID)).reports[0].findings

        concluded = await recovery.conclude(orphan, anyio.Event())

    assert saved is not None
    assert concluded is not None
    assert concluded.machine["findings"]["summary"] == saved["summary"]
