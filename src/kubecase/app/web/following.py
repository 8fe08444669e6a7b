"""What happened to an incident, in an order that is the same whenever it is asked for.

Each attempt is a sequence of its own: the steps until it runs, what the agent did, the step to its
end. A position says how many of each attempt were told, the last decision, and the state; it is the
id of an event, so that whoever comes back with one is told exactly what came after.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyio import to_thread

from kubecase.app.activity import Activity, activity_of
from kubecase.app.settings import Settings
from kubecase.core.lifecycle import is_final
from kubecase.core.model import IncidentId, IncidentState, Status
from kubecase.core.ports import AgentEvent
from kubecase.core.redact import Redactor
from kubecase.store import Store, Transition
from kubecase.store.searching import Decided, Progress

BATCH = 100
BATCH_LINES = 1000
MAX_LINES = 100_000
MAX_ATTEMPTS = 200

_OVER = frozenset({IncidentState.DONE, IncidentState.EXPIRED, IncidentState.SUPPRESSED})
_POSITION = re.compile(
    r"d(?P<decision>\d{1,18});s(?P<state>[a-z]{0,12});(?P<attempts>(\d{1,9}:\d{1,9},?)*);(?P<end>e?)",
    re.ASCII,
)


@dataclass(slots=True, kw_only=True)
class Position:
    """How far somebody has been told."""

    decision: int = 0
    state: str = ""
    attempts: dict[int, int] = field(default_factory=dict)
    ended: bool = False

    @classmethod
    def parse(cls, text: str) -> "Position | None":
        """The position that was written as `text`; None if it is none."""
        match = _POSITION.fullmatch(text) if len(text) <= 4000 else None
        if match is None:
            return None
        pairs = (each.split(":") for each in match["attempts"].split(",") if each)
        return cls(
            decision=int(match["decision"]),
            state=match["state"],
            attempts={int(number): int(told) for number, told in pairs},
            ended=bool(match["end"]),
        )

    def __str__(self) -> str:
        attempts = ",".join(f"{number}:{told}" for number, told in sorted(self.attempts.items()))
        return f"d{self.decision};s{self.state};{attempts};{'e' if self.ended else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. `id` is the position after it."""

    id: str
    kind: str
    data: Mapping[str, Any]


@dataclass(kw_only=True)
class Followed:
    """One incident, followed from a position on."""

    incident_id: IncidentId
    store: Store
    settings: Settings
    redactor: Redactor
    position: Position
    more: bool = False
    _attempts: dict[int, "_Attempt"] = field(default_factory=dict)

    async def new(self) -> Sequence[Event]:
        """What came since the last call, in order; `end` is the last when the incident is over.

        With `more` there is more already. Raises IncidentUnknown.
        """
        progress = await self.store.progress(
            self.incident_id, after=self.position.decision, limit=BATCH
        )
        found = [self._decided(each) for each in progress.decisions]
        if not self._is_over(progress) and progress.state != self.position.state:
            found.append(self._state(progress.state))
        for number, agent, status in progress.attempts[:MAX_ATTEMPTS]:
            found += await self._of_attempt(progress, number, agent, status)
        self.more = len(progress.decisions) == BATCH or any(
            each.more for each in self._attempts.values()
        )
        if self._is_over(progress) and not self.more:
            if progress.state != self.position.state:
                found.append(self._state(progress.state))
            self.position.ended = True
            found.append(self._event("end", {"state": progress.state}))
        return found

    async def is_over(self) -> bool:
        """Whether there will be nothing new. Raises IncidentUnknown."""
        progress = await self.store.progress(
            self.incident_id, after=self.position.decision, limit=1
        )
        return self._is_over(progress) and not progress.decisions

    def _is_over(self, progress: Progress) -> bool:
        return progress.state in _OVER and all(is_final(each[2]) for each in progress.attempts)

    async def _of_attempt(
        self, progress: Progress, number: int, agent: str, status: Status
    ) -> list[Event]:
        attempt = self._attempts.get(number)
        if attempt is None:
            told = self.position.attempts.get(number, 0)
            key = f"{self.incident_id}-{number}"
            activity = await to_thread.run_sync(activity_of, self.settings, agent, key)
            attempt = self._attempts[number] = _Attempt(activity=activity, told=told)
        steps = tuple(each for each in progress.transitions if each.attempt == number)
        found: list[Event] = []
        for kind, data in await attempt.new(steps, ended=is_final(status)):
            self.position.attempts[number] = attempt.told_of(len(found))
            place = {"attempt": number, "number": self.position.attempts[number]}
            found.append(self._event(kind, {**place, **self._redacted(data)}))
        attempt.told += len(found)
        return found

    def _redacted(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: self.redactor.text(each)[0] if name == "detail" and each else each
            for name, each in data.items()
        }

    def _decided(self, each: Decided) -> Event:
        self.position.decision = each.id
        return self._event(
            "decision",
            {
                "at": each.at.isoformat(), "decision": str(each.decision), "source": each.source,
                "reason": self.redactor.text(each.reason)[0],
            },
        )  # fmt: skip

    def _state(self, state: IncidentState) -> Event:
        self.position.state = state
        return self._event("state", {"state": state})

    def _event(self, kind: str, data: Mapping[str, Any]) -> Event:
        return Event(id=str(self.position), kind=kind, data=data)


@dataclass(kw_only=True)
class _Attempt:
    """One attempt's sequence. `told` of it were told already; `number` of it were looked at."""

    activity: Activity | None
    told: int
    number: int = 0
    more: bool = False
    _steps_seen: int = 0
    _last_seen: bool = False
    _size: int = -1

    def told_of(self, index: int) -> int:
        """The place in the sequence of the `index`th of those that `new` has just given."""
        return self.told + index + 1

    async def new(
        self, steps: Sequence[Transition], *, ended: bool
    ) -> list[tuple[str, dict[str, Any]]]:
        """What has not been told yet, as kind and data."""
        before = self.number
        found = list(self._steps([each for each in steps if not is_final(each.after)]))
        runs = any(each.after is Status.RUNNING for each in steps)
        last = [each for each in steps if is_final(each.after)]
        if runs or (ended and last):
            found += [("agent", _of_event(each)) for each in await self._activity(ended=bool(last))]
        if last and not self._last_seen and not self.more:
            self._last_seen = True
            found += [("transition", _of_step(each)) for each in last]
        self.number = before + len(found)
        return found[max(0, self.told - before) :]

    def _steps(self, steps: Sequence[Transition]) -> Iterator[tuple[str, dict[str, Any]]]:
        for each in steps[self._steps_seen :]:
            self._steps_seen += 1
            yield "transition", _of_step(each)

    async def _activity(self, *, ended: bool) -> list[AgentEvent]:
        """The next of what the agent did, so many lines at once; `more` says if there are more.

        An agent can print millions of short lines: they are never held all at once, and of each
        attempt only the first hundred thousand are told.
        """
        self.more = False
        if self.activity is None or self._last_seen or self.activity.seen >= MAX_LINES:
            return []
        found = await to_thread.run_sync(self._read, self.activity, ended)
        self.more = self.activity.more and self.activity.seen < MAX_LINES
        return found

    def _read(self, activity: Activity, ended: bool) -> list[AgentEvent]:
        size = _size_of(activity)
        if size == self._size and not ended and not activity.more:
            return []  # reading it again from its beginning would tell nothing new
        self._size = size
        return list(activity.new(ended=ended, most=min(BATCH_LINES, MAX_LINES - activity.seen)))


def _size_of(activity: Activity) -> int:
    try:
        return os.stat(activity.run_dir / "stdout", follow_symlinks=False).st_size
    except OSError:
        return 0


def _of_step(step: Transition) -> dict[str, Any]:
    return {
        "from": step.before, "to": step.after, "at": step.at.isoformat(), "detail": step.detail,
    }  # fmt: skip


def _of_event(event: AgentEvent) -> dict[str, Any]:
    return {"moment": event.moment, "tool": event.tool, "text": event.text}
