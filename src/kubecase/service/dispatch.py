"""From the queue to an investigation: each incident once, within its limits, to its end."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Protocol

import anyio

from kubecase.core.errors import KubecaseError
from kubecase.core.intake import Accepted, priority
from kubecase.core.model import Fault, Incident, IncidentId, IncidentState
from kubecase.core.ports import Observer, Queue, Stop
from kubecase.core.severity import Severity
from kubecase.service.case import Before
from kubecase.service.conclude import Concluded
from kubecase.store import SlotTaken, Store
from kubecase.store.working import Claimed, Waiting

MOST_TRIES = 3
SLOT_PAUSE = 2.0
SWEEP_SECONDS = 20.0


class Left(Enum):
    """What others have left of an incident: nothing that matters, one that is being worked still,
    or a conclusion that was drawn just now.
    """

    NOTHING = auto()
    AT_WORK = auto()
    CONCLUDED = auto()


class Work(Protocol):
    """What works one incident: `Attempts` or `Panel`."""

    async def work(
        self, incident: Incident, stop: Stop, *, again: bool = False, before: Before
    ) -> Concluded:
        """The conclusion of its last attempt."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How the incidents of one cluster are worked: how many at once, and how long one may wait.

    `max_age` is in seconds, for what is not critical; None for ever.
    """

    at_once: int = 1
    max_age: float | None = 600.0


@dataclass(kw_only=True)
class Dispatcher:
    """Works what the queue gives out. `made` makes what works an incident; `healed` says why one
    needs no work any more; `give_up` concludes one that has killed its worker too often; `left`
    brings attempts of dead processes at it to their end first. None of them may be taken to be
    safe: whatever they raise is told, and the queue goes on.
    """

    store: Store
    queue: Queue
    observer: Observer
    clock: Callable[[], datetime]
    limits: Callable[[str], Limits]
    made: Callable[[Incident], Work]
    give_up: Callable[[Incident, str], Awaitable[object]]
    left: Callable[[Incident, Stop], Awaitable[Left]]
    healed: Callable[[Incident], Awaitable[str | None]] | None = None
    concluded: Callable[[Concluded], Awaitable[None]] | None = None
    expired: Callable[[Incident], Awaitable[None]] | None = None
    _stops: dict[IncidentId, anyio.Event] = field(default_factory=dict)
    _told: frozenset[str] = frozenset()
    _handing_in: "anyio.abc.TaskGroup | None" = None

    async def run(self, clusters: Mapping[str, int], stop: Stop) -> None:
        """Work incidents until `stop`; returns when those that were begun have ended."""
        for cluster, at_once in clusters.items():
            await self.queue.register(cluster, at_once)
        async with anyio.create_task_group() as group:
            self._handing_in = group
            group.start_soon(self._until, stop)
            group.start_soon(self._sweep)
            await self.queue.run(self.handle)
            self._handing_in = None
            group.cancel_scope.cancel()

    async def _until(self, stop: Stop) -> None:
        await stop.wait()
        await self.queue.stop()

    async def _sweep(self) -> None:
        """Hand in again what is on record and perhaps in no queue: after a start, and for ever."""
        while True:
            try:
                for each in await self.store.desk.to_be_worked():
                    await self._hand_in(each.id, each.cluster, each.severity)
                await self._tell_depth()
            except KubecaseError as error:
                self.observer.record("error", error_type="store", error=error)
            await anyio.sleep(SWEEP_SECONDS)

    def begin(self, accepted: Accepted, fault: Fault) -> None:
        """Hand in an incident that has just been opened."""
        if self._handing_in is not None and accepted.incident_id is not None:
            self._handing_in.start_soon(
                self._hand_in_new, accepted.incident_id, fault.cluster, fault.severity
            )

    async def _hand_in_new(self, incident: IncidentId, cluster: str, severity: Severity) -> None:
        try:
            await self._hand_in(incident, cluster, severity)
        except KubecaseError as error:
            # It is on record, and the next sweep hands it in; nobody else is held up by that.
            self.observer.record("error", cluster=cluster, error_type="store", error=error)

    async def _hand_in(self, incident: IncidentId, cluster: str, severity: Severity) -> None:
        await self.queue.register(cluster, self.limits(cluster).at_once)
        if await self.queue.enqueue(incident, cluster=cluster, priority=priority(severity)):
            self.observer.record("incident_queued", incident_id=incident, cluster=cluster)

    async def _tell_depth(self) -> None:
        depths = await self.store.desk.depth()
        # Also those of which none waits any more, or their last number would stand for ever.
        for cluster in {*depths, *self._told}:
            self.observer.record("queue_depth", cluster=cluster, depth=depths.get(cluster, 0))
        self._told = frozenset(depths)

    def is_running(self, incident: IncidentId) -> bool:
        """Whether this process works it."""
        return incident in self._stops

    def stop_one(self, incident: IncidentId) -> bool:
        """Ask the one that works `incident` here to stop; False if nobody does."""
        stop = self._stops.get(incident)
        if stop is not None:
            stop.set()
        return stop is not None

    def stop_all(self) -> None:
        """Ask everybody to stop."""
        for stop in self._stops.values():
            stop.set()

    @property
    def running(self) -> tuple[IncidentId, ...]:
        """The incidents that are being worked here."""
        return tuple(self._stops)

    async def handle(self, incident: IncidentId) -> float | None:
        """Work one incident; the seconds after which it is wanted again, if it is. Never raises."""
        self._stops[incident] = anyio.Event()
        try:
            return await self._handle(incident, self._stops[incident])
        except Exception as error:  # noqa: BLE001 - the boundary of each incident
            # A bug of ours with this incident; the others go on. It is tried again, bounded.
            self.observer.record("error", incident_id=incident, error_type="internal", error=error)
            return SLOT_PAUSE
        finally:
            self._stops.pop(incident, None)

    async def _handle(self, incident_id: IncidentId, stop: anyio.Event) -> float | None:
        desk = self.store.desk
        claimed = await desk.claim(incident_id)
        if claimed is None:
            return None
        incident = claimed.incident
        left = await self.left(incident, stop)
        if left is Left.AT_WORK:
            await desk.give_back(incident_id)
            return SLOT_PAUSE
        if left is Left.CONCLUDED:
            await desk.close(incident_id, IncidentState.DONE)
            return None
        if claimed.waiting.tries >= MOST_TRIES:
            await self._give_up(incident, f"it killed its worker {MOST_TRIES} times")
            return None
        if await self._needs_no_work(claimed):
            return None
        try:
            concluded = await self._work(incident, stop)
        except SlotTaken:
            await desk.give_back(incident_id)
            return SLOT_PAUSE
        await desk.close(incident_id, IncidentState.DONE)
        if self.concluded is not None:
            await self.concluded(concluded)
        return None

    async def _work(self, incident: Incident, stop: Stop) -> Concluded:
        """In the first slot of the cluster that is free; raises SlotTaken if none is."""
        slots = self.limits(incident.fault.cluster).at_once
        for slot in range(slots):
            try:
                return await self.made(incident).work(
                    incident, stop, again=True, before=Before(slot=slot)
                )
            except SlotTaken:
                if slot == slots - 1:
                    raise
        raise AssertionError("unreachable: a cluster has a slot")

    async def _needs_no_work(self, claimed: Claimed) -> bool:
        incident = claimed.incident
        if self._is_too_old(claimed.waiting):
            waited = (self.clock() - claimed.waiting.queued_at).total_seconds()
            note = f"nobody was free for it within {waited:.0f} s"
            await self.store.desk.close(incident.id, IncidentState.EXPIRED, note)
            self.observer.record(
                "incident_expired",
                incident_id=incident.id,
                cluster=incident.fault.cluster,
                waited=waited,
            )
            if self.expired is not None:
                await self.expired(incident)
            return True
        why = None if self.healed is None else await self.healed(incident)
        if why is None:
            return False
        await self.store.desk.close(incident.id, IncidentState.DONE, why)
        self.observer.record(
            "incident_healed", incident_id=incident.id, cluster=incident.fault.cluster, why=why
        )
        return True

    def _is_too_old(self, waiting: Waiting) -> bool:
        age = self.limits(waiting.cluster).max_age
        if age is None or waiting.severity is Severity.CRITICAL or waiting.tries:
            return False
        return self.clock() - waiting.queued_at > timedelta(seconds=age)

    async def _give_up(self, incident: Incident, why: str) -> None:
        await self.give_up(incident, why)
        await self.store.desk.close(incident.id, IncidentState.DONE, why)
