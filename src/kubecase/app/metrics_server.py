"""Serves one registry on a loopback address: `GET /metrics`, nothing else."""

import ipaddress
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from kubecase.core.errors import KubecaseError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client import CollectorRegistry


class MetricsServer:
    """A running server. `port` is the one that was taken; calling or leaving it closes it."""

    def __init__(self, registry: "CollectorRegistry", host: str, port: int) -> None:
        address = _loopback(host)
        self._registry = registry
        kind = _ServerV6 if ":" in address else _Server
        try:
            self._server = make_server(
                address, port, self._answer, server_class=kind, handler_class=_Quiet
            )
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else "no such port"
            raise KubecaseError(
                f"cannot serve metrics on {address} port {port}: {why}",
                hint="Choose another port, or 0 for any that is free.",
            ) from error
        self.port = self._server.server_port
        shown = f"[{address}]" if ":" in address else address
        self.url = f"http://{shown}:{self.port}/metrics"
        # Polled ten times a second only to notice that it is to be closed.
        self._thread = Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1},
            name="metrics", daemon=True,
        )  # fmt: skip
        self._thread.start()

    def close(self) -> None:
        """Stop listening; returns when nobody is served any more. A second time does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def __call__(self) -> None:
        """Close it."""
        self.close()

    def __enter__(self) -> "MetricsServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self.close()

    def _answer(self, request: "WSGIEnvironment", start: "StartResponse") -> "Iterable[bytes]":
        from prometheus_client import make_wsgi_app

        if request.get("PATH_INFO") != "/metrics":
            start("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"only /metrics is here\n"]
        if request.get("REQUEST_METHOD") not in {"GET", "HEAD"}:
            start(
                "405 Method Not Allowed", [("Allow", "GET, HEAD"), ("Content-Type", "text/plain")]
            )
            return [b"only GET\n"]
        answer: Iterable[bytes] = make_wsgi_app(self._registry)(request, start)
        return answer


def _loopback(host: str) -> str:
    """`host` as an address of this machine that nobody else can reach; raises KubecaseError."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise KubecaseError(
            f"cannot serve metrics on {host!a}: it is not a loopback address",
            hint="Metrics are served on 127.0.0.1 or ::1 only; let a local collector pass them on.",
        )
    return str(address)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # Without the reverse look-up of the standard library, which may ask a name server.
        from socketserver import TCPServer

        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _ServerV6(_Server):
    from socket import AF_INET6 as address_family  # noqa: N811


class _Quiet(WSGIRequestHandler):
    # Whoever says nothing for ten seconds is hung up on.
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape every few seconds is no event."""

    def address_string(self) -> str:
        return str(self.client_address[0])
