"""The HTTP of a fake API server: one thread for each connection, kept alive, streams in chunks."""

import select
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fakes.kube_answers import Answer, status_answer

Reply = Callable[[str, str, Mapping[str, str], bytes], Answer]


class Server(ThreadingHTTPServer):
    """Asks `reply` with method, target, headers and body of each request."""

    daemon_threads = True
    block_on_close = False
    # Fifty watches may be opened in one moment.
    request_queue_size = 128
    reply: Reply

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or does not like our certificate, is what tests are about."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # One packet for head and body: two would wait 40 ms for each other.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Server

    def __getattr__(self, name: str) -> Any:
        """Any method is heard, so that none comes to a door unseen."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        # As it was sent: `path` has lost leading slashes.
        target = self.requestline.split()[1]
        answer = self.server.reply(self.command, target, headers, self._body())
        if answer.hangs:
            self.close_connection = True
        elif answer.status == 101:
            self._switch(headers)
        elif answer.stream is not None:
            self._stream(answer.stream, answer.headers)
        else:
            self._whole(answer)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            length = int(self.headers.get("Content-Length") or 0)
            return self.rfile.read(length) if length else b""
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _whole(self, answer: Answer) -> None:
        body = answer.body
        if body is None:
            body = status_answer(answer.status, answer.message).body or b""
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _switch(self, headers: Mapping[str, str]) -> None:
        asked = {name.lower(): value for name, value in headers.items()}
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", asked.get("upgrade", "websocket"))
        self.end_headers()
        self.close_connection = True

    def _stream(self, pieces: Iterator[bytes], headers: Mapping[str, str]) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        try:
            for piece in pieces:
                if piece:
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    self.wfile.flush()
                elif self._is_left():
                    self.close_connection = True
                    return
            self.wfile.write(b"0\r\n\r\n")
        finally:
            pieces.close()  # type: ignore[attr-defined]

    def _is_left(self) -> bool:
        """Whether the client says something in mid-stream, which only its farewell can be."""
        return bool(select.select([self.connection], [], [], 0)[0])

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read `requests`."""
