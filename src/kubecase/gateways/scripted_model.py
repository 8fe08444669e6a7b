"""A scripted model on loopback, in all the protocols that the CLIs of agents speak.

    with ScriptedModel([Act("kubectl_read", {"command": "get pods"}), "The report."]) as model:
        ... model.url ...
    model.asked[0].tools

A request that offers tools takes the next turn, and the last one repeats for ever; one that offers
none (a CLI that asks for a title) is answered with a word. The name of a tool is completed to one
that the CLI has offered, where there is one that ends so.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from kubecase.gateways import scripted_turns as turns

MAX_BODY = 64 * 1024 * 1024
_KEY_HEADERS = ("x-api-key", "authorization", "x-goog-api-key")


@dataclass(frozen=True, slots=True)
class Act:
    """The model asks for a tool."""

    tool: str
    arguments: Mapping[str, Any]


class Fault(Enum):
    """How an answer goes wrong: it is cut in the middle, or it begins and then nothing comes."""

    CUT = auto()
    STALL = auto()


Turn = Act | str | int | Fault
"""A tool, words that end the conversation, the status of a refusal, or a fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: where, with which credential, and what it offered and said."""

    path: str
    credential: str
    tools: tuple[str, ...]
    body: str


class ScriptedModel:
    """Serves on 127.0.0.1 while it is entered. With `key` it answers nobody who has not that one.

    `asked` are the requests for an answer, in order; `fetched` the paths of all others.
    """

    def __init__(self, script: Sequence[Turn], *, key: str | None = None) -> None:
        if not script:
            raise ValueError("a script has at least one turn")
        self.script = tuple(script)
        self.key = key
        self.asked: list[Asked] = []
        self.fetched: list[str] = []
        self.over = threading.Event()
        self._taken = 0
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def url(self) -> str:
        """The base address, without a version."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def taken(self) -> int:
        """How many turns were taken."""
        return self._taken

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def fetch(self, path: str) -> None:
        """Remember that `path` was asked for, which is no answer of a model."""
        with self._lock:
            self.fetched.append(path)

    def turn(self, asked: Asked, offered: Mapping[str, str]) -> turns.Call | str | int | Fault:
        """What this request is answered with; `offered` are its tools with their namespaces."""
        with self._lock:
            self.asked.append(asked)
            if not offered:
                # A model that refuses, refuses whatever it is asked.
                refusal = self.script[0] if len(self.script) == 1 else None
                return refusal if isinstance(refusal, int) else "A title"
            self._taken += 1
            number = self._taken
            turn = self.script[min(number, len(self.script)) - 1]
        if not isinstance(turn, Act):
            return turn
        name = next((name for name in offered if name.endswith(turn.tool)), turn.tool)
        return turns.Call(
            tool=name, arguments=turn.arguments, number=number, space=offered.get(name, "")
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, model: ScriptedModel) -> None:
        self.model = model
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    """Speaks for the model of its server."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    @property
    def model(self) -> ScriptedModel:
        return self.server.model

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.model.fetch(self.path)
        self.reply(200, "application/json", b'{"data": [], "object": "list", "models": []}')

    def do_HEAD(self) -> None:
        self.model.fetch(self.path)
        self.reply(200, "text/plain", b"")

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(min(size, MAX_BODY))
        key = next(filter(None, map(self.headers.get, _KEY_HEADERS)), "")
        value = _document(body)
        if value is None or not _is_route(self.path):
            self.model.fetch(self.path)
            self.refuse(404)
        elif self.model.key is not None and self.model.key not in key:
            self.refuse(401)
        else:
            offered = dict(turns.functions(value.get("tools")))
            asked = Asked(
                path=self.path, credential=key, tools=tuple(offered),
                body=body.decode("utf-8", "replace"),
            )  # fmt: skip
            self.say(value, self.model.turn(asked, offered))

    def say(self, value: Mapping[str, Any], turn: turns.Call | str | int | Fault) -> None:
        if isinstance(turn, int):
            self.refuse(turn)
            return
        path = self.path.partition("?")[0]
        if not (value.get("stream") or ":stream" in path) and not isinstance(turn, Fault):
            document = json.dumps(_whole(path, turn)).encode()
            self.reply(200, "application/json", document)
            return
        said = "Let me look at that." if isinstance(turn, Fault) else turn
        events = [_line(each) for each in _streamed(path, said)]
        if isinstance(turn, Fault):
            # Before the words are whole, in each of the protocols.
            self.break_off(events[: len(events) // 2], turn)
            return
        end = ["data: [DONE]\n\n"] if path.endswith("/chat/completions") else []
        self.reply(200, "text/event-stream", "".join(events + end).encode())

    def break_off(self, events: list[str], fault: Fault) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for each in events:
            data = each.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()
        if fault is Fault.STALL:
            self.model.over.wait(600)
        self.close_connection = True

    def refuse(self, status: int) -> None:
        message = f"scripted {status}"
        refusal = {
            "type": "error", "error": {"message": message, "code": status, "type": "x"},
        }  # fmt: skip
        self.reply(status, "application/json", json.dumps(refusal).encode())

    def reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _document(body: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_route(path: str) -> bool:
    path = path.partition("?")[0]
    return path.endswith(("/messages", "/responses", "/chat/completions")) or (
        ":generateContent" in path or ":streamGenerateContent" in path
    )


def _line(event: Mapping[str, Any]) -> str:
    head = f"event: {event['type']}\n" if "type" in event else ""
    return f"{head}data: {json.dumps(event)}\n\n"


def _streamed(path: str, turn: turns.Call | str) -> list[dict[str, Any]]:
    if path.endswith("/messages"):
        return turns.anthropic(turn)
    if path.endswith("/responses"):
        return turns.responses(turn)
    if path.endswith("/chat/completions"):
        return turns.chat(turn)
    events = turns.gemini(turn)
    # Halved below for a fault: a first part that is not the last.
    return events if isinstance(turn, turns.Call) else [_unfinished(events[0]), *events]


def _unfinished(event: Mapping[str, Any]) -> dict[str, Any]:
    (candidate,) = event["candidates"]
    part = {"content": {"role": "model", "parts": [{"text": ""}]}, "index": candidate["index"]}
    return {"candidates": [part], "modelVersion": "scripted"}


def _whole(path: str, turn: turns.Call | str) -> dict[str, Any]:
    if path.endswith("/messages"):
        return turns.whole_anthropic(turn)
    if path.endswith("/responses"):
        done: dict[str, Any] = turns.responses(turn)[-1]["response"]
        return done
    if path.endswith("/chat/completions"):
        return turns.whole_chat(turn)
    return turns.gemini(turn)[-1]
