"""Scripted servers of models in all four protocols, with all the ways in which they fail.

    with FakeUpstream([Say("All is well."), Fail(429, {"Retry-After": "1"})]) as upstream:
        ... upstream.url ...
    assert upstream.asked[0].headers["x-api-key"] == "sk-real"

Each request for an answer takes the next turn of the script; the last one repeats for ever. The
protocol is that of the path. `bytes_of` are the very bytes of an answer's body.
"""

import json
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Say:
    """The model answers with a text, and says what that used."""

    text: str = "All is well."
    taken: int = 1000
    given: int = 50
    cached: int = 0
    counts: bool = True


@dataclass(frozen=True)
class Fail:
    """The server refuses."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": {"message": "scripted", "type": "scripted"}}'


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes of the answer, without its end."""

    after: int


@dataclass(frozen=True)
class Stall:
    """Nothing comes any more after so many bytes of the answer."""

    after: int


@dataclass(frozen=True)
class Endless:
    """The answer goes on until the client leaves."""


@dataclass(frozen=True)
class Drop:
    """The connection is closed without a word."""


@dataclass(frozen=True)
class Raw:
    """These bytes, as they are, with this content type."""

    body: bytes
    kind: str = "text/event-stream"


Turn = Say | Fail | Cut | Stall | Endless | Drop | Raw


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request as it came; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def chunks_of(path: str, say: Say, model: str) -> list[dict[str, Any]]:
    """The events of a streamed answer, in the protocol of `path`."""
    if "messages" in path:
        return _anthropic(say, model)
    if "responses" in path:
        return _responses(say, model)
    if "chat" in path:
        return _chat(say, model)
    return _gemini(say, model)


def document_of(path: str, say: Say, model: str) -> dict[str, Any]:
    """The same answer in one piece."""
    if "messages" in path:
        usage = {"input_tokens": say.taken - say.cached, "output_tokens": say.given,
                 "cache_read_input_tokens": say.cached}  # fmt: skip
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": model,
                "content": [{"type": "text", "text": say.text}], "stop_reason": "end_turn",
                **({"usage": usage} if say.counts else {})}  # fmt: skip
    if "responses" in path:
        response: dict[str, Any] = _responses(say, model)[-1]["response"]
        return response
    if "chat" in path:
        message = {"role": "assistant", "content": say.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"id": "c1", "object": "chat.completion", "model": model, "choices": [choice],
                **({"usage": _chat_usage(say)} if say.counts else {})}  # fmt: skip
    last = _gemini(say, model)[-1]
    return {**last, "candidates": [_candidate(say.text, "STOP")]}


def bytes_of(path: str, turn: Say | Cut | Stall, model: str, *, streamed: bool) -> bytes:
    """The body of an answer, to the byte."""
    say = turn if isinstance(turn, Say) else Say("word " * 200)
    if not streamed:
        return json.dumps(document_of(path, say, model)).encode()
    events = []
    for chunk in chunks_of(path, say, model):
        name = f"event: {chunk['type']}\n" if "type" in chunk else ""
        # Google ends its lines like this; the gateway must not care.
        end = "\r\n" if "Content" in path else "\n"
        events.append(f"{name}data: {json.dumps(chunk)}{end}{end}")
    if "chat" in path:
        events.append("data: [DONE]\n\n")
    return ("event: ping\ndata: {}\n\n: a comment\n\n" + "".join(events)).encode()


def _anthropic(say: Say, model: str) -> list[dict[str, Any]]:
    usage = {"input_tokens": say.taken - say.cached, "cache_read_input_tokens": say.cached,
             "output_tokens": 1}  # fmt: skip
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model,
               "content": [], **({"usage": usage} if say.counts else {})}  # fmt: skip
    last = {"usage": {"output_tokens": say.given}} if say.counts else {}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0,
           "delta": {"type": "text_delta", "text": word}} for word in _words(say)),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **last},
        {"type": "message_stop"},
    ]  # fmt: skip


def _responses(say: Say, model: str) -> list[dict[str, Any]]:
    usage = {"input_tokens": say.taken, "input_tokens_details": {"cached_tokens": say.cached},
             "output_tokens": say.given,
             "output_tokens_details": {"reasoning_tokens": 1}}  # fmt: skip
    content = [{"type": "output_text", "text": say.text}]
    response = {"id": "r1", "object": "response", "model": model, "status": "completed",
                "output": [{"type": "message", "role": "assistant", "content": content}],
                **({"usage": usage} if say.counts else {})}  # fmt: skip
    return [
        {"type": "response.created", "response": {**response, "usage": None, "output": []}},
        *({"type": "response.output_text.delta", "delta": word} for word in _words(say)),
        {"type": "response.completed", "response": response},
    ]


def _chat_usage(say: Say) -> dict[str, Any]:
    return {"prompt_tokens": say.taken, "completion_tokens": say.given,
            "prompt_tokens_details": {"cached_tokens": say.cached}}  # fmt: skip


def _chat(say: Say, model: str) -> list[dict[str, Any]]:
    head = {"id": "c1", "object": "chat.completion.chunk", "model": model}
    stop = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return [
        *({**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
          for word in _words(say)),
        {**head, "choices": [stop]},
        *([{**head, "choices": [], "usage": _chat_usage(say)}] if say.counts else []),
    ]  # fmt: skip


def _candidate(text: str, reason: str | None) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    return {"content": content, **({"finishReason": reason} if reason else {})}


def _gemini(say: Say, model: str) -> list[dict[str, Any]]:
    usage = {"promptTokenCount": say.taken, "cachedContentTokenCount": say.cached,
             "candidatesTokenCount": say.given - 1, "thoughtsTokenCount": 1}  # fmt: skip
    told = {"usageMetadata": usage} if say.counts else {}
    return [
        *({"candidates": [_candidate(word, None)], "modelVersion": model} for word in _words(say)),
        {"candidates": [_candidate("", "STOP")], "modelVersion": model, **told},
    ]


def _words(say: Say) -> list[str]:
    return [f"{word} " for word in say.text.split(" ")]


class FakeUpstream:
    """Serves on 127.0.0.1 while it is entered; with `tls` (certificate and key in one file) https.

    `asked` are the requests for an answer, `others` all other ones.
    """

    def __init__(self, script: Sequence[Turn], *, tls: str | None = None) -> None:
        self.script = tuple(script)
        self.asked: list[Seen] = []
        self.others: list[Seen] = []
        self.left = threading.Event()
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._scheme = "http"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        """The base URL, without a version."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def next_turn(self, seen: Seen) -> Turn:
        """Note the request, and say what it is answered with."""
        with self._lock:
            self.asked.append(seen)
            return self.script[min(len(self.asked), len(self.script)) - 1]


ANSWERS = ("/messages", "/responses", "/chat/completions", ":generateContent",
           ":streamGenerateContent")  # fmt: skip


def _handler(upstream: FakeUpstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            upstream.others.append(self.seen(b""))
            self.whole(200, "application/json", b'{"data": [], "object": "list"}')

        def do_CONNECT(self) -> None:
            upstream.others.append(self.seen(b""))
            self.whole(502, "text/plain", b"")

        def seen(self, body: bytes) -> Seen:
            headers = {name.lower(): value for name, value in self.headers.items()}
            return Seen(method=self.command, path=self.path, headers=headers, body=body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = self.path.partition("?")[0]
            if not path.endswith(ANSWERS):
                upstream.others.append(self.seen(body))
                self.whole(200, "application/json", b'{"input_tokens": 7, "totalTokens": 7}')
                return
            turn, value = upstream.next_turn(self.seen(body)), json.loads(body)
            model = value.get("model") or path.rsplit("/", 1)[-1].partition(":")[0]
            streamed = bool(value.get("stream")) or ":stream" in path
            try:
                self.answer(turn, path, model, streamed)
            except OSError:
                upstream.left.set()
                self.close_connection = True

        def answer(self, turn: Turn, path: str, model: str, streamed: bool) -> None:
            match turn:
                case Fail():
                    self.whole(turn.status, "application/json", turn.body, turn.headers)
                case Drop():
                    self.close_connection = True
                case Raw():
                    self.streaming([turn.body], turn.kind)
                case Say() if not streamed:
                    body = bytes_of(path, turn, model, streamed=False)
                    self.whole(200, "application/json", body)
                case Say():
                    body = bytes_of(path, turn, model, streamed=True)
                    # Cut where no event ends, so that nobody relies on it.
                    self.streaming([body[at : at + 37] for at in range(0, len(body), 37)])
                case Cut() | Stall():
                    body = bytes_of(path, turn, model, streamed=True)[: turn.after]
                    self.streaming([body], end=False)
                    if isinstance(turn, Stall):
                        upstream.closing.wait(30)
                    self.close_connection = True
                case Endless():
                    self.streaming(self.endless(path, model))

        def endless(self, path: str, model: str) -> Iterator[bytes]:
            say = Say("word " * 200)
            first, *rest = chunks_of(path, say, model)
            yield f"data: {json.dumps(first)}\n\n".encode()
            while not upstream.closing.is_set():
                yield f"data: {json.dumps(rest[1])}\n\n".encode()

        def whole(
            self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None
        ) -> None:
            self.send_response(status)
            self.common(kind, headers)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def streaming(
            self, pieces: Any, kind: str = "text/event-stream", *, end: bool = True
        ) -> None:
            self.send_response(200)
            self.common(kind, None)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in pieces:
                if piece:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.flush()
            if end:
                self.wfile.write(b"0\r\n\r\n")

        def common(self, kind: str, headers: Mapping[str, str] | None) -> None:
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("request-id", "req_scripted")
            self.send_header("Set-Cookie", "spy=1")
            self.send_header("anthropic-organization-id", "org-of-the-operator")

    return Handler
