"""What may be asked of the record: lists, stories, short names, and what is due for deletion."""

from datetime import timedelta
from pathlib import Path

import pytest

from kubecase.core.errors import IncidentUnknown
from kubecase.core.model import IncidentId, Reason, Status
from kubecase.core.severity import Severity
from kubecase.store import IncidentBusy, Owner, Row, Store, owner_is_alive

from .records import NOON, HandClock, Place, an_incident, brought_to, looked_up, moved

pytestmark = pytest.mark.anyio

REPORT = {"summary": "The pod\n crashed.", "hypotheses": [{"root_cause": "A typo in\nMODE"}]}


async def test_a_list_shows_each_attempt_newest_first(store: Store, clock: HandClock) -> None:
    """One line per attempt, with the facts of its incident and what was found."""
    first = await brought_to(store, Status.FAILED, opened_at=NOON)
    clock.advance(10)
    await store.save_report(first, REPORT, None)
    second = await store.begin_attempt(first.incident_id, "builtin")
    clock.advance(10)
    third = await store.begin(an_incident(cluster="prod", namespace=None), agent="codex")

    rows = await store.list_investigations(10)

    assert [(row.incident_id, row.attempt) for row in rows] == [
        (third.incident_id, 1),
        (first.incident_id, 2),
        (first.incident_id, 1),
    ]
    assert rows[2] == Row(
        incident_id=first.incident_id,
        attempt=1,
        agent="scripted",
        status=Status.FAILED,
        reason=Reason.EXIT_CODE,
        cluster="dev",
        namespace="shop",
        resource=an_incident().fault.resource,
        fault_reason="CrashLoop",
        severity=Severity.CRITICAL,
        opened_at=NOON,
        created_at=first.created_at,
        started_at=first.started_at,
        ended_at=first.ended_at,
        headline="A typo in MODE",
    )
    assert [r.attempt for r in await store.list_investigations(1)] == [1]
    assert [r.agent for r in await store.list_investigations(9, Status.CREATED)] == [
        "codex",
        second.agent,
    ]
    assert [r.agent for r in await store.list_investigations(9, cluster="prod")] == ["codex"]
    assert len(await store.list_investigations(9, namespace="shop")) == 2


async def test_a_story_tells_every_attempt_with_its_report(store: Store) -> None:
    """All attempts, their steps and their reports are told, in order (req 9.4)."""
    first = await brought_to(store, Status.TIMEOUT)
    await store.save_report(first, None, {"summary": "Found early", "hypotheses": []})
    second = await store.begin_attempt(first.incident_id, "builtin")
    await store.save_report(second, {"summary": "draft", "hypotheses": []}, None)
    await store.save_report(second, REPORT, {"summary": "f"})

    story = await store.story(first.incident_id)

    assert [each.investigation.agent for each in story.attempts] == ["scripted", "builtin"]
    assert [(s.attempt, s.before, s.after) for s in story.transitions] == [
        (1, "created", "starting"),
        (1, "starting", "running"),
        (1, "running", "timeout"),
    ]
    assert [(r.attempt, r.headline) for r in story.reports] == [
        (1, "Found early"),
        (2, "A typo in MODE"),
    ]
    assert story.reports[1].report == REPORT
    assert story.reports[1].findings == {"summary": "f"}
    assert story.reports[0].report is None


async def test_the_beginning_of_an_id_names_it(store: Store, clock: HandClock) -> None:
    """Four characters that fit one incident are enough, in either case; `@last` is the newest."""
    with pytest.raises(IncidentUnknown):
        await store.resolve("@last")
    one = IncidentId("abcd1111-0000-4000-8000-000000000000")
    two = IncidentId("abcd2222-0000-4000-8000-000000000000")
    await store.begin(an_incident(one, opened_at=NOON + timedelta(seconds=1)), agent="claude")
    await store.begin(an_incident(two, opened_at=NOON), agent="claude")

    assert await store.resolve("abcd1") == one
    assert await store.resolve("ABCD2") == two
    assert await store.resolve(two) == two
    assert await store.resolve("@last") == one
    with pytest.raises(IncidentUnknown, match=f"fits several incidents: {one}, {two}$"):
        await store.resolve("abcd")
    for absent in ("ffff", "abc", "", "%%%%", "abcd____", "a' OR 1=1", "abcd1111-" * 9, "\ud800"):
        with pytest.raises(IncidentUnknown) as caught:
            await store.resolve(absent)
        assert caught.value.hint


async def test_at_most_five_candidates_are_named(store: Store) -> None:
    """A short name that fits many is answered with the five newest of them."""
    for n in range(7):
        id = f"abcd{n}111-0000-4000-8000-000000000000"
        await store.begin(an_incident(id, opened_at=NOON + timedelta(seconds=n)), agent="claude")

    with pytest.raises(IncidentUnknown) as caught:
        await store.resolve("abcd")

    message = str(caught.value)
    assert message.count("-0000-4000-") == 5
    assert message.endswith(", ...")
    assert "abcd6111" in message
    assert "abcd1111" not in message


async def test_what_is_due_is_found_by_its_end(
    store: Store, clock: HandClock, tmp_path: Path
) -> None:
    """Retention sees what ended before a moment, and how each workspace's run ended (req 12.6)."""
    old = await brought_to(store, Status.SUCCESS)
    clock.advance(3600)
    recent = await brought_to(store, Status.STARTING)
    recent = await store.move(recent, Status.RUNNING, workspace=tmp_path / "incident-1")
    recent = await store.move(recent, Status.TIMEOUT)
    going = await brought_to(store, Status.RUNNING)

    assert await store.finished_before(NOON) == ()
    assert await store.finished_before(NOON + timedelta(hours=1)) == (old,)
    assert await store.finished_before(NOON + timedelta(hours=2)) == (old, recent)
    assert await store.by_workspace() == {tmp_path / "incident-1": recent}
    assert going.ended_at is None


async def test_a_forgotten_incident_leaves_nothing(store: Store, place: Place) -> None:
    """Nothing of an incident remains after it was forgotten, and nothing else goes with it."""
    gone = await brought_to(store, Status.SUCCESS)
    await store.save_report(gone, REPORT, None)
    kept = await brought_to(store, Status.SUCCESS)

    await store.forget(gone.incident_id)

    for table in ("fault", "incident", "investigation"):
        assert looked_up(place, f"SELECT count(*) FROM {table}") == [(1,)]
    assert looked_up(place, "SELECT count(*) FROM report") == [(0,)]
    assert looked_up(place, "SELECT DISTINCT incident_id FROM transition") == [(kept.incident_id,)]


async def test_a_running_incident_is_not_forgotten(store: Store) -> None:
    """An incident with an unfinished attempt stays, whatever its other attempts are."""
    ended = await brought_to(store, Status.TIMEOUT)
    again = await store.begin_attempt(ended.incident_id, "builtin")

    with pytest.raises(IncidentBusy):
        await store.forget(ended.incident_id)

    assert await store.status(ended.incident_id) == again


async def test_whose_unfinished_attempts_are_is_told(store: Store) -> None:
    """Whoever reads sees which process runs what, without taking anything over."""
    running = await brought_to(store, Status.RUNNING)
    created = await store.begin(an_incident(), agent="claude")
    await brought_to(store, Status.SUCCESS)
    await store.request_cancel(running.incident_id)

    found = await store.owners_of_unfinished()

    assert {each.investigation.incident_id for each in found} == {
        running.incident_id,
        created.incident_id,
    }
    assert {each.owner for each in found} == {Owner.current()}
    assert all(owner_is_alive(each.owner) for each in found)
    asked = {each.investigation.key for each in found if each.cancel_requested_at}
    assert asked == {running.key}
    await moved(store, running, Status.CANCELLED)
    assert len(await store.owners_of_unfinished()) == 1
