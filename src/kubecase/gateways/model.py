"""The model gateway: between an agent's CLI and a model's server, on a listener of ours.

The CLI has a dummy key of its run; the real one is added here. Answers are passed through as they
come. What is asked is checked against an allow-list, counted, charged to budgets, and put on
record without its text.
"""

import asyncio
import hashlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import aiohttp
from aiohttp import web

from kubecase.core.errors import KubecaseError
from kubecase.core.metering import GatewayRecord, Trouble
from kubecase.core.ports import Offers
from kubecase.gateways.audit import AuditLog
from kubecase.gateways.budget import Account, LoopGuard, Meter, Refusal, Room, Spent
from kubecase.gateways.model_audit import line_of
from kubecase.gateways.model_call import MAX_ERROR, Call, Used, pass_through
from kubecase.gateways.model_request import (
    Asked,
    Refused,
    answer_headers,
    checked,
    is_key,
    read_body,
    route_of,
)
from kubecase.gateways.prices import Prices
from kubecase.gateways.protocols import trouble_of
from kubecase.gateways.quiet import QUIET
from kubecase.gateways.upstream import CallFailed, Patience, Upstream, UpstreamClient

MOST_MODELS = 20
BASE_PATHS: Mapping[str, str] = {"codex": "/v1", "openai_chat": "/v1", "opencode": "/v1"}
"""What the base URL of a CLI ends in, where it is not the bare address."""


def base_url(agent: str, port: int) -> str:
    """The address that the CLI `agent` is given for a gateway on `port` of its loopback."""
    return f"http://127.0.0.1:{port}{BASE_PATHS.get(agent, '')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DummyKey:
    """The key of one run, for its CLI only; the gateway is given nothing but its digest."""

    text: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        """A key that nobody has seen."""
        return cls(text=f"sk-kubecase-{secrets.token_urlsafe(32)}")

    @property
    def sha256(self) -> str:
        """The digest that is kept, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    """Sizes in bytes; `identical` requests may come this often; `refusals` are put on record.

    After `failures` model calls in a row that the server has failed, each of them tried several
    times here, the run is ended: some CLIs would go on for minutes, or for ever. 0 for never.
    """

    request_bytes: int = 32 * 1024 * 1024
    answer_bytes: int = 64 * 1024 * 1024
    identical: int = 12
    refusals: int = 1000
    failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a gateway tells its owner. `ends_run`: nothing more will be let through."""

    trouble: Trouble
    says: str
    ends_run: bool


_OF_THE_SERVER = frozenset({Trouble.AUTH, Trouble.QUOTA, Trouble.TRANSIENT})


def _with_model(models: tuple[str, ...], call: Call) -> tuple[str, ...]:
    """`models` and the one that was asked for an answer, as far as they are counted."""
    model = (
        call.asked.model if call.asked is not None and call.is_answer and call.admitted else None
    )
    if model is None or model in models or len(models) >= MOST_MODELS:
        return models
    return (*models, model)


def _tell_nobody(_: Any) -> None:
    pass


class ModelGateway:
    """The gateway of one run.

    `accounts` are what its calls are charged to. `record` is what was counted before, when a run is
    taken over. `tell` is called once for each kind of trouble, `counted` after every request; both
    must be quick. With `reach_out` the vendor may fetch and run things for the agent. `offers` are
    the tools that the CLI may offer: with any other the run is over; None where they are not known.
    """

    def __init__(
        self,
        *,
        upstream: Upstream,
        key_sha256: str,
        accounts: Sequence[Account],
        prices: Prices,
        audit: AuditLog,
        limits: GatewayLimits | None = None,
        patience: Patience | None = None,
        record: GatewayRecord | None = None,
        tell: Callable[[Told], None] = _tell_nobody,
        counted: Callable[[GatewayRecord], None] = _tell_nobody,
        reach_out: bool = False,
        offers: Offers | None = None,
    ) -> None:
        self.record = record or GatewayRecord()
        self._upstream = upstream
        self._dialect = upstream.dialect
        self._key_sha256 = key_sha256
        self._meter = Meter(accounts)
        self._prices = prices
        self._audit = audit
        self._limits = limits or GatewayLimits()
        self._patience = patience or Patience()
        self._tell = tell
        self._counted = counted
        self._reach_out = reach_out
        self._offers = offers
        self._loops = LoopGuard(self._limits.identical)
        self._told: set[tuple[Trouble, bool]] = set()
        self._broken: str | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._client: UpstreamClient | None = None

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Answer on `listener`, which is listening already, and is closed at the end.

        At the end calls under way are cut off, and still counted. Raises UpstreamUnusable.
        """
        async with UpstreamClient(self._upstream, self._patience) as client:
            self._client = client
            runner = web.ServerRunner(
                # Whoever leaves is not waited for: upstream would go on, and be paid.
                web.Server(self._handle, handler_cancellation=True, access_log=None, logger=QUIET),
                shutdown_timeout=0.1,
            )
            await runner.setup()
            try:
                await web.SockSite(runner, listener).start()
                yield
            finally:
                await runner.cleanup()
                if self._ending:
                    await asyncio.wait(self._ending)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = Call()
        try:
            try:
                call.asked = await self._admitted(request, call)
                return await self._answered(request, call, call.asked)
            except Refused as refused:
                return self._refusal(call, refused)
            except asyncio.CancelledError:
                call.says = "given up: the CLI has left, or its run has ended"
                raise
        finally:
            # A task of its own: what was used is counted also when the CLI has left meanwhile.
            ending = asyncio.create_task(self._conclude(request, call))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            await asyncio.shield(ending)

    async def _admitted(self, request: web.BaseRequest, call: Call) -> Asked:
        """The request, charged with its estimate; raises Refused."""
        if not is_key(request, self._key_sha256):
            raise Refused(401, "kubecase: this is not the key of this run")
        self._still_open()
        route = route_of(request, self._dialect)
        self._let(self._meter.too_fast())
        body = await read_body(request, self._limits.request_bytes)
        asked = checked(request, route, body, self._dialect)
        call.asked = asked
        self._only_given(asked)
        if asked.model is not None and not self._upstream.offers(asked.model):
            says = f"kubecase: the model {asked.model} is not on the list of this upstream"
            raise Refused(self._dialect.refusal, says)
        if call.is_answer:
            self._let(self._loops.check(body))
            await self._charge(call)
        call.admitted = True
        return asked

    def _still_open(self) -> None:
        if self._broken is not None:
            raise Refused(self._dialect.refusal, self._broken)
        if self.record.used_up is not None:
            raise Refused(self._dialect.refusal, self.record.used_up, Trouble.BUDGET)
        if self.record.strange is not None:
            raise Refused(self._dialect.refusal, self.record.strange, Trouble.TOOLS)
        if self.record.gave_up is not None:
            raise Refused(self._dialect.refusal, self.record.gave_up)

    def _only_given(self, asked: Asked) -> None:
        """Raise Refused for a tool that the CLI was not given, and for a way out by the vendor."""
        if self._offers is not None:
            strange = next((t for t in asked.tools if not self._offers.admits(t)), None)
            if strange is not None:
                says = (
                    f"kubecase: the CLI offers its model {strange[:80]!a}, which it was not given"
                )
                raise Refused(self._dialect.refusal, says, Trouble.TOOLS)
        if asked.reaches_out is not None and not self._reach_out:
            says = f"kubecase: {asked.reaches_out} would reach out of the agent's network"
            raise Refused(self._dialect.refusal, says)

    def _let(self, refusal: Refusal | None) -> None:
        if refusal is not None:
            status = 429 if refusal.retry_after is not None else self._dialect.refusal
            raise Refused(status, refusal.says, refusal.trouble, retry_after=refusal.retry_after)

    async def _charge(self, call: Call) -> None:
        charge = call.estimate(self._prices)
        try:
            room = await self._meter.admit(charge)
        except KubecaseError as error:
            raise Refused(self._dialect.refusal, self._break(error)) from error
        if isinstance(room, Refusal):
            self._let(room)
            return
        call.charged, call.room = charge, room

    async def _answered(
        self, request: web.BaseRequest, call: Call, asked: Asked
    ) -> web.StreamResponse:
        assert self._client is not None  # noqa: S101  (set for as long as anything is served)
        call.begun_upstream = True
        try:
            upstream = await self._client.send(
                request.method, asked.route.path, asked.query, asked.headers, asked.body
            )
        except CallFailed as failed:
            call.begun_upstream = failed.begun
            raise Refused(502, f"kubecase: {failed}", failed.trouble) from failed
        try:
            if upstream.status >= 300:
                call.begun_upstream = False
                return await self._failed(call, upstream)
            call.answered = True
            return await pass_through(
                call,
                upstream,
                request,
                observe=self._dialect.observe,
                patience=self._patience,
                limit=self._limits.answer_bytes,
                fits=self._fits,
            )
        finally:
            upstream.close()

    def _fits(self, call: Call) -> bool:
        if call.asked is None or not call.is_answer or call.room == Room():
            return True
        model = str(call.asked.model)
        return call.fits(self._prices.of(model) or self._prices.dearest)

    async def _failed(self, call: Call, upstream: aiohttp.ClientResponse) -> web.Response:
        """An answer that is none: handed on, unless it speaks of the key."""
        status, name = upstream.status, self._upstream.name
        trouble = trouble_of(status) or Trouble.REFUSED
        if status < 400:
            raise Refused(502, f"kubecase: the upstream {name} redirects, which is not followed")
        if trouble is Trouble.AUTH:
            says = f"kubecase: the upstream {name} refuses kubecase's key (status {status})"
            raise Refused(status, says, trouble)
        try:
            async with asyncio.timeout(self._patience.idle):
                body = await upstream.content.read(MAX_ERROR)
        except (TimeoutError, aiohttp.ClientError):
            body = b""
        if self._upstream.key:
            body = body.replace(self._upstream.key.encode(), b"[redacted]")
        call.status, call.answer_bytes = status, len(body)
        call.note(trouble, f"the upstream {name} answered with status {status}")
        return web.Response(status=status, body=body, headers=answer_headers(upstream.headers))

    def _refusal(self, call: Call, refused: Refused) -> web.Response:
        call.status, call.refused = refused.status, not call.admitted
        call.note(refused.trouble, str(refused))
        headers = {}
        if refused.retry_after is not None:
            headers["Retry-After"] = str(refused.retry_after)
        return web.json_response(
            self._dialect.error(refused.status, str(refused)),
            status=refused.status,
            headers=headers,
        )

    async def _conclude(self, request: web.BaseRequest, call: Call) -> None:
        """Charge what was used, put it on record, and tell whom it concerns."""
        if call.answered and call.is_answer and call.trouble is None:
            if call.seen.trouble is not None:
                call.note(call.seen.trouble, "the answer ended with an error of the model's server")
            elif call.whole and call.must_finish and not call.seen.finished:
                call.note(Trouble.TRANSIENT, "the answer ended before it was finished")
        used = call.used(self._prices)
        try:
            if call.charged != Spent():
                await self._meter.correct(used.spent - call.charged)
            self._count(call, used)
            self._write(request, call, used)
        except (KubecaseError, OSError) as error:
            self._break(error)
        self._announce(call)
        self._counted(self.record)

    def _count(self, call: Call, used: Used) -> None:
        before = self.record
        unknown = before.unknown_models
        if not used.priced and used.model is not None and used.model not in unknown:
            unknown = (*unknown, used.model)
        counts = call.is_answer and not call.refused
        budget = call.trouble is Trouble.BUDGET and before.used_up is None
        failed = before.failed + 1 if call.trouble in _OF_THE_SERVER else 0
        failed = failed if counts else before.failed
        gives_up = before.gave_up is None and 0 < self._limits.failures <= failed
        self.record = replace(
            before,
            turns=before.turns + (call.answered and call.is_answer),
            refused=before.refused + call.refused,
            tokens=before.tokens + used.tokens,
            known_cost_usd=round(before.known_cost_usd + used.spent.micro_usd / 1e6, 6),
            unknown_models=unknown,
            estimated=before.estimated or used.estimated,
            last_trouble=call.trouble if counts else before.last_trouble,
            last_says=call.says if counts else before.last_says,
            used_up=call.says if budget else before.used_up,
            strange=before.strange or (call.says if call.trouble is Trouble.TOOLS else None),
            models=_with_model(before.models, call),
            failed=failed,
            gave_up_for=call.trouble if gives_up else before.gave_up_for,
            gave_up=f"{call.says}, {failed} times in a row" if gives_up else before.gave_up,
        )

    def _write(self, request: web.BaseRequest, call: Call, used: Used) -> None:
        if call.refused and self.record.refused > self._limits.refusals:
            return
        line = line_of(call, used, self._upstream, request.method)
        if call.refused and self.record.refused == self._limits.refusals:
            line["note"] = "further refusals are counted, and not put on record one by one"
        self._audit.record("model", **line)

    def _break(self, error: KubecaseError | OSError) -> str:
        """Nothing more is let through that could not be counted or put on record."""
        # The agent is not told where on this host what is kept.
        self._broken = "kubecase: the model gateway is closed, since it can keep no record"
        says = f"the model gateway is closed: {error}"
        self._say(Told(trouble=Trouble.REFUSED, says=says, ends_run=True))
        return self._broken

    def _announce(self, call: Call) -> None:
        if call.trouble is Trouble.BUDGET and self.record.used_up is not None:
            self._say(Told(trouble=Trouble.BUDGET, says=self.record.used_up, ends_run=True))
        elif call.trouble is Trouble.TOOLS and self.record.strange is not None:
            self._say(Told(trouble=Trouble.TOOLS, says=self.record.strange, ends_run=True))
        elif call.trouble is not None and self.record.gave_up and not call.refused:
            self._say(Told(trouble=call.trouble, says=self.record.gave_up, ends_run=True))
        elif call.trouble in {Trouble.AUTH, Trouble.QUOTA} and not call.refused:
            self._say(Told(trouble=call.trouble, says=call.says or "", ends_run=False))

    def _say(self, told: Told) -> None:
        if (told.trouble, told.ends_run) not in self._told:
            self._told.add((told.trouble, told.ends_run))
            self._tell(told)
