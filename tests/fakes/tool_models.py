"""A scripted model that calls tools, in the three protocols beside Anthropic's.

    with ToolModel([Call("kubectl_read", {"command": "get pods"}), "The report."]) as model:
        ... model.url ...

A request that offers tools takes the next turn; one that offers none (a CLI that asks for a title)
is answered with a word. The name of a tool is completed to the one that the CLI has offered.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Call:
    """The model calls a tool."""

    tool: str
    arguments: Mapping[str, Any]


Turn = Call | str | int
"""An integer is the status of a refusal."""


@dataclass(frozen=True)
class Asked:
    """One request: where, with which credential, and what it offered and said."""

    path: str
    credential: str
    tools: tuple[str, ...]
    body: str


def _functions(value: Any, space: str = "") -> Iterator[tuple[str, str]]:
    """Names of offered tools with the namespace that each lies in."""
    for tool in value if isinstance(value, list) else ():
        if "functionDeclarations" in tool or "function_declarations" in tool:
            declared = tool.get("functionDeclarations") or tool.get("function_declarations")
            yield from _functions(declared)
        elif tool.get("type") == "namespace":
            yield from _functions(tool.get("tools"), str(tool.get("name")))
        else:
            function = tool.get("function") or tool
            if function.get("name"):
                yield str(function["name"]), space


class ToolModel:
    """Serves on 127.0.0.1 while it is entered."""

    def __init__(self, script: Sequence[Turn]) -> None:
        self.script = tuple(script)
        self.asked: list[Asked] = []
        self._taken = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """The base address, without a version."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def turn(self, asked: Asked) -> Turn:
        """What this request is answered with."""
        with self._lock:
            self.asked.append(asked)
            if not asked.tools:
                return "A title"
            self._taken += 1
            return self.script[min(self._taken, len(self.script)) - 1]


def _handler(model: ToolModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.reply(200, "application/json", b'{"data": [], "object": "list", "models": []}')

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            value = json.loads(body or b"{}")
            offered = dict(_functions(value.get("tools")))
            key = self.headers.get("authorization") or self.headers.get("x-goog-api-key") or ""
            asked = Asked(self.path, key, tuple(offered), body.decode())
            turn = model.turn(asked)
            if isinstance(turn, int):
                refusal = {"error": {"message": f"scripted {turn}", "code": turn, "type": "x"}}
                self.reply(turn, "application/json", json.dumps(refusal).encode())
                return
            call = turn if isinstance(turn, Call) else None
            name = next((n for n in offered if call and n.endswith(call.tool)), "absent")
            self.say(value, turn, name, offered.get(name, ""))

        def say(self, value: dict[str, Any], turn: Call | str, name: str, space: str) -> None:
            path = self.path.partition("?")[0]
            if path.endswith("/responses"):
                chunks = _responses(turn, name, space)
            elif path.endswith("/chat/completions"):
                if not value.get("stream"):
                    self.reply(200, "application/json", json.dumps(_whole(turn, name)).encode())
                    return
                chunks = _chat(turn, name)
            else:
                chunks = _gemini(turn, name)
                if ":stream" not in path:
                    self.reply(200, "application/json", json.dumps(chunks[-1]).encode())
                    return
            text = "".join(
                (f"event: {each['type']}\n" if "type" in each else "")
                + f"data: {json.dumps(each)}\n\n"
                for each in chunks
            )
            if path.endswith("/chat/completions"):
                text += "data: [DONE]\n\n"
            self.reply(200, "text/event-stream", text.encode())

        def reply(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _responses(turn: Call | str, name: str, space: str) -> list[dict[str, Any]]:
    item: dict[str, Any]
    if isinstance(turn, Call):
        item = {"type": "function_call", "id": "fc_1", "call_id": f"call_{id(turn)}", "name": name,
                "arguments": json.dumps(turn.arguments), "status": "completed"}  # fmt: skip
        if space:
            item["namespace"] = space
    else:
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": turn, "annotations": []}]}  # fmt: skip
    usage = {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 0},
             "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 0},
             "total_tokens": 1050}  # fmt: skip
    response = {"id": "resp_1", "object": "response", "status": "completed", "model": "scripted",
                "output": [item], "usage": usage}  # fmt: skip
    return [
        {"type": "response.created", "response": {**response, "output": [], "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]


def _calls(turn: Call, name: str) -> list[dict[str, Any]]:
    function = {"name": name, "arguments": json.dumps(turn.arguments)}
    return [{"index": 0, "id": f"call_{id(turn)}", "type": "function", "function": function}]


_USAGE = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}


def _chat(turn: Call | str, name: str) -> list[dict[str, Any]]:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    is_call = isinstance(turn, Call)
    delta: dict[str, Any] = {"role": "assistant"}
    delta |= {"tool_calls": _calls(turn, name)} if isinstance(turn, Call) else {"content": turn}
    reason = "tool_calls" if is_call else "stop"
    return [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
        {**head, "choices": [], "usage": _USAGE},
    ]


def _whole(turn: Call | str, name: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    message |= {"tool_calls": _calls(turn, name)} if isinstance(turn, Call) else {"content": turn}
    reason = "tool_calls" if isinstance(turn, Call) else "stop"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "scripted",
            "choices": [choice], "usage": _USAGE}  # fmt: skip


def _gemini(turn: Call | str, name: str) -> list[dict[str, Any]]:
    part: dict[str, Any] = (
        {"functionCall": {"name": name, "args": dict(turn.arguments)}}
        if isinstance(turn, Call)
        else {"text": turn}
    )
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 50, "totalTokenCount": 1050}
    content = {"role": "model", "parts": [part]}
    candidate = {"content": content, "finishReason": "STOP", "index": 0}
    return [{"candidates": [candidate], "modelVersion": "scripted", "usageMetadata": usage}]
