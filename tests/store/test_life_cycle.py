"""Any order of beginnings, moves, cancels and deletions, against a model of what should be."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fakes.postgres import Postgres
from kubecase.core.errors import IllegalTransition, IncidentUnknown
from kubecase.core.lifecycle import is_final, may_follow
from kubecase.core.model import IncidentId, Status
from kubecase.store import CancelOutcome, CancelRequested, IncidentBusy

from .records import Place, Recorder, a_store, an_incident, looked_up, moved

_T = TypeVar("_T")
_START = {Status.STARTING, Status.RUNNING}


class LifeCycle(RuleBasedStateMachine):
    """What the record says is what this plain model says, after every step."""

    incidents = Bundle("incidents")
    made: Callable[[], AbstractContextManager[Place]]

    def __init__(self) -> None:
        super().__init__()
        self.own = ExitStack()
        self.place = self.own.enter_context(type(self).made())
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.observer = Recorder()
        self.store = self.wait(
            self.stack.enter_async_context(a_store(self.place, observer=self.observer))
        )
        self.model: dict[tuple[IncidentId, int], list[Status]] = {}
        self.cancelled: set[tuple[IncidentId, int]] = set()
        self.steps = 0

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.wait(self.stack.aclose())
        self.loop.close()
        self.own.close()

    def last(self, incident: IncidentId) -> int:
        return max(attempt for known, attempt in self.model if known == incident)

    @rule(target=incidents)
    def begin(self) -> IncidentId:
        begun = self.wait(self.store.begin(an_incident(), agent="claude"))
        self.model[begun.incident_id, 1] = [Status.CREATED]
        return begun.incident_id

    @rule(incident=incidents)
    def begin_another(self, incident: IncidentId) -> None:
        begun = self.wait(self.store.begin_attempt(incident, "builtin"))
        assert begun.attempt == self.last(incident) + 1
        self.model[incident, begun.attempt] = [Status.CREATED]

    @rule(incident=incidents, to=st.sampled_from(Status), data=st.data())
    def move(self, incident: IncidentId, to: Status, data: st.DataObject) -> None:
        attempt = data.draw(st.integers(1, self.last(incident)))
        path = self.model[incident, attempt]
        investigation = self.wait(self.store.status(incident, attempt))
        expected: type[Exception] | None = None
        if not may_follow(path[-1], to):
            expected = IllegalTransition
        elif (incident, attempt) in self.cancelled and to in _START:
            expected = CancelRequested
        if expected is not None:
            with pytest.raises(expected):
                self.wait(moved(self.store, investigation, to))
            return
        assert self.wait(moved(self.store, investigation, to)).status is to
        path.append(to)
        self.steps += 1

    @rule(incident=incidents)
    def cancel(self, incident: IncidentId) -> None:
        key = incident, self.last(incident)
        expected = CancelOutcome.REQUESTED
        if is_final(self.model[key][-1]):
            expected = CancelOutcome.ALREADY_FINAL
        elif key in self.cancelled:
            expected = CancelOutcome.ALREADY_REQUESTED
        assert self.wait(self.store.request_cancel(incident)) is expected
        if expected is CancelOutcome.REQUESTED:
            self.cancelled.add(key)

    @rule(incident=consumes(incidents))
    def forget(self, incident: IncidentId) -> None:
        mine = [key for key in self.model if key[0] == incident]
        if all(is_final(self.model[key][-1]) for key in mine):
            self.wait(self.store.forget(incident))
            for key in mine:
                self.steps -= len(self.model.pop(key)) - 1
            with pytest.raises(IncidentUnknown):
                self.wait(self.store.story(incident))
            del self.observer.events[self.steps :]
        else:
            with pytest.raises(IncidentBusy):
                self.wait(self.store.forget(incident))

    @invariant()
    def the_record_agrees(self) -> None:
        rows = looked_up(self.place, "SELECT incident_id, attempt, status FROM investigation")
        assert {(i, a): s for i, a, s in rows} == {k: p[-1] for k, p in self.model.items()}
        steps = looked_up(
            self.place, "SELECT incident_id, attempt, from_status, to_status FROM transition"
        )
        expected = {
            (*key, before, after)
            for key, path in self.model.items()
            for before, after in pairwise(path)
        }
        assert set(steps) == expected
        assert len(steps) == len(expected) == self.steps == len(self.observer.events)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_record_follows_the_table_whatever_happens(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """No order of calls leads to a status or a step that the table does not have (req 9.2)."""
    template = request.getfixturevalue("empty_record" if kind == "sqlite" else "template")

    @contextmanager
    def a_file() -> Iterator[Place]:
        with tempfile.TemporaryDirectory() as directory:
            yield Path(shutil.copy(template, directory))

    @contextmanager
    def a_database() -> Iterator[Place]:
        server: Postgres = request.getfixturevalue("postgres")
        name = server.new_database(template)
        yield server.address(name)
        server.drop(name)

    made = staticmethod(a_file if kind == "sqlite" else a_database)
    machine = type("Machine", (LifeCycle,), {"made": made})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=10,
            stateful_step_count=20,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
