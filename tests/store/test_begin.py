"""What is on record once an investigation has begun, and what keeps it from beginning."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kubecase.core.errors import FaultRejected, IncidentExists
from kubecase.core.model import IncidentState, Status
from kubecase.store import AlreadyOpen, OpenedBy, Owner, SlotTaken, Store
from kubecase.store.schema import RAW_BYTES

from .records import NOON, Place, a_store, an_incident, looked_up, moved

pytestmark = pytest.mark.anyio


async def test_fault_incident_and_attempt_are_on_record_together(store: Store) -> None:
    """What was begun is found again, the payload byte for byte (req 1.1)."""
    incident = an_incident(raw=bytes(range(256)), namespace=None)

    begun = await store.begin(incident, agent="claude")

    story = await store.story(incident.id)
    assert story.incident == incident
    assert (story.opened_by, story.occurrences) == (OpenedBy.HAND, 1)
    assert (begun.attempt, begun.agent, begun.status) == (1, "claude", Status.CREATED)
    assert (begun.created_at, begun.key) == (NOON, f"{incident.id}-1")
    (attempt,) = story.attempts
    assert attempt.investigation == begun
    assert (attempt.owner, attempt.epoch, attempt.slot) == (Owner.current(), 1, None)
    assert attempt.cluster == "dev"


async def test_an_id_is_taken_once(store: Store) -> None:
    """A second incident of the same id is refused, the first is left untouched."""
    first = an_incident(message="the first")
    await store.begin(first, agent="claude")

    with pytest.raises(IncidentExists) as caught:
        await store.begin(an_incident(first.id, message="the second"), agent="codex")

    assert caught.value.hint
    story = await store.story(first.id)
    assert story.incident == first
    assert [a.investigation.agent for a in story.attempts] == ["claude"]


async def test_a_refused_beginning_leaves_nothing(store: Store, place: Place) -> None:
    """No fault, incident or attempt remains of what was refused."""
    await store.begin(an_incident(), agent="claude", slot=0)

    with pytest.raises(SlotTaken):
        await store.begin(an_incident(), agent="claude", slot=0)
    with pytest.raises(FaultRejected, match=f"{RAW_BYTES + 1} bytes"):
        await store.begin(an_incident(raw=b"x" * (RAW_BYTES + 1)), agent="claude")

    for table in ("fault", "incident", "investigation"):
        assert looked_up(place, f"SELECT count(*) FROM {table}") == [(1,)]


async def test_a_payload_of_exactly_the_cap_is_kept(store: Store) -> None:
    """The largest payload that is taken is kept whole."""
    incident = an_incident(raw=b"\xfe" * RAW_BYTES)

    await store.begin(incident, agent="claude")

    assert (await store.story(incident.id)).incident.fault.raw == incident.fault.raw


async def test_a_slot_is_free_when_its_holder_has_ended(store: Store) -> None:
    """One slot of a cluster holds one unfinished attempt; other clusters are not concerned."""
    held = await store.begin(an_incident(), agent="claude", slot=0)
    await store.begin(an_incident(), agent="claude", slot=1)
    await store.begin(an_incident(cluster="prod"), agent="claude", slot=0)
    await store.begin(an_incident(), agent="claude")

    with pytest.raises(SlotTaken, match="slot 0 of cluster 'dev'"):
        await store.begin(an_incident(), agent="claude", slot=0)
    await moved(store, held, Status.CANCELLED)

    assert (await store.begin(an_incident(), agent="claude", slot=0)).status is Status.CREATED


async def test_the_service_opens_one_incident_for_a_fingerprint(store: Store) -> None:
    """A repeated fault joins the open incident; by hand one may open as many as one likes."""
    first = an_incident(fingerprint="f")
    begun = await store.begin(first, agent="claude", opened_by="service")
    await store.begin(an_incident(fingerprint="f"), agent="claude")
    await store.begin(
        an_incident(fingerprint="f", cluster="prod"), agent="claude", opened_by="service"
    )

    with pytest.raises(AlreadyOpen) as caught:
        await store.begin(an_incident(fingerprint="f"), agent="claude", opened_by="service")
    assert caught.value.incident_id == first.id

    await moved(store, begun, Status.CANCELLED)
    second = await store.begin(an_incident(fingerprint="f"), agent="claude", opened_by="service")
    with pytest.raises(AlreadyOpen) as caught:
        await store.begin_attempt(first.id, "claude")
    assert caught.value.incident_id == second.incident_id
    assert (await store.story(first.id)).incident.state is IncidentState.DONE


async def test_hostile_text_is_kept_as_far_as_a_database_can(store: Store) -> None:
    """Text that PostgreSQL could not store does not keep a fault from being recorded."""
    incident = an_incident(message="nul \0, half \ud800, '; DROP TABLE fault; --", cluster="c'\"\0")

    begun = await store.begin(incident, agent="claude")
    await store.save_report(begun, {"summary": "a\0b\udfff", "n": float("nan")}, None)

    story = await store.story(incident.id)
    assert story.incident.fault.message == "nul \ufffd, half \ufffd, '; DROP TABLE fault; --"
    assert story.reports[0].report == {"summary": "a\ufffdb\ufffd", "n": None}


async def test_what_was_begun_survives_the_death_of_its_process(place: Place) -> None:
    """A process killed right after `begin` returned leaves its row (req 9.1)."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("worker.py"), "begin", place, "1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        incident_id = process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGKILL)

    assert process.returncode == -signal.SIGKILL
    async with a_store(place) as store:
        (left,) = await store.owners_of_unfinished()
    assert left.investigation.incident_id == incident_id
    assert left.investigation.status is Status.CREATED
    assert left.owner.pid == process.pid
