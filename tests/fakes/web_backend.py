"""A service for the HTTP API to stand in front of: a real record, and what a test sets by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from kubecase.app.web.backend import (
    Acted,
    ClusterState,
    Feedback,
    Outcome,
    Remembered,
)
from kubecase.channels.sources.intake import FaultInput
from kubecase.core.intake import Accepted, Rules
from kubecase.core.model import IncidentId
from kubecase.core.ports import Observer, Silence
from kubecase.service.intake import Intake
from kubecase.store import CancelOutcome, Store


@dataclass(kw_only=True)
class StoreBackend:
    """Takes in by the service's own intake, on a real record; nothing is worked.

    `gate` holds up every `accept` until it is set. The rules let everything in at once.
    """

    store: Store
    observer: Observer = field(default_factory=Silence)
    rules: Rules = field(default_factory=lambda: Rules(second_sign=0, storm=0))
    states: Sequence[ClusterState] = ()
    trouble: str | None = None
    gate: anyio.Event | None = None
    waiting: int = 0
    bug: Exception | None = None
    _intake: Intake | None = None

    @property
    def intake(self) -> Intake:
        """That of the service."""
        if self._intake is None:
            self._intake = Intake(
                desk=self.store.desk,
                rules=lambda _: self.rules,
                observer=self.observer,
                begin=lambda *_: None,
            )
        return self._intake

    @property
    def draining(self) -> bool:
        return self.intake.draining

    async def accept(self, faults: Sequence[FaultInput]) -> Sequence[Accepted]:
        if self.bug is not None:
            raise self.bug
        if self.gate is not None:
            self.waiting += 1
            await self.gate.wait()
            self.waiting -= 1
        return await self.intake.accept(
            [each.fault for each in faults], [each.incident_id for each in faults]
        )

    async def resolve(self, faults: Sequence[FaultInput]) -> Sequence[Accepted]:
        return await self.intake.resolve([each.fault for each in faults])

    async def cancel(self, incident_id: IncidentId) -> Acted:
        story = await self.store.story(incident_id)
        if not story.attempts:
            if await self.store.desk.close_waiting(incident_id, "cancelled"):
                return Acted(outcome=Outcome.DONE, reason="it waits no more")
            return Acted(outcome=Outcome.REFUSED, reason="it has ended already")
        found = await self.store.request_cancel(incident_id)
        if found is CancelOutcome.ALREADY_FINAL:
            return Acted(outcome=Outcome.REFUSED, reason="it has ended already")
        return Acted(outcome=Outcome(str(found)), reason="it was told to stop")

    async def retry(self, incident_id: IncidentId) -> Acted:
        await self.store.story(incident_id)
        if await self.store.desk.wait_again(incident_id):
            return Acted(outcome=Outcome.REQUESTED, reason="it waits for another attempt")
        return Acted(outcome=Outcome.REFUSED, reason="it has not ended yet")

    async def feedback(self, incident_id: IncidentId, feedback: Feedback) -> None:
        await self.store.desk.add_feedback(
            incident_id, feedback.verdict, cause=feedback.cause, note=feedback.note, by=feedback.by
        )

    async def remembered(self, key: str) -> Remembered | None:
        found = await self.store.desk.remembered(key)
        if found is None:
            return None
        digest, status, body = found
        return Remembered(digest=digest, status=status, body=body)

    async def remember(self, key: str, answer: Remembered) -> None:
        await self.store.desk.remember(key, answer.digest, answer.status, answer.body)

    def clusters(self) -> Sequence[ClusterState]:
        return self.states

    def not_ready(self) -> str | None:
        return self.trouble
