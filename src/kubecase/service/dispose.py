"""What retention decided about one workspace, carried out: packed, looked at again, deleted."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import anyio
from anyio import lowlevel, to_thread

from kubecase.core.errors import KubecaseError
from kubecase.core.lifecycle import is_final
from kubecase.core.model import IncidentId
from kubecase.service.groups import unwrapped
from kubecase.store import End
from kubecase.workspace import (
    Archive,
    ArchiveLimits,
    Candidate,
    Decision,
    NoSpace,
    Tick,
    Workspace,
    directory_in,
    pack,
)

AttemptOf = tuple[IncidentId, int]
_T = TypeVar("_T")


class Ends(Protocol):
    """Who knows how investigations ended; the store does."""

    async def ends(self, attempts: Collection[AttemptOf]) -> Mapping[AttemptOf, End]:
        """Where each of `attempts` stands; those that are not on record are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """One entry of the root of workspaces: what was decided, and what came of it.

    `archive` says that it is packed before it is deleted, `packed` is that archive. `freed_bytes`
    is what its deletion gave back to the disk, or would; None if it is kept or was not measured.
    With an `error` it is still there, whole or in part; `no_space` says that this was why.
    """

    path: Path
    attempt_of: AttemptOf | None
    delete: bool
    why: str
    archive: bool = False
    packed: Archive | None = None
    freed_bytes: int | None = None
    error: str | None = None
    no_space: bool = False


class _GivenUp(Exception):
    """Work in a thread that nobody waits for any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposal:
    """Carries out decisions. `tick` is told, in a thread, how much of which workspace was read."""

    ends: Ends
    workspaces: Path
    data: Path
    limits: ArchiveLimits
    tick: Callable[[str, int], None]

    async def rehearse(self, decision: Decision, *, measure: bool) -> Swept:
        """What would come of `decision`; how much it would free if that is to be measured."""
        freed = await to_thread.run_sync(self._size, decision) if measure else None
        return self._swept(decision, freed_bytes=freed)

    async def carry_out(self, decision: Decision, candidate: Candidate) -> Swept | None:
        """What came of `decision`, which is to delete; None if nothing was there any more.

        Right before the deletion it is looked up again that the investigation has ended.
        """
        attempt_of = candidate.entry.attempt_of
        if attempt_of is None:
            raise ValueError("what is no workspace cannot be disposed of")
        packed = None
        try:
            workspace = directory_in(self.workspaces, decision.entry.name)
            if workspace is None:
                return None
            if decision.archive:
                about = _about(candidate)
                packed = await _in_thread(lambda tick: self._pack(workspace, about, tick))
        except KubecaseError as error:
            return self._swept(decision, error=str(error), no_space=isinstance(error, NoSpace))
        now = (await self.ends.ends([attempt_of])).get(attempt_of)
        if now is None or not is_final(now.status):
            why = "it is no longer on record" if now is None else f"it is {now.status} now"
            return self._kept(decision, f"its investigation was looked up again: {why}")
        try:
            # A deletion is carried to its end, and what came of it is told.
            with anyio.CancelScope(shield=True):
                freed = await to_thread.run_sync(self._remove, workspace, decision)
        except FileNotFoundError:
            return None
        except KubecaseError as error:
            return self._swept(decision, packed=packed, error=str(error))
        return self._swept(decision, packed=packed, freed_bytes=freed)

    def _pack(self, workspace: Workspace, about: Mapping[str, object], tick: Tick) -> Archive:
        def told(amount: int) -> None:
            tick(amount)
            self.tick(workspace.root.name, amount)

        return pack(workspace, self.data / "archives", about=about, limits=self.limits, tick=told)

    def _remove(self, workspace: Workspace, decision: Decision) -> int:
        """Delete the workspace with its run directory; returns the bytes that the disk got back.

        It is set aside first: after a crash at any point what is left is known as a leftover.
        """
        freed = workspace.size()
        if not decision.entry.doomed:
            workspace = workspace.set_aside()
        run = self._run_of(decision)
        if run is not None:
            freed += run.size()
            run.delete()
        workspace.delete()
        return freed

    def _size(self, decision: Decision) -> int:
        found = (directory_in(self.workspaces, decision.entry.name), self._run_of(decision))
        return sum(each.size() for each in found if each is not None)

    def _run_of(self, decision: Decision) -> Workspace | None:
        if decision.entry.attempt_of is None:
            return None
        incident_id, attempt = decision.entry.attempt_of
        return directory_in(self.data / "runs", f"{incident_id}-{attempt}")

    def _swept(
        self,
        decision: Decision,
        *,
        packed: Archive | None = None,
        freed_bytes: int | None = None,
        error: str | None = None,
        no_space: bool = False,
    ) -> Swept:
        return Swept(
            path=self.workspaces / decision.entry.name,
            attempt_of=decision.entry.attempt_of,
            delete=decision.delete,
            why=decision.why,
            archive=decision.archive,
            packed=packed,
            freed_bytes=freed_bytes,
            error=error,
            no_space=no_space,
        )

    def _kept(self, decision: Decision, why: str) -> Swept:
        return Swept(
            path=self.workspaces / decision.entry.name,
            attempt_of=decision.entry.attempt_of,
            delete=False,
            why=why,
        )


def _about(candidate: Candidate) -> dict[str, object]:
    """What the manifest of an archive says of the investigation."""
    incident_id, attempt = candidate.entry.attempt_of or (None, None)
    return {
        "incident_id": incident_id,
        "attempt": attempt,
        "status": candidate.status,
        "ended_at": None if candidate.ended_at is None else candidate.ended_at.isoformat(),
    }


async def _in_thread(work: Callable[[Tick], _T]) -> _T:
    """What `work` returns, done in a thread; when cancelled, only once the thread has ended too.

    `work` is given a tick: the sooner it calls it, the sooner it is stopped.
    """
    stop = threading.Event()
    done: list[_T] = []

    def tick(_: int) -> None:
        if stop.is_set():
            raise _GivenUp

    def guarded() -> None:
        try:
            done.append(work(tick))
        except _GivenUp:
            pass

    async def passed_on() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stop.set()

    with unwrapped():
        async with anyio.create_task_group() as group:
            group.start_soon(passed_on)
            await to_thread.run_sync(guarded)
            group.cancel_scope.cancel()
    if not done:
        await lowlevel.checkpoint_if_cancelled()
        raise RuntimeError("a thread gave up that nobody had stopped")
    return done[0]
