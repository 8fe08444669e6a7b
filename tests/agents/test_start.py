"""A CLI that did not start as it was asked to is known by its first line."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fakes.agent import an_exit, recorded
from kubecase.agents.claude import Claude
from kubecase.agents.claude_start import TESTED
from kubecase.agents.gemini import Gemini
from kubecase.core.model import Reason
from kubecase.core.ports import ToolServer

SERVED = Claude(tool_server=ToolServer(url="http://127.0.0.1:1/mcp", token="t"))
OURS = [f"mcp__k8s__{tool}" for tool in ("kubectl_read", "read_context", "write_report")]
CONNECTED = {"name": "k8s", "status": "connected", "source": "dynamic"}


def init(**changes: Any) -> bytes:
    """The first event of the recorded run with our server, as this adapter would ask for it."""
    event = json.loads(recorded("claude", "mcp-only")[0])
    event |= {"tools": ["Read", *OURS], "mcp_servers": [CONNECTED], **changes}
    return json.dumps({key: value for key, value in event.items() if value is not None}).encode()


def test_a_start_as_asked_for_is_no_difference() -> None:
    """What the real program says of a good start is accepted, in any order of the tools."""
    assert SERVED.verify_start(init()) is None
    assert SERVED.verify_start(init(tools=[*reversed(OURS), "Read"])) is None
    assert Claude().verify_start(init(tools=["Read"], mcp_servers=[])) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"permissionMode": "bypassPermissions"}, "permission mode dontAsk, but in bypassPermiss"),
        ({"permissionMode": None}, "permission mode dontAsk, but in none"),
        ({"tools": ["Read", "Bash", *OURS]}, "other tools than it was given: Bash should not be"),
        ({"tools": ["Read", *OURS[:2]]}, "mcp__k8s__write_report should be there"),
        ({"tools": ["Read", *OURS, *"abcdefgh"]}, "a, b, c, d, e and more should not be there"),
        ({"tools": "Read"}, "it did not say which"),
        ({"tools": None}, "it did not say which"),
        ({"mcp_servers": [{**CONNECTED, "status": "failed"}]}, "k8s is failed"),
        ({"mcp_servers": [{"name": "k8s"}]}, "k8s is in no known state"),
        ({"mcp_servers": [CONNECTED, {**CONNECTED, "name": "evil"}]}, "evil should not be there"),
        ({"mcp_servers": []}, "k8s should be there"),
        ({"mcp_servers": None}, "it did not say which"),
        ({"mcp_servers": [CONNECTED] * 101}, "it did not say which"),
        ({"claude_code_version": "2.1.197"}, "version 2.1.197, which kubecase was not tested with"),
        ({"claude_code_version": "3.0.0"}, "version 3.0.0"),
        ({"claude_code_version": "new"}, "version new"),
        ({"claude_code_version": 2}, "version 2"),
    ],
)
def test_one_difference_is_named(changes: dict[str, Any], words: str) -> None:
    """Another mode, tool, server or version is told in a sentence that names it."""
    sentence = SERVED.verify_start(init(**changes))

    assert words in str(sentence)
    verdict = SERVED.verdict([init(**changes), *recorded("claude", "mcp-only")[1:]], an_exit())
    assert (verdict.reason, verdict.failure, verdict.report) == (
        Reason.START_ERROR, sentence, None,
    )  # fmt: skip


@pytest.mark.parametrize("version", ["2.1.330", "2.1.331", "2.9.0", "2.1.330-beta.1", None])
def test_versions_near_the_tested_one_are_taken(version: str | None) -> None:
    """A weekly update does not end every investigation, and one that says nothing is no other."""
    assert TESTED[0] == (2, 1, 330)
    assert SERVED.verify_start(init(claude_code_version=version)) is None


def test_the_end_tells_model_and_version_and_refusals() -> None:
    """Reports can name what was really run, and how often it was refused something."""
    shell = replace(Claude(), tools=("Read",))
    verdict = shell.verdict(recorded("claude", "permission-denied"), an_exit())

    assert (verdict.model, verdict.version) == ("claude-sonnet-4-5", "2.1.330")
    assert verdict.denials == len(
        json.loads(recorded("claude", "permission-denied")[-1])["permission_denials"]
    )
    assert verdict.denials


def test_gemini_says_which_model_it_asks() -> None:
    """A Gemini CLI that starts with another model than the one asked for has failed."""
    stream = recorded("gemini", "success")
    other = Gemini(model="gemini-2.5-flash")

    assert [Gemini().verify_start(line) for line in stream] == [None] * len(stream)
    sentence = other.verify_start(stream[0])
    assert sentence == "gemini started with the model gemini-2.5-pro in place of gemini-2.5-flash"
    verdict = other.verdict(stream, an_exit())
    assert (verdict.reason, verdict.failure, verdict.report) == (
        Reason.START_ERROR, sentence, None,
    )  # fmt: skip
    assert Gemini().verdict(stream, an_exit()).model == "gemini-2.5-pro"
    assert "of no name" in str(Gemini().verify_start(b'{"type":"init"}'))


def test_a_gemini_that_says_nothing_of_its_start_is_no_success() -> None:
    """A good end without the first event is not taken: nobody knows what ran."""
    verdict = Gemini().verdict(recorded("gemini", "success")[1:], an_exit())

    assert verdict.reason is Reason.START_ERROR
    assert verdict.failure == "gemini did not say how it was started"
