"""What becomes of each fault that comes in, and of the incident that it opens: on record."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from fakes.incidents import a_fault
from kubecase.core.intake import Decision, Rules
from kubecase.core.model import Fault, IncidentState, Reason, Resource, Status
from kubecase.core.severity import Severity
from kubecase.store import AlreadyOpen, Store

from .records import HandClock, a_store, an_incident, looked_up

pytestmark = pytest.mark.anyio

EASY = Rules(repeat_after=3600, second_sign=5, sign_window=600, storm=0)


def fault(name: str = "api-6b89888bf6-mgcnz", **changes: object) -> Fault:
    pod = Resource(kind="Pod", name=name, namespace=str(changes.pop("namespace", "shop")))
    return a_fault(resource=pod, **{"reason": "BackOff", **changes})


def by(rules: Rules) -> Callable[[str], Rules]:
    return lambda cluster: rules


async def take(store: Store, *faults: Fault, rules: Rules = EASY) -> list[Decision]:
    return [each.decision for each in await store.desk.take_in(faults, by(rules))]


async def work(store: Store, clock: HandClock) -> None:
    """Work the only incident that waits, to its end."""
    (waiting,) = await store.desk.to_be_worked()
    claimed = await store.desk.claim(waiting.id)
    assert claimed is not None
    attempt = await store.begin_attempt(waiting.id, "builtin")
    attempt = await store.move(attempt, Status.STARTING)
    attempt = await store.move(attempt, Status.RUNNING)
    clock.advance(1)
    await store.move(attempt, Status.SUCCESS)
    await store.desk.close(waiting.id, IncidentState.DONE)


async def test_pods_of_one_workload_open_one_incident(file: Path, clock: HandClock) -> None:
    """A rollout that crashes in three pods is one incident, counted three times (req 18.3)."""
    async with a_store(file, clock=clock) as store:
        found = await take(
            store, fault(), fault("api-6b89888bf6-xxcnz"), fault("api-7c9d5b8f4d-mgcnz"),
            fault("web-7c9d5b8f4d-mgcnz"),
        )  # fmt: skip

        waiting = await store.desk.to_be_worked()

    assert found == [Decision.OPENED, Decision.JOINED, Decision.JOINED, Decision.OPENED]
    assert len(waiting) == 2
    assert looked_up(file, "SELECT occurrences FROM incident ORDER BY occurrences") == [(1,), (3,)]
    assert len(looked_up(file, "SELECT id FROM decision")) == 4


async def test_a_repetition_is_counted_and_costs_nothing(file: Path, clock: HandClock) -> None:
    """While the report is fresh the same fault is counted onto it; later it opens it again."""
    async with a_store(file, clock=clock) as store:
        await take(store, fault())
        await work(store, clock)

        soon = await take(store, fault())
        clock.advance(3601)
        later = await take(store, fault())
        waiting = await store.desk.to_be_worked()

        assert (soon, later) == ([Decision.SUPPRESSED], [Decision.REOPENED])
        assert len(waiting) == 1
        claimed = await store.desk.claim(waiting[0].id)
        assert claimed is not None
        assert claimed.reopened == 1


async def test_a_fault_that_healed_and_came_back_opens_its_incident_again(
    file: Path, clock: HandClock
) -> None:
    """What its source took back is no repetition, however soon it returns."""
    async with a_store(file, clock=clock) as store:
        await take(store, fault())
        await work(store, clock)
        (over,) = await store.desk.resolve([fault()])

        assert over.decision is Decision.RESOLVED
        assert await take(store, fault()) == [Decision.REOPENED]


async def test_a_killed_service_still_knows_that_a_report_is_there(
    file: Path, clock: HandClock
) -> None:
    """Between the end of the attempt and the closing of the incident nothing is lost."""
    async with a_store(file, clock=clock) as store:
        await take(store, fault())
        (waiting,) = await store.desk.to_be_worked()
        await store.desk.claim(waiting.id)
        attempt = await store.begin_attempt(waiting.id, "builtin")
        attempt = await store.move(attempt, Status.STARTING)
        await store.move(attempt, Status.FAILED, reason=Reason.NO_REPORT)

        assert await take(store, fault()) == [Decision.SUPPRESSED]
        assert await store.desk.to_be_worked() == ()


async def test_a_flapping_reason_waits_for_its_second_sign(file: Path, clock: HandClock) -> None:
    """One failed probe opens nothing, nor does its echo within seconds; the next one does."""
    async with a_store(file, clock=clock) as store:
        probe = fault(reason="Unhealthy")
        first = await take(store, probe)
        clock.advance(1)
        echo = await take(store, probe)
        other = await take(store, fault(reason="FailedMount"))
        clock.advance(10)

        assert (first, echo, other) == ([Decision.PENDING],) * 3
        assert await take(store, probe) == [Decision.OPENED]


async def test_a_second_sign_that_comes_too_late_is_a_first_one(
    file: Path, clock: HandClock
) -> None:
    """Two failed probes an hour apart are two healthy starts."""
    async with a_store(file, clock=clock) as store:
        await take(store, fault(reason="Unhealthy"))
        clock.advance(3600)

        assert await take(store, fault(reason="Unhealthy")) == [Decision.PENDING]


async def test_a_storm_is_one_incident(file: Path, clock: HandClock) -> None:
    """After three incidents of one namespace the rest of the storm is members of one; another
    namespace is not touched by it.
    """
    rules = Rules(storm=3, storm_window=300)
    async with a_store(file, clock=clock) as store:
        storm = await take(store, *[fault(f"lonely{n}") for n in range(7)], rules=rules)
        other = await take(store, fault("lonely9", namespace="test"), rules=rules)
        waiting = await store.desk.to_be_worked()

    assert storm == [Decision.OPENED] * 4 + [Decision.MEMBER] * 3
    assert other == [Decision.OPENED]
    assert len(waiting) == 5


async def test_a_full_queue_refuses_and_says_so(file: Path, clock: HandClock) -> None:
    """Beyond the limit nothing is opened, but what is open is still counted; each is a row."""
    rules = Rules(max_queued=2, storm=0)
    async with a_store(file, clock=clock) as store:
        found = await take(store, *[fault(f"lonely{n}") for n in (1, 2, 3, 1)], rules=rules)

    assert found == [Decision.OPENED, Decision.OPENED, Decision.REFUSED, Decision.JOINED]
    rows = looked_up(file, "SELECT decision, incident_id IS NULL FROM decision ORDER BY id")
    assert rows == [("opened", 0), ("opened", 0), ("refused", 1), ("joined", 0)]


async def test_a_resolved_fault_is_not_investigated(file: Path, clock: HandClock) -> None:
    """What is over before anybody was free for it is done, with a note."""
    async with a_store(file, clock=clock) as store:
        await take(store, fault())
        (found,) = await store.desk.resolve([fault()])
        nothing = await store.desk.resolve([fault("lonely")])

        assert await store.desk.to_be_worked() == ()
        assert found.incident_id is not None
        course = await store.desk.course(found.incident_id)
    assert nothing[0].incident_id is None
    assert course.intake is not None
    assert course.intake["note"] == "resolved before anybody looked"
    assert [each["decision"] for each in course.decisions] == ["opened", "resolved"]


async def test_an_incident_is_over_with_the_last_of_its_alerts(
    file: Path, clock: HandClock
) -> None:
    """The end of one alert leaves the incident to the others, that of a stranger says nothing about
    it, and one that fires again while it is worked takes its end back.
    """
    one, two = fault(fingerprint="a1"), fault("api-6b89888bf6-xxcnz", fingerprint="b2")
    async with a_store(file, clock=clock) as store:
        await take(store, one, two)
        (stranger,) = await store.desk.resolve([fault(fingerprint="c3")])
        (half,) = await store.desk.resolve([one])
        (waiting,) = await store.desk.to_be_worked()
        await store.desk.claim(waiting.id)
        await store.desk.resolve([two])
        over = await store.desk.course(waiting.id)
        found = await take(store, two)
        again = await store.desk.course(waiting.id)

    assert (stranger.decision, half.decision) == (Decision.FILTERED, Decision.RESOLVED)
    assert found == [Decision.JOINED]
    assert over.intake is not None
    assert over.intake["resolved_at"] is not None
    assert again.intake is not None
    assert again.intake["resolved_at"] is None


async def test_the_worst_severity_counts(file: Path, clock: HandClock) -> None:
    """An incident that becomes critical is worked as a critical one; never the other way."""
    async with a_store(file, clock=clock) as store:
        await take(store, fault(severity=Severity.WARNING), fault(severity=Severity.CRITICAL))
        await take(store, fault(severity=Severity.WARNING))
        (waiting,) = await store.desk.to_be_worked()

    assert waiting.severity is Severity.CRITICAL


async def test_claims_are_counted_and_given_back(file: Path, clock: HandClock) -> None:
    """Each claim counts as one try, unless it is given back; one that is done is not claimed."""
    async with a_store(file, clock=clock) as store:
        await take(store, fault())
        (waiting,) = await store.desk.to_be_worked()
        for tries in (0, 1):
            claimed = await store.desk.claim(waiting.id)
            assert claimed is not None
            assert claimed.waiting.tries == tries
        await store.desk.give_back(waiting.id)
        assert (await store.desk.to_be_worked())[0].tries == 1
        assert await store.desk.close(waiting.id, IncidentState.EXPIRED, "too late")
        assert await store.desk.claim(waiting.id) is None


async def test_an_ended_incident_can_wait_again(file: Path, clock: HandClock) -> None:
    """A retry by a person queues it anew, with its tries forgotten; an open one is left alone."""
    async with a_store(file, clock=clock) as store:
        await take(store, fault())
        (waiting,) = await store.desk.to_be_worked()
        assert not await store.desk.wait_again(waiting.id)
        await work(store, clock)

        assert await store.desk.wait_again(waiting.id)
        (again,) = await store.desk.to_be_worked()
    assert (again.id, again.tries) == (waiting.id, 0)


async def test_many_at_once_open_each_incident_once(file: Path, clock: HandClock) -> None:
    """Twenty askers with the same fifty faults open fifty incidents, each counted twenty times."""
    async with a_store(file, clock=clock) as store:

        async def ask() -> None:
            for number in range(50):
                await take(store, fault(f"lonely{number}"))

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask)

    assert looked_up(file, "SELECT count(*), min(occurrences) FROM incident") == [(50, 20)]


async def test_answers_and_feedback_are_kept(file: Path, clock: HandClock) -> None:
    """The first answer under a key stands; feedback hangs on its incident; old things go."""
    async with a_store(file, clock=clock) as store:
        await store.desk.remember("k", "d" * 64, 202, {"a": 1})
        await store.desk.remember("k", "e" * 64, 500, None)
        assert await store.desk.remembered("k") == ("d" * 64, 202, {"a": 1})
        await take(store, fault(), fault(reason="Unhealthy", severity=Severity.INFO))
        (waiting,) = await store.desk.to_be_worked()
        await work(store, clock)
        await store.desk.add_feedback(waiting.id, "wrong", cause="image.not_found", by="sre")

        course = await store.desk.course(waiting.id)
        clock.advance(86_400)
        assert await store.desk.prune(clock()) == 2
        assert await store.desk.remembered("k") is None
    assert [each["verdict"] for each in course.feedback] == ["wrong"]


async def test_an_old_incident_does_not_wait_beside_a_new_one(file: Path, clock: HandClock) -> None:
    """Where another incident is open for the same workload, an ended one is not queued again."""
    async with a_store(file, clock=clock) as store:
        old = an_incident(fingerprint="workload/shop/api")
        attempt = await store.begin(old, agent="builtin")
        attempt = await store.move(attempt, Status.STARTING)
        await store.move(attempt, Status.FAILED, reason=Reason.NO_REPORT)
        await take(store, fault())

        with pytest.raises(AlreadyOpen):
            await store.desk.wait_again(old.id)
