"""The way to people: which sinks are told of what, and sending what waits in the outbox.

What is to be told is put on record by the transaction that makes it true (`Conclusion`); here it
is claimed, sent and settled. At least once: a process that is killed after the receiver has taken
a message and before that is on record sends it again, with the same reference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import anyio

from kubecase.core.errors import IncidentUnknown, KubecaseError, NotDelivered
from kubecase.core.messages import (
    Message,
    Notice,
    ServiceMessage,
    as_payload,
    from_payload,
    kind_of,
)
from kubecase.core.model import Incident, IncidentId, Investigation
from kubecase.core.ports import Observer, Sink, Stop
from kubecase.core.redact import Redactor
from kubecase.service.groups import unwrapped
from kubecase.service.health import ENDS, message_after
from kubecase.service.report.saved import best_report
from kubecase.service.routes import Route, addressed
from kubecase.store import Addressed, Delivery, Story
from kubecase.store.store import Store

SEND_SECONDS = 75.0
"""How long one send may take, its near tries included: less than a lease."""

LATER_SECONDS = (30, 120, 600, 1800, 3600, 7200, 14400, 21600)
"""How long after a failed send the next one follows; the last one repeats."""

PATIENCE_SECONDS = 86_400
"""After so long a message is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one message: `outcome` is `delivered`, `later`, `given_up` or `lost` (another
    process had claimed it meanwhile).
    """

    sink: str
    kind: str
    incident_id: IncidentId | None
    outcome: str
    error: KubecaseError | None = None


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """Sends what is due. `report_url` says where people find a report, if anywhere.

    Messages for a sink that is not among `sinks` stay where they are.
    """

    store: Store
    sinks: Mapping[str, Sink]
    routes: Sequence[Route]
    observer: Observer
    redactor: Redactor
    clock: Callable[[], datetime]
    report_url: Callable[[IncidentId, int], str | None] = lambda _incident, _attempt: None
    at_once: int = 4
    lease_seconds: float = 120.0

    async def tell_end(self, incident: Incident, investigation: Investigation) -> None:
        """Put the end of `investigation` on record for every sink that wants it, once."""
        await self.store.deliveries.put(*addressed(self.routes, incident, investigation))

    async def tell(self, message: ServiceMessage, *, sinks: Sequence[str] | None = None) -> None:
        """Put `message` on record for every sink that wants such ones, or for `sinks`; the same
        message (of the same moment) once.
        """
        kind = kind_of(message)
        wanted = sinks or [route.sink for route in self.routes if kind in route.on]
        payload = as_payload(message)
        await self.store.deliveries.put(
            *(
                Addressed(
                    sink=sink, kind=kind, subject=None, payload=payload,
                    key=f"{payload.get('agent', '')} {payload['at']}".strip(),
                )
                for sink in wanted
            )
        )  # fmt: skip

    async def tell_health(self, agent: str, *, failures: int) -> bool:
        """After an end of `agent`: tell if that was the last of `failures` in a row, or the first
        success after them. Whether there was anything to tell.
        """
        ends = await self.store.agent_ends(agent, limit=ENDS)
        message = message_after(agent, ends, failures=failures)
        if message is not None:
            await self.tell(message)
        return message is not None

    async def send_due(self, *, incident_id: IncidentId | None = None) -> tuple[Sent, ...]:
        """Send all that is due, or what is due about one incident, some at a time; nothing twice
        in one call. Raises StoreUnavailable; what a sink does wrong is told and harms no other.
        """
        done: list[Sent] = []

        async def some() -> None:
            while claimed := await self._claim(incident_id):
                done.append(await self._send(claimed))

        with unwrapped():
            async with anyio.create_task_group() as senders:
                for _ in range(self.at_once):
                    senders.start_soon(some)
        return tuple(done)

    async def run(self, stop: Stop, *, interval: float = 5.0) -> None:
        """Send what is due, every `interval` seconds, until `stop`. A record that cannot be
        reached is told and waited for.
        """
        while not stop.is_set():
            try:
                await self.send_due()
            except KubecaseError as error:
                self.observer.record("error", error_type="store", error=error)
            with anyio.move_on_after(interval):
                await stop.wait()

    async def _claim(self, incident_id: IncidentId | None) -> Delivery | None:
        found = await self.store.deliveries.claim(
            self.sinks, incident_id=incident_id, lease_seconds=self.lease_seconds
        )
        return found[0] if found else None

    async def _send(self, claimed: Delivery) -> Sent:
        try:
            message = await self._message(claimed)
            with anyio.fail_after(min(SEND_SECONDS, self.lease_seconds * 0.75)):
                await self.sinks[claimed.sink].send(message, reference=claimed.reference)
        except NotDelivered as error:
            return await self._failed(claimed, error)
        except (TimeoutError, KubecaseError) as error:
            words = str(error) or f"the sink {claimed.sink} took too long"
            return await self._failed(claimed, NotDelivered(words))
        except Exception as error:  # noqa: BLE001 - the boundary of each sink
            # A bug in a sink, which may be a plug-in: the others go on.
            words = f"the sink {claimed.sink} failed: {type(error).__name__}"
            self.observer.record("error", error_type="notify", error=error)
            return await self._failed(claimed, NotDelivered(words))
        mine = await self.store.deliveries.delivered(claimed)
        return self._told(claimed, "delivered" if mine else "lost", None)

    async def _failed(self, claimed: Delivery, error: NotDelivered) -> Sent:
        words = self.redactor.text(str(error))[0]
        # A plug-in's words may hold anything; from here on they are shown.
        shown = NotDelivered(words, hint=error.hint and self.redactor.text(error.hint)[0])
        age = (self.clock() - claimed.created_at).total_seconds()
        if error.lasting or age >= PATIENCE_SECONDS:
            mine = await self.store.deliveries.given_up(claimed, words)
            return self._told(claimed, "given_up" if mine else "lost", shown)
        pause = LATER_SECONDS[min(claimed.tries, len(LATER_SECONDS)) - 1]
        at = self.clock() + timedelta(seconds=max(pause, min(error.retry_after or 0, 21600)))
        mine = await self.store.deliveries.later(claimed, words, at)
        return self._told(claimed, "later" if mine else "lost", shown)

    def _told(self, claimed: Delivery, outcome: str, error: KubecaseError | None) -> Sent:
        self.observer.record(
            "notice",
            incident_id=claimed.incident_id,
            sink=claimed.sink,
            kind=claimed.kind,
            outcome=outcome,
            tries=claimed.tries,
            why=None if error is None else str(error),
        )
        if outcome == "given_up":
            self.observer.record(
                "error",
                incident_id=claimed.incident_id,
                error_type="notify",
                error=f"gave up telling {claimed.sink}: {error}",
            )
        return Sent(
            sink=claimed.sink, kind=claimed.kind, incident_id=claimed.incident_id,
            outcome=outcome, error=error,
        )  # fmt: skip

    async def _message(self, claimed: Delivery) -> Message:
        if claimed.incident_id is None or claimed.attempt is None:
            try:
                return from_payload(claimed.payload)
            except (ValueError, KeyError, TypeError) as error:
                raise NotDelivered("the message on record is not readable", lasting=True) from error
        try:
            story = await self.store.story(claimed.incident_id)
        except IncidentUnknown as error:
            raise NotDelivered("the incident was forgotten", lasting=True) from error
        return self._notice(story, claimed.attempt)

    def _notice(self, story: Story, attempt: int) -> Notice:
        investigation = next(
            each.investigation for each in story.attempts if each.investigation.attempt == attempt
        )
        saved = next((each for each in story.reports if each.attempt == attempt), None)
        report, by = best_report(saved, investigation) if saved else (None, None)
        return Notice(
            incident=self._redacted(story.incident),
            investigation=investigation,
            report=report,
            by=by,
            report_url=self.report_url(story.incident.id, attempt),
        )

    def _redacted(self, incident: Incident) -> Incident:
        fault = incident.fault
        clean: dict[str, Any] = {
            "message": self.redactor.text(fault.message)[0],
            "reason": self.redactor.text(fault.reason)[0],
        }
        return replace(incident, fault=replace(fault, **clean, raw=b""))
