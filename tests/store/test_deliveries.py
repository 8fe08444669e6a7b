"""The outbox on both databases: put in with what makes it true, claimed once, settled once."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from kubecase.core.errors import IllegalTransition
from kubecase.core.model import Status
from kubecase.store import Addressed, DeliveryState, Owner, Store

from .records import HandClock, Place, a_store, an_incident, brought_to, looked_up

pytestmark = pytest.mark.anyio

SERVICE = Addressed(
    sink="team", kind="degraded", subject=None, payload={"kind": "degraded"}, key="claude 1"
)


async def test_a_message_is_on_record_with_the_end_that_it_tells(store: Store) -> None:
    """An end and its messages are durable together, or neither is (req 9.1)."""
    running = await brought_to(store, Status.RUNNING)
    told = Addressed(
        sink="team", kind="ended", subject=(running.incident_id, 1), payload={"a": "\0b"}
    )

    await store.move(running, Status.SUCCESS, messages=[told])
    with pytest.raises(IllegalTransition):
        await store.move(running, Status.TIMEOUT, messages=[replace(told, kind="other")])

    (kept,) = await store.deliveries.of_incident(running.incident_id)
    assert (kept.sink, kept.kind, kept.attempt, kept.state, kept.tries) == (
        "team", "ended", 1, DeliveryState.PENDING, 0,
    )  # fmt: skip
    assert kept.payload == {"a": "\ufffdb"}
    assert kept.reference == told.reference


async def test_the_same_message_is_put_in_once(store: Store) -> None:
    """Whoever puts it in again changes nothing; another moment, sink or subject is another one."""
    assert await store.deliveries.put(SERVICE) == (SERVICE,)
    assert await store.deliveries.put(SERVICE) == ()

    others = [replace(SERVICE, key="claude 2"), replace(SERVICE, sink="ops")]
    assert await store.deliveries.put(SERVICE, *others) == tuple(others)

    assert len({each.reference for each in (SERVICE, *others)}) == 3
    assert await store.deliveries.counts() == {DeliveryState.PENDING: 3}


async def test_one_of_many_gets_a_message(place: Place) -> None:
    """Of all who ask at the same moment, on any connection, each message goes to one."""
    got: Counter[int] = Counter()

    async def ask(store: Store) -> None:
        while claimed := await store.deliveries.claim(["team"]):
            got.update(each.id for each in claimed)

    async with (
        a_store(place) as one,
        a_store(place) as two,
        anyio.create_task_group() as crowd,
    ):
        await one.deliveries.put(*(replace(SERVICE, key=str(n)) for n in range(25)))
        for n in range(8):
            crowd.start_soon(ask, (one, two)[n % 2])

    assert len(got) == 25
    assert set(got.values()) == {1}


async def test_a_lease_that_ran_out_passes_to_another(store: Store, clock: HandClock) -> None:
    """What a process that died had claimed is claimed again later; the first then has no word."""
    await store.deliveries.put(SERVICE)
    (dead,) = await store.deliveries.claim(["team"], lease_seconds=60)
    clock.advance(59)
    assert await store.deliveries.claim(["team"]) == ()
    clock.advance(2)
    (heir,) = await store.deliveries.claim(["team"])

    assert heir.reference == dead.reference
    assert heir.tries == 2
    assert not await store.deliveries.delivered(dead)
    assert not await store.deliveries.later(dead, "late", clock())
    assert not await store.deliveries.given_up(dead, "late")
    assert await store.deliveries.delivered(heir)
    assert await store.deliveries.counts() == {DeliveryState.DELIVERED: 1}
    assert await store.deliveries.claim(["team"]) == ()


async def test_a_message_comes_back_when_it_is_due(store: Store, clock: HandClock) -> None:
    """What is to be tried later is not given out before; what is given up never again."""
    await store.deliveries.put(SERVICE)
    (first,) = await store.deliveries.claim(["team"])
    assert await store.deliveries.later(first, "x" * 9999, clock() + timedelta(seconds=30))
    assert await store.deliveries.claim(["team"]) == ()
    (waiting,) = await store.deliveries.waiting()
    assert len(waiting.last_error or "") == 500
    clock.advance(31)
    assert await store.deliveries.claim(["ops"]) == ()
    (second,) = await store.deliveries.claim(["team"])

    assert await store.deliveries.given_up(second, "refused")
    clock.advance(10**6)
    assert await store.deliveries.claim(["team"]) == ()
    assert await store.deliveries.waiting() == ()


async def test_a_forgotten_incident_takes_its_messages_along(place: Place) -> None:
    """Nothing is told of an incident that is no longer on record; what is due goes oldest first."""
    async with Store.open(place, owner=Owner.current()) as store:
        ended = await brought_to(store, Status.RUNNING)
        subject = (ended.incident_id, 1)
        told = Addressed(sink="team", kind="ended", subject=subject, payload={})
        await store.move(ended, Status.SUCCESS, messages=[told])
        other = await store.begin(an_incident(), agent="x")
        await store.deliveries.put(replace(told, subject=(other.incident_id, 1)))

        (due,) = await store.deliveries.claim(["team"], incident_id=other.incident_id)
        assert due.incident_id == other.incident_id
        await store.forget(ended.incident_id)

    assert looked_up(place, "SELECT incident_id FROM delivery") == [(other.incident_id,)]
