"""A server of chat completions on loopback that gives whatever answers a test has written down.

    with ChatServer([calls("k8s_kubectl_read", "{not json"), says("The report.")]) as server:
        ... server.url, server.asked[0]["messages"] ...

Each request takes the next answer, and the last one repeats.
"""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is sent; `missing` bytes more are promised than come."""

    body: bytes
    status: int = 200
    kind: str = "application/json"
    missing: int = 0


Reply = Answer | Callable[[Json], Answer]


def document(message: Json, *, finish: str = "stop") -> Answer:
    """A whole completion."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    value = {"object": "chat.completion", "model": "fake", "choices": [choice], "usage": usage}
    return Answer(body=json.dumps(value).encode())


def says(text: str) -> Answer:
    """Words."""
    return document({"content": text})


def calls(*named: tuple[str, Any], content: str | None = None) -> Answer:
    """Tool calls with arguments as they are given, without ids, as some servers send them."""
    made = [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in named]
    return document({"content": content, "tool_calls": made}, finish="tool_calls")


def refusal(status: int, words: str) -> Answer:
    """An error in OpenAI's form."""
    return Answer(status=status, body=json.dumps({"error": {"message": words}}).encode())


class ChatServer:
    """Serves on 127.0.0.1 while it is entered; `asked` are the bodies of all requests."""

    def __init__(self, answers: Sequence[Reply]) -> None:
        self.answers = tuple(answers)
        self.asked: list[Json] = []
        self.keys: list[str] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

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
        self._thread.join(timeout=5)

    def texts(self, role: str) -> list[str]:
        """What the last request holds of `role`."""
        return [m["content"] for m in self.asked[-1]["messages"] if m["role"] == role]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, owner: ChatServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        value = json.loads(self.rfile.read(int(self.headers["content-length"])))
        owner = self.server.owner
        owner.asked.append(value)
        owner.keys.append(self.headers.get("authorization") or "")
        reply = owner.answers[min(len(owner.asked), len(owner.answers)) - 1]
        answer = reply if isinstance(reply, Answer) else reply(value)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body) + answer.missing))
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = answer.missing > 0
