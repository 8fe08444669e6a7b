"""A Kubernetes MCP server that pushes faults, by hand over HTTP: real sockets, one thread for each
connection, and every way in which such a server has been seen to fail.
"""

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TOOLS = ("events_subscribe", "events_unsubscribe", "events_list_subscriptions")
FAULT = {
    "subscriptionId": "sub-0a1b2c3d", "cluster": "", "faultId": "9f3c0d1e2b4a5968",
    "faultType": "CrashLoop", "severity": "critical",
    "resource": {"apiVersion": "v1", "kind": "Pod", "name": "api-0", "namespace": "shop",
                 "uid": "6b1d"},
    "context": "container api exited 1", "timestamp": "2026-01-02T03:04:05Z",
}  # fmt: skip
MODERN = "2026-07-28"


class FakeMcp:
    """A server on loopback, on the same port also after `restart`. Its switches may be turned at
    any time: `tools` that it has, `refuse` (status and headers of every answer), `deaf` (no answer
    to anything), `stream` (whether GET is allowed), `sessions`, `modern` (the newer revision only).
    """

    def __init__(self) -> None:
        self.tools: tuple[str, ...] = TOOLS
        self.refuse: tuple[int, dict[str, str]] | None = None
        self.failing: str | None = None
        self.deaf = threading.Event()
        self.stream = self.logging = self.keeps_sessions = True
        self.modern = False
        self.known: dict[str, queue.Queue[bytes | None]] = {}
        self.levels: set[str] = set()
        self.subscriptions: dict[str, str] = {}
        self.calls: list[str] = []
        self.tokens: set[str | None] = set()
        self.made = 0
        self._gone = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/mcp"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.set()
        self.close_streams()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def restart(self) -> None:
        """Forget every session and subscription, and end the streams."""
        streams = list(self.known.values())
        self.known.clear()
        self.subscriptions.clear()
        self.levels.clear()
        for each in streams:
            each.put(None)

    def close_streams(self) -> None:
        """End the streams, and nothing else."""
        for each in list(self.known.values()):
            each.put(None)

    def drop_subscriptions(self) -> None:
        """Forget the subscriptions while the sessions live."""
        self.subscriptions.clear()

    def forget_subscriptions_of(self, session: str) -> None:
        """A session that ended takes its subscriptions along."""
        for each in [one for one, of in self.subscriptions.items() if of == session]:
            del self.subscriptions[each]

    def push(self, data: Any, logger: str = "kubernetes/faults") -> None:
        """Send `data` to every session that subscribed, and asked for log notifications."""
        for session in set(self.subscriptions.values()) & self.levels:
            self.send(session, {"level": "warning", "logger": logger, "data": data})

    def send(self, session: str, params: Any) -> None:
        """Send a log notification to `session`, whatever it asked for."""
        told = {"jsonrpc": "2.0", "method": "notifications/message", "params": params}
        self.raw(session, json.dumps(told).encode())

    def raw(self, session: str, data: bytes) -> None:
        """Send `data` as one event of the stream."""
        self.known[session].put(b"event: message\ndata: " + data + b"\n\n")

    def answer(self, session: str | None, message: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The JSON-RPC answer to `message`, and the session that it made, if any."""
        method, params = message["method"], message.get("params") or {}
        self.calls.append(params["name"] if method == "tools/call" else method)
        if self.modern:
            return self._modern(method), ""
        if method == "initialize":
            self.made += 1
            made = f"session-{self.made}"
            if self.keeps_sessions:
                self.known[made] = queue.Queue()
            return {"result": {
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "logging": {}},
                "serverInfo": {"name": "fake", "version": "1"},
            }}, made if self.keeps_sessions else ""  # fmt: skip
        if method == "logging/setLevel" and self.logging:
            self.levels.add(session or "")
            return {"result": {}}, ""
        if method == "ping":
            return {"result": {}}, ""
        if method == "tools/list":
            tools = [{"name": each, "inputSchema": {"type": "object"}} for each in self.tools]
            return {"result": {"tools": tools}}, ""
        if method == "tools/call" and params["name"] in self.tools:
            return {"result": self._call(session or "", params)}, ""
        return {"error": {"code": -32601, "message": "no such method"}}, ""

    def _modern(self, method: str) -> dict[str, Any]:
        if method != "server/discover":
            return {"error": {
                "code": -32022, "message": "unsupported",
                "data": {"supported": [MODERN], "requested": "2025-11-25"},
            }}  # fmt: skip
        return {"result": {
            "resultType": "complete", "supportedVersions": [MODERN], "capabilities": {"tools": {}},
            "serverInfo": {"name": "fake", "version": "1"}, "ttlMs": 0, "cacheScope": "private",
        }}  # fmt: skip

    def _call(self, session: str, params: dict[str, Any]) -> dict[str, Any]:
        tool, arguments = params["name"], params.get("arguments", {})
        if tool == self.failing:
            return {"isError": True, "content": [{"type": "text", "text": "no\x1b[31m informer"}]}
        said: dict[str, Any] = {}
        if tool == "events_subscribe":
            assert arguments == {"mode": "faults"}
            made = f"sub-{len(self.calls)}"
            self.subscriptions[made] = session
            said = {"subscriptionId": made, "cluster": "", "mode": "faults", "status": "active"}
        elif tool == "events_unsubscribe":
            self.subscriptions.pop(arguments["subscriptionId"], None)
        else:
            said = {"subscriptions": [{"subscriptionId": each} for each in self.subscriptions]}
        return {"content": [{"type": "text", "text": json.dumps(said)}]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    fake: FakeMcp

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _may_go_on(self) -> bool:
        fake = self.server.fake
        fake.tokens.add(self.headers.get("Authorization"))
        if fake.deaf.is_set():
            self.close_connection = True
            fake._gone.wait()
            return False
        if fake.refuse is not None:
            self._answer(fake.refuse[0], b"no", fake.refuse[1])
            return False
        return True

    def do_POST(self) -> None:
        fake = self.server.fake
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._may_go_on():
            return
        session = self.headers.get("Mcp-Session-Id")
        if session is not None and session not in fake.known:
            self._answer(404, b"session not found")
        elif "id" not in message:
            self._answer(202, b"")
        else:
            said, made = fake.answer(session, message)
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}).encode()
            headers = {"Content-Type": "application/json"}
            self._answer(200, body, headers | ({"Mcp-Session-Id": made} if made else {}))

    def do_DELETE(self) -> None:
        fake = self.server.fake
        session = self.headers.get("Mcp-Session-Id", "")
        fake.calls.append("DELETE")
        fake.forget_subscriptions_of(session)
        stream = fake.known.pop(session, None)
        if stream is not None:
            stream.put(None)
        self._answer(204, b"")

    def do_GET(self) -> None:
        fake = self.server.fake
        fake.calls.append("GET")
        if not self._may_go_on():
            return
        stream = fake.known.get(self.headers.get("Mcp-Session-Id", ""))
        if not fake.stream or stream is None:
            self._answer(404 if stream is None else 405, b"")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        while (event := stream.get()) is not None:
            self.wfile.write(event)
            self.wfile.flush()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
