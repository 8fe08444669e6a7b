"""What a CLI offers to its model is seen by the gateway, and only what it was given passes."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.model_rig import MODELS, question, rig
from fakes.upstreams import FakeUpstream, Say
from kubecase.core.metering import GatewayRecord, Trouble, corrected
from kubecase.core.model import Reason, Verdict
from kubecase.core.ports import Offers
from kubecase.gateways.audit import verify
from kubecase.gateways.protocols import DIALECTS
from kubecase.gateways.protocols.wire import UNNAMED

pytestmark = pytest.mark.anyio

SAY = Say("It is the database.")
MESSAGES, RESPONSES, CHAT = "/v1/messages", "/v1/responses", "/v1/chat/completions"
GENERATE = "/v1beta/models/gemini-2.5-pro:generateContent"
GIVEN = Offers(names=frozenset({"Read", "mcp__k8s/kubectl_read", "k8s_read"}), prefixes=("own_",))
FUNCTION = {"type": "function", "name": "k8s_read"}

NAMED: list[tuple[str, Any, list[str]]] = [
    (MESSAGES, {"tools": [{"name": "Read"}, {"type": "custom", "name": "x"}]}, ["Read", "x"]),
    (MESSAGES, {"tools": [{"type": None, "name": "Read"}]}, ["Read"]),
    (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "Read"}]},
     ["web_search_20250305"]),
    (MESSAGES, {"tools": [{"type": "bash_20250124", "name": "bash"}]}, ["bash_20250124"]),
    (MESSAGES, {"tools": {"name": "Bash"}}, ["Bash"]),
    (MESSAGES, {"tools": [{}, "Bash", 7, None, {"name": ""}, {"name": 7}]}, [UNNAMED] * 6),
    (RESPONSES, {"tools": [FUNCTION, {"type": "custom", "name": "apply_patch"}]},
     ["k8s_read", "apply_patch"]),
    (RESPONSES, {"tools": [{"type": "web_search"}, {"type": "local_shell", "name": "k8s_read"}]},
     ["web_search", "local_shell"]),
    (RESPONSES, {"tools": [{"type": "namespace", "name": "mcp__k8s", "tools": [
        {"type": "function", "name": "kubectl_read"}]}]}, ["mcp__k8s/kubectl_read"]),
    (RESPONSES, {"tools": [{"type": "namespace", "name": "a", "tools": [
        {"type": "namespace", "name": "b", "tools": [FUNCTION]}]}]}, ["a/b/k8s_read"]),
    (RESPONSES, {"tools": [{"type": "namespace", "tools": [{"type": "code_interpreter"}]}]},
     [f"{UNNAMED}/code_interpreter"]),
    (RESPONSES, {"input": [{"type": "additional_tools", "tools": [
        {"type": "custom", "name": "exec"}]}]}, ["exec"]),
    (RESPONSES, {"input": [{"type": "tool_search_output", "tools": [FUNCTION]}]}, ["k8s_read"]),
    (RESPONSES, {"tools": [{"type": 7}, {}, "x", {"type": "function"}]}, [UNNAMED] * 4),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "k8s_read"}}]}, ["k8s_read"]),
    (CHAT, {"tools": [{"type": "function", "name": "k8s_read", "function": {"name": "bash"}}]},
     ["k8s_read", "bash"]),
    (CHAT, {"tools": [{"type": "custom", "custom": {"name": "bash"}}]}, ["bash"]),
    (CHAT, {"functions": [{"name": "bash"}, {}]}, ["bash", UNNAMED]),
    (CHAT, {"tools": [{"type": "function", "function": "bash"}]}, [UNNAMED]),
    (GENERATE, {"tools": [{"functionDeclarations": [{"name": "a"}, {"name": "b"}]}]}, ["a", "b"]),
    (GENERATE, {"tools": [{"function_declarations": {"name": "a"}}]}, ["a"]),
    (GENERATE, {"tools": {"functionDeclarations": [{"name": "a"}]}}, ["a"]),
    (GENERATE, {"tools": [{"googleSearch": {}}, {"code_execution": {}}]},
     ["googleSearch", "code_execution"]),
    (GENERATE, {"tools": [{"functionDeclarations": [{}]}, "x"]}, [UNNAMED, UNNAMED]),
    (GENERATE, {"generateContentRequest": {"tools": [{"urlContext": {}}]}}, ["urlContext"]),
    (GENERATE, {}, []),
    (CHAT, {"tools": None}, []),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "names"), NAMED)
def test_every_offered_tool_has_a_name(path: str, body: Any, names: list[str]) -> None:
    """Tools are named as the model is told them, the vendor's own by their type, in any place."""
    assert sorted(DIALECTS[MODELS[path][0]].offered(body)) == sorted(names)


@given(body=st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([
        "tools", "type", "name", "function", "input", "functions", "functionDeclarations",
        "generateContentRequest", "namespace",
    ]), inner, max_size=4), max_leaves=20,
).filter(lambda value: isinstance(value, dict)))  # fmt: skip
def test_no_request_is_too_strange(body: dict[str, Any]) -> None:
    """Whatever a request holds, names of tools are read from it without an error."""
    for dialect in DIALECTS.values():
        assert all(isinstance(name, str) and name for name in dialect.offered(body) if name != "")


ALLOWED: list[tuple[str, Any]] = [
    (MESSAGES, {"tools": [{"name": "Read", "input_schema": {}}]}),
    (RESPONSES, {"tools": [{"type": "namespace", "name": "mcp__k8s", "tools": [
        {"type": "function", "name": "kubectl_read"}]}]}),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "own_anything"}}]}),
    (GENERATE, {"tools": [{"functionDeclarations": [{"name": "k8s_read"}]}]}),
    (CHAT, {}),
]  # fmt: skip
REFUSED: list[tuple[str, Any, str]] = [
    (MESSAGES, {"tools": [{"name": "Read"}, {"name": "Bash"}]}, "Bash"),
    (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "Read"}]}, "web_search_20250305"),
    (RESPONSES, {"tools": [{"type": "web_search"}]}, "web_search"),
    (RESPONSES, {"tools": [{"type": "function", "name": "kubectl_read"}]}, "kubectl_read"),
    (RESPONSES, {"input": [{"type": "additional_tools", "tools": [
        {"type": "namespace", "name": "functions", "tools": [
            {"type": "custom", "name": "exec"}]}]}]}, "functions/exec"),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "developer__shell"}}]},
     "developer__shell"),
    (GENERATE, {"tools": [{"functionDeclarations": [{"name": "run_shell_command"}]}]},
     "run_shell_command"),
    (GENERATE, {"tools": [{"codeExecution": {}}]}, "codeExecution"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "more"), ALLOWED)
async def test_what_the_cli_was_given_passes(path: str, more: Any, tmp_path: Path) -> None:
    """Tools that are on the list, or begin like one that is, are handed on as they came."""
    body = {**question(path, streamed=False), **more}
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, MODELS[path][0], offers=GIVEN) as ran:
            status, _, _ = await ran.ask(path, body=body)
            record = ran.record

    assert (status, record.strange) == (200, None)
    assert record.models == (MODELS[path][1],)
    assert json.loads(upstream.asked[0].body) == body


@pytest.mark.parametrize(("path", "more", "tool"), REFUSED)
async def test_any_other_tool_ends_the_run(path: str, more: Any, tool: str, tmp_path: Path) -> None:
    """A request with a tool that the CLI was not given is not handed on, is on record by its name,
    and nothing more is let through.
    """
    body = {**question(path, streamed=False), **more}
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, MODELS[path][0], offers=GIVEN) as ran:
            status, told, _ = await ran.ask(path, body=body)
            again, _, _ = await ran.ask(path, streamed=False)
            record, lines, heard = ran.record, ran.lines, ran.told

    assert (status, again) == (ran_refusal(path), ran_refusal(path))
    assert tool in json.loads(told)["error"]["message"]
    assert upstream.asked == []
    assert [(each.trouble, each.ends_run) for each in heard] == [(Trouble.TOOLS, True)]
    assert [(line["decision"], line["trouble"]) for line in lines] == [("refused", "tools")] * 2
    assert all(repr(tool) in line["reason"] for line in lines)
    assert (lines[0]["model"], record.turns, record.cost_usd) == (MODELS[path][1], 0, 0)
    verdict = corrected(Verdict(report=None), record)
    assert verdict.reason is Reason.START_ERROR
    assert repr(tool) in str(verdict.failure)
    assert verify(tmp_path / "audit" / "run.jsonl").holds


def ran_refusal(path: str) -> int:
    return DIALECTS[MODELS[path][0]].refusal


async def test_counting_with_another_tool_ends_it_too(tmp_path: Path) -> None:
    """A CLI that only counts the tokens of a tool has it all the same."""
    body = {**question(MESSAGES, streamed=False), "tools": [{"name": "Bash"}]}
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, offers=GIVEN) as ran:
            status, _, _ = await ran.ask("/v1/messages/count_tokens", body=body)
            assert ran.record.strange is not None

    assert (status, upstream.others) == (403, [])


async def test_who_takes_over_lets_nothing_through_either(tmp_path: Path) -> None:
    """A run that was ended for its tools stays ended behind another gateway."""
    record = GatewayRecord(strange="kubecase: the CLI offers its model 'Bash'")
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, record=record, offers=GIVEN) as ran:
            status, told, _ = await ran.ask()

    assert status == 403
    assert "'Bash'" in json.loads(told)["error"]["message"]
    assert upstream.asked == []


async def test_where_nothing_is_known_nothing_is_compared(tmp_path: Path) -> None:
    """An adapter that does not say what its CLI offers is served all the same."""
    body = {**question(MESSAGES, streamed=False), "tools": [{"name": "Anything"}]}
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            assert (await ran.ask(body=body))[0] == 200


async def test_names_are_bounded(tmp_path: Path) -> None:
    """Thousands of tools are refused, and a name of a mile is not repeated whole."""
    many = [{"name": f"own_{number}"} for number in range(600)]
    long = [{"name": "x" * 100_000}]
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, offers=GIVEN) as ran:
            body = {**question(MESSAGES, streamed=False), "tools": many}
            status, told, _ = await ran.ask(body=body)
            assert (status, ran.record.strange) == (400, None)
            assert "500 tools" in json.loads(told)["error"]["message"]
            body["tools"] = long
            status, told, _ = await ran.ask(body=body)
            assert len(told) < 500
            assert len(str(ran.record.strange)) < 200

    assert upstream.asked == []
