"""A cluster that does nothing but tell of its Events, and not always nicely.

    with EventStream(recorded_stream("many-failures"), close_after=40) as cluster:
        ... cluster.kubeconfig(path)

It serves the list and the watch of `/api/v1/events` as a real server does: versions, bookmarks,
both kinds of 410, the end of a watch at its own choice. All other lists are empty. Times in what
was recorded are moved, so that it begins now.
"""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from fakes.kube_authority import kubeconfig_for

DATA = Path(__file__).parent.parent / "data" / "event-streams"
_MOMENT = re.compile(r'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z"')
Notification = tuple[str, Mapping[str, Any]]


def recorded_stream(name: str, *, begins: datetime | None = None) -> list[Notification]:
    """The notifications of a recorded watch, moved in time so that the first is at `begins`."""
    text = (DATA / f"{name}.jsonl").read_text()
    first = min(datetime.fromisoformat(f"{m[1]}+00:00") for m in _MOMENT.finditer(text[:4000]))
    by = (begins or datetime.now(UTC)) - first

    def moved(match: re.Match[str]) -> str:
        moment = datetime.fromisoformat(f"{match[1]}+00:00") + by
        return f'"{moment:%Y-%m-%dT%H:%M:%S}{match[2] or ""}Z"'

    lines = (json.loads(_MOMENT.sub(moved, line)) for line in text.splitlines())
    return [(line["type"], line["object"]) for line in lines]


class EventStream:
    """The server. `close_after` lines a watch is ended; every `gone`-th watch is answered with 410
    as its status, every `error`-th with one in the stream. `released` notifications have happened.
    """

    def __init__(
        self,
        notifications: Sequence[Notification],
        *,
        close_after: int = 10**9,
        gone: int = 0,
        error: int = 0,
        released: int | None = None,
    ) -> None:
        self.history = [
            (kind, {**each, "metadata": {**each["metadata"], "resourceVersion": str(number)}})
            for number, (kind, each) in enumerate(notifications, 1)
        ]
        self.close_after, self.gone, self.error = close_after, gone, error
        self.released = len(self.history) if released is None else released
        self.watches = self.lists = 0
        self.served = 0
        self.happened = threading.Condition()
        self.closing = False

    def release(self, count: int) -> None:
        """Let so many more notifications happen."""
        with self.happened:
            self.released = min(len(self.history), self.released + count)
            self.happened.notify_all()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.happened:
            self.closing = True
            self.happened.notify_all()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def kubeconfig(self, path: Path) -> Path:
        """A kubeconfig for it."""
        path.write_text(json.dumps(kubeconfig_for({"server": self.url}, {"token": "t"})))
        path.chmod(0o600)
        return path

    def listed(self, fits: Mapping[str, str]) -> Mapping[str, Any]:
        """The list as it is now."""
        with self.happened:
            self.lists += 1
            there = {
                each["metadata"]["name"]: each
                for kind, each in self.history[: self.released]
                if _fits(each, fits)
            }
            version = str(self.released)
        return {
            "kind": "EventList", "apiVersion": "v1", "metadata": {"resourceVersion": version},
            "items": list(there.values()),
        }  # fmt: skip

    def watched(self, since: int, fits: Mapping[str, str], seconds: float) -> Iterator[bytes]:
        """The lines of one watch; an empty one now and then, to notice who has left."""
        with self.happened:
            self.watches += 1
            number = self.watches
        if self.error and number % self.error == 0:
            yield _line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
            return
        yield _line("BOOKMARK", {"kind": "Event", "metadata": {"resourceVersion": str(since)}})
        at, told, ends = since, 0, time.monotonic() + seconds
        while told < self.close_after and not self.closing and time.monotonic() < ends:
            with self.happened:
                self.happened.wait_for(lambda: self.released > at or self.closing, 0.2)  # noqa: B023
                new = self.history[at : self.released]
            for kind, each in new:
                at += 1
                if _fits(each, fits):
                    told += 1
                    self.served = max(self.served, at)
                    yield _line(kind, each)
                if told >= self.close_after:
                    return
            self.served = max(self.served, at)
            yield b""


def _line(kind: str, each: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": each}).encode() + b"\n"


def _fits(each: Mapping[str, Any], fits: Mapping[str, str]) -> bool:
    return all(each.get(key) == value for key, value in fits.items())


def _handler(cluster: EventStream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            if not parts.path.endswith("/events"):
                self.answer(200, {"kind": "List", "items": [], "metadata": {}})
                return
            fits = dict([query["fieldSelector"].split("=", 1)]) if "fieldSelector" in query else {}
            if query.get("watch") != "true":
                self.answer(200, cluster.listed(fits))
                return
            since = int(query.get("resourceVersion") or 0)
            if cluster.gone and (cluster.watches + 1) % cluster.gone == 0:
                cluster.watches += 1
                self.answer(410, {"kind": "Status", "code": 410, "message": "too old"})
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for line in cluster.watched(since, fits, float(query.get("timeoutSeconds", 300))):
                    if line:
                        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                        self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True

        def answer(self, status: int, body: Mapping[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler
