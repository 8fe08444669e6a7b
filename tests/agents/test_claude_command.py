"""How Claude Code is asked: arguments, settings, environment, and what is refused."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.agent import RULE, a_briefing, a_player, an_exit, recorded
from kubecase.agents import AgentSettings
from kubecase.agents.claude import SWITCHES, Claude
from kubecase.agents.readonly import claude_settings, claude_settings_findings
from kubecase.core.errors import AgentUnavailable
from kubecase.core.model import Command
from kubecase.core.ports import Credential

KEY = Credential(variable="ANTHROPIC_API_KEY", value="sk-test-000")
WORKSPACE = Path("/srv/cases/incident-1")
PRIVATE = Path("/srv/runs/1/private")


def command_of(agent: Claude, workspace: Path = WORKSPACE) -> Command:
    return agent.command(a_briefing(workspace), workspace, PRIVATE)


def option(command: Command, name: str) -> str:
    """The one value of an option that is given exactly once."""
    assert command.argv.count(name) == 1
    return command.argv[command.argv.index(name) + 1]


def test_the_arguments_are_the_hardened_ones() -> None:
    """The whole command, word by word: headless, streamed, confined, one tool (req 7.3)."""
    agent = Claude(model="claude-sonnet-4-5", max_turns=7, max_budget_usd=1.5, credential=KEY)

    assert command_of(agent).argv == (
        "claude", "-p", "--output-format", "stream-json", "--verbose", "--restricted",
        "--tools", "Read",
        "--allowedTools", "Read(./**)",
        "--disallowedTools",
        ("Agent,Bash,CronCreate,CronDelete,Edit,EnterWorktree,ExitWorktree,Monitor,NotebookEdit,"
         "ScheduleWakeup,SendMessage,Skill,Task,WebFetch,WebSearch,Workflow,Write"),
        "--permission-mode", "dontAsk",
        "--settings", "/srv/runs/1/private/settings.json",
        "--setting-sources", "",
        "--strict-mcp-config", "--mcp-config", "/srv/runs/1/private/mcp.json",
        "--disable-slash-commands", "--no-session-persistence",
        "--session-id", "2f154c2b-9e89-5a58-b815-1dd83f6335a6",
        "--append-system-prompt-file", "/srv/runs/1/private/system.md",
        "--max-turns", "7", "--max-budget-usd", "1.5000", "--model", "claude-sonnet-4-5",
    )  # fmt: skip


def test_skills_come_as_a_plugin_and_with_the_tool_that_reads_them() -> None:
    """With skills it has Skill and a plugin that holds nothing else, and nothing more (req 4.2)."""
    briefing = a_briefing(WORKSPACE, skills=("kubernetes-triage",))
    without = command_of(Claude())
    command = Claude().command(briefing, WORKSPACE, PRIVATE)

    added = {"--plugin-dir", "/srv/cases/incident-1/.claude", "Read,Skill"}
    denied = option(without, "--disallowedTools").replace("Skill,", "")
    assert set(command.argv) - set(without.argv) == {*added, denied}
    assert option(command, "--plugin-dir") == "/srv/cases/incident-1/.claude"
    assert option(command, "--tools") == "Read,Skill"
    assert option(command, "--setting-sources") == ""
    assert set(command.files) == {".claude/.claude-plugin/plugin.json"}
    manifest = json.loads(command.files[".claude/.claude-plugin/plugin.json"])
    assert set(manifest) == {"name", "version", "description"}
    rules = json.loads(command.private_files["settings.json"])
    assert claude_settings_findings(rules) == ()
    assert {"Skill(doctor)", "Skill(plugin-authoring)", "Bash"} <= set(rules["permissions"]["deny"])
    assert "Skill" not in rules["permissions"]["deny"]


def test_no_tool_that_writes_or_runs_is_allowed() -> None:
    """Neither a shell nor an editor is among the tools, by name or by rule (req 7.4)."""
    command = command_of(Claude())

    for name in ("--tools", "--allowedTools"):
        for tool in ("Bash", "Write", "Edit", "Task", "WebFetch"):
            assert tool not in option(command, name)
    for tool in ("Bash", "Write", "Edit", "WebFetch"):
        assert tool in option(command, "--disallowedTools").split(",")
    assert not any("dangerously" in argument or "bypass" in argument for argument in command.argv)


def test_the_rule_reaches_the_agent_outside_its_workspace() -> None:
    """The read-only rule is the system prompt, in a file that the agent cannot change (req 7.5)."""
    command = command_of(Claude())

    assert command.private_files["system.md"] == RULE.encode()
    assert option(command, "--append-system-prompt-file") == str(PRIVATE / "system.md")
    assert not command.files


def test_each_attempt_has_a_session_of_its_own() -> None:
    """The same attempt has the same session id, another attempt another one."""
    first = option(command_of(Claude()), "--session-id")
    again = option(command_of(Claude()), "--session-id")
    second = option(command_of(Claude(), Path("/srv/cases/incident-1-attempt-2")), "--session-id")

    assert first == again != second
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first)


def test_the_environment_switches_off_what_nobody_asked_for() -> None:
    """Updates, telemetry, background work and file mentions are off, retries are few."""
    environment = command_of(Claude(credential=KEY, base_url="http://127.0.0.1:9")).environment

    assert SWITCHES.items() <= environment.items()
    assert environment["DISABLE_AUTOUPDATER"] == "1"
    assert environment["CLAUDE_CODE_DISABLE_FILE_MENTIONS"] == "1"
    assert environment["CLAUDE_CODE_MAX_RETRIES"] == "3"
    assert environment["ANTHROPIC_API_KEY"] == "sk-test-000"
    assert environment["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9"
    assert "ANTHROPIC_API_KEY" not in command_of(Claude()).environment


def test_a_key_under_another_name_reaches_claude_under_its_own() -> None:
    """CLAUDE_API_KEY is handed over as the name that the program reads (req 5.7)."""
    agent = Claude(credential=Credential(variable="CLAUDE_API_KEY", value="sk-test-1"))

    environment = command_of(agent).environment

    assert environment["ANTHROPIC_API_KEY"] == "sk-test-1"
    assert "CLAUDE_API_KEY" not in environment


def test_the_settings_deny_what_is_not_the_case() -> None:
    """System places and the home are denied once more, the workspace never is (req 13.5)."""
    denied = claude_settings(WORKSPACE, Path("/srv/runs/1/home"))["permissions"]["deny"]
    at_home = claude_settings(Path("/home/u/cases/incident-1"), Path("/home/u"))
    as_root = claude_settings(Path("/root/cases/incident-1"), None)

    assert {"Read(//etc/**)", "Read(//proc/**)", "Read(~/**)", "Bash", "Write"} <= set(denied)
    assert "Read(//home/**)" not in at_home["permissions"]["deny"]
    assert "Read(~/**)" not in at_home["permissions"]["deny"]
    assert "Read(//root/**)" not in as_root["permissions"]["deny"]
    assert "Read(//etc/**)" in as_root["permissions"]["deny"]


def test_the_settings_written_are_the_settings_checked() -> None:
    """What the program is given passes the check for values that it would drop in silence."""
    written = json.loads(command_of(Claude()).private_files["settings.json"])

    assert claude_settings_findings(written) == ()
    assert written["permissions"]["disableBypassPermissionsMode"] == "disable"


@pytest.mark.parametrize(
    "change",
    [
        {"allow": "Read"}, {"deny": None}, {"deny": {"Bash": True}}, {"deny": ["Bash", 1]},
        {"deny": [""]}, {"deny": ["Read("]}, {"deny": ["Read(a)(b)"]}, {"allow": ["Bash(a;b"]},
        {"defaultMode": "nonsense"}, {"defaultMode": "bypassPermissions"},
        {"disableBypassPermissionsMode": True}, {"more": 1},
    ],
)  # fmt: skip
def test_settings_that_would_be_dropped_are_found(change: dict[str, Any]) -> None:
    """One wrong value would switch off every rule, so it is found before the start."""
    settings = claude_settings(WORKSPACE, None)
    wrong = {"permissions": {**settings["permissions"], **change}}

    assert claude_settings_findings(wrong)
    assert claude_settings_findings({**settings, "hooks": {}})
    assert claude_settings_findings([])


@pytest.mark.parametrize(
    "wrong",
    [
        {"program": " "}, {"program": "a\0b"}, {"model": ""}, {"model": "--help"},
        {"max_turns": 0}, {"max_budget_usd": 0}, {"max_budget_usd": -1.0},
        {"max_budget_usd": float("nan")}, {"max_budget_usd": float("inf")}, {"base_url": "file:///etc/passwd"},
        {"base_url": "http://user:secret@host/"}, {"base_url": "http://host/a b"},
        {"tools": ("Bash",)}, {"tools": ("Read", "Write")}, {"tools": ("Bash(kubectl get:*)",)},
        {"tools": ("read",)},
        {"extra_args": ("--dangerously-skip-permissions",)},
        {"extra_args": ("--permission-mode=bypassPermissions",)},
        {"extra_args": ("--add-dir", "/")}, {"extra_args": ("--settings", "{}")},
        {"extra_args": ("--allowedTools", "Bash")}, {"extra_args": ("say hello",)},
        {"extra_args": ("--effort",)}, {"extra_args": ("--effort", "--add-dir")},
        {"extra_args": ("--effort", "high", "and a prompt")},
        {"extra_args": ("--include-partial-messages=x",)}, {"extra_args": ("--",)},
        {"extra_args": ("--effort=",)},
    ],
    ids=str,
)  # fmt: skip
def test_what_would_loosen_the_rules_or_not_start_is_refused(wrong: dict[str, Any]) -> None:
    """A setting that cannot work, or would open a door, is refused with its remedy."""
    with pytest.raises(AgentUnavailable, match=r"^cannot ") as caught:
        Claude(**wrong)

    assert caught.value.hint
    assert "secret" not in str(caught.value) + caught.value.hint


def test_harmless_extra_options_are_passed_on() -> None:
    """Options that loosen nothing are appended as they are (req 7.6)."""
    extra = ("--effort", "high", "--fallback-model=claude-haiku-4-5", "--include-partial-messages")

    assert command_of(Claude(extra_args=extra)).argv[-4:] == extra


def test_the_configuration_reaches_the_adapter() -> None:
    """Every setting that concerns claude is taken over, and the rest has a default."""
    options = AgentSettings(
        program="/opt/claude", model="m", max_turns=3, max_budget_usd=0.25, credential=KEY,
        base_url="http://127.0.0.1:1", extra_args=("--effort", "low"),
        allowed_tools=("Read", "Grep"),
    )  # fmt: skip

    agent = Claude.configured(options)
    plain = Claude.configured(AgentSettings(credential=KEY))

    assert agent == Claude(
        program="/opt/claude", model="m", max_turns=3, max_budget_usd=0.25, credential=KEY,
        base_url="http://127.0.0.1:1", extra_args=("--effort", "low"), tools=("Read", "Grep"),
    )  # fmt: skip
    assert plain == Claude(credential=KEY)
    assert command_of(agent).read_only_paths == (Path("/opt/claude"),)


@pytest.mark.parametrize("credential", [None, replace(KEY, value="")])
def test_without_a_key_it_says_which_one_to_set(credential: Credential | None) -> None:
    """A missing key is told before anything is started, with the name to set (req 21.6)."""
    with pytest.raises(AgentUnavailable, match="cannot use the agent claude") as caught:
        Claude.configured(AgentSettings(credential=credential))

    assert "ANTHROPIC_API_KEY" in str(caught.value.hint)
    assert "CLAUDE_API_KEY" in str(caught.value.hint)
    assert "AGENT_RUNTIME_COMMAND" in str(caught.value.hint)
    assert "agent_command" in str(caught.value.hint)


def test_a_tool_that_does_not_only_read_is_refused_by_name() -> None:
    """The operator is told which tool was refused and which ones there are."""
    with pytest.raises(AgentUnavailable, match="the tool 'Bash' to claude") as caught:
        Claude.configured(AgentSettings(credential=KEY, allowed_tools=("Bash",)))

    assert "AGENT_RUNTIME_ALLOWED_TOOLS" in str(caught.value.hint)
    assert "Glob, Grep, Read" in str(caught.value.hint)


def test_a_program_called_claude_gets_exactly_what_was_built(tmp_path: Path) -> None:
    """A stand-in on PATH sees the arguments, the prompt and the environment, and no more (7.1)."""
    player = a_player(tmp_path / "bin", "claude", recorded("claude", "slash-prompt-trap"))
    workspace = tmp_path / "incident-1"
    workspace.mkdir()
    briefing = a_briefing(workspace, path=str(player.parent), prompt="Ünd nun?\n" * 30_000)
    agent = Claude(credential=KEY)
    command = agent.command(briefing, workspace, tmp_path / "private")

    # A runtime starts what a command says and adds nothing; PATH is the command's own.
    done = subprocess.run(
        command.argv, executable=str(player), cwd=command.cwd, env=dict(command.environment),
        input=command.stdin, capture_output=True, timeout=30,
    )  # fmt: skip

    seen = json.loads((player.parent / "seen.json").read_text())
    assert seen["argv"][1:] == list(command.argv[1:])
    assert seen["prompt"] == briefing.user_prompt
    assert seen["cwd"] == str(workspace)
    assert {k: v for k, v in seen["env"].items() if k in agent.variables | {"PATH", "HOME"}} == {
        k: v for k, v in command.environment.items() if k in agent.variables | {"PATH", "HOME"}
    }
    verdict = agent.verdict(done.stdout.splitlines(), an_exit(done.returncode))
    assert "other tools" in str(verdict.failure)
    assert sys.executable not in seen["env"].values()
