"""One conversation: the task, the model's turns with our tools, and the report at its end."""

import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from .model import Model, ModelFailed, Said
from .talk import AS_TEXT, LAST, NO_REPORT, case_as_text, is_call_as_text, is_report, trimmed
from .tools import Tools, ToolsFailed
from .wire import Answered, Json, Server

MODEL_KEY = "OPENAI_API_KEY"
TOOLS_TOKEN = "KUBECASE_TOOLS_TOKEN"  # noqa: S105 - the name of a variable
MODEL_SECONDS = 320.0
TOOL_SECONDS = 180.0
SECOND_CHANCES = 3
MOST_CHARACTERS = 300_000
LEAST_CHARACTERS = 16_000
MAX_SHOWN = 64 * 1024


class GaveUp(Exception):
    """The run has failed; `limit` says that its turns were used up."""

    def __init__(self, says: str, *, status: int | None = None, limit: bool = False) -> None:
        super().__init__(says)
        self.status = status
        self.limit = limit


def tell(event: str, **values: Any) -> None:
    """One line for kubecase, at once."""
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


@dataclass
class Conversation:
    """What was said so far, and what is left: turns, second chances, characters."""

    model: Model
    tools: Tools
    turns_left: int
    messages: list[Json]
    offers_tools: bool = True
    knows_case: bool = False
    has_called: bool = False
    chances: int = SECOND_CHANCES
    most: int = MOST_CHARACTERS
    seen: set[str] = field(default_factory=set)

    def report(self) -> str:
        """The last answer of the model, once it calls no more tools. Raises GaveUp."""
        while self.turns_left > 0:
            self.turns_left -= 1
            last = self.turns_left == 0
            if last:
                self.say(LAST)
            said = self.answer(last=last)
            self.remember(said)
            if said.calls and not last:
                self.carry_out(said)
            elif said.calls:
                break
            elif (more := self.second_chance(said.text)) is None:
                return said.text
            else:
                self.say(more)
        raise GaveUp("its turns are used up", limit=True)

    def say(self, text: str) -> None:
        """Add words of ours."""
        self.messages.append({"role": "user", "content": text})

    def answer(self, *, last: bool) -> Said:
        """What the model says next; asked in another way where its server refuses ours."""
        while True:
            trimmed(self.messages, self.most)
            tools = self.tools.offered if self.offers_tools else []
            try:
                said = self.model.ask(self.messages, tools, choice="none" if last else None)
            except ModelFailed as failed:
                raise GaveUp(str(failed), status=failed.status) from failed
            except Answered as refused:
                self.yield_to(refused)
                continue
            tell("usage", input_tokens=said.input_tokens, output_tokens=said.output_tokens)
            return said

    def yield_to(self, refused: Answered) -> None:
        """Do without what the server does not take. Raises GaveUp where that is not known."""
        says = refused.says.lower()
        if refused.status in (400, 404, 422, 501) and self.offers_tools and "tool" in says:
            self.offers_tools = False
            self.messages = [each for each in self.messages if each["role"] in ("system", "user")]
            if not self.knows_case:
                self.say(self.case())
        elif refused.status in (400, 413) and "context" in says and self.most > LEAST_CHARACTERS:
            size = sum(len(json.dumps(each)) for each in self.messages)
            self.most = max(LEAST_CHARACTERS, min(self.most, size) // 2)
        else:
            raise GaveUp(str(refused), status=refused.status)
        tell("retry", text=str(refused))

    def case(self) -> str:
        """The files of the case, which are shown once."""
        self.knows_case = True
        return case_as_text(self.tools, callable_tools=self.offers_tools)

    def remember(self, said: Said) -> None:
        """Keep an answer as servers take it back: some refuse arguments that are no JSON."""
        message: Json = {"role": "assistant", "content": said.text}
        for number, call in enumerate(said.calls):
            if not call.id or call.id in self.seen:
                call.id = f"call_{len(self.messages)}_{number}"
            self.seen.add(call.id)
        if said.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": _as_object(call.arguments)},
                }
                for call in said.calls
            ]
        self.messages.append(message)
        if said.text.strip():
            tell("message", text=said.text[:MAX_SHOWN])

    def carry_out(self, said: Said) -> None:
        """Do what the model asks for, in its order."""
        self.has_called = True
        for call in said.calls:
            tell("tool_call", tool=call.name, arguments=call.arguments[:2000])
            text, failed = self.tools.call(call.name, call.arguments)
            tell("tool_result", tool=call.name, text=text[:2000], failed=failed)
            self.messages.append({"role": "tool", "tool_call_id": call.id, "content": text})

    def second_chance(self, text: str) -> str | None:
        """What to say to an answer that calls no tool; None if it is the last one."""
        if self.tools.wrote_report:
            return None
        if not self.has_called and not self.knows_case:
            return self.case()
        if self.chances == 0:
            return None
        self.chances -= 1
        if self.offers_tools and is_call_as_text(text, self.tools):
            return AS_TEXT
        return None if is_report(text) else NO_REPORT


def _as_object(arguments: str) -> str:
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return "{}"
    return json.dumps(value) if isinstance(value, dict) else "{}"


def main(argv: list[str]) -> int:
    """Hold the conversation that the file `argv[1]` describes; 0 if it came to its end."""
    if len(argv) != 2:
        sys.stderr.write("usage: chat_program CONFIG.json < PROMPT\n")
        return 2
    with open(argv[1], "rb") as file:
        config = json.load(file)
    prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
    try:
        tools = Tools.found(
            Server(config["tools_url"], os.environ.get(TOOLS_TOKEN, ""), TOOL_SECONDS)
        )
        tell("started", model=config["model"], tools=tools.names)
        server = Server(config["base_url"], os.environ.get(MODEL_KEY, ""), MODEL_SECONDS)
        conversation = Conversation(
            model=Model(server, config["model"], tell),
            tools=tools,
            turns_left=config["max_turns"],
            messages=[
                {"role": "system", "content": config["system"]},
                {"role": "user", "content": prompt},
            ],
        )
        text = conversation.report()
    except GaveUp as failed:
        tell("failed", text=str(failed), status=failed.status, limit=failed.limit)
        return 1
    except ToolsFailed as failed:
        tell("failed", text=str(failed), status=None, limit=False)
        return 1
    tell("finished", report=text if is_report(text) else None, written=tools.wrote_report)
    return 0
