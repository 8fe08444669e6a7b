"""Two agents on one incident: one report with both conclusions, and where they agree."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubecase.core.model import IncidentState, Status
from kubecase.core.ports import Agent
from kubecase.service import Attempts, Panel
from kubecase.service.panel import Order
from kubecase.service.report.opinions import compared
from kubecase.store import Store
from service.workshop import Heard, Shell, an_incident, investigator, shell

pytestmark = pytest.mark.anyio

API = {"kind": "Deployment", "namespace": "shop", "name": "api"}
DATABASE = {"kind": "StatefulSet", "namespace": "shop", "name": "db"}


def says(
    name: str, category: str, culprit: Mapping[str, str] = API, *, first: str = "", more: str = ""
) -> Shell:
    """An agent called `name` that comes to this conclusion, after the shell script `first`."""
    report = {
        "summary": f"{name} looked at it.",
        "hypotheses": [
            {
                "category": category, "root_cause": f"{name} names the cause", "culprit": culprit,
                "confidence": 0.8, "evidence": [], "next_steps": [f"ask {name}"],
            }
        ],
    }  # fmt: skip
    text = json.dumps(report)
    prose = f"# Kubernetes Incident Triage Report by {name}\n" + "It looked at all there is. " * 8
    return shell(
        f"{first}\ncat >/dev/null; printf '%s' '{prose}' >output/investigation.md\n"
        f"printf '%s' '{text}' >output/report.json\n{more}",
        called=name,
    )


def panel(
    tmp_path: Path,
    store: Store,
    heard: Heard,
    *agents: Agent,
    order: Order = "parallel",
    otherwise: Agent | None = None,
) -> Panel:
    def attempts(agent: Agent) -> Attempts:
        made = investigator(tmp_path, store, agent, heard)
        return Attempts(chain=(made,), observer=heard, retries=0)

    return Panel(
        members=[attempts(agent) for agent in agents],
        order=order,
        store=store,
        otherwise=None if otherwise is None else attempts(otherwise),
    )


def machine_of(concluded: Any) -> dict[str, Any]:
    value = json.loads(concluded.reports["json"].read_text())
    assert isinstance(value, dict)
    return value


async def test_two_agents_give_one_report_with_both_opinions(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """Both run at the same time, each in a workspace of its own; the report compares them."""
    meet = tmp_path / "meet"
    meet.mkdir()
    waits = "touch {mine}; while ! [ -e {other} ]; do sleep 0.02; done"
    one = waits.format(mine=meet / "a", other=meet / "b")
    two = waits.format(mine=meet / "b", other=meet / "a")
    first = says("one", "config.missing_key", first=one)
    second = says("two", "config.missing_key", DATABASE, first=two)

    with anyio.fail_after(60):
        concluded = await panel(tmp_path, store, heard, first, second).work(
            an_incident(), anyio.Event()
        )

    assert concluded.investigation.agent == "one"
    machine = machine_of(concluded)
    assert machine["cause"]["by"] == "the agent one"
    (opinion,) = machine["opinions"]
    assert (opinion["agent"], opinion["status"]) == ("two", "success")
    assert opinion["cause"]["root_cause"] == "two names the cause"
    assert opinion["agreement"]["cause"] == "same"
    assert opinion["agreement"]["culprit"] == "different"
    page = concluded.reports["html"].read_text()
    assert "Another opinion, by two" in page
    assert "blame different objects" in concluded.reports["md"].read_text()
    story = await store.story(an_incident().id)
    assert story.incident.state is IncidentState.DONE
    assert [each.investigation.attempt for each in story.attempts] == [1, 2]
    assert len({each.investigation.workspace for each in story.attempts}) == 2


async def test_one_that_fails_leaves_the_opinion_of_the_other(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """The report is that of the agent that succeeded, and says how the other one ended."""
    broken = shell("exit 3", called="one")

    concluded = await panel(tmp_path, store, heard, broken, says("two", "image.not_found")).work(
        an_incident(), anyio.Event()
    )

    assert (concluded.investigation.agent, concluded.succeeded) == ("two", True)
    (opinion,) = machine_of(concluded)["opinions"]
    assert (opinion["agent"], opinion["reason"]) == ("one", "exit_code")
    assert opinion["agreement"]["cause"] == "unknown"


async def test_when_all_fail_the_fallback_is_asked(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """Two failures and a fallback that works: its report stands, with two failed opinions."""
    broken = [shell("exit 3", called="one"), shell("exit 4", called="two")]

    concluded = await panel(
        tmp_path, store, heard, *broken, otherwise=says("three", "image.not_found")
    ).work(an_incident(), anyio.Event())

    assert concluded.investigation.agent == "three"
    assert [each["agent"] for each in machine_of(concluded)["opinions"]] == ["one", "two"]
    assert (await store.story(an_incident().id)).incident.state is IncidentState.DONE


async def test_a_second_opinion_is_told_of_the_first_as_data(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """The second agent finds the first conclusion in a file of its context, and is asked to doubt
    it; the first one never sees that file.
    """
    first = says("one", "config.missing_key", more="ls context >output/artifacts/seen")
    second = says(
        "two", "config.missing_env", more="cp context/opinions.txt PROMPT.md output/artifacts/"
    )

    concluded = await panel(tmp_path, store, heard, first, second, order="second_opinion").work(
        an_incident(), anyio.Event()
    )

    attempts = [each.investigation for each in (await store.story(an_incident().id)).attempts]
    one, two = (each.workspace / "output/artifacts" for each in attempts if each.workspace)
    assert "opinions.txt" not in (one / "seen").read_text()
    told = (two / "opinions.txt").read_text()
    assert "config.missing_key: one names the cause, culprit Deployment/api" in told
    assert "You are asked for a second opinion" in (two / "PROMPT.md").read_text()
    assert machine_of(concluded)["opinions"][0]["agreement"]["cause"] == "related"


async def test_a_request_to_stop_ends_both(tmp_path: Path, store: Store, heard: Heard) -> None:
    """A cancel reaches every agent of the incident, and none is begun after it."""
    stop = anyio.Event()
    started: list[str] = []

    class StopsAtSecond(Heard):
        def record(self, event: str, /, **fields: object) -> None:
            super().record(event, **fields)
            if event == "agent_started":
                started.append(event)
                if len(started) == 2:
                    stop.set()

    agents = [shell("sleep 60", called="one"), shell("sleep 60", called="two")]
    last = says("three", "image.not_found")

    with anyio.fail_after(30):
        await panel(tmp_path, store, StopsAtSecond(), *agents, otherwise=last).work(
            an_incident(), stop
        )

    attempts = [each.investigation for each in (await store.story(an_incident().id)).attempts]
    assert [each.status for each in attempts] == [Status.CANCELLED, Status.CANCELLED]


@pytest.mark.parametrize(
    ("mine", "theirs", "cause", "culprit"),
    [
        (("config.missing_key", API), ("config.missing_key", API), "same", "same"),
        (("config.missing_key", API), ("config.missing_env", DATABASE), "related", "different"),
        (("config.missing_key", None), ("image.not_found", API), "different", "unknown"),
        ((None, API), ("image.not_found", {**API, "kind": "deployment"}), "unknown", "same"),
    ],
)
def test_conclusions_are_compared_by_cause_and_culprit(
    mine: tuple[Any, Any], theirs: tuple[Any, Any], cause: str, culprit: str
) -> None:
    """Same, related, different, or not to be compared: each in a word and in a sentence."""
    found = compared(
        {"category": mine[0], "culprit": mine[1]}, {"category": theirs[0], "culprit": theirs[1]}
    )

    assert (found["cause"], found["culprit"]) == (cause, culprit)
    assert found["words"].endswith(".")


def test_without_a_cause_there_is_nothing_to_compare() -> None:
    """An agent that left nothing neither agrees nor differs."""
    assert compared(None, {"category": "image.not_found", "culprit": API})["cause"] == "unknown"
