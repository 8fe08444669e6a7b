"""What every agent adapter promises, built in or from a plug-in (`core.ports.Agent`)."""

import ast
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kubecase.agents
from fakes.agent import INCIDENT, TRANSCRIPTS, a_briefing, an_exit, following, recorded
from kubecase.agents.claude import Claude
from kubecase.agents.codex import Codex
from kubecase.agents.command import CommandAgent
from kubecase.agents.gemini import Gemini
from kubecase.agents.goose import Goose
from kubecase.agents.openai_chat import OpenaiChat
from kubecase.agents.opencode import Opencode
from kubecase.agents.options import SHARED_VARIABLES
from kubecase.agents.scripted import Scripted
from kubecase.core.model import Verdict
from kubecase.core.ports import Agent, AgentEvent, Capabilities, Credential, Moment, ToolServer

KEY = "sk-test-000-a-key-that-must-not-be-seen"
CREDENTIAL = Credential(variable="ANTHROPIC_API_KEY", value=KEY)
TOOLS = ToolServer(url="http://127.0.0.1:8183/mcp", token="kubecase-token-of-the-tools")
WORKSPACE = Path("/srv/cases/incident-1")
PRIVATE = Path("/srv/runs/1/private")

ADAPTERS: dict[str, Callable[[], Agent]] = {
    "claude": lambda: Claude(
        program="/opt/claude/claude", model="claude-sonnet-4-5", max_budget_usd=1.5,
        credential=CREDENTIAL, base_url="http://127.0.0.1:8181",
        extra_args=("--effort", "high"),
    ),
    "claude, nothing configured": Claude,
    "command": lambda: CommandAgent(
        argv=("triage", "--deep", "a b; $(touch x)"), extra={"TRIAGE_LEVEL": "3"},
        credential=CREDENTIAL,
    ),
    "codex": lambda: Codex(
        program="/opt/codex", model="gpt-5", credential=CREDENTIAL, tool_server=TOOLS,
        base_url="http://127.0.0.1:8181/v1",
    ),
    "gemini": lambda: Gemini(
        program="/opt/gemini", credential=CREDENTIAL, tool_server=TOOLS,
        base_url="http://127.0.0.1:8181",
    ),
    "goose": lambda: Goose(
        program="/opt/goose", model="gpt-5", credential=CREDENTIAL, tool_server=TOOLS,
        base_url="http://127.0.0.1:8181",
    ),
    "opencode": lambda: Opencode(
        program="/opt/opencode", model="gpt-5", credential=CREDENTIAL, tool_server=TOOLS,
        base_url="http://127.0.0.1:8181/v1",
    ),
    "openai_chat": lambda: OpenaiChat(
        python=sys.executable, model="qwen3:8b", credential=CREDENTIAL, tool_server=TOOLS,
        base_url="http://127.0.0.1:8181/v1",
    ),
    "scripted": lambda: Scripted(python=sys.executable),
    "scripted, plan in a file": lambda: Scripted(python=sys.executable, plan=Path("/p/plan.json")),
}  # fmt: skip


@pytest.fixture(params=ADAPTERS)
def agent(request: pytest.FixtureRequest) -> Agent:
    """Each adapter in turn."""
    return ADAPTERS[request.param]()


def command_of(agent: Agent, prompt: str = "Look into it.\n") -> Any:
    return agent.command(a_briefing(WORKSPACE, prompt=prompt), WORKSPACE, PRIVATE)


def test_an_agent_is_told_what_the_briefing_says_and_what_it_declares(agent: Agent) -> None:
    """The environment is the briefing's plus declared names, and nothing else (req 5.6)."""
    shared = a_briefing(WORKSPACE).environment

    environment = command_of(agent).environment

    assert shared.items() <= environment.items()
    assert environment.keys() - shared.keys() <= agent.variables
    assert agent.variables.isdisjoint(SHARED_VARIABLES)
    assert environment["CLAUDE_READ_ONLY_MODE"] == "true"


def test_no_key_is_in_the_arguments_or_in_a_file(agent: Agent) -> None:
    """A key reaches an agent by its environment alone (req 5.7)."""
    command = command_of(agent)

    assert not any(KEY in argument for argument in command.argv)
    assert not any(KEY.encode() in data for data in command.files.values())
    assert not any(KEY.encode() in data for data in command.private_files.values())
    assert KEY.encode() not in command.stdin
    assert KEY not in repr(command)
    assert KEY not in repr(agent)


def test_the_prompt_goes_in_by_standard_input_alone(agent: Agent) -> None:
    """A prompt of 200 KiB arrives whole and is in no argument (req 7.2)."""
    prompt = "Ünïcode, $(touch x) `y` 'z' \"q\"\n" * 6400
    assert len(prompt.encode()) > 200 * 1024

    command = command_of(agent, prompt)

    assert command.stdin == prompt.encode()
    assert not any(prompt[:40] in argument for argument in command.argv)
    assert sum(len(argument) for argument in command.argv) < 8192


def test_a_prompt_with_half_a_character_is_still_sent(agent: Agent) -> None:
    """A prompt that cannot be encoded does not stop an investigation."""
    assert command_of(agent, "broken \ud800 text").stdin == b"broken ? text"


def test_the_command_is_a_list_of_arguments_and_never_a_shell(agent: Agent) -> None:
    """Nothing that an agent is asked goes through a shell (req 7.1)."""
    argv = command_of(agent).argv

    assert isinstance(argv, tuple)
    assert argv
    assert all(isinstance(argument, str) and "\0" not in argument for argument in argv)
    assert Path(argv[0]).name not in {"sh", "bash", "dash", "env", "zsh"}


def test_an_agent_works_in_its_workspace(agent: Agent) -> None:
    """The working directory is the workspace (req 8.2), and it is asked politely to stop."""
    command = command_of(agent)

    assert command.cwd == WORKSPACE
    assert command.stop_signal in {2, 15}
    assert all("/" not in name and name not in {".", ".."} for name in command.private_files)


def test_the_same_question_gives_the_same_command(agent: Agent) -> None:
    """An adapter is a function of its arguments: no clock, no chance."""
    assert command_of(agent) == command_of(agent)


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "white space": b"  \t ",
    "bytes that are no text": bytes(range(256)),
    "a truncated object": b'{"type":"result","subtype":"succ',
    "a deep list": b"[" * 100_000,
    "a deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a deep object in a known event":
        b'{"type":"assistant","message":{"content":[{"type":"tool_use","name":"x","input":'
        + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}]}}",
    "a long number": b'{"type":"result","num_turns":' + b"9" * 100_000 + b"}",
    "a large number": b'{"type":"result","num_turns":1' + b"0" * 4000 + b',"total_cost_usd":1e999}',
    "not a number": b'{"type":"result","total_cost_usd":NaN,"usage":{"input_tokens":Infinity}}',
    "10 MB of one letter": b"a" * 10_000_000,
    "10 MB of text": b'{"type":"assistant","message":{"content":"' + b"a" * 10_000_000 + b'"}}',
    "7 MB of numbers": b'{"type":"result","errors":[' + b"1," * 3_500_000 + b"1]}",
    "half a character": b'{"type":"result","result":"\\ud800","moment":"message","text":"\\udfff"}',
    "a zero byte": b'{"type":"result","result":"\\u0000","moment":"message","text":"\\u0000"}',
    "another encoding": '{"type":"result"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + b'{"type":"result"}',
}  # fmt: skip


def assert_storable(events: tuple[AgentEvent, ...]) -> None:
    assert isinstance(events, tuple)
    for event in events:
        assert isinstance(event.moment, Moment)
        assert len(event.text) <= 2000
        for text in (event.text, event.tool or ""):
            assert "\0" not in text
            text.encode()


def assert_sayable(sentence: str | None) -> None:
    if sentence is not None:
        assert 0 < len(sentence) <= 1000
        assert "\0" not in sentence
        sentence.encode()


def assert_sound(verdict: Verdict) -> None:
    assert isinstance(verdict, Verdict)
    assert "\0" not in (verdict.report or "") + (verdict.failure or "")
    ((verdict.report or "") + (verdict.failure or "")).encode()
    assert len(verdict.failure or "") <= 2000
    assert len((verdict.model or "") + (verdict.version or "")) <= 400
    assert verdict.denials is None or verdict.denials >= 0
    if verdict.usage is not None:
        counts = (verdict.usage.input_tokens, verdict.usage.output_tokens, verdict.usage.turns)
        assert all(count is None or 0 <= count <= 2**53 for count in counts)
        cost = verdict.usage.cost_usd
        assert cost is None or 0 <= cost <= 2**53


@pytest.mark.parametrize("garbage", GARBAGE)
def test_no_line_is_too_strange(agent: Agent, garbage: str) -> None:
    """Whatever an agent prints, reading it ends soon and without an error (req 21.1)."""
    line = GARBAGE[garbage]
    began = time.process_time()

    assert_storable(agent.events(line))
    assert_sayable(agent.verify_start(line))
    assert_sound(agent.verdict([line, line[:5000]], an_exit()))

    assert time.process_time() - began < 5


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "text", "name", "content", "input", "x"]), inner, max_size=4
    ),
    max_leaves=8,
)  # fmt: skip

FIELDS = (
    "message", "model", "claude_code_version", "permission_denials", "strange",
    "tools", "mcp_servers", "permissionMode", "is_error", "num_turns", "result",
    "errors", "usage", "modelUsage", "total_cost_usd", "api_error_status", "error", "attempt",
    "tool_name", "terminal_reason", "moment", "text", "tool", "verdict", "tag",
)  # fmt: skip
TYPES = st.sampled_from(["init", "system", "assistant", "user", "result", "verdict"])
SUBTYPES = st.sampled_from(["init", "api_retry", "permission_denied", "success", "informational"])

ANY_EVENT = st.fixed_dictionaries(
    {"type": TYPES | ANY_JSON},
    optional={"subtype": SUBTYPES | ANY_JSON, **dict.fromkeys(FIELDS, ANY_JSON)},
)


@given(lines=st.lists(st.binary(max_size=200) | ANY_EVENT.map(lambda e: json.dumps(e).encode()),
                      max_size=5))  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_no_stream_is_too_strange(lines: list[bytes]) -> None:
    """Random bytes and events with values of wrong types never raise, in any adapter."""
    for make in ADAPTERS.values():
        agent = make()
        for line in lines:
            assert_storable(agent.events(line))
            assert_sayable(agent.verify_start(line))
        assert_sound(agent.verdict(iter(lines), an_exit()))
        assert_sound(agent.verdict(lines, an_exit(signal=9)))


@given(seed=st.integers(0, 10), at=st.integers(0, 20_000), flip=st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_one_damaged_byte_is_never_too_much(seed: int, at: int, flip: int) -> None:
    """A recorded stream with one changed byte is still read to its end, in any adapter."""
    stream = bytearray(b"\n".join(recorded("claude", "success")))
    stream[(at + seed * 997) % len(stream)] ^= flip
    lines = bytes(stream).split(b"\n")

    for make in ADAPTERS.values():
        assert_sound(make().verdict(lines, an_exit()))


def test_no_agent_is_given_a_shell_or_the_net(agent: Agent) -> None:
    """A CLI may offer its model the tools of kubecase, and none that runs, writes or fetches."""
    offers = agent.offers
    if offers is None:
        assert agent.name in {"command", "scripted"}
        return

    for tool in (
        "", "Bash", "Write", "Edit", "WebFetch", "WebSearch", "Task", "shell", "exec",
        "exec_command",
        "apply_patch", "functions/exec", "run_shell_command", "write_file", "google_web_search",
        "googleSearch", "bash", "edit", "webfetch", "developer__shell", "web_search", "local_shell",
        "code_interpreter", "mcp", "tool_search", "spawn_agent", "kubectl_read",
    ):  # fmt: skip
        assert not offers.admits(tool)
    assert sum("kubectl_read" in name for name in offers.names) == 1
    assert sum("write_report" in name for name in offers.names) == 1


def test_an_agent_says_what_its_cli_can_do(agent: Agent) -> None:
    """What is known of a CLI is told as facts, the same each time."""
    assert isinstance(agent.capabilities, Capabilities)
    assert agent.capabilities == agent.capabilities


def test_a_line_that_tells_of_no_start_is_no_wrong_start(agent: Agent) -> None:
    """Words, tool calls and ends of any recorded run say nothing against a start."""
    for path in sorted(TRANSCRIPTS.glob("*/*.jsonl")):
        for line in path.read_bytes().splitlines():
            if b'"init"' not in line:
                assert agent.verify_start(line) is None


def test_an_empty_stream_makes_no_claim_of_success(agent: Agent) -> None:
    """An agent that printed nothing has no report from its stream."""
    assert agent.verdict([], an_exit()).report is None


def test_every_adapter_has_a_name_of_its_own() -> None:
    """Names are what settings, rows and metrics show."""
    names = {make().name for make in ADAPTERS.values()}

    assert names == {
        "claude", "codex", "command", "gemini", "goose", "openai_chat", "opencode",
        "scripted",
    }  # fmt: skip


FORBIDDEN = {
    "os", "sys", "io", "subprocess", "socket", "time", "datetime", "random", "secrets", "asyncio",
    "anyio", "threading", "shutil", "tempfile", "signal", "glob", "urllib", "http", "logging",
}  # fmt: skip


def test_the_room_only_thinks() -> None:
    """No adapter can touch a file, a process, a clock or a network."""
    room = Path(kubecase.agents.__file__).parent
    for path in sorted(room.glob("*.py")):
        if path.name == "scripted_program.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.split(".")[0] for name in names}.isdisjoint(FORBIDDEN), path.name
            if isinstance(node, ast.Name):
                assert node.id not in {"open", "exec", "eval", "__import__"}, path.name
            if isinstance(node, ast.Attribute):
                reads = {"read_text", "read_bytes", "write_text", "write_bytes", "resolve", "stat"}
                assert node.attr not in reads | {"exists", "open", "unlink", "mkdir"}, path.name


def test_a_plan_reaches_the_scripted_agent_outside_the_workspace() -> None:
    """What a scripted agent is to do lies beside the run, not in the workspace."""
    command = command_of(following({"do": "exit", "code": 3}))

    assert json.loads(command.private_files["plan.json"])["steps"] == [{"do": "exit", "code": 3}]
    assert str(PRIVATE / "plan.json") in command.argv
    assert command.environment["INCIDENT_ID"] == INCIDENT
