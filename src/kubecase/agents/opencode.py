"""opencode, headless and without a shell: `opencode run --format json` with kubecase's tools alone.

Checked against version 1.18.33. It says nothing at its start and nothing at its end: a good run is
one whose last step stopped by itself. A project's own configuration could overrule ours, and is
switched off.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kubecase.agents.course import Course
from kubecase.agents.extra_args import permitted_args
from kubecase.agents.lines import amount_at, count_at, parsed, printable, shown, text_at, undecoded
from kubecase.agents.options import AgentSettings, require_argument, require_model
from kubecase.agents.served import SERVER, SIGTERM, SYSTEM, TOKEN, TOOLS, needed
from kubecase.agents.written import opencode_findings, settled
from kubecase.core.briefing import Briefing
from kubecase.core.errors import AgentUnavailable
from kubecase.core.model import Command, Exit, Verdict
from kubecase.core.ports import AgentEvent, Capabilities, Credential, Moment, Offers, ToolServer

_KEY = "OPENAI_API_KEY"
_SWITCHES = {
    "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_SHARE": "1",
    "OPENCODE_DISABLE_CLAUDE_CODE": "1",
    "OPENCODE_DISABLE_EXTERNAL_SKILLS": "1",
}
WORK = "work"
"""Where it works, below its home. It runs JavaScript of a `.opencode/plugin` in its directory and
in all above it, whatever is switched off; a git repository is where it stops to look."""

_REPOSITORY = {"HEAD": b"ref: refs/heads/main\n", "objects/.keep": b"", "refs/.keep": b""}
"""The least that git takes for a repository."""

_DENIED = "prevents you from using this specific tool call"
DEFAULT_BASE_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opencode:
    """The adapter for opencode, with a model that speaks chat completions.

    `credential` is given to it as OPENAI_API_KEY; `base_url` ends in `/v1`. Raises AgentUnavailable
    for a value that the CLI would refuse.
    """

    program: str = "opencode"
    model: str | None = None
    credential: Credential | None = None
    base_url: str | None = None
    extra_args: tuple[str, ...] = ()
    tool_server: ToolServer | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is started."""
        require_argument("opencode", self.program, "agent_command")
        require_model("opencode", self.model)
        permitted_args("opencode", self.extra_args)

    @classmethod
    def configured(cls, options: AgentSettings) -> Self:
        """The adapter for `options`; raises AgentUnavailable without a key or a model."""
        if options.credential is None or not options.credential.value:
            raise AgentUnavailable(
                "cannot use the agent opencode: there is no model key", hint=f"Set {_KEY}."
            )
        if options.model is None:
            raise AgentUnavailable(
                "cannot use the agent opencode: it has no model of its own choice",
                hint="Set agents.opencode.model.",
            )
        return cls(
            program=options.program or "opencode",
            model=options.model,
            credential=options.credential,
            base_url=options.base_url,
            extra_args=options.extra_args,
        )

    @property
    def name(self) -> str:
        """`opencode`."""
        return "opencode"

    @property
    def variables(self) -> frozenset[str]:
        """Its key, its token for the tools, and its switches."""
        return frozenset({_KEY, TOKEN, *_SWITCHES})

    @property
    def capabilities(self) -> Capabilities:
        """It tells refusals; it knows no limit, and the prices of no model that is not its own."""
        return Capabilities(stream=True, denials=True)

    @property
    def offers(self) -> Offers:
        """The tools of kubecase."""
        return Offers(names=frozenset(f"{SERVER}_{tool}" for tool in TOOLS))

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        """opencode with the prompt on standard input; its configuration lies in its home."""  # noqa: D403
        server = needed("opencode", self.tool_server)
        own = {TOKEN: server.token, **_SWITCHES}
        if self.credential is not None:
            own[_KEY] = self.credential.value
        home = Path(briefing.environment["HOME"]).relative_to(workspace)
        config = json.dumps(self._config(server), indent=2).encode()
        settled("opencode", opencode_findings(config))
        told = f"{briefing.system_prompt}\n{SYSTEM}\n".encode("utf-8", "replace")
        return Command(
            argv=(
                self.program,
                "run",
                "--format",
                "json",
                "--dir",
                str(workspace / home / WORK),
                *self.extra_args,
            ),
            environment={**briefing.environment, **own},
            cwd=workspace,
            stdin=briefing.user_prompt.encode("utf-8", "replace"),
            stop_signal=SIGTERM,
            files={
                str(home / ".config/opencode/opencode.json"): config,
                str(home / ".config/opencode/AGENTS.md"): told,
                **{str(home / WORK / ".git" / name): text for name, text in _REPOSITORY.items()},
            },
            read_only_paths=(Path(self.program),) if self.program.startswith("/") else (),
        )

    def _config(self, server: ToolServer) -> Mapping[str, Any]:
        model = self.model or "unset"
        served = {f"{SERVER}_{tool}": "allow" for tool in TOOLS}
        return {
            "autoupdate": False,
            "share": "disabled",
            "snapshot": False,
            "model": f"kubecase/{model}",
            "small_model": f"kubecase/{model}",
            "provider": {
                "kubecase": {
                    "npm": "@ai-sdk/openai-compatible",
                    "options": {
                        "baseURL": self.base_url or DEFAULT_BASE_URL,
                        "apiKey": f"{{env:{_KEY}}}",
                    },
                    "models": {model: {}},
                }
            },
            # The last rule that fits counts.
            "permission": {"*": "deny", **served},
            "mcp": {
                SERVER: {
                    "type": "remote",
                    "url": server.url,
                    "oauth": False,
                    "headers": {"Authorization": f"Bearer {{env:{TOKEN}}}"},
                }
            },
        }

    def verify_start(self, line: bytes) -> str | None:
        """Nothing: it does not tell how it was started."""
        return None

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        """What one line of its stream tells."""
        if not line.strip():
            return ()
        event = parsed(line)
        if event is None:
            return (AgentEvent(moment=Moment.GARBAGE, text=undecoded(line)),)
        part = event.get("part")
        match event.get("type"):
            case "text":
                return (AgentEvent(moment=Moment.MESSAGE, text=shown(text_at(part, "text"))),)
            case "tool_use":
                return _tool_events(part)
            case "step_finish":
                return _step_events(part)
            case "error":
                return (AgentEvent(moment=Moment.MESSAGE, text=_failure_of(event)),)
        return ()

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        """What its stream claims: no error, and a last step that stopped by itself with words."""
        course = Course(denied=0)
        for line in lines:
            event = parsed(line)
            if event is not None:
                _follow(course, event)
        return course.verdict("opencode", exit)


def _state(part: Any) -> Mapping[str, Any]:
    state = part.get("state") if isinstance(part, Mapping) else None
    return state if isinstance(state, Mapping) else {}


def _tool_events(part: Any) -> tuple[AgentEvent, ...]:
    """A tool is told of only when it has ended: the call and its result at once."""
    state, name = _state(part), printable(text_at(part, "tool"), 200)
    call = AgentEvent(moment=Moment.TOOL_CALL, text=shown(state.get("input")), tool=name)
    error = text_at(state, "error")
    if text_at(state, "status") == "error":
        moment = Moment.DENIED if _DENIED in error or "rejected" in error else Moment.TOOL_RESULT
        return (call, AgentEvent(moment=moment, text=shown(error), tool=name))
    return (call, AgentEvent(moment=Moment.TOOL_RESULT, text=shown(state.get("output")), tool=name))


def _step_events(part: Any) -> tuple[AgentEvent, ...]:
    tokens = part.get("tokens") if isinstance(part, Mapping) else None
    text = f"{count_at(tokens, 'input')} tokens in, {count_at(tokens, 'output')} out"
    usage = AgentEvent(moment=Moment.USAGE, text=text)
    if text_at(part, "reason") != "stop":
        return (usage,)
    return (usage, AgentEvent(moment=Moment.FINISHED, text="stop"))


def _failure_of(event: Mapping[str, Any]) -> str:
    error = event.get("error")
    data = error.get("data") if isinstance(error, Mapping) else None
    return printable(text_at(data, "message") or text_at(error, "name") or "no reason given", 500)


def _follow(course: Course, event: Mapping[str, Any]) -> None:
    part = event.get("part")
    match event.get("type"):
        case "step_start":
            course.turns += 1
            course.finished = False
        case "text":
            course.words(text_at(part, "text"))
        case "tool_use":
            course.tool()
            refused = any(each.moment is Moment.DENIED for each in _tool_events(part))
            course.denied = (course.denied or 0) + refused
        case "step_finish":
            tokens = part.get("tokens") if isinstance(part, Mapping) else None
            cost = amount_at(part, "cost")
            course.used(count_at(tokens, "input"), count_at(tokens, "output"), cost or None)
            course.finished = text_at(part, "reason") == "stop"
        case "error":
            error = event.get("error")
            data = error.get("data") if isinstance(error, Mapping) else None
            course.failure, course.status = _failure_of(event), count_at(data, "statusCode")
