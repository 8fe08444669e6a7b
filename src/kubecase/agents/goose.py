"""Goose, headless and without a shell: `goose run` with the tools of kubecase alone.

Checked against version 1.34.0. It exits with 0 after a refused key and after its turns are used up,
and says so in the words of an answer: those words are known here.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kubecase.agents.course import Course
from kubecase.agents.extra_args import permitted_args
from kubecase.agents.lines import count_at, parsed, printable, shown, text_at, undecoded
from kubecase.agents.options import AgentSettings, require_argument, require_model, unusable
from kubecase.agents.served import SERVER, SIGTERM, SYSTEM, TOKEN, TOOLS, needed
from kubecase.agents.written import goose_findings, settled
from kubecase.core.briefing import Briefing
from kubecase.core.errors import AgentUnavailable
from kubecase.core.model import Command, Exit, Verdict
from kubecase.core.ports import AgentEvent, Capabilities, Credential, Moment, Offers, ToolServer

_KEY = "OPENAI_API_KEY"
_HOST = "OPENAI_HOST"
_MODEL = "GOOSE_MODEL"
_SWITCHES = {
    "GOOSE_PROVIDER": "openai",
    "GOOSE_MODE": "auto",
    "GOOSE_DISABLE_KEYRING": "1",
    "GOOSE_DISABLE_SESSION_NAMING": "true",
    "GOOSE_TELEMETRY_ENABLED": "false",
}
DEFAULT_TURNS = 30
_ERROR = re.compile(r"^Ran into this error: (.{0,2000})", re.DOTALL)
_TURNS = "I've reached the maximum number of actions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goose:
    """The adapter for Goose, with a model that speaks chat completions.

    `credential` is given to it as OPENAI_API_KEY; `base_url` is the bare address. Raises
    AgentUnavailable for a value that the CLI would refuse.
    """

    program: str = "goose"
    model: str | None = None
    max_turns: int = DEFAULT_TURNS
    credential: Credential | None = None
    base_url: str | None = None
    extra_args: tuple[str, ...] = ()
    tool_server: ToolServer | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is started."""
        require_argument("goose", self.program, "agent_command")
        require_model("goose", self.model)
        permitted_args("goose", self.extra_args)
        if self.max_turns < 1:
            raise unusable("goose", "max_turns is below 1", "max_turns")

    @classmethod
    def configured(cls, options: AgentSettings) -> Self:
        """The adapter for `options`; raises AgentUnavailable without a key or a model."""
        if options.credential is None or not options.credential.value:
            raise AgentUnavailable(
                "cannot use the agent goose: there is no model key", hint=f"Set {_KEY}."
            )
        if options.model is None:
            raise AgentUnavailable(
                "cannot use the agent goose: it has no model of its own choice",
                hint="Set agents.goose.model.",
            )
        return cls(
            program=options.program or "goose",
            model=options.model,
            max_turns=DEFAULT_TURNS if options.max_turns is None else options.max_turns,
            credential=options.credential,
            base_url=options.base_url,
            extra_args=options.extra_args,
        )

    @property
    def name(self) -> str:
        """`goose`."""
        return "goose"

    @property
    def variables(self) -> frozenset[str]:
        """Its key, its address, its model, its token for the tools, and its switches."""
        return frozenset({_KEY, _HOST, _MODEL, TOKEN, *_SWITCHES})

    @property
    def capabilities(self) -> Capabilities:
        """It counts turns, and tells neither refusals nor costs."""
        return Capabilities(stream=True, turns=True)

    @property
    def offers(self) -> Offers:
        """The tools of kubecase."""
        return Offers(names=frozenset(f"{SERVER}__{tool}" for tool in TOOLS))

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        """Goose with the prompt on standard input; its one extension lies in its home."""
        server = needed("goose", self.tool_server)
        own = {TOKEN: server.token, _MODEL: self.model or "", **_SWITCHES}
        if self.credential is not None:
            own[_KEY] = self.credential.value
        if self.base_url is not None:
            own[_HOST] = self.base_url
        home = Path(briefing.environment["HOME"]).relative_to(workspace)
        told = f"{briefing.system_prompt}\n{SYSTEM}"
        config = _config(server).encode()
        settled("goose", goose_findings(config))
        return Command(
            argv=(
                self.program, "run", "--no-session", "-q", "--output-format", "stream-json",
                "--max-turns", str(self.max_turns), "--system", told, *self.extra_args,
                "-i", "-",
            ),
            environment={**briefing.environment, **own},
            cwd=workspace,
            stdin=briefing.user_prompt.encode("utf-8", "replace"),
            stop_signal=SIGTERM,
            files={str(home / ".config/goose/config.yaml"): config},
            read_only_paths=(Path(self.program),) if self.program.startswith("/") else (),
        )  # fmt: skip

    def verify_start(self, line: bytes) -> str | None:
        """Nothing: it does not tell how it was started."""
        return None

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        """What one line of its stream tells."""
        if not line.strip():
            return ()
        event = parsed(_json_of(line))
        if event is None:
            return (AgentEvent(moment=Moment.GARBAGE, text=undecoded(line)),)
        if event.get("type") == "complete":
            read, written = count_at(event, "input_tokens"), count_at(event, "output_tokens")
            return (
                AgentEvent(moment=Moment.USAGE, text=f"{read} tokens in, {written} out"),
                AgentEvent(moment=Moment.FINISHED, text="complete"),
            )
        return tuple(_message_events(event))

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        """What its stream claims: complete, with words that are neither an error nor a question."""
        course = Course()
        for line in lines:
            event = parsed(_json_of(line))
            if event is not None:
                _follow(course, event)
        return course.verdict("goose", exit)


def _config(server: ToolServer) -> str:
    """Its configuration: JSON is YAML. Extensions of its own are switched off by name."""
    off = ("developer", "memory", "computercontroller", "autovisualiser", "tutorial", "todo",
           "chatrecall", "extensionmanager", "skills", "code_execution", "summon", "apps",
           "tom", "analyze", "summarize", "orchestrator")  # fmt: skip
    extensions: dict[str, Any] = {
        name: {"enabled": False, "type": "platform" if number > 4 else "builtin", "name": name,
               "description": "", "bundled": True}
        for number, name in enumerate(off)
    }  # fmt: skip
    extensions[SERVER] = {
        "enabled": True,
        "type": "streamable_http",
        "name": SERVER,
        "description": "kubecase",
        "uri": server.url,
        "headers": {"Authorization": f"Bearer ${{{TOKEN}}}"},
        "env_keys": [TOKEN],
        "timeout": 120,
        "bundled": False,
    }
    return json.dumps({"extensions": extensions}, indent=2)


def _json_of(line: bytes) -> bytes:
    """The JSON of a line; after SIGINT words stand before it."""
    start = line.find(b'{"type"')
    return line[start:] if start > 0 else line


def _parts(event: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    message = event.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    for part in content if isinstance(content, list) else ():
        if isinstance(part, Mapping):
            yield text_at(message, "role"), part


def _message_events(event: Mapping[str, Any]) -> Iterator[AgentEvent]:
    for role, part in _parts(event):
        match part.get("type"):
            case "text" if role == "assistant":
                yield AgentEvent(moment=Moment.MESSAGE, text=shown(part.get("text")))
            case "toolRequest":
                call = part.get("toolCall")
                value = call.get("value") if isinstance(call, Mapping) else None
                asked = value.get("arguments") if isinstance(value, Mapping) else None
                tool = printable(text_at(value, "name"), 200)
                yield AgentEvent(moment=Moment.TOOL_CALL, text=shown(asked), tool=tool)
            case "toolResponse":
                result = part.get("toolResult")
                yield AgentEvent(moment=Moment.TOOL_RESULT, text=shown(_text_of(result)))


def _text_of(result: Any) -> Any:
    if text_at(result, "status") == "error":
        return text_at(result, "error")
    value = result.get("value") if isinstance(result, Mapping) else None
    content = value.get("content") if isinstance(value, Mapping) else None
    if isinstance(content, list):
        return "\n".join(text_at(each, "text") for each in content[:100])
    return value


def _follow(course: Course, event: Mapping[str, Any]) -> None:
    if event.get("type") == "complete":
        # After an interrupt it is complete too, and counts nothing.
        course.finished = count_at(event, "total_tokens") is not None
        course.used(count_at(event, "input_tokens"), count_at(event, "output_tokens"))
        course.turns += 1
        return
    for role, part in _parts(event):
        if part.get("type") == "toolResponse":
            course.tool()
            course.turns += 1
        elif part.get("type") == "text" and role == "assistant":
            _words(course, text_at(part, "text"))


def _words(course: Course, text: str) -> None:
    failed = _ERROR.match(text)
    if failed is not None:
        course.failure = failed[1]
    elif text.startswith(_TURNS):
        course.failure, course.limit = "its turns are used up", True
    else:
        course.words(text)
