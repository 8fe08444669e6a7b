"""Codex, headless and without a shell: `codex exec --json` with the tools of kubecase alone.

Checked against version 0.169.0. It speaks the Responses API only. Refused commands leave no event;
there are none to refuse. Its list of models says which tools go with each, such as a patch tool,
sub-agents, or a JavaScript that calls tools, whatever is switched off. So it is given a list of
ours, with the one model that is asked for.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kubecase.agents.course import Course
from kubecase.agents.extra_args import permitted_args
from kubecase.agents.lines import count_at, parsed, printable, shown, text_at, undecoded
from kubecase.agents.options import AgentSettings, require_argument, require_model
from kubecase.agents.served import SERVER, SIGTERM, SYSTEM, TOKEN, TOOLS, needed
from kubecase.agents.written import codex_findings, settled
from kubecase.core.briefing import Briefing
from kubecase.core.errors import AgentUnavailable
from kubecase.core.model import Command, Exit, Verdict
from kubecase.core.ports import AgentEvent, Capabilities, Credential, Moment, Offers, ToolServer

_KEY = "OPENAI_API_KEY"
_HOME = "CODEX_HOME"
_OFF = (
    "unbounded_connection_retries", "plugins", "multi_agent", "goals", "shell_tool", "unified_exec",
    "view_image",
)  # fmt: skip
DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-5.2"
OFFERS = Offers(
    names=frozenset(
        {
            # Ask servers of ours alone, and have nothing to show.
            "list_mcp_resources", "list_mcp_resource_templates", "read_mcp_resource",
            # Refused by itself where nobody is there to answer.
            "request_user_input",
            *(f"mcp__{SERVER}/{tool}" for tool in TOOLS),
        }
    )
)  # fmt: skip
_CATALOG = "models.json"
_TASK = "You investigate one Kubernetes incident, read-only, with the tools that you are given."
# Of a large answer of a tool the model is shown this much; it is told that there is more.
_TOOL_TOKENS = 10_000
# When the conversation has to be summed up; most models hold more.
_CONTEXT_TOKENS = 128_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Codex:
    """The adapter for Codex. `credential` is given to it as OPENAI_API_KEY; `base_url` ends in
    `/v1`. Raises AgentUnavailable for a value that the CLI would refuse.
    """

    program: str = "codex"
    model: str | None = None
    credential: Credential | None = None
    base_url: str | None = None
    extra_args: tuple[str, ...] = ()
    tool_server: ToolServer | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is started."""
        require_argument("codex", self.program, "agent_command")
        require_model("codex", self.model)
        permitted_args("codex", self.extra_args)

    @classmethod
    def configured(cls, options: AgentSettings) -> Self:
        """The adapter for `options`; raises AgentUnavailable when there is no key for it."""
        if options.credential is None or not options.credential.value:
            raise AgentUnavailable(
                "cannot use the agent codex: there is no model key", hint=f"Set {_KEY}."
            )
        return cls(
            program=options.program or "codex",
            model=options.model,
            credential=options.credential,
            base_url=options.base_url,
            extra_args=options.extra_args,
        )

    @property
    def name(self) -> str:
        """`codex`."""
        return "codex"

    @property
    def variables(self) -> frozenset[str]:
        """Its key, its token for the tools, and where its state lies."""
        return frozenset({_KEY, TOKEN, _HOME})

    @property
    def capabilities(self) -> Capabilities:
        """It tells what it does, and little more."""
        return Capabilities(stream=True)

    @property
    def offers(self) -> Offers:
        """The tools of kubecase, and what cannot be switched off."""
        return OFFERS

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        """Codex with the prompt on standard input; its state goes into its own home."""
        server = needed("codex", self.tool_server)
        home = briefing.environment["HOME"]
        own = {TOKEN: server.token, _HOME: f"{home}/.codex"}
        if self.credential is not None:
            own[_KEY] = self.credential.value
        catalog = json.dumps(self._catalog(), indent=2).encode()
        config = self._config(briefing, server, f"{home}/.codex/{_CATALOG}").encode()
        settled("codex", codex_findings(config, catalog))
        place = Path(home).relative_to(workspace) / ".codex"
        return Command(
            argv=self._argv(workspace),
            environment={**briefing.environment, **own},
            cwd=workspace,
            stdin=briefing.user_prompt.encode("utf-8", "replace"),
            stop_signal=SIGTERM,
            files={str(place / "config.toml"): config, str(place / _CATALOG): catalog},
            read_only_paths=(Path(self.program),) if self.program.startswith("/") else (),
        )

    def _argv(self, workspace: Path) -> tuple[str, ...]:
        off = tuple(word for each in _OFF for word in ("--disable", each))
        return (
            self.program, "exec", "--json", "--ephemeral", "--skip-git-repo-check",
            "--strict-config", "-s", "read-only", "-C", str(workspace), *off,
            "-m", self.model or DEFAULT_MODEL, *self.extra_args, "-",
        )  # fmt: skip

    def _catalog(self) -> Mapping[str, Any]:
        """The list of models: the one, without tools of its own."""
        model = self.model or DEFAULT_MODEL
        one = {
            "slug": model,
            "display_name": model,
            "base_instructions": _TASK,
            "shell_type": "disabled",
            "visibility": "list",
            "supported_in_api": True,
            "priority": 1,
            "supported_reasoning_levels": [],
            "default_reasoning_summary": "none",
            "support_verbosity": True,
            "supports_search_tool": False,
            "experimental_supported_tools": [],
            "truncation_policy": {"mode": "tokens", "limit": _TOOL_TOKENS},
            "context_window": _CONTEXT_TOKENS,
        }
        return {"models": [one]}

    def _config(self, briefing: Briefing, server: ToolServer, catalog: str) -> str:
        """The configuration as TOML."""
        told = f"{briefing.system_prompt}\n{SYSTEM}"
        lines = [
            'model_provider = "kubecase"',
            f"model_catalog_json = {_quoted(catalog)}",
            'web_search = "disabled"',
            "project_doc_max_bytes = 0",
            f"developer_instructions = {_quoted(told)}",
            "[model_providers.kubecase]",
            'name = "kubecase"',
            f"base_url = {_quoted(self.base_url or DEFAULT_BASE_URL)}",
            f"env_key = {_quoted(_KEY)}",
            'wire_api = "responses"',
            "request_max_retries = 2",
            "stream_max_retries = 2",
            "[shell_environment_policy]",
            'inherit = "core"',
            f"[mcp_servers.{SERVER}]",
            f"url = {_quoted(server.url)}",
            f"bearer_token_env_var = {_quoted(TOKEN)}",
            "required = true",
            f"enabled_tools = {json.dumps(list(TOOLS))}",
        ]
        return "\n".join(lines) + "\n"

    def verify_start(self, line: bytes) -> str | None:
        """Nothing: its first event holds an id, and nothing else."""
        return None

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        """What one line of its stream tells."""
        if not line.strip():
            return ()
        event = parsed(line)
        if event is None:
            return (AgentEvent(moment=Moment.GARBAGE, text=undecoded(line)),)
        match event.get("type"):
            case "thread.started":
                return (AgentEvent(moment=Moment.STARTED, text="codex"),)
            case "item.started" | "item.completed":
                return _item_events(event)
            case "error":
                text = printable(text_at(event, "message"))
                moment = Moment.RETRY if text.startswith("Reconnecting") else Moment.MESSAGE
                return (AgentEvent(moment=moment, text=text),)
            case "turn.completed":
                return _end_events(event)
            case "turn.failed":
                return (AgentEvent(moment=Moment.FINISHED, text=_failure_of(event)),)
        return ()

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        """What its stream claims: finished by `turn.completed`, with words after the last tool."""
        course = Course()
        for line in lines:
            event = parsed(line)
            if event is not None:
                _follow(course, event)
        return course.verdict("codex", exit)


def _quoted(text: str) -> str:
    """A TOML string. JSON's are nearly that, but not where they write surrogates."""
    whole = json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False)
    return whole.replace("\x7f", "\\u007f")


def _item_events(event: Mapping[str, Any]) -> tuple[AgentEvent, ...]:
    item, done = event.get("item"), event.get("type") == "item.completed"
    match text_at(item, "type"):
        case "agent_message" if done:
            return (AgentEvent(moment=Moment.MESSAGE, text=shown(text_at(item, "text"))),)
        case "error" if done:
            return (AgentEvent(moment=Moment.MESSAGE, text=shown(text_at(item, "message"))),)
        case "command_execution":
            command, output = text_at(item, "command"), text_at(item, "aggregated_output")
            return (_tool_event(done, "shell", command, output),)
        case "mcp_tool_call" if isinstance(item, Mapping):
            result = item.get("error") or item.get("result")
            name = printable(f"mcp__{text_at(item, 'server')}__{text_at(item, 'tool')}", 200)
            return (_tool_event(done, name, item.get("arguments"), _text_of(result)),)
    return ()


def _tool_event(done: bool, name: str, asked: Any, answered: Any) -> AgentEvent:
    if done:
        return AgentEvent(moment=Moment.TOOL_RESULT, text=shown(answered), tool=name)
    return AgentEvent(moment=Moment.TOOL_CALL, text=shown(asked), tool=name)


def _text_of(result: Any) -> Any:
    content = result.get("content") if isinstance(result, Mapping) else None
    if isinstance(content, list):
        return "\n".join(text_at(each, "text") for each in content[:100])
    return result


def _end_events(event: Mapping[str, Any]) -> tuple[AgentEvent, ...]:
    usage = event.get("usage")
    text = f"{count_at(usage, 'input_tokens')} tokens in, {count_at(usage, 'output_tokens')} out"
    return (
        AgentEvent(moment=Moment.USAGE, text=text),
        AgentEvent(moment=Moment.FINISHED, text="completed"),
    )


def _failure_of(event: Mapping[str, Any]) -> str:
    return printable(text_at(event.get("error"), "message") or "no reason given", 500)


def _follow(course: Course, event: Mapping[str, Any]) -> None:
    item = event.get("item")
    match event.get("type"), text_at(item, "type"):
        case "turn.started", _:
            course.turns += 1
        case "item.completed", "agent_message":
            course.words(text_at(item, "text"))
        case "item.completed", "mcp_tool_call" | "command_execution":
            course.tool()
            course.turns += 1
        case "turn.completed", _:
            course.finished = True
            usage = event.get("usage")
            course.used(count_at(usage, "input_tokens"), count_at(usage, "output_tokens"))
        case "turn.failed", _:
            course.failure = _failure_of(event)
