"""uvicorn's HTTP/1.1 with what it lacks: a limit of connections, and of patience for a request.

Without it whoever connects and says nothing, or half a header, holds a connection for ever.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import h11
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from kubecase.app.web.problems import PROBLEM_JSON, Problem

HEADER_SECONDS = 10.0


class BoundedProtocol(H11Protocol):
    """One connection. `most` are open at a time; the head of each request is due within seconds."""

    most = 256
    header_seconds = HEADER_SECONDS
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, unless there are too many connections."""
        super().connection_made(transport)
        # What is one connection's own must not be seen by the others.
        self.app_state = {**self.app_state, "abort": transport.abort}
        if len(self.connections) > self.most:
            transport.write(_plain(Problem(503, "too many connections")))
            transport.close()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take more of a request; its head must be whole in time."""
        super().data_received(data)
        if self._is_busy:
            self._wait_no_more()
        elif self._due is None:
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close."""
        # Nothing can be said in the middle of an answer.
        with suppress(h11.LocalProtocolError):
            problem = Problem(400, "this is not a valid HTTP/1.1 request")
            body = problem.body()
            headers = [
                ("content-type", PROBLEM_JSON), ("content-length", str(len(body))),
                ("connection", "close"),
            ]  # fmt: skip
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def _is_busy(self) -> bool:
        """Whether a request is being answered."""
        cycle: Any = self.cycle  # none before the first request, whatever its type says
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        self._due = self.loop.call_later(self.header_seconds, self._give_up)

    def _wait_no_more(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _give_up(self) -> None:
        self._due = None
        if not self._is_busy:
            self.transport.abort()


def bounded(most: int, header_seconds: float) -> type[BoundedProtocol]:
    """The protocol with these limits."""
    limits: dict[str, Any] = {"most": most, "header_seconds": header_seconds}
    return type("Bounded", (BoundedProtocol,), limits)


class OrderlyServer(Server):
    """uvicorn's server without a hand on the signals of the process, and with less patience."""

    def __init__(self, config: Config, protocol: type[BoundedProtocol]) -> None:
        super().__init__(config)
        self._protocol = protocol

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the service, which decides in which order things end."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve `sockets`; a handshake of TLS may take no longer than the head of a request."""
        await self.lifespan.startup()
        loop, secure = asyncio.get_running_loop(), self.config.ssl
        self.servers = [
            await loop.create_server(
                self._connection, sock=each, ssl=secure, backlog=self.config.backlog,
                ssl_handshake_timeout=None if secure is None else self._protocol.header_seconds,
            )
            for each in sockets or ()
        ]  # fmt: skip
        self.started = True

    def _connection(self) -> asyncio.Protocol:
        return self._protocol(self.config, self.server_state, self.lifespan.state)


def _plain(problem: Problem) -> bytes:
    body = problem.body()
    head = (
        f"HTTP/1.1 {problem.status} Service Unavailable\r\ncontent-type: {PROBLEM_JSON}\r\n"
        f"content-length: {len(body)}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
