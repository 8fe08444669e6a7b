"""Servers that messages are posted to: one that takes anything, and one as strict as Slack.

Both run in a thread of their own, so that other processes can be told of while a test waits. What
is answered can be scripted; what arrived is kept, and counted by idempotency key.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LIMIT_BYTES = 10_000
COLOURS = {"#E01E5A", "#ECB22E", "#2EB67D", "#611F69"}


@dataclass(frozen=True)
class Answer:
    """What is answered to one request; `hang` seconds later."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    hang: float = 0.0


@dataclass
class Receiver:
    """Keeps what arrives. `script` is answered first, in order; then `answer` for ever."""

    script: list[Answer] = field(default_factory=list)
    answer: Answer = field(default_factory=Answer)
    strict: bool = False
    url: str = ""
    arrived: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    taken: list[Any] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def keys(self) -> Counter[str]:
        """How often each message was taken, by its idempotency key."""
        return Counter(each["idempotency-key"] for each, _ in self.arrived)

    def take(self, headers: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            self.arrived.append((headers, body))
            if self.script:
                return self.script.pop(0)
            problem = slack_problem(headers, body) if self.strict else None
            if problem is not None:
                return Answer(status=400, body=problem.encode())
            if self.answer.status < 300:
                self.taken.append(json.loads(body))
            return self.answer

    def wait_for(self, count: int, seconds: float = 20) -> None:
        """Until so many messages have arrived."""
        deadline = time.monotonic() + seconds
        while len(self.arrived) < count:
            assert time.monotonic() < deadline, f"{len(self.arrived)} of {count} arrived"
            self.stopped.wait(0.01)


@contextmanager
def receiving(receiver: Receiver) -> Iterator[Receiver]:
    """`receiver` on a port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            named = {name.lower(): value for name, value in self.headers.items()}
            answer = receiver.take({**named, ":path": self.path}, body)
            receiver.stopped.wait(answer.hang)
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
            except OSError:
                return  # whoever asked has gone

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/services/T000/B000/xxxx-secret"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()


def slack_problem(headers: dict[str, str], body: bytes) -> str | None:
    """What Slack would refuse in a message, in its own words; None if it would take it."""
    if not headers.get("content-type", "").startswith("application/json"):
        return "invalid_payload"
    if len(body) > LIMIT_BYTES:
        return "msg_too_long"
    try:
        message = json.loads(body.decode("utf-8"))
    except ValueError:
        return "invalid_payload"
    if not message.get("text"):
        return "no_text"
    blocks = list(message.get("blocks", []))
    for attachment in message.get("attachments", []):
        if attachment.get("color") not in COLOURS:
            return "invalid_attachments"
        blocks += attachment["blocks"]
    if not blocks or len(blocks) > 50:
        return "invalid_blocks"
    return next((f"invalid_blocks: {p}" for block in blocks if (p := _block_problem(block))), None)


def _block_problem(block: dict[str, Any]) -> str | None:
    match block["type"]:
        case "header":
            return _text_problem(block["text"], 150, kind="plain_text")
        case "section":
            if not block.get("text") and not block.get("fields"):
                return "an empty section"
            if "text" in block and (problem := _text_problem(block["text"], 3000)):
                return problem
            fields = block.get("fields", [])
            if len(fields) > 10:
                return "too many fields"
            return next((p for each in fields if (p := _text_problem(each, 2000))), None)
        case "context":
            elements = block["elements"]
            if not 1 <= len(elements) <= 10:
                return "elements of a context"
            return next((p for each in elements if (p := _text_problem(each, 3000))), None)
        case "actions":
            (button,) = block["elements"]
            if not re.match(r"https?://", button["url"]) or len(button["url"]) > 3000:
                return "the address of a button"
            return _text_problem(button["text"], 75, kind="plain_text")
    return f"a block of type {block['type']}"


def _text_problem(text: dict[str, Any], longest: int, kind: str = "mrkdwn") -> str | None:
    if text["type"] != kind:
        return f"a text of type {text['type']}"
    if not 1 <= len(text["text"]) <= longest:
        return f"a text of {len(text['text'])} characters"
    return None
