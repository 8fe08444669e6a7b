"""Telling people: what goes to whom, what happens to what does not arrive, and crashes at it."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.incidents import a_fault
from fakes.notices import MemorySink
from fakes.postgres import Postgres
from fakes.receivers import Receiver, receiving
from kubecase.core.errors import NotDelivered
from kubecase.core.messages import Degraded, Notice, Recovered, Trial
from kubecase.core.model import Reason, Status
from kubecase.core.redact import Redactor
from kubecase.core.severity import Severity
from kubecase.service.outbox import PATIENCE_SECONDS, Outbox
from kubecase.service.routes import Route, addressed
from kubecase.store import DeliveryState, Owner, Store, utc_now

from .workshop import LEAVES_REPORT, Heard, an_incident, investigator, now, shell

pytestmark = pytest.mark.anyio

ALL = frozenset({"success", "failed", "timeout", "cancelled", "degraded", "recovered"})
TEAM = Route(sink="team", on=ALL)


class Clock:
    """A clock that is moved by hand, from this moment on."""

    def __init__(self) -> None:
        self.now = now()

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@asynccontextmanager
async def an_outbox(place: Path | str, **parts: Any) -> AsyncIterator[Outbox]:
    clock = parts.pop("clock", utc_now)
    async with Store.open(place, owner=Owner.current(), clock=clock) as store:
        values: dict[str, Any] = {
            "sinks": {"team": MemorySink()},
            "routes": [TEAM],
            "observer": Heard(),
            "redactor": Redactor(["hunter2-of-mine"]),
        }
        yield Outbox(store=store, clock=clock, **{**values, **parts})


async def ended(outbox: Outbox, root: Path, script: str = LEAVES_REPORT, **incident: Any) -> Any:
    """What came of an incident that was worked with the routes of `outbox`."""
    work = investigator(
        root, outbox.store, shell(script), Heard(), routes=outbox.routes, redactor=outbox.redactor
    )
    return await work.investigate(replace(an_incident(), **incident), anyio.Event())


async def test_the_end_of_an_investigation_is_told(tmp_path: Path) -> None:
    """What was found reaches the sink, once, and is settled on record."""
    sink = MemorySink()
    async with an_outbox(
        tmp_path / "kubecase.db", sinks={"team": sink},
        report_url=lambda incident, attempt: f"https://x/{incident}/{attempt}",
    ) as outbox:  # fmt: skip
        concluded = await ended(outbox, tmp_path)
        (waiting,) = await outbox.store.deliveries.waiting()

        (sent,) = await outbox.send_due()
        assert await outbox.send_due() == ()

        assert (sent.outcome, sent.incident_id) == ("delivered", waiting.incident_id)
        assert await outbox.store.deliveries.counts() == {DeliveryState.DELIVERED: 1}
    ((reference, notice),) = sink.sent
    assert reference == waiting.reference
    assert isinstance(notice, Notice)
    assert notice.investigation == concluded.investigation
    assert notice.report is not None
    assert notice.report_url == f"https://x/{waiting.incident_id}/1"


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({}, Status.SUCCESS, True),
        ({"on": frozenset({"failed"})}, Status.SUCCESS, False),
        ({"on": frozenset({"failed"})}, Status.FAILED, True),
        ({"min_severity": Severity.CRITICAL}, Status.SUCCESS, False),
        ({"min_severity": Severity.WARNING}, Status.SUCCESS, True),
        ({"clusters": frozenset({"production"})}, Status.SUCCESS, False),
        ({"clusters": frozenset({"production", "dev"})}, Status.SUCCESS, True),
        ({}, Status.RUNNING, False),
    ],
)
async def test_a_sink_is_told_what_it_asks_for(
    tmp_path: Path, changes: dict[str, Any], status: Status, told: bool
) -> None:
    """By status, least severity and cluster; never of what has not ended."""
    incident = replace(an_incident(), fault=a_fault("warning"))
    async with an_outbox(tmp_path / "kubecase.db") as outbox:
        begun = await outbox.store.begin(incident, agent="x")

    done = replace(begun, status=status, reason=Reason.LOST if status is Status.FAILED else None)
    assert bool(addressed([replace(TEAM, **changes)], incident, done)) is told


async def test_a_failed_send_is_tried_later_and_at_last_given_up(tmp_path: Path) -> None:
    """The pauses grow, and after a day the message is given up, with an error that is counted."""
    clock = Clock()
    sink = MemorySink(troubles=[NotDelivered("cannot tell team: HTTP 503") for _ in range(100)])
    async with an_outbox(tmp_path / "kubecase.db", sinks={"team": sink}, clock=clock) as outbox:
        heard: Any = outbox.observer
        await outbox.tell(Trial(at=clock()), sinks=["team"])
        begun = clock()
        pauses = []
        while True:
            (sent,) = await outbox.send_due()
            if sent.outcome == "given_up":
                break
            (waiting,) = await outbox.store.deliveries.waiting()
            assert waiting.next_try_at is not None
            pauses.append((waiting.next_try_at - clock()).total_seconds())
            assert await outbox.send_due() == ()
            clock.now = waiting.next_try_at

        assert pauses[:4] == [30, 120, 600, 1800]
        assert pauses == sorted(pauses)
        assert (clock() - begun).total_seconds() >= PATIENCE_SECONDS
        assert await outbox.store.deliveries.counts() == {DeliveryState.GIVEN_UP: 1}
    (error,) = heard.named("error")
    assert error["error_type"] == "notify"
    assert "503" in str(error["error"])


async def test_a_receivers_wish_and_a_refusal_are_respected(tmp_path: Path) -> None:
    """Retry-After puts the next try off; a refusal for good ends it at once."""
    clock = Clock()
    sink = MemorySink(
        troubles=[
            NotDelivered("429", retry_after=900.0),
            NotDelivered("404 with hunter2-of-mine", lasting=True),
        ]
    )
    async with an_outbox(tmp_path / "kubecase.db", sinks={"team": sink}, clock=clock) as outbox:
        await outbox.tell(Trial(at=clock()), sinks=["team"])
        (first,) = await outbox.send_due()
        clock.advance(899)
        assert await outbox.send_due() == ()
        clock.advance(2)
        (second,) = await outbox.send_due()

        assert (first.outcome, second.outcome) == ("later", "given_up")
        told: Any = outbox.observer
    assert "hunter2-of-mine" not in str(told.events)


async def test_a_sink_that_breaks_harms_no_other(tmp_path: Path) -> None:
    """A bug in one sink is told as such; the others get what is theirs (req 12.3)."""
    broken = MemorySink(name="broken", troubles=[ZeroDivisionError("a bug")])
    good = MemorySink(name="good")
    routes = [replace(TEAM, sink="broken"), replace(TEAM, sink="good")]
    async with an_outbox(
        tmp_path / "kubecase.db", sinks={"broken": broken, "good": good}, routes=routes
    ) as outbox:
        await outbox.tell(
            Degraded(agent="claude", failures=5, window=60, reasons=("quota",), at=now())
        )
        outcomes = {sent.sink: sent.outcome for sent in await outbox.send_due()}
        heard: Any = outbox.observer

    assert outcomes == {"broken": "later", "good": "delivered"}
    assert len(good.sent) == 1
    assert heard.named("error")[0]["error_type"] == "notify"


async def test_what_is_about_the_service_goes_to_those_who_want_it(tmp_path: Path) -> None:
    """Degraded and recovered are told once each, with their numbers, to sinks that ask for them."""
    sink = MemorySink()
    routes = [TEAM, Route(sink="quiet", on=frozenset({"success"}))]
    at = now()
    messages = (
        Degraded(agent="claude", failures=5, window=61.5, reasons=("quota", "auth"), at=at),
        Recovered(agent="claude", downtime=300.0, failures=6, at=at),
    )
    async with an_outbox(
        tmp_path / "kubecase.db", sinks={"team": sink, "quiet": MemorySink()}, routes=routes
    ) as outbox:
        for message in (*messages, *messages):
            await outbox.tell(message)
        await outbox.send_due()

    assert {message for _, message in sink.sent} == set(messages)
    assert len(sink.sent) == 2


async def test_an_attempt_that_another_follows_is_not_told(tmp_path: Path) -> None:
    """Only the end that closes the incident reaches people, not each failure before it."""
    async with an_outbox(tmp_path / "kubecase.db") as outbox:
        work = investigator(tmp_path, outbox.store, shell("exit 3"), Heard(), routes=outbox.routes)
        incident = an_incident()
        await work.investigate(incident, anyio.Event(), stays_open=lambda _: True)
        assert await outbox.store.deliveries.waiting() == ()

        await work.investigate(incident, anyio.Event(), again=True)
        (waiting,) = await outbox.store.deliveries.waiting()

        assert waiting.attempt == 2


async def test_a_secret_of_ours_reaches_nobody(tmp_path: Path) -> None:
    """What is told is redacted, the words of the fault included."""
    sink = MemorySink()
    fault = a_fault(message="token=hunter2-of-mine", reason="hunter2-of-mine")
    async with an_outbox(tmp_path / "kubecase.db", sinks={"team": sink}) as outbox:
        await ended(outbox, tmp_path, "echo hunter2-of-mine >&2; exit 3", fault=fault)
        await outbox.send_due()

    assert "hunter2-of-mine" not in repr(sink.sent)
    assert len(sink.sent) == 1


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "kubecase.db")
        return
    server: Postgres = request.getfixturevalue("postgres")
    yield server.address(server.new_database())


def tell_in_another_process(place: str, url: str, mode: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("telling.py"), place, url, mode]
    )


async def filled(place: str, count: int) -> None:
    async with an_outbox(place) as outbox:
        for n in range(count):
            await outbox.tell(Trial(at=now() + timedelta(seconds=n)), sinks=["team"])
        # Moments lie ahead only to tell the messages apart.
        assert len(await outbox.store.deliveries.waiting()) == count


@pytest.mark.parametrize(("mode", "times"), [("die", 1), ("die-after", 2)])
async def test_what_a_killed_process_had_claimed_is_sent_by_another(
    place: str, mode: str, times: int
) -> None:
    """Killed between the row and the send, another one sends it exactly once; killed after the
    send, it comes again with the same reference.
    """
    await filled(place, 1)
    with receiving(Receiver()) as receiver:
        killed = tell_in_another_process(place, receiver.url, mode)
        assert await anyio.to_thread.run_sync(killed.wait) == -signal.SIGKILL
        assert len(receiver.arrived) == times - 1

        async with an_outbox(place) as outbox:
            with anyio.fail_after(30):
                while await outbox.store.deliveries.waiting():
                    heir = tell_in_another_process(place, receiver.url, "send")
                    assert await anyio.to_thread.run_sync(heir.wait) == 0
            assert await outbox.store.deliveries.counts() == {DeliveryState.DELIVERED: 1}

        assert list(receiver.keys.values()) == [times]


async def test_several_processes_send_each_message_once(place: str) -> None:
    """However many work on one outbox, no message goes out twice."""
    await filled(place, 20)
    with receiving(Receiver()) as receiver:
        crowd = [tell_in_another_process(place, receiver.url, "send") for _ in range(3)]
        for each in crowd:
            assert await anyio.to_thread.run_sync(each.wait) == 0

        assert len(receiver.keys) == 20
        assert set(receiver.keys.values()) == {1}


async def test_the_loop_sends_until_it_is_stopped(tmp_path: Path) -> None:
    """What comes while the loop runs is sent by it, and it ends when it is asked to."""
    sink = MemorySink()
    stop = anyio.Event()
    async with an_outbox(tmp_path / "kubecase.db", sinks={"team": sink}) as outbox:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: outbox.run(stop, interval=0.02))
                await outbox.tell(Trial(at=now()), sinks=["team"])
                while not sink.sent:
                    await anyio.lowlevel.checkpoint()
                stop.set()

    assert len(sink.sent) == 1
