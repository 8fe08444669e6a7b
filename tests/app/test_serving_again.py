"""Whoever goes on with a run compares its start with what was asked then, not with what is set."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.agent import recorded
from kubecase.agents.claude import Claude
from kubecase.agents.codex import Codex
from kubecase.agents.gemini import Gemini
from kubecase.app.containment import contain
from kubecase.app.serving import run_server
from kubecase.app.settings import Settings, load
from kubecase.app.wiring import Choice
from kubecase.core.ports import Agent, Offers
from kubecase.gateways.audit import AuditLog
from kubecase.gateways.serving import RunAccess

pytestmark = pytest.mark.anyio

KEYS = {"ANTHROPIC_API_KEY": "sk-000-111", "GEMINI_API_KEY": "k-000-111", "OPENAI_API_KEY": "k-1"}


def settings(tmp_path: Path) -> Settings:
    given = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **KEYS}
    text = f"store: {{data_dir: {tmp_path}/data}}\nagent_runtime: {{isolation: process}}"
    (tmp_path / "kubecase.yaml").write_text(text)
    return load({}, given, None, tmp_path).settings


async def served(
    tmp_path: Path, agent: Agent, *, again: bool, look: Callable[[RunAccess], Any]
) -> Any:
    """What `look` sees of the access of one and the same run, at its begin or at a take-over."""
    found = settings(tmp_path)
    choice = Choice(name=agent.name, agent=agent, why="")
    server = run_server(choice, found, contain(found, trying=False, served=True), None, again=again)
    assert server is not None
    async with server.open(
        agent, run="run-1", cluster="dev", stop=anyio.Event(), files=None, again=again
    ) as access:
        return look(access)


def gemini_start(model: str) -> bytes:
    return json.dumps({"type": "init", "session_id": "s", "model": model}).encode()


async def test_another_model_in_the_settings_is_no_strange_start(tmp_path: Path) -> None:
    """A Gemini run goes on although the service was restarted with another model set."""
    await served(tmp_path, Gemini(model="gemini-2.5-flash"), again=False, look=lambda a: None)

    for now in (Gemini(model="gemini-3-pro"), Gemini()):
        agent = await served(tmp_path, now, again=True, look=lambda access: access.agent)
        assert agent.verify_start(gemini_start("gemini-2.5-flash")) is None
        assert agent.verify_start(gemini_start("gemini-3-pro"))


async def test_other_tools_in_the_settings_are_no_strange_start(tmp_path: Path) -> None:
    """The same for the reading tools of Claude Code, and for what it may offer its model."""
    given = Claude(tools=("Read", "Grep"))
    offers = await served(tmp_path, given, again=False, look=lambda access: access.offers)
    init = json.loads(recorded("claude", "success")[0]) | {"tools": ["Grep", "Read"]}

    agent, known = await served(
        tmp_path, Claude(), again=True, look=lambda access: (access.agent, access.offers)
    )

    assert agent.verify_start(json.dumps(init).encode()) is None
    assert known == offers == given.offers


@pytest.mark.parametrize("asked", [None, [], "x", {"tools": ["Bash"]}, {"tools": "Read"}, {}])
async def test_what_makes_no_sense_there_changes_nothing(tmp_path: Path, asked: Any) -> None:
    """A damaged note of what was asked leaves the agent as it is set, and gives it no shell."""
    await served(tmp_path, Claude(), again=False, look=lambda a: None)
    state = tmp_path / "data/audit/run-1.served.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "asked": asked}))

    assert await served(tmp_path, Claude(), again=True, look=lambda a: a.agent) == Claude()


@pytest.mark.parametrize("offers", [[], "x", {}, {"names": 3, "prefixes": []}, 7])
async def test_damaged_offers_let_nothing_through(tmp_path: Path, offers: Any) -> None:
    """Where it cannot be read what a CLI was given, it was given nothing."""
    await served(tmp_path, Codex(), again=False, look=lambda a: None)
    state = tmp_path / "data/audit/run-1.served.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "offers": offers}))

    assert await served(tmp_path, Codex(), again=True, look=lambda a: a.offers) == Offers(
        names=frozenset()
    )


async def test_a_note_of_an_older_kubecase_is_enough(tmp_path: Path) -> None:
    """Where it was not put down what a CLI may offer, its adapter says it again."""
    await served(tmp_path, Codex(), again=False, look=lambda a: None)
    state = tmp_path / "data/audit/run-1.served.json"
    value = json.loads(state.read_text())
    del value["offers"], value["asked"]
    state.write_text(json.dumps(value))

    assert await served(tmp_path, Codex(), again=True, look=lambda a: a.offers) == Codex().offers


async def test_refused_calls_are_counted_from_the_record(tmp_path: Path) -> None:
    """Of a CLI that does not tell its refusals those of our tools are known, take-over or not."""

    def refuse(access: RunAccess) -> int | None:
        log = AuditLog.open(tmp_path / "data/audit/other.jsonl", tmp_path / "data/answers")
        log.record("tool", tool="kubectl_read", decision="refused")
        log.record("tool", tool="kubectl_read", decision="allowed")
        log.record("cluster", decision="refused")
        log.close()
        access.trail = tmp_path / "data/audit/other.jsonl"
        return access.refused_calls()

    assert await served(tmp_path, Codex(), again=False, look=refuse) == 1
    assert await served(tmp_path, Codex(), again=True, look=refuse) == 2
