"""Gemini CLI, headless and without a shell: `gemini -o stream-json` with the tools of kubecase.

Checked against version 0.61.0. It ignores a policy file that it cannot read, so ours is read back
before it is used; its own tools are denied one by one.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kubecase.agents.course import Course
from kubecase.agents.extra_args import permitted_args
from kubecase.agents.lines import count_at, parsed, printable, shown, text_at, undecoded
from kubecase.agents.options import AgentSettings, require_argument, require_model, unusable
from kubecase.agents.served import SERVER, SIGTERM, SYSTEM, TOKEN, TOOLS, needed
from kubecase.agents.written import gemini_findings, settled
from kubecase.core.briefing import Briefing
from kubecase.core.errors import AgentUnavailable
from kubecase.core.model import Command, Exit, Verdict
from kubecase.core.ports import AgentEvent, Capabilities, Credential, Moment, Offers, ToolServer

_KEY = "GEMINI_API_KEY"
_BASE_URL = "GOOGLE_GEMINI_BASE_URL"
_NO_RELAUNCH = "GEMINI_CLI_NO_RELAUNCH"
DEFAULT_MODEL = "gemini-2.5-pro"
DEFAULT_TURNS = 30
DENIED = (
    "run_shell_command", "write_file", "replace", "save_memory", "google_web_search", "web_fetch",
    "invoke_agent", "enter_plan_mode", "exit_plan_mode", "activate_skill", "update_topic",
    "write_todos", "read_file", "read_many_files", "list_directory", "glob", "grep_search",
    "search_file_content", "ask_user", "cli_help", "codebase_investigator", "get_internal_docs",
)  # fmt: skip
"""Its own tools: none of them is needed where kubecase's are served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemini:
    """The adapter for Gemini CLI. `credential` is given to it as GEMINI_API_KEY. Raises
    AgentUnavailable for a value that the CLI would refuse.
    """

    program: str = "gemini"
    model: str | None = None
    max_turns: int = DEFAULT_TURNS
    credential: Credential | None = None
    base_url: str | None = None
    extra_args: tuple[str, ...] = ()
    tool_server: ToolServer | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is started."""
        require_argument("gemini", self.program, "agent_command")
        require_model("gemini", self.model)
        permitted_args("gemini", self.extra_args)
        if self.max_turns < 1:
            raise unusable("gemini", "max_turns is below 1", "max_turns")

    @classmethod
    def configured(cls, options: AgentSettings) -> Self:
        """The adapter for `options`; raises AgentUnavailable when there is no key for it."""
        if options.credential is None or not options.credential.value:
            raise AgentUnavailable(
                "cannot use the agent gemini: there is no model key", hint=f"Set {_KEY}."
            )
        return cls(
            program=options.program or "gemini",
            model=options.model,
            max_turns=DEFAULT_TURNS if options.max_turns is None else options.max_turns,
            credential=options.credential,
            base_url=options.base_url,
            extra_args=options.extra_args,
        )

    @property
    def name(self) -> str:
        """`gemini`."""
        return "gemini"

    @property
    def variables(self) -> frozenset[str]:
        """Its key, its address, its token for the tools, and its switch."""
        return frozenset({_KEY, _BASE_URL, TOKEN, _NO_RELAUNCH})

    @property
    def capabilities(self) -> Capabilities:
        """It counts turns and tells refusals, but not what a run cost."""
        return Capabilities(stream=True, turns=True, denials=True, needs_node=True)

    @property
    def offers(self) -> Offers:
        """The tools of kubecase."""
        return Offers(names=frozenset(f"mcp_{SERVER}_{tool}" for tool in TOOLS))

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        """Gemini CLI with the prompt on standard input, settings in its home, policy beside it."""
        server = needed("gemini", self.tool_server)
        own = {TOKEN: server.token, _NO_RELAUNCH: "true"}
        if self.credential is not None:
            own[_KEY] = self.credential.value
        if self.base_url is not None:
            own[_BASE_URL] = self.base_url
        place = Path(briefing.environment["HOME"]).relative_to(workspace) / ".gemini"
        settings = json.dumps(self._settings(server), indent=2).encode()
        rules = policy().encode()
        settled("gemini", gemini_findings(settings, rules, DENIED))
        told = f"{briefing.system_prompt}\n{SYSTEM}\n".encode("utf-8", "replace")
        return Command(
            argv=(
                self.program, "-o", "stream-json", "--skip-trust", "--approval-mode", "default",
                "-m", self.model or DEFAULT_MODEL, "--policy", str(private / "policy.toml"),
                *self.extra_args,
            ),
            environment={**briefing.environment, **own},
            cwd=workspace,
            stdin=briefing.user_prompt.encode("utf-8", "replace"),
            stop_signal=SIGTERM,
            files={str(place / "settings.json"): settings, str(place / "GEMINI.md"): told},
            private_files={"policy.toml": rules},
            read_only_paths=(Path(self.program),) if self.program.startswith("/") else (),
        )  # fmt: skip

    def _settings(self, server: ToolServer) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer ${TOKEN}"}
        return {
            "security": {
                "auth": {"selectedType": "gemini-api-key"},
                "environmentVariableRedaction": {"enabled": True},
            },
            "privacy": {"usageStatisticsEnabled": False},
            "telemetry": {"enabled": False},
            "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
            "model": {"disableLoopDetection": True, "maxSessionTurns": self.max_turns},
            "mcpServers": {
                SERVER: {"httpUrl": server.url, "headers": headers, "includeTools": list(TOOLS)}
            },
        }

    def verify_start(self, line: bytes) -> str | None:
        """Whether its first event names the model that was asked for."""
        event = parsed(line) if b'"init"' in line else None
        return None if event is None else self._mismatch(event)

    def _mismatch(self, event: Mapping[str, Any]) -> str | None:
        wanted, told = self.model or DEFAULT_MODEL, event.get("model")
        if event.get("type") != "init" or told == wanted:
            return None
        return (
            f"gemini started with the model {shown(told, 100) or 'of no name'} in place of {wanted}"
        )

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        """What one line of its stream tells."""
        if not line.strip():
            return ()
        event = parsed(line)
        if event is None:
            return (AgentEvent(moment=Moment.GARBAGE, text=undecoded(line)),)
        match event.get("type"):
            case "init":
                text = printable(f"gemini with the model {text_at(event, 'model')}")
                return (AgentEvent(moment=Moment.STARTED, text=text),)
            case "message" if event.get("role") == "assistant":
                return (AgentEvent(moment=Moment.MESSAGE, text=shown(event.get("content"))),)
            case "tool_use":
                text, tool = shown(event.get("parameters")), text_at(event, "tool_name")
                return (AgentEvent(moment=Moment.TOOL_CALL, text=text, tool=printable(tool, 200)),)
            case "tool_result":
                return (_result_event(event),)
            case "result":
                return _end_events(event)
        return ()

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        """What its stream claims: a result of success, tokens, and words after the last tool."""
        course = Course(denied=0)
        for line in lines:
            event = parsed(line)
            if event is not None:
                course.strange = course.strange or self._mismatch(event)
                _follow(course, event)
        if course.finished and course.model is None:
            course.strange = course.strange or "gemini did not say how it was started"
        return course.verdict("gemini", exit)


def policy() -> str:
    """The policy file: kubecase's tools, and none of the CLI's own."""
    served = json.dumps([f"mcp_{SERVER}_{tool}" for tool in TOOLS])
    return (
        f'[[rule]]\ntoolName = {json.dumps(list(DENIED))}\ndecision = "deny"\npriority = 300\n\n'
        f'[[rule]]\ntoolName = {served}\ndecision = "allow"\npriority = 200\n'
    )


def _result_event(event: Mapping[str, Any]) -> AgentEvent:
    error = event.get("error")
    if text_at(error, "type") in {"policy_violation", "tool_not_registered"}:
        return AgentEvent(moment=Moment.DENIED, text=shown(text_at(error, "message")))
    return AgentEvent(moment=Moment.TOOL_RESULT, text=shown(event.get("output")))


def _end_events(event: Mapping[str, Any]) -> tuple[AgentEvent, ...]:
    stats = event.get("stats")
    text = f"{count_at(stats, 'input_tokens')} tokens in, {count_at(stats, 'output_tokens')} out"
    said = text_at(event.get("error"), "message") or text_at(event, "status")
    return (
        AgentEvent(moment=Moment.USAGE, text=text),
        AgentEvent(moment=Moment.FINISHED, text=printable(said)),
    )


def _follow(course: Course, event: Mapping[str, Any]) -> None:
    match event.get("type"):
        case "message" if event.get("role") == "assistant":
            course.words(text_at(event, "content"), joined=event.get("delta") is True)
        case "init":
            course.model = course.model or printable(text_at(event, "model"), 128) or None
        case "tool_result":
            course.tool()
            course.turns += 1
            course.denied = (course.denied or 0) + (_result_event(event).moment is Moment.DENIED)
        case "result":
            stats = event.get("stats")
            read, written = count_at(stats, "input_tokens"), count_at(stats, "output_tokens")
            course.used(read, written)
            course.turns += 1
            if event.get("status") != "success":
                error = event.get("error")
                course.failure = text_at(error, "message") or "no reason given"
                course.limit = text_at(error, "type") == "FatalTurnLimitedError"
            elif not count_at(stats, "total_tokens"):
                course.failure = "it ended without asking the model"
            else:
                course.finished = True
