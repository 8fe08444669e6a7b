"""The service as the HTTP API sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kubecase.app.serve_states import States
from kubecase.app.settings import Settings
from kubecase.app.web.backend import Acted, ClusterState, Feedback, Outcome, Remembered
from kubecase.channels.sources.intake import FaultInput
from kubecase.core.errors import IncidentUnknown
from kubecase.core.intake import Accepted, Decision
from kubecase.core.model import IncidentId, IncidentState
from kubecase.core.ports import Queue
from kubecase.service.dispatch import Dispatcher
from kubecase.service.intake import Intake
from kubecase.store import AlreadyOpen, CancelOutcome, Store

DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class ServiceBackend:
    """What HTTP asks for, done by the parts of the service."""

    settings: Callable[[], Settings]
    store: Store
    intake: Intake
    dispatcher: Dispatcher
    queue: Queue
    states: States

    @property
    def draining(self) -> bool:
        """Whether the service is shutting down."""
        return self.intake.draining

    async def accept(self, faults: Sequence[FaultInput]) -> Sequence[Accepted]:
        """What became of each fault; durable on return. Raises QueueFull or Draining."""
        return await self.intake.accept(
            [each.fault for each in faults], [each.incident_id for each in faults]
        )

    async def resolve(self, faults: Sequence[FaultInput]) -> Sequence[Accepted]:
        """Close what is open for `faults`; durable on return."""
        found = await self.intake.resolve([each.fault for each in faults])
        for each in found:
            if each.decision is Decision.RESOLVED and each.incident_id is not None:
                await self.queue.cancel_queued(each.incident_id)
        return found

    async def cancel(self, incident_id: IncidentId) -> Acted:
        """Stop what is being done about an incident, or take it out of the queue."""
        if await self.store.desk.close_waiting(incident_id, "cancelled before anybody looked"):
            await self.queue.cancel_queued(incident_id)
            return Acted(outcome=Outcome.DONE, reason="it was waiting, and is suppressed")
        try:
            found = await self.store.request_cancel(incident_id)
        except IncidentUnknown:
            # It is on record without an attempt: it has been decided already.
            await self.store.story(incident_id)
            return Acted(outcome=Outcome.REFUSED, reason="nothing is being done about it")
        if found is CancelOutcome.ALREADY_FINAL:
            return Acted(outcome=Outcome.REFUSED, reason="its last attempt has ended already")
        self.dispatcher.stop_one(incident_id)
        if found is CancelOutcome.ALREADY_REQUESTED:
            return Acted(outcome=Outcome.ALREADY_REQUESTED, reason="somebody asked for it before")
        return Acted(outcome=Outcome.REQUESTED, reason="its agent is told to stop")

    async def retry(self, incident_id: IncidentId) -> Acted:
        """Let an incident that has ended wait for another attempt."""
        story = await self.store.story(incident_id)
        try:
            waits_again = await self.store.desk.wait_again(incident_id)
        except AlreadyOpen as error:
            reason = f"incident {error.incident_id} is open for the same"
            return Acted(outcome=Outcome.REFUSED, reason=reason)
        if not waits_again:
            state = story.incident.state
            waits = "it waits already" if state is IncidentState.QUEUED else "it is being worked"
            return Acted(outcome=Outcome.REFUSED, reason=waits)
        self.dispatcher.begin(
            Accepted(decision=Decision.REOPENED, reason="asked for", incident_id=incident_id),
            story.incident.fault,
        )
        return Acted(outcome=Outcome.REQUESTED, reason="it waits for its turn")

    async def feedback(self, incident_id: IncidentId, feedback: Feedback) -> None:
        """Keep what a person said."""
        await self.store.desk.add_feedback(
            incident_id, feedback.verdict, cause=feedback.cause, note=feedback.note, by=feedback.by
        )

    async def remembered(self, key: str) -> Remembered | None:
        """What was answered under `key`."""
        found = await self.store.desk.remembered(key)
        if found is None:
            return None
        digest, status, body = found
        return Remembered(digest=digest, status=status, body=body)

    async def remember(self, key: str, answer: Remembered) -> None:
        """Keep an answer; the first one under a key stands."""
        await self.store.desk.remember(key, answer.digest, answer.status, answer.body)

    def clusters(self) -> Sequence[ClusterState]:
        """Every configured cluster."""
        return self.states.clusters(self.settings())

    def not_ready(self) -> str | None:
        """Why the service cannot work faults now, in words; None if it can."""
        return "shutting down" if self.draining else self.states.not_ready(self.settings())
