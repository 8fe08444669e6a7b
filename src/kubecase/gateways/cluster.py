"""The cluster gateway: between an agent and an API server, read-only, redacted, on record.

The agent has a token of its run; the real credential is added here. Each request is decided about
by the policy alone, sent on in a form of our own making, and its answer redacted. Whatever fails on
the way is answered with a Status and nothing else.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from socket import socket

import aiohttp
from aiohttp import web

from kubecase.core.redact import Redactor
from kubecase.gateways.audit import AuditLog
from kubecase.gateways.callers import Callers
from kubecase.gateways.cluster_answer import (
    Unshowable,
    redact_text,
    redacted_object,
    status,
)
from kubecase.gateways.cluster_call import KIND, ClusterLimits, ClusterRecord, KubeCall
from kubecase.gateways.cluster_stream import StreamedAnswer
from kubecase.gateways.cluster_upstream import ClusterUpstream, Unanswered
from kubecase.gateways.policy import Allowed, Answer, Denied, KubeRequest, Resources, decide
from kubecase.gateways.quiet import QUIET

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A listening socket, and whom it is for. With `tls` the socket speaks it."""

    listener: socket
    callers: Callers
    tls: ssl.SSLContext | None


def _tell_nobody(_: ClusterRecord) -> None:
    pass


class ClusterGateway:
    """The gateway of one run, or of a person.

    `upstream` is entered by its owner. `record` is what was counted before, when a run is taken
    over; `counted` is told after each request, and must be quick.
    """

    def __init__(
        self,
        *,
        upstream: ClusterUpstream,
        resources: Resources,
        redactor: Redactor,
        audit: AuditLog,
        limits: ClusterLimits | None = None,
        record: ClusterRecord | None = None,
        counted: Callable[[ClusterRecord], None] = _tell_nobody,
    ) -> None:
        self.record = record or ClusterRecord()
        self._upstream = upstream
        self._resources = resources
        self._redactor = redactor
        self._audit = audit
        self._limits = limits or ClusterLimits()
        self._counted = counted
        self._streams = 0
        self._active = 0
        self._strangers = 0
        self._broken = False

    @asynccontextmanager
    async def serving(self, doors: Sequence[Door]) -> AsyncIterator[None]:
        """Answer on all `doors`, whose sockets listen already and are closed at the end."""
        async with AsyncExitStack() as stack:
            for door in doors:
                await stack.enter_async_context(self._open(door))
            yield

    @asynccontextmanager
    async def _open(self, door: Door) -> AsyncIterator[None]:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._handle(request, door.callers)

        runner = web.ServerRunner(
            web.Server(handle, handler_cancellation=True, access_log=None, logger=QUIET),
            shutdown_timeout=0.1,
        )
        await runner.setup()
        try:
            await web.SockSite(runner, door.listener, ssl_context=door.tls).start()
            yield
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest, callers: Callers) -> web.StreamResponse:
        call = KubeCall(method=request.method, target=request.raw_path)
        self._active += 1
        try:
            denied = await self._decided(request, call, callers)
            if denied is not None:
                return self._refuse(call, denied)
            return await self._answered(request, call)
        except (Unanswered, Unshowable) as error:
            return self._fail(call, error)
        except asyncio.CancelledError:
            call.says = "given up: the caller has left, or the run has ended"
            raise
        finally:
            self._active -= 1
            self._conclude(call)

    async def _decided(
        self, request: web.BaseRequest, call: KubeCall, callers: Callers
    ) -> Denied | None:
        """What stands against the request; else `call.allowed` is set."""
        call.caller = callers.name_of(request.headers.getall("Authorization", ()))
        if call.caller is None:
            says = "kubecase: this is not the credential of a running investigation"
            return Denied(rule="credential", says=says, code=401, reason="Unauthorized")
        if self._broken:
            says = "kubecase: the cluster gateway is closed, since it can keep no record"
            return Denied(rule="record", says=says)
        if self._active > self._limits.at_once:
            says = f"kubecase: {self._limits.at_once} requests are under way already; wait"
            return Denied(rule="busy", says=says, code=429, reason="TooManyRequests")
        says = self.record.used_up(self._limits) or ""
        if says:
            return Denied(rule="budget", says=says)
        call.body = await self._body(request)
        asked = KubeRequest(
            method=request.method,
            target=request.raw_path,
            headers=tuple(request.headers.items()),
            body=call.body,
        )
        decision = decide(asked, self._resources, self._limits.bounds)
        if isinstance(decision, Denied):
            return decision
        if decision.streams and self._streams >= self._limits.streams:
            says = f"kubecase: {self._limits.streams} streams are open already; close some first"
            return Denied(rule="streams", says=says)
        call.allowed = decision
        return None

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The body, at most a little longer than any that is taken."""
        if not request.can_read_body:
            return b""
        most, data = self._limits.bounds.review_bytes + 1, bytearray()
        while len(data) < most and (more := await request.content.readany()):
            data += more
        return bytes(data[:most])

    async def _answered(self, request: web.BaseRequest, call: KubeCall) -> web.StreamResponse:
        allowed = call.allowed
        assert allowed is not None  # noqa: S101  (decided just before)
        async with self._upstream.ask(allowed, call.body) as response:
            if response.status != 200 and not (allowed.method == "POST" and response.status == 201):
                return await self._error(call, response)
            if allowed.streams or allowed.answer is Answer.LOG:
                return await self._streamed(request, call, response)
            return await self._whole(call, allowed, response)

    async def _whole(
        self, call: KubeCall, allowed: Allowed, response: aiohttp.ClientResponse
    ) -> web.Response:
        data = await self._read(response, self._limits.object_bytes)
        kind = response.headers.get("Content-Type", "")
        headers = {"Content-Type": kind}
        if allowed.answer is Answer.OBJECT:
            if kind.partition(";")[0].strip() != JSON:
                raise Unshowable("it is no JSON")
            data, call.masked = await redacted_object(data, self._redactor)
        elif allowed.answer is Answer.TEXT:
            data, call.masked = redact_text(data, self._redactor)
            headers["Content-Type"] = "text/plain; charset=utf-8"
        if call.masked:
            headers["Warning"] = f'299 kubecase "{_masked(call.masked)}"'
        return self._give(call, response.status, data, headers)

    async def _error(self, call: KubeCall, response: aiohttp.ClientResponse) -> web.Response:
        """What the API server says when it has no answer: its own Status, redacted."""
        data = await self._read(response, 256 * 1024)
        headers = {"Content-Type": JSON}
        if "Retry-After" in response.headers:
            headers["Retry-After"] = response.headers["Retry-After"][:20]
        try:
            data, call.masked = await redacted_object(data, self._redactor)
        except Unshowable:
            text, call.masked = redact_text(data[:2000], self._redactor)
            says = f"the cluster answers: {text.decode(errors='replace')}"
            data = status(response.status, "", says)
        return self._give(call, response.status, data, headers)

    def _give(
        self, call: KubeCall, code: int, data: bytes, headers: dict[str, str]
    ) -> web.Response:
        call.status, call.size = code, len(data)
        call.answer = self._audit.keep(data)
        return web.Response(status=code, body=data, headers=headers)

    async def _read(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        data = bytearray()
        while more := await self._upstream.more(response):
            data += more
            if len(data) > limit:
                raise Unshowable(
                    f"it is larger than {limit} bytes; ask for less with a namespace, a name, a "
                    "selector or limit"
                )
        return bytes(data)

    async def _streamed(
        self, request: web.BaseRequest, call: KubeCall, response: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        assert call.allowed is not None  # noqa: S101  (decided before)
        stream = StreamedAnswer(
            call=call,
            allowed=call.allowed,
            upstream=self._upstream,
            limits=self._limits,
            room=self._limits.total_bytes - self.record.bytes,
            redactor=self._redactor,
            kept=self._audit.keeping(),
        )
        self._streams += 1
        try:
            return await stream.hand_on(request, response)
        finally:
            self._streams -= 1

    def _refuse(self, call: KubeCall, denied: Denied) -> web.Response:
        call.denied, call.says, call.status = denied, denied.says, denied.code
        return web.Response(
            status=denied.code,
            body=status(denied.code, denied.reason, denied.says),
            headers={"Content-Type": JSON},
        )

    def _fail(self, call: KubeCall, error: Exception) -> web.Response:
        shown = "its answer is not shown: " if isinstance(error, Unshowable) else ""
        call.says = f"kubecase: {shown}{error}"
        call.status = 502
        return web.Response(
            status=502,
            body=status(502, "BadGateway", call.says),
            headers={"Content-Type": JSON},
        )

    def _conclude(self, call: KubeCall) -> None:
        """Count the request and put it on record; without a record nothing more is answered."""
        line = call.line(self._redactor)
        if call.caller is None:
            # Whoever is not of this run uses up nothing of it, neither requests nor record.
            self._strangers += 1
            if self._strangers > self._limits.strangers:
                return
        else:
            denied = call.denied is not None
            self.record = self.record.after(denied=denied, size=call.size, masked=call.masked)
            if denied and self.record.denied > self._limits.denials:
                return
            if denied and self.record.denied == self._limits.denials:
                line["note"] = "further denials are counted, and not put on record one by one"
        try:
            self._audit.record(KIND, **line)
        except OSError:
            self._broken = True
        self._counted(self.record)


def _masked(count: int) -> str:
    values = "1 value that looks secret was" if count == 1 else (
        f"{count} values that look secret were"
    )  # fmt: skip
    return f"kubecase: {values} masked as [redacted]"
