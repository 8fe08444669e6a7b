"""Where one agent has failed for good, the next is asked; an agent that keeps failing is not."""

from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from kubecase.app.unavailable import UnavailableAgent
from kubecase.core.errors import AgentUnavailable
from kubecase.core.model import IncidentState, Investigation, Reason, Status, Verdict
from kubecase.core.ports import Agent
from kubecase.service import Attempts, Breaker
from kubecase.service.breaker import Position, judged
from kubecase.store import Store
from kubecase.store.ends import AgentEnd
from service.workshop import LEAVES_REPORT, Heard, an_incident, investigator, now, shell

pytestmark = pytest.mark.anyio

FORBIDDEN = Verdict(report=None, failure="not allowed", reason=Reason.AUTH)
OVERLOADED = Verdict(report=None, failure="overloaded", reason=Reason.QUOTA, transient=True)
SPENT = Verdict(report=None, failure="used up", reason=Reason.BUDGET)
MISSING = UnavailableAgent(name="absent", error=AgentUnavailable("there is no such program"))

fails = shell("exit 1", claim=FORBIDDEN, called="first")
works = shell(LEAVES_REPORT, called="second")


def chain(
    tmp_path: Path, store: Store, heard: Heard, *agents: Agent, breaker: Breaker | None = None
) -> Attempts:
    made = [investigator(tmp_path, store, agent, heard) for agent in agents]
    return Attempts(
        chain=made, observer=heard, retries=1, delay=0.01, breaker=breaker,
        builtin=investigator(tmp_path, store, None, heard),
    )  # fmt: skip


async def on_record(store: Store, number: int = 1) -> list[Investigation]:
    return [each.investigation for each in (await store.story(an_incident(number).id)).attempts]


async def test_the_next_agent_is_asked_when_one_has_failed(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """A refused key of one agent is followed by an attempt of the next, and its report says why."""
    concluded = await chain(tmp_path, store, heard, fails, works).work(an_incident(), anyio.Event())

    assert concluded.investigation.status is Status.SUCCESS
    assert [(each.agent, each.reason) for each in await on_record(store)] == [
        ("first", Reason.AUTH), ("second", None),
    ]  # fmt: skip
    assert "attempt 1 by first failed (auth)" in concluded.reports["md"].read_text()
    assert [told["to"] for told in heard.named("falling_back")] == ["second"]
    assert (await store.story(an_incident().id)).incident.state is IncidentState.DONE


async def test_what_may_pass_is_tried_again_before_another_agent(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """An overloaded model gets its retries first, then the next agent is asked (req 21.7)."""
    busy = shell("exit 1", claim=OVERLOADED, called="first")

    await chain(tmp_path, store, heard, busy, works).work(an_incident(), anyio.Event())

    assert [each.agent for each in await on_record(store)] == ["first", "first", "second"]


async def test_a_program_that_is_not_there_is_no_dead_end(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """An agent that cannot be started at all is followed by the next one."""
    concluded = await chain(tmp_path, store, heard, MISSING, works).work(
        an_incident(), anyio.Event()
    )

    assert concluded.investigation.agent == "second"
    assert concluded.operator_error is None


@pytest.mark.parametrize(
    "agent",
    [
        shell("exit 1", claim=SPENT, called="first"),
        shell(LEAVES_REPORT, called="first"),
    ],
    ids=["budget", "success"],
)
async def test_nobody_else_is_asked_without_need(
    tmp_path: Path, store: Store, heard: Heard, agent: Agent
) -> None:
    """Neither a success nor a used-up budget leads to another agent, which would spend as well."""
    await chain(tmp_path, store, heard, agent, works).work(an_incident(), anyio.Event())

    assert [each.agent for each in await on_record(store)] == ["first"]


async def test_a_cancel_is_the_end_of_all(tmp_path: Path, store: Store, heard: Heard) -> None:
    """Who asked for the end gets it: no other agent follows (req 10.6)."""
    stop = anyio.Event()

    class StopsAtStart(Heard):
        def record(self, event: str, /, **fields: object) -> None:
            super().record(event, **fields)
            if event == "agent_started":
                stop.set()

    observer = StopsAtStart()
    waits = shell("sleep 60", called="first")

    with anyio.fail_after(30):
        await chain(tmp_path, store, observer, waits, works).work(an_incident(), stop)

    assert [(e.agent, e.status) for e in await on_record(store)] == [("first", Status.CANCELLED)]


def ends(*words: str) -> list[AgentEnd]:
    """Ends one minute apart, the latest first and a minute ago."""
    statuses = {"ok": (Status.SUCCESS, None), "slow": (Status.TIMEOUT, None)}
    return [
        AgentEnd(
            status=statuses.get(word, (Status.FAILED, None))[0],
            reason=None if word in statuses else Reason(word),
            ended_at=now() - timedelta(minutes=1 + number),
        )
        for number, word in enumerate(words)
    ]


@pytest.mark.parametrize(
    ("words", "cooldown", "position", "failures"),
    [
        ((), 300, Position.CLOSED, 0),
        (("ok",), 300, Position.CLOSED, 0),
        (("auth", "auth"), 300, Position.CLOSED, 2),
        (("auth", "quota", "slow"), 300, Position.OPEN, 3),
        (("auth", "quota", "slow"), 30, Position.HALF_OPEN, 3),
        (("auth", "ok", "auth"), 300, Position.CLOSED, 1),
    ],
)
def test_the_state_follows_from_the_ends(
    words: tuple[str, ...], cooldown: float, position: Position, failures: int
) -> None:
    """Three in a row open it, a success closes it, and after the pause one probe is let through."""
    state = judged("claude", ends(*words), now(), failures=3, cooldown=cooldown)

    assert (state.position, state.failures) == (position, failures)


async def test_an_agent_that_keeps_failing_is_passed_over(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """After two failures in a row the third incident gets the built-in report at once, with the
    reason; that is told once, and what is on record decides for other processes too.
    """
    breaker = Breaker(store=store, clock=now, failures=2, cooldown=600)
    work = chain(tmp_path, store, heard, fails, breaker=breaker)
    for number in (1, 2):
        await work.work(an_incident(number), anyio.Event())

    concluded = await work.work(an_incident(3), anyio.Event())

    assert concluded.investigation.agent == "builtin"
    assert concluded.investigation.status is Status.SUCCESS
    note = "first was not asked: it failed 2 times in a row (auth, auth)"
    assert note in concluded.reports["md"].read_text().replace("\\", "")
    assert len(heard.named("breaker_opened")) == 1


async def test_a_probe_that_succeeds_closes_the_breaker(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """After the pause one investigation is let through; its success is told as the recovery."""
    breaker = Breaker(store=store, clock=now, failures=1, cooldown=0)
    flag = tmp_path / "repaired"
    agent = shell(f"[ -e {flag} ] || exit 1\n{LEAVES_REPORT}", called="first")
    work = chain(tmp_path, store, heard, agent, breaker=breaker)
    await work.work(an_incident(1), anyio.Event())
    assert (await breaker.state("first")).position is Position.HALF_OPEN
    flag.touch()

    concluded = await work.work(an_incident(2), anyio.Event())

    assert concluded.investigation.agent == "first"
    assert (await breaker.state("first")).position is Position.CLOSED
    assert [told["failures"] for told in heard.named("breaker_closed")] == [1]


async def test_only_one_probe_is_under_way(tmp_path: Path, store: Store, heard: Heard) -> None:
    """While a probe runs, every other incident goes past the agent."""
    breaker = Breaker(store=store, clock=now, failures=1, cooldown=0)
    await chain(tmp_path, store, heard, fails, breaker=breaker).work(an_incident(1), anyio.Event())

    await store.begin(an_incident(2), agent="first")

    assert not (await breaker.state("first")).passes
