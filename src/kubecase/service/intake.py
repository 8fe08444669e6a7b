"""Faults come in: many askers, few transactions, and no answer before it is durable."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio

from kubecase.core.errors import KubecaseError, StoreUnavailable
from kubecase.core.intake import Accepted, Decision, Rules
from kubecase.core.model import Fault, IncidentId
from kubecase.core.ports import Observer
from kubecase.store.desk import Desk

BATCH = 200
"""Faults in one transaction; what comes while one is written waits for the next."""

RETRY_AFTER = 30.0


class QueueFull(KubecaseError):
    """Too many incidents wait; whoever sent the fault keeps it, for `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float = RETRY_AFTER) -> None:
        super().__init__(message, hint="Send it again later; limits.max_queued may be raised.")
        self.retry_after = retry_after


class Draining(KubecaseError):
    """The service is shutting down and takes nothing more."""


@dataclass(kw_only=True)
class Intake:
    """Takes faults in for the service. `begin` is told of each incident that has to be worked.

    `rules` gives the rules of a cluster.
    """

    desk: Desk
    rules: Callable[[str], Rules]
    observer: Observer
    begin: Callable[[Accepted, Fault], None]
    draining: bool = False
    _waiting: list["_Asked"] = field(default_factory=list)
    _writing: bool = False

    async def accept(
        self, faults: Sequence[Fault], wanted: Sequence[IncidentId | None] = ()
    ) -> Sequence[Accepted]:
        """What became of each fault; on return all of it is durable.

        `wanted` is the id that the incident of each is to have, should it open one.
        Raises Draining, QueueFull when none of `faults` could be taken, and StoreUnavailable;
        nothing is lost then that was acknowledged.
        """
        if self.draining:
            raise Draining("kubecase is shutting down", hint="Send it again in a moment.")
        asked = _Asked(faults=tuple(faults), wanted=tuple(wanted) or (None,) * len(faults))
        self._waiting.append(asked)
        if not self._writing:
            await self._write()
        await asked.done.wait()
        if asked.error is not None:
            raise asked.error
        refused = [each for each in asked.accepted if each.decision is Decision.REFUSED]
        if refused and len(refused) == len(asked.accepted):
            raise QueueFull(refused[0].reason)
        return asked.accepted

    async def resolve(self, faults: Sequence[Fault]) -> Sequence[Accepted]:
        """Close what is open for `faults`, which their source says are over."""
        found = await self.desk.resolve(faults)
        for each, accepted in zip(faults, found, strict=True):
            self._tell(each, accepted)
        return found

    async def _write(self) -> None:
        """Write what waits, batch by batch, until nothing does."""
        self._writing = True
        batch: list[_Asked] = []
        try:
            with anyio.CancelScope(shield=True):
                while self._waiting:
                    batch = self._next_batch()
                    await self._write_batch(batch)
        finally:
            self._writing = False
            self._let_go([*batch, *self._waiting])

    def _let_go(self, asked: list["_Asked"]) -> None:
        """After a bug of ours, which goes to who has written: the others do not wait for ever."""
        for each in asked:
            if not each.done.is_set():
                each.error = StoreUnavailable(
                    "the fault could not be taken in", hint="The log has why. Send it again later."
                )
                each.done.set()
        self._waiting.clear()

    def _next_batch(self) -> list["_Asked"]:
        batch: list[_Asked] = []
        count = 0
        while self._waiting and (not batch or count + len(self._waiting[0].faults) <= BATCH):
            batch.append(self._waiting.pop(0))
            count += len(batch[-1].faults)
        return batch

    async def _write_batch(self, batch: list["_Asked"]) -> None:
        faults = [each for asked in batch for each in asked.faults]
        wanted = [each for asked in batch for each in asked.wanted]
        try:
            accepted = await self.desk.take_in(faults, self.rules, wanted)
        except KubecaseError as error:
            await self._apart(batch, error)
            return
        self._hand_out(batch, accepted)

    async def _apart(self, batch: list["_Asked"], error: KubecaseError) -> None:
        """One bad fault costs nobody else theirs: each asker by itself."""
        if len(batch) == 1:
            batch[0].error = error
            batch[0].done.set()
            return
        for asked in batch:
            await self._write_batch([asked])

    def _hand_out(self, batch: list["_Asked"], accepted: Sequence[Accepted]) -> None:
        rest = list(accepted)
        for asked in batch:
            asked.accepted, rest = rest[: len(asked.faults)], rest[len(asked.faults) :]
            for each, found in zip(asked.faults, asked.accepted, strict=True):
                self._tell(each, found)
                if found.begins_work:
                    self.begin(found, each)
            asked.done.set()

    def _tell(self, each: Fault, accepted: Accepted) -> None:
        self.observer.record(
            "fault_received", cluster=each.cluster, severity=each.severity, source=each.source
        )
        self.observer.record(
            "fault_decided",
            cluster=each.cluster,
            incident_id=accepted.incident_id,
            resource=str(each.resource),
            fault=each.reason,
            decision=accepted.decision,
            reason=accepted.reason,
        )


@dataclass(kw_only=True)
class _Asked:
    """One asker: what it brought, and what it is told."""

    faults: tuple[Fault, ...]
    wanted: tuple[IncidentId | None, ...]
    accepted: Sequence[Accepted] = ()
    error: KubecaseError | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
