"""One incident, as many attempts as it takes: failures that may pass are tried again, and where
one agent has failed for good the next is asked. All of it is bounded.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

import anyio

from kubecase.core.lifecycle import falls_back
from kubecase.core.model import Ended, Incident, IncidentState
from kubecase.core.ports import Observer, Stop
from kubecase.service.breaker import Breaker, BreakerState, Position
from kubecase.service.case import NOTHING_BEFORE, Before
from kubecase.service.conclude import Concluded
from kubecase.service.investigate import Investigator

LONGEST_PAUSE = 300.0
JITTER = 0.2


class After(Enum):
    """What follows an attempt."""

    NOTHING = auto()
    SAME_AGENT = auto()
    NEXT_AGENT = auto()


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Works an incident with the agents of `chain`, the first until it succeeds or fails for good.

    Each agent gets `retries` further attempts at failures that may pass. `delay` is the pause
    before the first of them in seconds; it doubles with each, up to five minutes, give or take a
    fifth. With a `breaker`, agents that keep failing are passed over; `builtin` works the incident
    if that leaves nobody.
    """

    chain: Sequence[Investigator]
    observer: Observer
    retries: int = 0
    delay: float = 10.0
    breaker: Breaker | None = None
    builtin: Investigator | None = None

    async def work(
        self,
        incident: Incident,
        stop: Stop,
        *,
        again: bool = False,
        before: Before = NOTHING_BEFORE,
        keep_open: bool = False,
    ) -> Concluded:
        """The conclusion of the last attempt. Raises what `Investigator.investigate` raises.

        `before` is what was before the first attempt, its notes and opinions before each; with
        `keep_open` the incident is left open whatever comes of it.
        """
        passing, told = await self._who_is_asked() if before.begun is None else (self.chain, ())
        course = _Course(
            stop=stop, keep_open=keep_open, before=replace(before, notes=(*before.notes, *told))
        )
        for number, investigator in enumerate(passing):
            course.others_left = len(passing) - number - 1
            concluded = await self._by(investigator, incident, course, again=again)
            if course.after is not After.NEXT_AGENT:
                break
            self._tell_fallback(concluded, passing[number + 1], course)
            again = True
        return concluded

    async def _by(
        self, investigator: Investigator, incident: Incident, course: "_Course", *, again: bool
    ) -> Concluded:
        """Every attempt of one agent."""
        course.retries_left, pause = self.retries, self.delay
        while True:
            state = await self._state(investigator)
            concluded = await investigator.investigate(
                incident, course.stop, again=again, before=course.before,
                stays_open=course.stays_open,
            )  # fmt: skip
            await self._tell_breaker(investigator, state)
            course.before = replace(course.before, begun=None)
            if course.after is not After.SAME_AGENT:
                return concluded
            course.retries_left, again = course.retries_left - 1, True
            seconds = pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
            self._tell_retry(concluded, seconds, course.retries_left)
            if await _stopped_within(seconds, course.stop):
                # Nobody follows after all: the incident is done with what it has.
                course.after = After.NOTHING
                if not course.keep_open:
                    await investigator.store.settle(incident.id, IncidentState.DONE)
                return concluded
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _who_is_asked(self) -> tuple[Sequence[Investigator], Sequence[str]]:
        """Those of the chain that the breaker lets through, and what is to be said of the others.

        An agent that a person has named is in a chain without a breaker.
        """
        passing: list[Investigator] = []
        told: list[str] = []
        for investigator in self.chain:
            state = await self._state(investigator)
            if state is None or state.passes:
                passing.append(investigator)
            else:
                told.append(state.in_words())
        if not passing:
            passing.append(self.builtin or self.chain[0])
        return passing, told

    async def _state(self, investigator: Investigator) -> BreakerState | None:
        if self.breaker is None or investigator.agent is None:
            return None
        return await self.breaker.state(investigator.agent_name)

    async def _tell_breaker(self, investigator: Investigator, before: BreakerState | None) -> None:
        """Say when an agent is given up for a while, and when it works again."""
        after = await self._state(investigator)
        if before is None or after is None or self.breaker is None:
            return
        event = None
        if after.position is Position.OPEN and before.position is Position.CLOSED:
            event = "breaker_opened"
        elif before.failures >= self.breaker.failures and after.position is Position.CLOSED:
            event = "breaker_closed"
        told = after if event == "breaker_opened" else before
        self.observer.record("breaker", agent=after.agent, position=after.position)
        if event is not None:
            self.observer.record(
                event, agent=told.agent, failures=told.failures, reasons=told.reasons,
                since=told.since, cooldown=self.breaker.cooldown,
            )  # fmt: skip

    def _tell_retry(self, concluded: Concluded, seconds: float, left: int) -> None:
        failed = concluded.investigation
        self.observer.record(
            "retrying",
            incident_id=failed.incident_id,
            attempt=failed.attempt,
            error=failed.error,
            seconds=round(seconds, 1),
            left=left,
        )

    def _tell_fallback(self, concluded: Concluded, other: Investigator, course: "_Course") -> None:
        failed = concluded.investigation
        note = (
            f"attempt {failed.attempt} by {failed.agent} failed ({failed.reason}): {failed.error}; "
            f"{other.agent_name} was asked next"
        )
        course.before = replace(course.before, notes=(*course.before.notes, note))
        self.observer.record(
            "falling_back",
            incident_id=failed.incident_id,
            attempt=failed.attempt,
            agent=failed.agent,
            error=failed.error,
            to=other.agent_name,
        )


@dataclass(kw_only=True)
class _Course:
    """Where the attempts at one incident stand, and what follows the one that has just ended."""

    stop: Stop
    keep_open: bool
    before: Before
    retries_left: int = 0
    others_left: int = 0
    after: After = After.NOTHING

    def stays_open(self, ended: Ended) -> bool:
        """Decide what follows `ended`; whether the incident is to stay open for it."""
        self.after = After.NOTHING
        if not self.stop.is_set():
            if ended.transient and self.retries_left > 0:
                self.after = After.SAME_AGENT
            elif self.others_left > 0 and falls_back(ended):
                self.after = After.NEXT_AGENT
        return self.keep_open or self.after is not After.NOTHING


async def _stopped_within(seconds: float, stop: Stop) -> bool:
    with anyio.move_on_after(seconds):
        await stop.wait()
    return stop.is_set()
