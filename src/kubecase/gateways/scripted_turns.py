"""What a scripted model says, in the words of each protocol. Pure values.

For the self-test of an agent's CLI, and for tests: nothing here is a model.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The model asks for a tool; `number` tells the calls of a conversation apart."""

    tool: str
    arguments: Mapping[str, Any]
    number: int = 0
    space: str = ""

    @property
    def id(self) -> str:
        """What the answer of the tool refers to."""
        return f"call_{self.number}"


def functions(value: Any, space: str = "") -> Iterator[tuple[str, str]]:
    """The names of the tools that a request offers, in any of the protocols, each with the
    namespace that it lies in.
    """
    for tool in value if isinstance(value, list) else ():
        if not isinstance(tool, Mapping):
            continue
        declared = tool.get("functionDeclarations") or tool.get("function_declarations")
        if declared:
            yield from functions(declared)
        elif tool.get("type") == "namespace":
            yield from functions(tool.get("tools"), str(tool.get("name")))
        else:
            function = tool.get("function") or tool
            name = function.get("name") if isinstance(function, Mapping) else None
            # What a vendor runs itself has a type, or is the one key of its declaration.
            yield str(name or tool.get("type") or next(iter(tool), "")), space


def responses(turn: Call | str) -> list[Json]:
    """The events of OpenAI's Responses API."""
    item: Json
    if isinstance(turn, Call):
        item = {"type": "function_call", "id": f"fc_{turn.number}", "call_id": turn.id,
                "name": turn.tool, "arguments": json.dumps(turn.arguments),
                "status": "completed"}  # fmt: skip
        if turn.space:
            item["namespace"] = turn.space
    else:
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": turn, "annotations": []}]}  # fmt: skip
    usage = {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 0},
             "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 0},
             "total_tokens": 1050}  # fmt: skip
    response = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
                "model": "scripted", "output": [item], "usage": usage, "tools": [],
                "parallel_tool_calls": False, "tool_choice": "auto", "metadata": {}}  # fmt: skip
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


_USAGE = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}


def _said(turn: Call | str) -> Json:
    if isinstance(turn, str):
        return {"role": "assistant", "content": turn}
    function = {"name": turn.tool, "arguments": json.dumps(turn.arguments)}
    call = {"index": 0, "id": turn.id, "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _why(turn: Call | str) -> str:
    return "tool_calls" if isinstance(turn, Call) else "stop"


def chat(turn: Call | str) -> list[Json]:
    """The chunks of OpenAI's chat completions."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    end = {"index": 0, "delta": {}, "finish_reason": _why(turn)}
    return [
        {**head, "choices": [{"index": 0, "delta": _said(turn), "finish_reason": None}]},
        {**head, "choices": [end]},
        {**head, "choices": [], "usage": _USAGE},
    ]


def whole_chat(turn: Call | str) -> Json:
    """The same in one document."""
    choice = {"index": 0, "message": _said(turn), "finish_reason": _why(turn)}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "scripted",
            "choices": [choice], "usage": _USAGE}  # fmt: skip


def gemini(turn: Call | str) -> list[Json]:
    """The documents of Gemini's API: there is one."""
    part: Json = (
        {"functionCall": {"name": turn.tool, "args": dict(turn.arguments)}}
        if isinstance(turn, Call)
        else {"text": turn}
    )
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 50, "totalTokenCount": 1050}
    content = {"role": "model", "parts": [part]}
    candidate = {"content": content, "finishReason": "STOP", "index": 0}
    return [{"candidates": [candidate], "modelVersion": "scripted", "usageMetadata": usage}]


def whole_anthropic(turn: Call | str) -> Json:
    """A message of Anthropic's API in one document."""
    block: Json = (
        {"type": "tool_use", "id": turn.id, "name": turn.tool, "input": dict(turn.arguments)}
        if isinstance(turn, Call)
        else {"type": "text", "text": turn}
    )
    reason = "tool_use" if isinstance(turn, Call) else "end_turn"
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "scripted",
            "content": [block], "stop_reason": reason, "stop_sequence": None,
            "usage": {"input_tokens": 1000, "output_tokens": 50}}  # fmt: skip


def anthropic(turn: Call | str) -> list[Json]:
    """The events of Anthropic's API."""
    message = whole_anthropic(turn)
    (block,) = message["content"]
    if isinstance(turn, Call):
        empty, delta = {**block, "input": {}}, {
            "type": "input_json_delta", "partial_json": json.dumps(block["input"]),
        }  # fmt: skip
    else:
        empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": turn}
    start = {**message, "content": [], "stop_reason": None}
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 50}},
        {"type": "message_stop"},
    ]
