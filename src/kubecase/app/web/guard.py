"""What stands in front of every route: limits first, then who asks, then a record of the answer."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from kubecase.app.web.access import PUBLIC, SAFE, Caller, Gate
from kubecase.app.web.lingering import Receive, discard
from kubecase.app.web.problems import Problem, answer, busy, shown
from kubecase.app.web.rates import Rates, address_group
from kubecase.core.ports import Observer

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

HEARD_OUT = 1024 * 1024
HEARD_SECONDS = 1.0
"""How much is heard of a body of somebody who is refused."""

QUIET = PUBLIC | {"/metrics"}
"""Asked every few seconds by machines: on record only when something is wrong."""

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Sent with every answer that does not say otherwise."""


@dataclass(kw_only=True)
class Guard:
    """An ASGI application around another one.

    Who takes no part of its answer for `send_seconds` is hung up on.
    """

    app: App
    gate: Gate
    rates: Rates
    observer: Observer
    send_seconds: float

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(scope=scope, send=send, seconds=self.send_seconds)
        try:
            await self._answer(scope, receive, exchange)
        finally:
            self._record(exchange)

    async def _answer(
        self, scope: MutableMapping[str, Any], receive: Receive, exchange: "_Exchange"
    ) -> None:
        try:
            exchange.caller = self._admitted(scope)
        except Problem as problem:
            if scope["method"] not in SAFE:
                await discard(receive, most=HEARD_OUT, seconds=HEARD_SECONDS)
            await exchange.refuse(problem)
            return
        scope.setdefault("state", {})["caller"] = exchange.caller
        await self.app(scope, receive, exchange)

    def _admitted(self, scope: MutableMapping[str, Any]) -> Caller:
        address = str((scope.get("client") or ("",))[0])
        try:
            caller = self.gate.admit(scope)
        except Problem:
            # Guessing is counted by address, however many tokens are tried.
            self._take(f"refused {address_group(address)}")
            raise
        self._take(caller.key)
        return caller

    def _take(self, caller: str) -> None:
        seconds = self.rates.take(caller)
        if seconds is not None:
            raise busy("too many requests from this caller", seconds, status=429)

    def _record(self, exchange: "_Exchange") -> None:
        scope, status = exchange.scope, exchange.status
        if scope["path"] in QUIET and status < 400:
            return
        self.observer.record(
            "http_request",
            method=str(scope["method"])[:20],
            # Without the query, in which people put what they should not.
            path=shown(scope["path"])[:200],
            status=status,
            duration=round(time.monotonic() - exchange.begun, 4),
            bytes=exchange.bytes,
            peer=str((scope.get("client") or ("",))[0]),
            caller=exchange.caller.name if exchange.caller else None,
        )


@dataclass(kw_only=True)
class _Exchange:
    """One answer on its way out: what it was, and that somebody takes it."""

    scope: MutableMapping[str, Any]
    send: Send
    seconds: float
    caller: Caller | None = None
    status: int = 0
    bytes: int = 0
    begun: float = field(default_factory=time.monotonic)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message.get("headers", [])}
            message["headers"] = [
                *message.get("headers", []),
                *(each for each in HEADERS if each[0] not in given),
            ]
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
        with anyio.move_on_after(self.seconds) as scope:
            await self.send(message)
        if scope.cancelled_caught:
            abort = self.scope.get("state", {}).get("abort")
            if abort is not None:
                abort()

    async def refuse(self, problem: Problem) -> None:
        """Send `problem` and close: what is left of the request is not read."""
        raised = answer(problem)
        headers = [*raised.headers, (b"connection", b"close")]
        await self({"type": "http.response.start", "status": raised.status, "headers": headers})
        await self({"type": "http.response.body", "body": raised.body})
