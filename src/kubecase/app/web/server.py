"""Serving the HTTP API: the address, TLS, the guard in front, and an orderly end."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import anyio

from kubecase.app.metrics import RuntimeMetrics
from kubecase.app.settings import Settings
from kubecase.app.settings.web_values import WebSettings
from kubecase.app.web.access import Gate, is_loopback
from kubecase.app.web.backend import Backend
from kubecase.app.web.guard import Guard
from kubecase.app.web.rates import Rates
from kubecase.app.web.tokens import Keyring, Scope, Token, TokenFile
from kubecase.core.errors import KubecaseError
from kubecase.core.ports import Observer
from kubecase.store import Store, utc_now

if TYPE_CHECKING:
    from uvicorn import Server

    from kubecase.app.web.context import Context

GRACE_SECONDS = 5
MAX_HEAD = 16 * 1024
BACKLOG = 128
TICK = 0.02


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A running server; `url` is where it is reached from this host."""

    url: str
    port: int


@asynccontextmanager
async def serving_web(
    settings: Settings,
    *,
    backend: Backend,
    store: Store,
    metrics: RuntimeMetrics,
    observer: Observer,
    clock: Callable[[], datetime] = utc_now,
) -> AsyncIterator[Serving]:
    """Serve the HTTP API until this is left; then nothing new is taken, streams end, and what is
    being answered is answered within five seconds.

    Raises KubecaseError where the address, the certificate or the tokens cannot be used.
    """
    from kubecase.app.web.context import Context
    from kubecase.core.redact import Redactor

    web = settings.web
    keyring = _keyring(settings)
    _require_token_outside(web, keyring)
    context = Context(
        settings=settings, backend=backend, store=store, metrics=metrics, observer=observer,
        clock=clock, redactor=Redactor(settings.secrets),
    )  # fmt: skip
    with closing(listening(web.host, web.port)) as listener:
        port = int(listener.getsockname()[1])
        server = _server(context, _gate(context, keyring, port))
        scheme = "https" if web.tls_cert else "http"
        serving = Serving(url=f"{scheme}://{_shown(web.host)}:{port}", port=port)
        running = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if running.done():
                    await running
                await anyio.sleep(TICK)
            observer.record("web_started", url=serving.url, loopback=is_loopback_host(web.host))
            yield serving
        finally:
            with anyio.CancelScope(shield=True):
                context.stopping.set()
                server.should_exit = True
                await running
                observer.record("web_stopped", url=serving.url)


def _gate(context: "Context", keyring: Keyring, port: int) -> Gate:
    web = context.settings.web
    return Gate(
        keyring=keyring,
        clock=context.clock,
        port=port,
        hosts=frozenset(web.hosts),
        loopback_needs_token=web.loopback_needs_token,
    )


def _keyring(settings: Settings) -> Keyring:
    configured = (
        Token(name=each.name, sha256=each.sha256, scopes=frozenset(Scope(s) for s in each.scopes))
        for each in settings.web.tokens
    )
    return Keyring(TokenFile(settings.store.data_dir), configured)


def _require_token_outside(web: WebSettings, keyring: Keyring) -> None:
    if is_loopback_host(web.host) or keyring.tokens:
        return
    raise KubecaseError(
        f"cannot listen on {web.listen}: it is not a loopback address, and there is no token"
        + (f" ({keyring.trouble})" if keyring.trouble else ""),
        hint="Make one with `kubecase token create NAME --scope read`, or set web.listen "
        "(KUBECASE_WEB__LISTEN) to 127.0.0.1:8080.",
    )


def is_loopback_host(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    return host == "localhost" or is_loopback(host)


def listening(host: str, port: int) -> socket.socket:
    """A listening socket. Raises KubecaseError where the address cannot be had."""
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise KubecaseError(
            f"cannot listen on {_shown(host)}:{port}: {error.strerror or error}",
            hint="Set web.listen (KUBECASE_WEB__LISTEN) to another address or port; port 0 takes "
            "any that is free.",
        ) from error
    return listener


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _server(context: "Context", gate: Gate) -> "Server":
    """uvicorn, bounded, silent about itself, and without a hand on the signals of the process."""
    import uvicorn

    from kubecase.app.web.application import build
    from kubecase.app.web.protocol import OrderlyServer, bounded

    web = context.settings.web

    guard = Guard(
        app=build(context),
        gate=gate,
        rates=Rates(per_second=web.requests_per_second, burst=web.burst),
        observer=context.observer,
        send_seconds=web.send_timeout,
    )
    protocol = bounded(web.max_connections, web.header_timeout)
    config = uvicorn.Config(
        guard,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_keep_alive=max(1, int(web.header_timeout)),
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
        ssl_certfile=str(web.tls_cert) if web.tls_cert else None,
        ssl_keyfile=str(web.tls_key) if web.tls_key else None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise KubecaseError(
            f"cannot use the certificate {str(web.tls_cert)!a} with its key: {error}",
            hint="web.tls_cert and web.tls_key name PEM files that belong together and that this "
            "user can read.",
        ) from error
    return OrderlyServer(config, protocol)
