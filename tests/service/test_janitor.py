"""What becomes of workspaces: a real record, real directories, a clock that is set by hand."""

import os
import subprocess
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubecase.core.errors import StoreUnavailable
from kubecase.core.model import Fault, Incident, IncidentId, Investigation, Reason, Resource, Status
from kubecase.core.severity import Severity
from kubecase.service.dispose import AttemptOf, Swept
from kubecase.service.janitor import OLDEST, Janitor, SweepInProgress
from kubecase.store import Changes, End, Owner, Store
from kubecase.workspace import (
    ArchiveLimits,
    CleanupPolicy,
    Workspace,
    directory_in,
    held_alone,
    pack,
)

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
HOUR = 3600.0
STEPS = (Status.STARTING, Status.RUNNING)


@dataclass
class Heard:
    """An observer that remembers, and may be waited for."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    passes: anyio.Event = field(default_factory=anyio.Event)
    wanted: int = 1

    def record(self, event: str, /, **fields: object) -> None:
        self.events.append((event, dict(fields)))
        if len(self.named("gc_completed")) + len(self.named("gc_skipped")) >= self.wanted:
            self.passes.set()

    def named(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == name]


@dataclass
class House:
    """A record and a root of workspaces, at a moment that is set by hand."""

    store: Store
    root: Path
    heard: Heard
    now: datetime = NOON

    async def ended(
        self,
        status: Status = Status.SUCCESS,
        *,
        hours_ago: float = 0.0,
        files: Mapping[str, bytes] = {"output/agent.log": b"said\n"},
    ) -> Path:
        """The workspace of an investigation that ended as `status`, or is still at it."""
        fault = Fault(
            fingerprint=uuid.uuid4().hex, cluster="dev",
            resource=Resource(kind="Pod", name="api-0", namespace="shop"), reason="CrashLoop",
            message="exited", severity=Severity.CRITICAL, severity_word="critical", seen_at=NOON,
            raw=b"{}",
        )  # fmt: skip
        id = IncidentId(str(uuid.uuid4()))
        begun = await self.store.begin(
            Incident(id=id, fault=fault, opened_at=NOON), agent="builtin"
        )
        workspace = Workspace.create(self.root / "workspaces", id, 1)
        workspace.write(files)
        run = self.root / "data/runs" / begun.key
        run.mkdir(parents=True)
        (run / "stdout").write_bytes(b"said\n" * 1000)
        await self._brought_to(begun, status, self.now - timedelta(hours=hours_ago))
        return workspace.root

    async def _brought_to(self, attempt: Investigation, status: Status, ended: datetime) -> None:
        steps = STEPS if status in {Status.SUCCESS, Status.FAILED, Status.TIMEOUT} else ()
        if status in STEPS:
            steps = STEPS[: STEPS.index(status)]
        for step in steps:
            attempt = await self.store.move(attempt, step)
        if status is Status.CREATED:
            return
        changes = Changes() if status in STEPS else Changes(ended_at=ended)
        if status is Status.FAILED:
            changes |= Changes(reason=Reason.EXIT_CODE, error="exited with code 1")
        await self.store.move(attempt, status, **changes)

    def janitor(self, policy: str = "delete_after_retention", **parts: Any) -> Janitor:
        values: dict[str, Any] = {
            "ends": self.store,
            "observer": self.heard,
            "workspaces": self.root / "workspaces",
            "data": self.root / "data",
            "policy": CleanupPolicy(policy),
            "retention_seconds": 72 * HOUR,
            "min_free_bytes": None,
            "clock": lambda: self.now,
            "limits": ArchiveLimits(keep_free=0),
        }
        return Janitor(**(values | parts))

    def archive_of(self, workspace: Path) -> Path:
        return self.root / "data/archives" / f"{workspace.name}.tar.zst"

    def run_of(self, workspace: Path) -> Path:
        return self.root / "data/runs" / f"{workspace.name.removeprefix('incident-')}-1"


async def swept(janitor: Janitor, *, dry_run: bool = False) -> dict[str, Swept]:
    """What one pass made of each entry, by name; none is told twice."""
    found: dict[str, Swept] = {}
    async with aclosing(janitor.sweep(dry_run=dry_run)) as each_one:
        async for each in each_one:
            assert each.path.name not in found
            found[each.path.name] = each
    return found


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A house with nothing in it."""
    root = tmp_path.resolve()
    (root / "data").mkdir()
    async with Store.open(root / "data/kubecase.db", owner=Owner.current()) as store:
        yield House(store=store, root=root, heard=Heard())


async def test_what_is_over_goes_with_its_run_and_nothing_else(house: House) -> None:
    """Past retention workspace and run logs go, the reports and the rest stay (req 12.6)."""
    old = await house.ended(hours_ago=73)
    young = await house.ended(hours_ago=71)
    active = await house.ended(Status.RUNNING)
    kept = house.root / "data/artifacts" / house.run_of(old).name
    kept.mkdir(parents=True)
    (house.root / "workspaces/notes").mkdir()
    orphan = Workspace.create(house.root / "workspaces", str(uuid.uuid4()), 1).root

    found = await swept(house.janitor())

    assert not old.exists()
    assert not house.run_of(old).exists()
    assert kept.is_dir()
    assert all(path.is_dir() for path in (young, active, orphan, house.run_of(young)))
    assert {name for name, each in found.items() if each.delete} == {old.name}
    assert (found[old.name].freed_bytes or 0) > 0
    assert found[active.name].why == "its investigation is running"
    assert found[orphan.name].why == "no investigation on record has it"
    assert found["notes"].why == "not the name of a workspace"
    (end,) = house.heard.named("gc_completed")
    assert (end["kept"], end["deleted"], end["archived"], end["failed"]) == (4, 1, 0, 0)
    assert [e["workspace"] for e in house.heard.named("workspace_deleted")] == [old]


async def test_a_dry_run_changes_nothing_and_says_how_much(house: House) -> None:
    """Rehearsing tells the same decisions and what they would free (req 21.4)."""
    old = await house.ended(hours_ago=73, files={"large": b"x" * 300_000})
    await house.ended(hours_ago=1)

    for policy in ("delete_after_retention", "archive"):
        found = await swept(house.janitor(policy, min_free_bytes=2**60), dry_run=True)
        assert found[old.name].delete
        assert (found[old.name].freed_bytes or 0) >= 300_000

    assert old.is_dir()
    assert house.run_of(old).is_dir()
    assert not (house.root / "data/archives").exists()
    assert house.heard.named("workspace_deleted") == []


@pytest.mark.parametrize("status", [Status.CREATED, Status.STARTING, Status.RUNNING])
@pytest.mark.parametrize("policy", CleanupPolicy)
async def test_an_active_run_is_never_touched(
    house: House, policy: CleanupPolicy, status: Status
) -> None:
    """Whatever the policy, and however short space is, what has not ended stays (req 3.5)."""
    active = await house.ended(status)
    os.utime(active, (0, 0))

    found = await swept(house.janitor(policy, min_free_bytes=2**60, retention_seconds=0.0))

    assert active.is_dir()
    assert house.run_of(active).is_dir()
    assert found[active.name].why == f"its investigation is {status}"


async def test_an_archive_is_made_before_the_workspace_goes(house: House) -> None:
    """Policy archive packs what is over, deletes it, and the archive has it all (req 21.5)."""
    old = await house.ended(Status.FAILED, hours_ago=73, files={"context/why": b"because"})
    young = await house.ended(hours_ago=1)

    found = await swept(house.janitor("archive"))

    assert not old.exists()
    assert young.is_dir()
    archive = found[old.name].packed
    assert archive is not None
    assert archive.path == house.archive_of(old)
    held = subprocess.run(
        ["tar", "--zstd", "-xOf", archive.path, f"{old.name}/context/why"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert held.stdout == b"because"
    (end,) = house.heard.named("gc_completed")
    assert (end["archived"], end["deleted"], end["archive_bytes"]) == (1, 0, archive.bytes)


async def test_a_workspace_with_its_archive_is_proved_again_and_goes(house: House) -> None:
    """After a crash between archive and deletion the next pass finishes the work (req 21.5)."""
    old = await house.ended(hours_ago=73)
    workspace = directory_in(old.parent, old.name)
    assert workspace is not None
    pack(workspace, house.root / "data/archives", about={}, limits=ArchiveLimits(keep_free=0),
         tick=lambda _: None)  # fmt: skip
    written = house.archive_of(old).stat().st_ino

    found = await swept(house.janitor("archive"))

    assert not old.exists()
    assert found[old.name].packed is not None
    assert house.archive_of(old).stat().st_ino == written
    assert house.heard.named("gc_completed")[0]["archive_bytes"] == 0


async def test_a_deletion_that_was_cut_short_is_finished(house: House) -> None:
    """Half a workspace is never packed as if it were whole; the rest of it goes (req 21.5)."""
    old = await house.ended(hours_ago=73)
    workspace = directory_in(old.parent, old.name)
    assert workspace is not None
    aside = workspace.set_aside()
    (aside.root / "output/agent.log").unlink()

    found = await swept(house.janitor("archive"))

    assert os.listdir(old.parent) == []
    assert not house.run_of(old).exists()
    assert not house.archive_of(old).exists()
    assert found[aside.root.name].why == "its deletion was broken off"


async def test_a_bad_archive_costs_no_workspace(house: House) -> None:
    """What fails its verification is removed and said, the workspace stays, the next one goes."""
    bad, good = await house.ended(hours_ago=73), await house.ended(hours_ago=74)
    house.archive_of(bad).parent.mkdir(mode=0o700)
    house.archive_of(bad).write_bytes(b"no archive at all")

    found = await swept(house.janitor("archive"))

    assert bad.is_dir()
    assert "not sound" in (found[bad.name].error or "")
    assert not house.archive_of(bad).exists()
    assert not good.exists()
    (error,) = house.heard.named("error")
    assert (error["error_type"], error["workspace"]) == ("cleanup", bad)
    assert house.heard.named("gc_completed")[0]["failed"] == 1
    assert (await swept(house.janitor("archive")))[bad.name].error is None


@dataclass
class ChangingRecord:
    """The record of another process: what it says of an attempt changes after the first look."""

    said: Mapping[AttemptOf, End]
    then: End | None
    looks: int = 0

    async def ends(self, attempts: Collection[AttemptOf]) -> Mapping[AttemptOf, End]:
        self.looks += 1
        if self.looks == 1:
            return self.said
        return {attempt: self.then for attempt in attempts if self.then is not None}


@pytest.mark.parametrize("policy", ["delete_after_retention", "archive"])
@pytest.mark.parametrize("then", [None, End(status=Status.RUNNING, ended_at=None)])
async def test_the_record_is_asked_again_before_the_deletion(
    house: House, policy: str, then: End | None
) -> None:
    """What is no longer on record as ended, right before it would go, stays (req 3.5)."""
    old = await house.ended(hours_ago=73)
    attempt: AttemptOf = (IncidentId(old.name.removeprefix("incident-")), 1)
    ended = End(status=Status.SUCCESS, ended_at=NOON - timedelta(hours=73))
    record = ChangingRecord(said={attempt: ended}, then=then)

    found = await swept(house.janitor(policy, ends=record))

    assert old.is_dir()
    assert house.run_of(old).is_dir()
    assert found[old.name].delete is False
    assert "looked up again" in found[old.name].why


def shrinking(house: House, capacity: int) -> Callable[[Path], int]:
    """How much is free on a disk of `capacity` bytes that holds the workspaces and nothing else."""

    def free(root: Path) -> int:
        held = (directory_in(root, name) for name in os.listdir(root))
        return capacity - sum(workspace.size() for workspace in held if workspace)

    return free


async def test_those_that_ended_first_make_room(house: House) -> None:
    """Short of space, the oldest ends go early, no more than are needed (req 21.4)."""
    ages = (5, 1, 3, 2, 4)
    sizes = {"data": b"x" * 1_000_000}
    by_age = {age: await house.ended(hours_ago=age, files=sizes) for age in ages}
    free = shrinking(house, 5_500_000)
    janitor = house.janitor(min_free_bytes=2_000_000, free=free)

    dry = await swept(janitor, dry_run=True)
    found = await swept(janitor)

    assert {name for name, each in dry.items() if each.delete} == {
        name for name, each in found.items() if each.delete
    }
    assert {age for age, path in by_age.items() if path.exists()} == {1, 2, 3}
    assert len(found) == 5
    assert "min_free_space" in found[by_age[5].name].why
    assert "5.0 h ago" in found[by_age[5].name].why
    assert free(house.root / "workspaces") >= 2_000_000


@pytest.mark.parametrize(
    ("policy", "status", "goes"),
    [
        ("keep_always", Status.SUCCESS, False),
        ("keep_on_failure", Status.FAILED, False),
        ("keep_on_failure", Status.CANCELLED, False),
        ("keep_on_failure", Status.SUCCESS, True),
        ("delete_after_retention", Status.FAILED, True),
        ("archive", Status.TIMEOUT, True),
    ],
)
async def test_space_is_made_only_as_the_policy_allows(
    house: House, policy: str, status: Status, goes: bool
) -> None:
    """However short space is, what the policy keeps is kept, and it is said (req 21.4)."""
    ended = await house.ended(status, hours_ago=1)

    found = await swept(house.janitor(policy, min_free_bytes=2**60))

    assert ended.exists() is not goes
    assert found[ended.name].delete is goes
    assert house.archive_of(ended).exists() is (policy == "archive")
    end = house.heard.named("gc_completed")[0]
    assert end["free_bytes"] < end["min_free_bytes"]


async def test_without_space_for_archives_nothing_is_lost(house: House) -> None:
    """Policy archive on a full disk deletes nothing and says that it has no space (req 21.4)."""
    ended = [await house.ended(hours_ago=hours) for hours in (1, 2, 3)]
    janitor = house.janitor("archive", min_free_bytes=2**60, limits=ArchiveLimits(keep_free=2**60))

    found = await swept(janitor)

    assert all(path.is_dir() for path in ended)
    assert "no archive can be written" in (found[ended[2].name].error or "")
    assert [name for name, each in found.items() if each.error] == [ended[2].name]


async def test_more_go_than_are_remembered_at_once(house: House) -> None:
    """Space is made in order also when more must go than one look remembers (req 21.4)."""
    root = house.root / "workspaces"
    said = {}
    for n in range(OLDEST + 200):
        id = IncidentId(str(uuid.uuid4()))
        Workspace.create(root, id, 1)
        said[id, 1] = End(status=Status.SUCCESS, ended_at=NOON - timedelta(seconds=n))

    class Everything:
        async def ends(self, attempts: Collection[AttemptOf]) -> Mapping[AttemptOf, End]:
            return {each: said[each] for each in attempts}

    ends = []
    janitor = house.janitor(ends=Everything(), min_free_bytes=2**60)
    async with aclosing(janitor.sweep()) as found:
        async for each in found:
            assert each.attempt_of is not None
            ends.append(said[each.attempt_of].ended_at)

    assert len(ends) == OLDEST + 200
    assert ends == sorted(ends)
    assert os.listdir(root) == []


async def test_a_second_pass_keeps_out_of_the_way(house: House) -> None:
    """While one process is at it another one does nothing, and says so (req 3.5)."""
    old = await house.ended(hours_ago=73)
    with held_alone(house.root / "data", "gc.lock"):
        with pytest.raises(SweepInProgress, match="another garbage collection"):
            await swept(house.janitor())
        assert (await swept(house.janitor(), dry_run=True))[old.name].delete

    assert old.is_dir()
    assert (await swept(house.janitor()))[old.name].delete


async def test_leftovers_of_a_crashed_packing_are_tidied_up(house: House) -> None:
    """Every pass but a rehearsal removes what a killed packing left."""
    archives = house.root / "data/archives"
    archives.mkdir(mode=0o700)
    (archives / ".packing-0123456789abcdef").write_bytes(b"half")

    await swept(house.janitor(), dry_run=True)
    assert os.listdir(archives) != []
    await swept(house.janitor())

    assert os.listdir(archives) == []


async def test_the_loop_goes_on_after_an_error(house: House) -> None:
    """A pass that fails is told, the next ones are made, until the loop is cancelled (req 21.4)."""
    old = await house.ended(hours_ago=73)
    store = house.store

    class Moody:
        asked = 0

        async def ends(self, attempts: Collection[AttemptOf]) -> Mapping[AttemptOf, End]:
            self.asked += 1
            if self.asked == 1:
                raise StoreUnavailable("the record is locked")
            return await store.ends(attempts)

    house.heard.wanted = 3
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(house.janitor(ends=Moody()).run, 0.001)
            await house.heard.passes.wait()
            group.cancel_scope.cancel()

    assert not old.exists()
    assert [event for event, _ in house.heard.events][:3] == [
        "error", "workspace_deleted", "gc_completed",
    ]  # fmt: skip
    assert str(house.heard.named("error")[0]["error"]) == "the record is locked"


async def test_cancelling_a_packing_leaves_the_workspace_and_no_archive(house: House) -> None:
    """A loop that is stopped in the middle of an archive gives it up and cleans up after it."""
    old = await house.ended(hours_ago=73, files={"large": b"x" * 5_000_000})
    begun = anyio.Event()
    token = anyio.lowlevel.current_token()

    def tick(name: str, amount: int) -> None:
        anyio.from_thread.run_sync(begun.set, token=token)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(swept, house.janitor("archive", tick=tick))
            await begun.wait()
            group.cancel_scope.cancel()

    assert (old / "large").stat().st_size == 5_000_000
    assert os.listdir(house.root / "data/archives") == []
    with held_alone(house.root / "data", "gc.lock") as free:
        assert free


async def test_a_pass_over_many_takes_no_more_memory(house: House) -> None:
    """Five thousand workspaces are gone through with the memory of five hundred (req 21.4)."""
    root = house.root / "workspaces"
    root.mkdir()

    class Everything:
        async def ends(self, attempts: Collection[AttemptOf]) -> Mapping[AttemptOf, End]:
            return {each: End(status=Status.SUCCESS, ended_at=NOON) for each in attempts}

    async def peak(count: int) -> int:
        for _ in range(count - len(os.listdir(root))):
            (root / f"incident-{uuid.uuid4()}").mkdir()
        passed = 0
        tracemalloc.start()
        async with aclosing(house.janitor(ends=Everything()).sweep(dry_run=True)) as found:
            async for each in found:
                passed += not each.delete
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert passed == count
        return most

    await peak(500)
    few, many = await peak(500), await peak(5000)

    assert many < few * 1.5 + 300_000


async def test_a_store_tells_where_attempts_stand(house: House) -> None:
    """Many attempts are looked up at once; those that are not on record are left out."""
    done = await house.ended(Status.FAILED, hours_ago=2)
    active = await house.ended(Status.RUNNING)
    ids = [IncidentId(path.name.removeprefix("incident-")) for path in (done, active)]

    found = await house.store.ends([(ids[0], 1), (ids[0], 2), (ids[1], 1), (IncidentId("?"), 1)])

    assert found == {
        (ids[0], 1): End(status=Status.FAILED, ended_at=NOON - timedelta(hours=2)),
        (ids[1], 1): End(status=Status.RUNNING, ended_at=None),
    }
    assert await house.store.ends([]) == {}
