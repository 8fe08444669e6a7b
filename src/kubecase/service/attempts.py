"""One incident, as many attempts as it takes: failures that may pass are tried again, bounded."""

import random
from dataclasses import dataclass

import anyio

from kubecase.core.model import Incident, IncidentState
from kubecase.core.ports import Observer, Stop
from kubecase.service.conclude import Concluded
from kubecase.service.investigate import Investigator

LONGEST_PAUSE = 300.0
JITTER = 0.2


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Works an incident until it succeeds, fails for good, or `retries` further attempts are used.

    `delay` is the pause before the first of them in seconds; it doubles with each, up to five
    minutes, give or take a fifth.
    """

    investigator: Investigator
    observer: Observer
    retries: int = 0
    delay: float = 10.0

    async def work(self, incident: Incident, stop: Stop, *, again: bool = False) -> Concluded:
        """The conclusion of the last attempt. Raises what `Investigator.investigate` raises."""
        left, pause = self.retries, self.delay
        while True:
            concluded = await self.investigator.investigate(
                incident, stop, again=again, may_retry=left > 0 and not stop.is_set()
            )
            if not concluded.retry:
                return concluded
            left, again = left - 1, True
            seconds = pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
            self._tell(concluded, seconds, left)
            if await _stopped_within(seconds, stop):
                # Nobody follows after all: the incident is done with what it has.
                await self.investigator.store.settle(incident.id, IncidentState.DONE)
                return concluded
            pause = min(pause * 2, LONGEST_PAUSE)

    def _tell(self, concluded: Concluded, seconds: float, left: int) -> None:
        failed = concluded.investigation
        self.observer.record(
            "retrying",
            incident_id=failed.incident_id,
            attempt=failed.attempt,
            error=failed.error,
            seconds=round(seconds, 1),
            left=left,
        )


async def _stopped_within(seconds: float, stop: Stop) -> bool:
    with anyio.move_on_after(seconds):
        await stop.wait()
    return stop.is_set()
