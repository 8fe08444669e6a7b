"""Attempts change hands only when their owner is proved dead, and only once."""

from dataclasses import replace

import pytest

from kubecase.core.model import Reason, Status
from kubecase.store import Owner, Store, TakenOver
from store.records import Place, an_incident

pytestmark = pytest.mark.anyio

HERE = Owner.current()
DEAD = replace(HERE, boot_id="00000000-0000-4000-8000-000000000000")
"""An owner of an earlier boot of this host."""


async def test_the_heir_of_a_dead_owner_may_write(place: Place) -> None:
    """A row whose owner died belongs to who took it over, and the epoch counts that."""
    async with Store.open(place, owner=DEAD) as dead, Store.open(place, owner=HERE) as heir:
        begun = await dead.begin(an_incident(), agent="command")
        (orphan,) = await heir.orphans()

        taken = await heir.take_over(orphan)

        assert taken is not None
        assert (taken.owner, taken.epoch) == (HERE, 2)
        moved = await heir.move(begun, Status.FAILED, reason=Reason.LOST, error="lost")
        assert moved.status is Status.FAILED
        assert await heir.orphans() == ()


async def test_who_was_taken_for_dead_cannot_overwrite(place: Place) -> None:
    """Once taken over, a worker that was only frozen can change neither status nor report."""
    async with Store.open(place, owner=DEAD) as frozen, Store.open(place, owner=HERE) as heir:
        begun = await frozen.begin(an_incident(), agent="command")
        await heir.take_over(await heir.attempt(begun.incident_id))

        with pytest.raises(TakenOver, match="another process owns it"):
            await frozen.move(begun, Status.STARTING)
        with pytest.raises(TakenOver):
            await frozen.save_report(begun, {"summary": "old"}, None)

        assert (await heir.status(begun.incident_id)).status is Status.CREATED
        assert (await heir.story(begun.incident_id)).reports == ()


async def test_the_same_orphan_is_taken_over_once(place: Place) -> None:
    """Of several that saw the same epoch one succeeds; what has ended is not taken over at all."""
    async with Store.open(place, owner=DEAD) as dead, Store.open(place, owner=HERE) as heir:
        await dead.begin(an_incident(), agent="command")
        (orphan,) = await heir.orphans()

        assert await heir.take_over(orphan) is not None
        assert await heir.take_over(orphan) is None

        other = await dead.begin(an_incident(), agent="command")
        seen = await heir.attempt(other.incident_id)
        await dead.move(other, Status.CANCELLED)
        assert await heir.take_over(seen) is None


async def test_findings_are_kept_with_the_move_that_they_came_with(place: Place) -> None:
    """What was found before an agent starts is durable together with its start."""
    async with Store.open(place, owner=HERE) as store:
        begun = await store.begin(an_incident(), agent="command")

        await store.move(begun, Status.STARTING, findings={"summary": "a table is missing"})

        (saved,) = (await store.story(begun.incident_id)).reports
        assert saved.findings == {"summary": "a table is missing"}
        assert saved.headline == "a table is missing"
