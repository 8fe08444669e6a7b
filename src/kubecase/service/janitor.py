"""Retention at work: a pass over all workspaces, and the loop that makes one again and again."""

import heapq
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path

import anyio

from kubecase.core.errors import KubecaseError
from kubecase.core.model import IncidentId
from kubecase.core.ports import Observer
from kubecase.gateways.audit import remove_old_answers
from kubecase.service.dispose import Disposal, Ends, Swept
from kubecase.workspace import (
    ArchiveLimits,
    Candidate,
    CleanupPolicy,
    Decision,
    early,
    expired,
    free_bytes,
    held_alone,
    remove_unfinished,
    scan,
)

LOCK = "gc.lock"
ARCHIVES = "archives"
TOGETHER = 500
"""How many entries are looked up at once."""

OLDEST = 1000
"""How many workspaces at most are remembered when those that ended first are looked for."""

MEASURING_SECONDS = 5.0
"""How long a dry run may measure what it would delete; the rest is named without a size."""

EndKey = tuple[datetime, IncidentId, int]
"""By what workspaces are put in order when space is short."""


class SweepInProgress(KubecaseError):
    """Another pass over the workspaces is at work."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a pass has come to so far. `measured` is False when the size of something is missing."""

    kept: int = 0
    deleted: int = 0
    archived: int = 0
    failed: int = 0
    freed_bytes: int = 0
    archive_bytes: int = 0
    measured: bool = True

    def add(self, swept: Swept) -> None:
        """Count one more."""
        if swept.error is not None:
            self.failed += 1
        elif not swept.delete:
            self.kept += 1
        else:
            self.archived += swept.archive
            self.deleted += not swept.archive
            self.freed_bytes += swept.freed_bytes or 0
            self.measured = self.measured and swept.freed_bytes is not None
        if swept.packed is not None and not swept.packed.found:
            self.archive_bytes += swept.packed.bytes


@dataclass(slots=True, kw_only=True)
class _Pass:
    """One pass in the making. `relieved` is the end up to which everything was tried for space."""

    dry_run: bool
    now: datetime
    begun: float = field(default_factory=time.monotonic)
    tally: Tally = field(default_factory=Tally)
    relieved: EndKey | None = None
    measured_seconds: float = 0.0

    @property
    def may_measure(self) -> bool:
        return self.measured_seconds < MEASURING_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Janitor:
    """Looks after the workspaces below `workspaces`, of which `ends` knows how they ended.

    `data` holds the archives, the run directories and the lock. With `min_free_bytes`, ended
    workspaces go before their time while `free` says that less is free where workspaces lie.
    Memory does not grow with the number of workspaces.
    """

    ends: Ends
    observer: Observer
    workspaces: Path
    data: Path
    policy: CleanupPolicy
    retention_seconds: float
    min_free_bytes: int | None
    clock: Callable[[], datetime]
    limits: ArchiveLimits = field(default=ArchiveLimits())
    free: Callable[[Path], int | None] = free_bytes
    tick: Callable[[str, int], None] = field(default=lambda _name, _amount: None)

    async def run(self, interval_seconds: float) -> None:
        """Make a pass, rest for `interval_seconds`, and so on until cancelled.

        What keeps a pass from its end is told to the observer, and the next one is made all the
        same. (A bug of ours is no such thing.)
        """
        while True:
            try:
                async with aclosing(self.sweep()) as found:
                    async for _ in found:
                        pass
            except SweepInProgress as busy:
                self.observer.record("gc_skipped", why=str(busy))
            except KubecaseError as error:
                self.observer.record("error", error_type="cleanup", error=error)
            await anyio.sleep(interval_seconds)

    async def sweep(self, *, dry_run: bool = False) -> AsyncGenerator[Swept]:
        """One pass: what was decided about each entry, and what came of that, as it goes.

        With `dry_run` nothing is changed. Otherwise the observer is told of everything that goes
        or fails, and in both cases of the end (`gc_completed`). An error with one workspace stops
        no other. To be closed when not read to its end.

        Raises SweepInProgress when another process is at it, StoreUnavailable, and WorkspaceError
        when the root cannot be listed.
        """
        state = _Pass(dry_run=dry_run, now=self.clock())
        if dry_run:
            async with aclosing(self._pass(state)) as found:
                async for swept in found:
                    yield swept
        else:
            with held_alone(self.data, LOCK) as ours:
                if not ours:
                    raise SweepInProgress(
                        "another garbage collection is at work on these workspaces "
                        f"({self.data / LOCK}); nothing was done"
                    )
                remove_unfinished(self.data / ARCHIVES)
                async with aclosing(self._pass(state)) as found:
                    async for swept in found:
                        self._tell(swept)
                        yield swept
                await self._forget_answers(state)
        self._tell_end(state)

    async def _forget_answers(self, state: _Pass) -> None:
        """Answers of the gateways go when workspaces of their age go; records stay."""
        if self.policy in {CleanupPolicy.KEEP_ALWAYS, CleanupPolicy.KEEP_ON_FAILURE}:
            return
        before = state.now.timestamp() - self.retention_seconds
        count, size = await anyio.to_thread.run_sync(
            lambda: remove_old_answers(self.data / "answers", before=before)
        )
        if count:
            self.observer.record("answers_removed", count=count, bytes=size)

    async def _pass(self, state: _Pass) -> AsyncGenerator[Swept]:
        for part in (self._relieve(state), self._scan(state)):
            async with aclosing(part) as found:
                async for swept in found:
                    state.tally.add(swept)
                    yield swept

    async def _scan(self, state: _Pass) -> AsyncGenerator[Swept]:
        """Every entry once, but for those that were tried for space already."""
        async with aclosing(self._candidates()) as chunks:
            async for candidates in chunks:
                for candidate, decision in zip(
                    candidates, self._decided(candidates, state), strict=True
                ):
                    if not self._tried(candidate, state):
                        swept = await self._handled(decision, candidate, state)
                        if swept is not None:
                            yield swept

    async def _relieve(self, state: _Pass) -> AsyncGenerator[Swept]:
        """Those that ended first, until enough is free or nothing more may go."""
        free = self.free(self.workspaces)
        if self.min_free_bytes is None or free is None or free >= self.min_free_bytes:
            return
        why = (
            f"{_in_words(free)} are free, and {_in_words(self.min_free_bytes)} are to be "
            "(agent_runtime.min_free_space)"
        )
        missing = self.min_free_bytes - free
        while oldest := await self._oldest(state, why):
            for key, candidate, decision in oldest:
                # By what was deleted too: many file systems count it as free only later.
                if missing <= 0 or (not state.dry_run and self._enough()):
                    return
                state.relieved = key
                swept = await self._handled(decision, candidate, state, measure=True)
                if swept is not None:
                    missing -= swept.freed_bytes or 0
                    yield swept
                    if swept.no_space:
                        return

    def _enough(self) -> bool:
        free = self.free(self.workspaces)
        return free is None or self.min_free_bytes is None or free >= self.min_free_bytes

    async def _oldest(self, state: _Pass, why: str) -> list[tuple[EndKey, Candidate, Decision]]:
        """Of those that may go and were not tried yet, some that ended before all others."""
        best: list[tuple[EndKey, Candidate, Decision]] = []
        async with aclosing(self._candidates()) as chunks:
            async for candidates in chunks:
                more = self._may_go(candidates, state, why)
                best = heapq.nsmallest(OLDEST, chain(best, more), key=itemgetter(0))
        return best

    def _may_go(
        self, candidates: list[Candidate], state: _Pass, why: str
    ) -> Iterator[tuple[EndKey, Candidate, Decision]]:
        for candidate, due in zip(candidates, self._decided(candidates, state), strict=True):
            decision = due if due.delete else self._early(candidate, state, why)
            key = _key(candidate)
            if decision is None or key is None:
                continue
            if state.relieved is None or key > state.relieved:
                yield key, candidate, decision

    def _tried(self, candidate: Candidate, state: _Pass) -> bool:
        """Whether `candidate` has had its turn when space was made."""
        key = _key(candidate)
        if state.relieved is None or key is None or key > state.relieved:
            return False
        (due,) = self._decided([candidate], state)
        return due.delete or self._early(candidate, state, "") is not None

    def _early(self, candidate: Candidate, state: _Pass, why: str) -> Decision | None:
        return early(candidate, now=state.now, policy=self.policy, why=why)

    def _decided(self, candidates: list[Candidate], state: _Pass) -> Iterator[Decision]:
        return expired(
            candidates,
            now=state.now,
            policy=self.policy,
            retention_seconds=self.retention_seconds,
        )

    async def _candidates(self) -> AsyncGenerator[list[Candidate]]:
        entries = scan(self.workspaces)
        while chunk := list(islice(entries, TOGETHER)):
            known = await self.ends.ends([e.attempt_of for e in chunk if e.attempt_of])
            ends = (known.get(entry.attempt_of) if entry.attempt_of else None for entry in chunk)
            yield [
                Candidate(
                    entry=entry,
                    status=None if end is None else end.status,
                    ended_at=None if end is None else end.ended_at,
                )
                for entry, end in zip(chunk, ends, strict=True)
            ]

    async def _handled(
        self, decision: Decision, candidate: Candidate, state: _Pass, *, measure: bool = False
    ) -> Swept | None:
        disposal = Disposal(
            ends=self.ends,
            workspaces=self.workspaces,
            data=self.data,
            limits=self.limits,
            tick=self.tick,
        )
        if decision.delete and not state.dry_run:
            return await disposal.carry_out(decision, candidate)
        measured = decision.delete and (measure or state.may_measure)
        begun = time.monotonic()
        swept = await disposal.rehearse(decision, measure=measured)
        if measured:
            state.measured_seconds += time.monotonic() - begun
        return swept

    def _tell(self, swept: Swept) -> None:
        incident_id = swept.attempt_of[0] if swept.attempt_of else None
        if swept.error is not None:
            self.observer.record(
                "error",
                incident_id=incident_id,
                error_type="cleanup",
                error=swept.error,
                workspace=swept.path,
            )
        elif swept.delete:
            self.observer.record(
                "workspace_deleted",
                incident_id=incident_id,
                workspace=swept.path,
                why=swept.why,
                archive=None if swept.packed is None else swept.packed.path,
                bytes=swept.freed_bytes,
            )

    def _tell_end(self, state: _Pass) -> None:
        tally = state.tally
        self.observer.record(
            "gc_completed",
            dry_run=state.dry_run,
            kept=tally.kept,
            deleted=tally.deleted,
            archived=tally.archived,
            failed=tally.failed,
            freed_bytes=tally.freed_bytes,
            measured=tally.measured,
            archive_bytes=tally.archive_bytes,
            free_bytes=self.free(self.workspaces),
            min_free_bytes=self.min_free_bytes,
            duration=time.monotonic() - state.begun,
        )


def _key(candidate: Candidate) -> EndKey | None:
    if candidate.ended_at is None or candidate.entry.attempt_of is None:
        return None
    return (candidate.ended_at, *candidate.entry.attempt_of)


def _in_words(size: int) -> str:
    """`size` bytes for people."""
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 / 10 else f"{size / 1024**2:.1f} MiB"
