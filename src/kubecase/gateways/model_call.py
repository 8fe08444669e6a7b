"""One call of a model: what it may use, what it used, and how its answer is passed through."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from kubecase.core.metering import Tokens, Trouble
from kubecase.gateways.budget import Room, Spent
from kubecase.gateways.model_request import MODEL_NAME, Asked, answer_headers
from kubecase.gateways.prices import Price, Prices
from kubecase.gateways.protocols import Kind, Seen, reader_for
from kubecase.gateways.protocols.events import Observe
from kubecase.gateways.upstream import Patience

MAX_ERROR = 64 * 1024


@dataclass(slots=True)
class Call:
    """A call under way. `status` is what the CLI was answered; times are in seconds.

    `begun_upstream` from the moment on from which it may have to be paid, until it is known that it
    need not.
    """

    begun: float = field(default_factory=time.monotonic)
    asked: Asked | None = None
    charged: Spent = field(default_factory=Spent)
    room: Room = field(default_factory=Room)
    seen: Seen = field(default_factory=Seen)
    status: int | None = None
    begun_upstream: bool = False
    answered: bool = False
    must_finish: bool = False
    whole: bool = False
    trouble: Trouble | None = None
    says: str | None = None
    admitted: bool = False
    refused: bool = False
    first_byte: float | None = None
    answer_bytes: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def note(self, trouble: Trouble, says: str) -> None:
        """Why this call did not succeed."""
        self.trouble, self.says = trouble, says

    @property
    def is_answer(self) -> bool:
        """Whether it asked for an answer of the model, which is what is counted."""
        return self.asked is not None and self.asked.route.kind is Kind.ANSWER

    def estimate(self, prices: Prices) -> Spent:
        """What the request alone will use."""
        if self.asked is None:
            return Spent()
        tokens = Tokens(input=self.asked.estimated_input)
        return _spent(tokens, str(self.asked.model), prices)

    def used(self, prices: Prices) -> "Used":
        """What the whole call used, by the answer's own count or else estimated by its size."""
        asked = self.asked
        if asked is None or not self.begun_upstream or not self.is_answer:
            return Used(spent=Spent(requests=1 if self.charged.requests else 0))
        told = self.seen.tokens if self.seen.finished else None
        tokens = told or self.seen.told(
            input=asked.estimated_input if self.seen.input is None else self.seen.input,
            output=self.output_so_far,
        )
        model = self.model_of_answer(prices) or str(asked.model)
        return Used(
            spent=_spent(tokens, model, prices),
            tokens=tokens,
            model=model,
            priced=prices.of(model) is not None,
            estimated=told is None,
        )

    def model_of_answer(self, prices: Prices) -> str | None:
        """The model that answered, where that name has a price and the one asked for may not."""
        name = self.seen.model
        if name is None or not MODEL_NAME.fullmatch(name) or prices.of(name) is None:
            return None
        return name

    @property
    def output_so_far(self) -> int:
        """Tokens of the answer up to now: told, or a quarter of its characters."""
        return max(self.seen.output or 0, -(-self.seen.characters // 4))

    def fits(self, price: Price | None) -> bool:
        """Whether the answer up to now stays within what the budgets had left."""
        output = self.output_so_far
        cost = 0 if price is None else price.micro_usd(Tokens(output=output))
        return self.room.holds(output_tokens=output, micro_usd=cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a call used; `model` is the one that it is priced by, `None` where nothing was used."""

    spent: Spent
    tokens: Tokens = field(default_factory=Tokens)
    model: str | None = None
    priced: bool = True
    estimated: bool = False


def _spent(tokens: Tokens, model: str, prices: Prices) -> Spent:
    price, assumed = prices.of(model), None
    if price is None:
        assumed = prices.dearest
    return Spent(
        requests=1,
        input_tokens=tokens.all_input,
        output_tokens=tokens.output,
        micro_usd=0 if price is None else price.micro_usd(tokens),
        assumed_micro_usd=0 if assumed is None else assumed.micro_usd(tokens),
    )


class CutOff(Exception):
    """An answer that is not passed on to its end; the connection is closed instead."""


class CliLeft(CutOff):
    """The CLI has closed its connection: nobody's fault."""


async def pass_through(
    call: Call,
    upstream: aiohttp.ClientResponse,
    request: web.BaseRequest,
    *,
    observe: Observe,
    patience: Patience,
    limit: int,
    fits: Callable[[Call], bool],
) -> web.StreamResponse:
    """Hand on the answer byte for byte as it comes, reading its usage beside it.

    What ends it early (upstream, silence, a limit, the budget) is noted in `call`, and the CLI's
    connection is closed without the end of the answer.
    """
    answer = web.StreamResponse(status=upstream.status, headers=answer_headers(upstream.headers))
    if upstream.content_length is not None:
        answer.content_length = upstream.content_length
    call.status = upstream.status
    kind = upstream.headers.get("Content-Type", "")
    # Of what came compressed against our wish nothing can be read.
    call.must_finish = (
        kind.startswith("text/event-stream") and "Content-Encoding" not in upstream.headers
    )
    reader = reader_for(kind, observe, call.seen)
    await answer.prepare(request)
    try:
        async with asyncio.timeout(patience.call):
            while data := await _next(upstream, patience.idle):
                if call.first_byte is None:
                    call.first_byte = time.monotonic()
                await _write(answer, data)
                call.answer_bytes += len(data)
                call.digest.update(data)
                reader.feed(data)
                _check(call, limit, fits)
            await answer.write_eof()
        call.whole = True
    except (CutOff, TimeoutError, aiohttp.ClientError) as why:
        _note_cut(call, why)
        if request.transport is not None:
            # Not aborted: what was handed on so far is to arrive.
            request.transport.close()
    finally:
        reader.end()
        upstream.close() if not call.whole else upstream.release()
    return answer


async def _write(answer: web.StreamResponse, data: bytes) -> None:
    try:
        await answer.write(data)
    except ConnectionError:
        raise CliLeft from None


async def _next(upstream: aiohttp.ClientResponse, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await upstream.content.readany()
    except TimeoutError:
        raise CutOff(f"the model's server was silent for {seconds:g} s") from None


def _check(call: Call, limit: int, fits: Callable[[Call], bool]) -> None:
    if call.answer_bytes > limit:
        raise CutOff(f"the answer is larger than {limit} bytes")
    if not fits(call):
        call.note(Trouble.BUDGET, "kubecase: the budget was used up in the middle of an answer")
        raise CutOff


def _note_cut(call: Call, why: Exception) -> None:
    if call.trouble is not None:
        return
    if isinstance(why, CliLeft):
        call.says = "the CLI did not wait for the end"
        return
    says = str(why) if isinstance(why, CutOff) else "the answer was cut off"
    if isinstance(why, TimeoutError):
        says = "the answer took too long"
    call.note(Trouble.TRANSIENT, says)
