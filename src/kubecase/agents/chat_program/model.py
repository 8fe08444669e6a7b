"""The model: one question at a time by chat completions, tried again where that may help."""

import http.client
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .wire import Answered, Broken, Json, Server, document, events, pause, whole

TRIES = 3
LONGEST_PAUSE = 30.0
SIGN_OF_LIFE = 20.0
MAX_CALLS = 16
MAX_TEXT = 512 * 1024

_THOUGHT = re.compile(r"\A\s*<think>.*?(?:</think>\s*|\Z)", re.DOTALL)


class ModelFailed(Exception):
    """The model does not answer; `status` is that of its server's refusal, if there was one."""

    def __init__(self, says: str, status: int | None = None) -> None:
        super().__init__(says)
        self.status = status


@dataclass
class Call:
    """A tool that the model wants; `arguments` is the text that it gave for them."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class Said:
    """One answer of the model. `finish` is why it stopped, empty if it did not."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass
class Model:
    """A server of models. `tell` is told what goes on; servers that refuse a stream get none."""

    server: Server
    name: str
    tell: Callable[..., None]
    streams: bool = True

    def ask(self, messages: list[Json], tools: list[Json], *, choice: str | None = None) -> Said:
        """What the model says next. Raises ModelFailed, and Answered for a refused question."""
        tried = 0
        while True:
            tried += 1
            try:
                return self._asked(messages, tools, choice)
            except Broken as broken:
                failed, after = ModelFailed(str(broken)), None
            except Answered as answered:
                if self.streams and answered.status == 400 and "stream" in answered.says.lower():
                    self.streams, tried = False, 0
                    continue
                if answered.status not in (408, 409, 425, 429) and answered.status < 500:
                    raise
                failed, after = ModelFailed(str(answered), answered.status), answered.after
            if tried >= TRIES:
                raise failed
            self.tell("retry", text=str(failed))
            pause(min(LONGEST_PAUSE, after if after is not None else 2.0 ** (tried - 1)))

    def _asked(self, messages: list[Json], tools: list[Json], choice: str | None) -> Said:
        value: Json = {"model": self.name, "messages": messages, "stream": self.streams}
        if self.streams:
            value["stream_options"] = {"include_usage": True}
        if tools:
            value["tools"] = tools
            if choice is not None:
                value["tool_choice"] = choice
        accept = {"Accept": "text/event-stream" if self.streams else "application/json"}
        with self.server.posted("/chat/completions", value, accept) as answer:
            kind = answer.headers.get_content_type()
            said = self._streamed(answer) if kind == "text/event-stream" else _whole(answer)
        said.calls = [each for each in said.calls if each.name][:MAX_CALLS]
        said.text = _THOUGHT.sub("", said.text, count=1)
        return said

    def _streamed(self, answer: http.client.HTTPResponse) -> Said:
        said, done, told = Said(), False, time.monotonic()
        for data in events(answer):
            if data == b"[DONE]":
                done = True
                break
            _add(said, document(data), "delta")
            if time.monotonic() - told > SIGN_OF_LIFE:
                self.tell("working", text=f"{len(said.text)} characters so far")
                told = time.monotonic()
        if not said.finish and not (done and (said.text or said.calls)):
            raise Broken("connection error: the answer ended before it was finished")
        return said


def _whole(answer: http.client.HTTPResponse) -> Said:
    value, said = whole(answer), Said()
    if not _add(said, value, "message"):
        raise Broken("the answer holds no choice")
    return said


def _add(said: Said, value: Json, part: str) -> bool:
    """Add an answer, or a piece of one; False if it held no words or calls. Raises Broken."""
    if value.get("error"):
        raise Broken(f"the model's server says: {_message(value['error'])}")
    usage = _mapping(value.get("usage"))
    said.input_tokens = _count(usage.get("prompt_tokens")) or said.input_tokens
    said.output_tokens = _count(usage.get("completion_tokens")) or said.output_tokens
    choices = value.get("choices")
    choice = _mapping(choices[0]) if isinstance(choices, list) and choices else None
    if choice is None:
        return False
    piece = _mapping(choice.get(part))
    if isinstance(piece.get("content"), str) and len(said.text) < MAX_TEXT:
        said.text += piece["content"]
    calls = piece.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else []):
        _add_call(said.calls, place, _mapping(call))
    if choice.get("finish_reason"):
        said.finish = str(choice["finish_reason"])
    return True


def _add_call(calls: list[Call], place: int, piece: Json) -> None:
    """Pieces of a call come by its number; some servers send whole calls without one."""
    function = _mapping(piece.get("function"))
    index = piece.get("index")
    if not isinstance(index, int) or isinstance(index, bool):
        index = len(calls) if function.get("name") else max(len(calls) - 1, place)
    elif (
        index < len(calls)
        and function.get("name")
        and piece.get("id")
        not in (
            None,
            "",
            calls[index].id,
        )
    ):
        # Another whole call with a number that was used: some servers count each from nought.
        index = len(calls)
    if index > len(calls) or index < 0 or index > 4 * MAX_CALLS:
        raise Broken("the answer's tool calls make no sense")
    if index == len(calls):
        calls.append(Call())
    call, arguments = calls[index], function.get("arguments")
    call.id = call.id or str(piece.get("id") or "")[:200]
    call.name = call.name or str(function.get("name") or "")[:200]
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments)
    if isinstance(arguments, str) and len(call.arguments) < 2 * MAX_TEXT:
        call.arguments += arguments


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _message(error: Any) -> str:
    return str(error.get("message") or error if isinstance(error, dict) else error)[:300]


def _count(value: Any) -> int:
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return int(value) if fits else 0
