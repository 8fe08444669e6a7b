"""A model without a CLI: a program of our own that speaks chat completions and has our tools.

For Ollama, vLLM, LiteLLM and whatever else answers as OpenAI does. The program
(`chat_program`) is run by the same Python, in the same containment as any other agent.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kubecase.agents.course import Course
from kubecase.agents.lines import count_at, parsed, printable, shown, text_at, undecoded
from kubecase.agents.options import AgentSettings, require_argument, require_model, unusable
from kubecase.agents.served import SERVER, SIGTERM, SYSTEM, TOKEN, TOOLS, needed
from kubecase.core.briefing import Briefing
from kubecase.core.errors import AgentUnavailable
from kubecase.core.model import Command, Exit, Verdict
from kubecase.core.ports import AgentEvent, Capabilities, Credential, Moment, Offers, ToolServer

PROGRAM = Path(__file__).with_name("chat_program")
"""The stand-alone program, a directory."""

NAME = "openai_chat"
DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_TURNS = 30
_KEY = "OPENAI_API_KEY"
_NAMES = frozenset(f"{SERVER}_{tool}" for tool in TOOLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenaiChat:
    """The adapter for a model by chat completions.

    `python` is the interpreter (3.11 or later, nothing installed). `credential` is given to it as
    OPENAI_API_KEY, and nothing where there is none; `base_url` ends in `/v1`.
    """

    python: str = "python3"
    model: str | None = None
    max_turns: int = DEFAULT_TURNS
    credential: Credential | None = None
    base_url: str | None = None
    tool_server: ToolServer | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is started."""
        require_argument(NAME, self.python, "agent_command")
        require_model(NAME, self.model)
        if self.max_turns < 1:
            raise unusable(NAME, "max_turns is below 1", "max_turns")

    @classmethod
    def configured(cls, options: AgentSettings) -> Self:
        """The adapter for `options`; raises AgentUnavailable without a model, or a server for it.

        `program` is another interpreter, as an image of containers has it.
        """
        if options.model is None:
            raise AgentUnavailable(
                f"cannot use the agent {NAME}: it has no model of its own choice",
                hint=f"Set agents.{NAME}.model.",
            )
        if not (options.credential or options.upstream or options.base_url):
            raise AgentUnavailable(
                f"cannot use the agent {NAME}: there is neither a server of models nor a key",
                hint=f"Set agents.{NAME}.upstream to an entry of `models` (docs/models.md has one "
                f"for Ollama), or {_KEY}.",
            )
        if options.extra_args:
            raise unusable(NAME, "its program takes no options", "agent_command")
        return cls(
            python=options.program or options.python or "python3",
            model=options.model,
            max_turns=DEFAULT_TURNS if options.max_turns is None else options.max_turns,
            credential=options.credential,
            base_url=options.base_url,
        )

    @property
    def name(self) -> str:
        """`openai_chat`."""
        return NAME

    @property
    def variables(self) -> frozenset[str]:
        """Its key, and its token for the tools."""
        return frozenset({_KEY, TOKEN})

    @property
    def capabilities(self) -> Capabilities:
        """It counts turns, and knows no prices."""
        return Capabilities(stream=True, turns=True)

    @property
    def offers(self) -> Offers:
        """The tools of kubecase."""
        return Offers(names=_NAMES)

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        """The program with the prompt on standard input; what it is to ask lies in `private`."""
        server = needed(NAME, self.tool_server)
        own = {TOKEN: server.token}
        if self.credential is not None:
            own[_KEY] = self.credential.value
        config = {
            "model": self.model or "",
            "base_url": _with_version(self.base_url or DEFAULT_BASE_URL),
            "tools_url": server.url,
            "max_turns": self.max_turns,
            "system": f"{briefing.system_prompt}\n{SYSTEM}",
        }
        return Command(
            argv=(self.python, "-I", "-S", str(PROGRAM), str(private / "chat.json")),
            environment={**briefing.environment, **own},
            cwd=workspace,
            stdin=briefing.user_prompt.encode("utf-8", "replace"),
            stop_signal=SIGTERM,
            private_files={"chat.json": json.dumps(config).encode()},
            read_only_paths=(PROGRAM,),
        )

    def verify_start(self, line: bytes) -> str | None:
        """What is wrong with the tools that the program says it has."""
        event = parsed(line) if b'"started"' in line else None
        if event is None or event.get("event") != "started":
            return None
        tools = event.get("tools")
        if isinstance(tools, list) and all(isinstance(t, str) and t in _NAMES for t in tools):
            return None
        return printable(f"{NAME} started with other tools than it was given: {shown(tools)}", 500)

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        """What one line of its stream tells."""
        if not line.strip():
            return ()
        event = parsed(line)
        if event is None:
            return (AgentEvent(moment=Moment.GARBAGE, text=undecoded(line)),)
        moment = _MOMENTS.get(text_at(event, "event"))
        if moment is None:
            return ()
        text = shown(event.get(_WORDS.get(moment, "text")))
        if moment is Moment.USAGE:
            read, written = count_at(event, "input_tokens"), count_at(event, "output_tokens")
            text = f"{read} tokens in, {written} out"
        tool = printable(text_at(event, "tool"), 200) or None
        return (AgentEvent(moment=moment, text=text, tool=tool),)

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        """What its stream claims: its last event is one of an end."""
        course = Course()
        for line in lines:
            event = parsed(line)
            if event is not None:
                self._follow(course, event, line)
        return course.verdict(NAME, exit)

    def _follow(self, course: Course, event: Mapping[str, Any], line: bytes) -> None:
        match event.get("event"):
            case "started":
                course.strange = course.strange or self.verify_start(line)
                course.model = printable(text_at(event, "model"), 200) or None
            case "message":
                course.words(text_at(event, "text"))
            case "tool_result":
                course.tool()
            case "usage":
                course.turns += 1
                course.used(count_at(event, "input_tokens"), count_at(event, "output_tokens"))
            case "finished":
                course.finished = True
                course.answer = [text_at(event, "report") or _left(event)]
            case "failed":
                course.failure = text_at(event, "text") or "no reason given"
                course.status = count_at(event, "status")
                course.limit = event.get("limit") is True


_MOMENTS = {
    "started": Moment.STARTED,
    "message": Moment.MESSAGE,
    "tool_call": Moment.TOOL_CALL,
    "tool_result": Moment.TOOL_RESULT,
    "retry": Moment.RETRY,
    "usage": Moment.USAGE,
    "finished": Moment.FINISHED,
    "failed": Moment.MESSAGE,
}
_WORDS = {Moment.STARTED: "model", Moment.TOOL_CALL: "arguments", Moment.FINISHED: "written"}


def _left(event: Mapping[str, Any]) -> str:
    return "The report was left by its tool." if event.get("written") is True else ""


def _with_version(address: str) -> str:
    """The base address as the program takes it: with its `/v1`, written or not."""
    plain = address.rstrip("/")
    return plain if plain.endswith(("/v1", "/openai")) else f"{plain}/v1"
