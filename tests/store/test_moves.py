"""Which status may follow which, who is told, and what a move writes."""

from datetime import timedelta
from pathlib import Path

import pytest

from kubecase.core.errors import IllegalTransition, IncidentUnknown
from kubecase.core.lifecycle import is_final, may_follow
from kubecase.core.model import (
    Artifact,
    Cause,
    Exit,
    IncidentState,
    Reason,
    Rejected,
    Status,
    Usage,
)
from kubecase.store import CancelOutcome, CancelRequested, Store, duration

from .records import (
    NOON,
    PATHS,
    HandClock,
    Place,
    Recorder,
    an_incident,
    brought_to,
    looked_up,
    moved,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("after", Status)
async def test_only_the_table_of_transitions_decides(
    store: Store, observer: Recorder, before: Status, after: Status
) -> None:
    """Every pair of statuses is accepted or refused as the table says (req 9.2)."""
    investigation = await brought_to(store, before)
    told = len(observer.events)

    if may_follow(before, after):
        assert (await moved(store, investigation, after)).status is after
    else:
        with pytest.raises(IllegalTransition):
            await moved(store, investigation, after)

    story = await store.story(investigation.incident_id)
    path = (*PATHS[before], after) if may_follow(before, after) else PATHS[before]
    assert tuple(step.after for step in story.transitions) == path
    assert story.attempts[0].investigation.status is (path[-1] if path else Status.CREATED)
    assert len(observer.events) == told + may_follow(before, after)


async def test_a_move_that_comes_second_is_refused_and_changes_nothing(store: Store) -> None:
    """Of two that move one investigation, the second learns that it was late (req 9.7)."""
    running = await brought_to(store, Status.RUNNING)
    first = await moved(store, running, Status.SUCCESS)

    with pytest.raises(IllegalTransition, match="it is success by now"):
        await moved(store, running, Status.TIMEOUT)

    assert await store.status(running.incident_id) == first


async def test_an_older_attempt_cannot_write_over_a_newer_one(store: Store) -> None:
    """The end of a frozen attempt lands on its own row and leaves the newer one alone."""
    old = await brought_to(store, Status.RUNNING)
    new = await store.begin_attempt(old.incident_id, "builtin")

    await moved(store, old, Status.FAILED)

    assert new.attempt == 2
    assert await store.status(old.incident_id) == new
    assert (await store.status(old.incident_id, 1)).status is Status.FAILED


async def test_each_change_is_announced_once_after_it_is_durable(
    store: Store, observer: Recorder, clock: HandClock, place: Place
) -> None:
    """Whoever is told of a change finds it on record already (req 9.3, 15.5)."""
    question = "SELECT status FROM investigation"
    observer.probe = lambda: looked_up(place, question)[0][0]
    investigation = await store.begin(an_incident(cluster="prod"), agent="claude")

    for step in (Status.STARTING, Status.RUNNING, Status.SUCCESS):
        clock.advance(2.5)
        investigation = await store.move(investigation, step)

    common = {
        "incident_id": investigation.incident_id,
        "cluster": "prod",
        "attempt": 1,
        "agent": "claude",
    }
    assert observer.events == [
        ("state_changed", {"from": "created", "to": "starting", **common}),
        ("state_changed", {"from": "starting", "to": "running", **common}),
        ("state_changed", {"from": "running", "to": "success", **common, "duration": 2.5}),
    ]
    assert observer.seen == ["starting", "running", "success"]
    story = await store.story(investigation.incident_id)
    assert [step.at for step in story.transitions] == [
        NOON + timedelta(seconds=s) for s in (2.5, 5, 7.5)
    ]


async def test_an_end_keeps_all_that_is_known_of_it(store: Store, tmp_path: Path) -> None:
    """What a final move is given comes back unchanged (req 1.2)."""
    created = await store.begin(an_incident(), agent="claude")
    starting = await store.move(
        created,
        Status.STARTING,
        workspace=tmp_path / "ws",
        run_dir=tmp_path / "run",
        output_log=tmp_path / "log",
    )
    running = await store.move(
        starting,
        Status.RUNNING,
        started_at=NOON,
        isolation="landlock",
        isolation_notes=("the network is open",),
    )
    exit = Exit(cause=Cause.OUTPUT_LIMIT, code=None, signal=9, seconds=3.5, clean=False, leftover=2)
    ended = await store.move(
        running,
        Status.FAILED,
        reason=Reason.OUTPUT_LIMIT,
        error="wrote more than allowed",
        exit=exit,
        usage=Usage(input_tokens=7, cost_usd=0.25),
        artifacts=(Artifact(path=tmp_path / "ä b", size=3, sha256="ab" * 32),),
        rejected=(Rejected(path="link", why="leads outside"),),
        ended_at=NOON + timedelta(seconds=4),
    )

    found = await store.attempt(created.incident_id)
    assert found.investigation == ended
    assert (ended.workspace, ended.output_log) == (tmp_path / "ws", tmp_path / "log")
    assert (ended.started_at, ended.ended_at) == (NOON, NOON + timedelta(seconds=4))
    assert (ended.reason, ended.error) == (Reason.OUTPUT_LIMIT, "wrote more than allowed")
    assert (ended.exit, ended.usage) == (exit, Usage(input_tokens=7, cost_usd=0.25))
    assert ended.artifacts == (Artifact(path=tmp_path / "ä b", size=3, sha256="ab" * 32),)
    assert ended.rejected == (Rejected(path="link", why="leads outside"),)
    assert (ended.isolation, found.isolation_notes) == ("landlock", ("the network is open",))
    assert found.run_dir == tmp_path / "run"
    story = await store.story(created.incident_id)
    assert [step.detail for step in story.transitions] == [None, None, "wrote more than allowed"]


async def test_what_belongs_to_an_end_is_refused_before_it(store: Store) -> None:
    """A mistake of the caller is an error at once and leaves the row as it was."""
    created = await store.begin(an_incident(), agent="claude")

    with pytest.raises(ValueError, match="error belong to an end"):
        await store.move(created, Status.STARTING, error="too early")
    with pytest.raises(ValueError, match="has a reason"):
        await store.move(created, Status.FAILED)
    with pytest.raises(ValueError, match="has a reason"):
        await store.move(created, Status.CANCELLED, reason=Reason.LOST)
    with pytest.raises(TypeError, match="a move does not write status"):
        await store.move(created, Status.STARTING, status="success")  # type: ignore[call-arg]

    assert await store.status(created.incident_id) == created


async def test_the_duration_grows_until_the_end_and_stays_then(
    store: Store, clock: HandClock
) -> None:
    """An investigation that has not started has lasted 0 s, an ended one does not age (req 9.5)."""
    investigation = await store.begin(an_incident(), agent="claude")
    clock.advance(1)
    assert duration(investigation, clock()) == 0
    investigation = await store.move(investigation, Status.STARTING)
    investigation = await store.move(investigation, Status.RUNNING)
    clock.advance(2)
    assert duration(investigation, clock()) == 2
    clock.advance(3)
    assert duration(investigation, clock()) == 5

    ended = await store.move(investigation, Status.TIMEOUT)

    clock.advance(3600)
    assert duration(await store.status(ended.incident_id), clock()) == 5


@pytest.mark.parametrize("status", [s for s in Status if not is_final(s)])
async def test_asking_to_cancel_is_kept_once(
    store: Store, clock: HandClock, status: Status
) -> None:
    """The first wish is kept with its time, the second changes nothing (req 9.6)."""
    investigation = await brought_to(store, status)
    assert await store.request_cancel(investigation.incident_id) is CancelOutcome.REQUESTED
    asked = (await store.attempt(investigation.incident_id)).cancel_requested_at
    clock.advance(5)

    again = await store.request_cancel(investigation.incident_id, 1)

    assert again is CancelOutcome.ALREADY_REQUESTED
    assert (await store.attempt(investigation.incident_id)).cancel_requested_at == asked == NOON
    assert (await store.status(investigation.incident_id)).status is status


@pytest.mark.parametrize("status", [s for s in Status if is_final(s)])
async def test_what_has_ended_cannot_be_cancelled(store: Store, status: Status) -> None:
    """A cancel that comes after the end says so and changes nothing (req 9.6)."""
    ended = await brought_to(store, status)

    assert await store.request_cancel(ended.incident_id) is CancelOutcome.ALREADY_FINAL

    assert await store.status(ended.incident_id) == ended
    assert (await store.attempt(ended.incident_id)).cancel_requested_at is None


@pytest.mark.parametrize("status", [Status.CREATED, Status.STARTING])
async def test_nothing_is_started_after_a_cancel(
    store: Store, observer: Recorder, status: Status
) -> None:
    """A cancel before the start leads to `cancelled` without any process (req 9.6, 10.7)."""
    investigation = await brought_to(store, status)
    await store.request_cancel(investigation.incident_id)
    told = len(observer.events)
    onward = Status.STARTING if status is Status.CREATED else Status.RUNNING

    with pytest.raises(CancelRequested):
        await store.move(investigation, onward)

    assert len(observer.events) == told
    cancelled = await store.move(investigation, Status.CANCELLED)
    assert (cancelled.status, cancelled.started_at) == (Status.CANCELLED, None)


async def test_the_first_cause_wins_over_a_cancel(store: Store) -> None:
    """An investigation that ended otherwise first keeps that end (req 10.7)."""
    running = await brought_to(store, Status.RUNNING)
    await store.request_cancel(running.incident_id)

    ended = await store.move(running, Status.TIMEOUT)

    with pytest.raises(IllegalTransition):
        await store.move(running, Status.CANCELLED)
    assert (await store.status(running.incident_id)).status is ended.status is Status.TIMEOUT


async def test_the_incident_is_done_when_its_last_attempt_has_ended(store: Store) -> None:
    """An incident stays active while any attempt runs or another is to follow."""
    first = await brought_to(store, Status.RUNNING)
    second = await store.begin_attempt(first.incident_id, "builtin")
    assert await _state(store, first.incident_id) is IncidentState.ACTIVE

    await moved(store, first, Status.FAILED)
    assert await _state(store, first.incident_id) is IncidentState.ACTIVE
    await store.move(second, Status.CANCELLED, keep_open=True)
    assert await _state(store, first.incident_id) is IncidentState.ACTIVE
    third = await store.begin_attempt(first.incident_id, "builtin")
    await store.move(third, Status.CANCELLED)
    assert await _state(store, first.incident_id) is IncidentState.DONE

    fourth = await store.begin_attempt(first.incident_id, "builtin")
    assert fourth.attempt == 4
    assert await _state(store, first.incident_id) is IncidentState.ACTIVE
    await store.settle(first.incident_id, IncidentState.SUPPRESSED)
    assert await _state(store, first.incident_id) is IncidentState.SUPPRESSED


async def test_what_is_not_on_record_is_said_so(store: Store) -> None:
    """Every question and change for an unknown incident is an error with a hint (req 9.4)."""
    absent = an_incident().id
    known = await brought_to(store, Status.CREATED)
    await store.move(known, Status.CANCELLED)
    await store.forget(known.incident_id)

    for asked in (
        store.status(absent),
        store.status(absent, 3),
        store.story(absent),
        store.request_cancel(absent),
        store.begin_attempt(absent, "claude"),
        store.settle(absent, IncidentState.DONE),
        store.forget(absent),
        store.save_report(known, {}, {}),
        store.move(known, Status.STARTING),
    ):
        with pytest.raises(IncidentUnknown) as caught:
            await asked
        assert caught.value.hint


async def _state(store: Store, incident_id: str) -> IncidentState:
    return (await store.story(incident_id)).incident.state  # type: ignore[arg-type]
