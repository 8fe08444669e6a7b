"""An agent that did not start as it was asked to is stopped, and nobody has cancelled it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.agent import following, recorded
from kubecase.agents.claude import Claude
from kubecase.core.model import Cause, Investigation, Reason, Status
from kubecase.core.ports import Agent, Credential
from kubecase.store import Owner, Store
from service.workshop import Heard, an_incident, investigator

pytestmark = pytest.mark.anyio

SENTENCE = "it started with other tools than it was given: Bash should not be there"
STRANGE = {"do": "emit", "lines": [{"strange": SENTENCE}]}
FOR_EVER = {"do": "sleep", "seconds": 600}
REPORT = {"do": "report"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    path = tmp_path / "data" / "kubecase.db"
    async with Store.open(path, owner=Owner.current(), observer=Heard()) as opened:
        yield opened


async def ended(root: Path, store: Store, agent: Agent, **changes: Any) -> Investigation:
    with anyio.fail_after(60):
        concluded = await investigator(root, store, agent, Heard(), **changes).investigate(
            an_incident(), anyio.Event()
        )
    assert sorted(concluded.reports) == ["html", "json", "md"]
    return concluded.investigation


def wrongly_started(done: Investigation) -> bool:
    return (done.status, done.reason) == (Status.FAILED, Reason.START_ERROR)


async def test_it_is_stopped_at_once_and_its_difference_is_named(
    tmp_path: Path, store: Store
) -> None:
    """A start with another tool ends a run that would go on for ever, as failed, by its name."""
    done = await ended(tmp_path, store, following(REPORT, STRANGE, FOR_EVER))

    assert wrongly_started(done)
    assert done.error == f"agent execution error: {SENTENCE}"
    assert done.exit is not None
    assert (done.exit.cause, done.exit.clean) == (Cause.STOP_REQUESTED, True)


async def test_one_that_ends_by_itself_is_no_success(tmp_path: Path, store: Store) -> None:
    """However quick it is, and whatever it leaves, a run that began strangely has failed."""
    assert wrongly_started(await ended(tmp_path, store, following(REPORT, STRANGE)))


@pytest.mark.parametrize("code", [1, 10, 11, 12])
async def test_no_exit_code_says_otherwise(tmp_path: Path, store: Store, code: int) -> None:
    """An agreed exit code does not hide how an agent began."""
    agent = following(STRANGE, {"do": "trap", "signal": "INT", "marker": "m", "exit": code},
                      {"do": "exit", "code": code})  # fmt: skip

    assert wrongly_started(await ended(tmp_path, store, agent, exit_classes=True))


async def test_no_flood_hides_it(tmp_path: Path, store: Store) -> None:
    """The line is found among more lines than are read for people."""
    many = {"do": "emit", "lines": [f"line {number}" for number in range(5000)]}

    assert wrongly_started(await ended(tmp_path, store, following(many, STRANGE, many, FOR_EVER)))


async def test_a_cancel_that_came_first_stands(tmp_path: Path, store: Store) -> None:
    """Who stops an investigation is told that it was stopped, whatever the agent says after it."""
    stop, heard = anyio.Event(), Heard()
    agent = following(
        {"do": "ignore", "signals": ["INT"]},
        {"do": "emit", "lines": [{"moment": "started", "text": "here"}]},
        {"do": "wait_for", "path": "go", "seconds": 30}, STRANGE, FOR_EVER,
    )  # fmt: skip
    work = investigator(tmp_path, store, agent, heard)
    case, found = an_incident(), []

    async def investigate() -> None:
        found.append(await work.investigate(case, stop))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as both:
            both.start_soon(investigate)
            while not heard.named("agent_event"):
                await anyio.sleep(0.01)
            stop.set()
            (tmp_path / "workspaces" / f"incident-{case.id}" / "go").touch()

    assert found[0].investigation.status is Status.CANCELLED


CLI = """#!/bin/sh
cat > /dev/null
echo '%s'
exec sleep 600
"""


async def test_claude_is_stopped_by_its_first_line(tmp_path: Path, store: Store) -> None:
    """A Claude Code that loads a shell, since its settings were dropped, does not get to a tool."""
    init = json.loads(recorded("claude", "success")[0])
    program = tmp_path / "claude"
    program.write_text(CLI % json.dumps(init))
    program.chmod(0o700)
    key = Credential(variable="ANTHROPIC_API_KEY", value="sk-000")

    done = await ended(tmp_path, store, Claude(program=str(program), credential=key))

    assert wrongly_started(done)
    assert "Bash should not be there" in str(done.error)
