"""A scripted model on loopback that speaks Anthropic Messages, streamed. Standard library only.

    with ModelServer([ToolUse("Read", {"file_path": "/x"}), Text("All is well.")]) as server:
        ... ANTHROPIC_BASE_URL=server.url ...
    assert server.requests[0].tools == ("Read",)

Each request to `/v1/messages` takes the next turn of the script; the last turn repeats for ever. A
turn is a text, a tool call, a tuple of these, or an HTTP error.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

KEY_HEADERS = ("x-api-key", "authorization")
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


@dataclass(frozen=True)
class Text:
    """The model says something; without a tool call beside it the conversation ends."""

    text: str


@dataclass(frozen=True)
class ToolUse:
    """The model asks for a tool."""

    name: str
    input: Mapping[str, Any]


@dataclass(frozen=True)
class HttpError:
    """The server refuses instead of answering."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


Turn = Text | ToolUse | HttpError | tuple[Text | ToolUse, ...]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came. The key itself is not kept, only that there was one."""

    path: str
    has_key: bool
    streamed: bool
    model: str
    tools: tuple[str, ...]
    system: str
    messages: Sequence[Mapping[str, Any]]
    body: str = field(repr=False)


class ModelServer:
    """Serves on 127.0.0.1 while it is entered. `requests` are those to `/v1/messages`, in order.

    `others` are method and path of everything else that was asked for (answered with 404).
    """

    def __init__(self, script: Sequence[Turn], *, input_tokens: int = 1000) -> None:
        if not script:
            raise ValueError("a script has at least one turn")
        self.script = tuple(script)
        self.input_tokens = input_tokens
        self.requests: list[Request] = []
        self.others: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def url(self) -> str:
        """The base URL to give to a client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def _next(self, request: Request) -> tuple[int, Turn]:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests) - 1
        return number, self.script[min(number, len(self.script) - 1)]

    def _handler(server: "ModelServer") -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self._elsewhere()

            def do_HEAD(self) -> None:
                self._elsewhere()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.path.partition("?")[0] != "/v1/messages":
                    self._elsewhere()
                    return
                value = json.loads(body)
                has_key = any(self.headers.get(name) for name in KEY_HEADERS)
                number, turn = server._next(_request(self.path, body, value, has_key))
                if isinstance(turn, HttpError):
                    self._refuse(turn)
                elif value.get("stream"):
                    events = _events(number, turn, value, server.input_tokens)
                    self._answer(200, "text/event-stream", "".join(events).encode())
                else:
                    message = _message(number, turn, value, server.input_tokens)
                    self._answer(200, "application/json", json.dumps(message).encode())

            def _refuse(self, error: HttpError) -> None:
                kind = ERROR_TYPES.get(error.status, "api_error")
                told = {"type": kind, "message": f"scripted fault {error.status}"}
                body = json.dumps({"type": "error", "error": told}).encode()
                self._answer(error.status, "application/json", body, error.headers)

            def _elsewhere(self) -> None:
                server.others.append((self.command, self.path))
                self._answer(404, "application/json", b'{"type":"error"}')

            def _answer(
                self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None
            ) -> None:
                self.send_response(status)
                for name, value in {**(headers or {}), "request-id": "req_scripted"}.items():
                    self.send_header(name, value)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        return Handler


def _request(path: str, body: bytes, value: Mapping[str, Any], has_key: bool) -> Request:
    system = value.get("system") or ""
    if not isinstance(system, str):
        system = "\n".join(block.get("text", "") for block in system)
    return Request(
        path=path,
        has_key=has_key,
        streamed=bool(value.get("stream")),
        model=str(value.get("model")),
        tools=tuple(tool.get("name", "") for tool in value.get("tools") or ()),
        system=system,
        messages=tuple(value.get("messages") or ()),
        body=body.decode("utf-8", "replace"),
    )


def _blocks(number: int, turn: Text | ToolUse | tuple[Text | ToolUse, ...]) -> list[dict[str, Any]]:
    parts = turn if isinstance(turn, tuple) else (turn,)
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, Text)
        else {"type": "tool_use", "id": f"call_{number}_{n}", "name": part.name,
              "input": dict(part.input)}
        for n, part in enumerate(parts)
    ]  # fmt: skip


def _message(number: int, turn: Any, value: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    blocks = _blocks(number, turn)
    uses = any(block["type"] == "tool_use" for block in blocks)
    return {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": value.get("model"),
        "content": blocks, "stop_reason": "tool_use" if uses else "end_turn",
        "stop_sequence": None, "usage": {"input_tokens": tokens, "output_tokens": 50},
    }  # fmt: skip


def _events(number: int, turn: Any, value: Mapping[str, Any], tokens: int) -> Iterator[str]:
    message = _message(number, turn, value, tokens)
    blocks = message["content"]
    start = {**message, "content": [], "stop_reason": None,
             "usage": {"input_tokens": tokens, "output_tokens": 1}}  # fmt: skip
    yield _sse("message_start", message=start)
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            yield _sse("content_block_start", index=index, content_block={**block, "text": ""})
            delta = {"type": "text_delta", "text": block["text"]}
        else:
            yield _sse("content_block_start", index=index, content_block={**block, "input": {}})
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield _sse("content_block_delta", index=index, delta=delta)
        yield _sse("content_block_stop", index=index)
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _sse("message_delta", delta=ending, usage={"output_tokens": 50})
    yield _sse("message_stop")


def _sse(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"
