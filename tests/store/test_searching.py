"""Incidents are found and followed on both databases alike."""

from datetime import timedelta

import pytest

from kubecase.core.errors import IncidentUnknown
from kubecase.core.intake import Rules
from kubecase.core.model import IncidentId, IncidentState, Status
from kubecase.store import Store
from kubecase.store.searching import Search

from .records import NOON, HandClock, an_incident, moved

pytestmark = pytest.mark.anyio


def an_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


async def opened(store: Store, number: int, **changes: object) -> None:
    opened_at = NOON + timedelta(minutes=number // 2)
    incident = an_incident(an_id(number), opened_at=opened_at, **changes)  # type: ignore[arg-type]
    await store.begin(incident, agent="scripted")


async def found(store: Store, **search: object) -> list[int]:
    rows = await store.search(Search(limit=50, **search))  # type: ignore[arg-type]
    return [int(each.id[-12:]) for each in rows]


async def test_the_latest_attempt_is_the_one_that_counts(store: Store) -> None:
    """Of two attempts the second is shown, and found by its status."""
    await opened(store, 1)
    first = await store.status(IncidentId(an_id(1)))
    for step in (Status.STARTING, Status.RUNNING, Status.FAILED):
        first = await moved(store, first, step)
    second = await store.begin_attempt(first.incident_id, "other")

    (row,) = await store.search(Search(limit=5))

    assert row.latest is not None
    assert (row.latest.attempt, row.latest.agent, row.latest.status) == (2, "other", second.status)
    assert await found(store, status=Status.CREATED) == [1]
    assert await found(store, status=Status.FAILED) == []


async def test_one_that_waits_is_found_without_an_attempt(store: Store) -> None:
    """What the service took in and nobody has worked is in the list, too."""
    fault = an_incident().fault
    await store.desk.take_in([fault], lambda _: Rules(second_sign=0, storm=0))

    (row,) = await store.search(Search(limit=5, state=IncidentState.QUEUED))

    assert row.latest is None
    assert row.occurrences == 1


async def test_pages_follow_one_another_among_equal_moments(store: Store) -> None:
    """Every incident comes once, whatever the size of the page."""
    for number in range(1, 8):
        await opened(store, number)

    seen: list[int] = []
    after = None
    while rows := await store.search(Search(limit=3, after=after)):
        seen += [int(each.id[-12:]) for each in rows]
        after = (rows[-1].opened_at, rows[-1].id)

    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("OUT OF", [1]), ("100%", [2]), ("%", [2]), ("_", [3]), ("\\", [4]), ("api-0", [4, 3, 2, 1]),
     ("'; DROP", []), (an_id(3)[-6:], [3])],
)  # fmt: skip
async def test_text_is_looked_for_as_it_is(store: Store, text: str, numbers: list[int]) -> None:
    """In any case, and no character of it has a meaning of its own."""
    for number, message in enumerate(("out of memory", "100% full", "a_b", "a\\b"), start=1):
        await opened(store, number, message=message)

    assert await found(store, text=text) == numbers


async def test_moments_bound_what_is_found(store: Store) -> None:
    """The first moment is included, the last is not."""
    for number in range(1, 8):
        await opened(store, number)

    since, until = NOON + timedelta(minutes=1), NOON + timedelta(minutes=3)
    assert await found(store, since=since, until=until) == [5, 4, 3, 2]


async def test_progress_has_every_step_and_the_decisions_that_are_new(
    store: Store, clock: HandClock
) -> None:
    """Who has seen a decision is told only of later ones."""
    fault = an_incident().fault
    rules = Rules(second_sign=0, storm=0)
    (accepted,) = await store.desk.take_in([fault], lambda _: rules)
    assert accepted.incident_id is not None
    await store.desk.take_in([fault], lambda _: rules)
    await moved(store, await store.begin_attempt(accepted.incident_id, "a"), Status.STARTING)

    whole = await store.progress(accepted.incident_id)
    later = await store.progress(accepted.incident_id, after=whole.decisions[0].id)

    assert [each.decision for each in whole.decisions] == ["opened", "joined"]
    assert [each.decision for each in later.decisions] == ["joined"]
    assert [each.after for each in whole.transitions] == [Status.STARTING]
    assert whole.attempts == ((1, "a", Status.STARTING),)
    with pytest.raises(IncidentUnknown):
        await store.progress(IncidentId(an_id(9)))


async def test_an_answer_is_remembered_for_a_day(store: Store, clock: HandClock) -> None:
    """After that its key is free again."""
    await store.desk.remember("key", "d1", 202, {"a": 1})
    await store.desk.remember("key", "d2", 202, {"a": 2})
    clock.advance(23 * 3600)
    within = await store.desk.remembered("key")
    clock.advance(2 * 3600)
    after = await store.desk.remembered("key")
    await store.desk.remember("key", "d3", 202, {"a": 3})

    assert within == ("d1", 202, {"a": 1})
    assert after is None
    assert await store.desk.remembered("key") == ("d3", 202, {"a": 3})
