"""Budgets: how much of a model a run, a cluster, a day may use, and what is left of it.

A call is charged its estimate before it is made and what it really used afterwards, so that calls
made side by side, or cut short by a crash, are counted too.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from kubecase.core.metering import Trouble

MINUTE = 60.0
_REMEMBERED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How far one account may go; `None` for no such limit. `max_requests` counts model calls."""

    max_cost_usd: float | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_requests: int | None = None
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was used, or is about to be. Money is in millionths of a US dollar.

    `assumed_micro_usd` is what models without a price may have cost at the dearest price known: it
    counts against a budget and is never reported as a cost.
    """

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    micro_usd: int = 0
    assumed_micro_usd: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(**{f.name: getattr(self, f.name) + getattr(other, f.name)
                        for f in fields(self)})  # fmt: skip

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(**{f.name: getattr(self, f.name) - getattr(other, f.name)
                        for f in fields(self)})  # fmt: skip

    def corrected(self, difference: "Spent") -> "Spent":
        """`self` and `difference` together, none of it below zero.

        A call that begins before midnight and ends after it corrects a day that was not charged.
        """
        total = self + difference
        return Spent(**{f.name: max(0, getattr(total, f.name)) for f in fields(self)})

    @property
    def charged_micro_usd(self) -> int:
        """What counts against `max_cost_usd`."""
        return self.micro_usd + self.assumed_micro_usd

    def as_json(self) -> dict[str, int]:
        """The values by name, as `spent_from` takes them."""
        return asdict(self)


def spent_from(value: Mapping[str, Any]) -> Spent:
    """What `Spent.as_json` gave; names that are missing are 0. Raises ValueError."""
    known = {f.name for f in fields(Spent)}
    given = {name: number for name, number in value.items() if name in known}
    if any(isinstance(n, bool) or not isinstance(n, int) for n in given.values()):
        raise ValueError("holds something that is not a whole number")
    return Spent(**given)


class Ledger(Protocol):
    """Where it is kept what an account has spent; it outlives the process.

    Both methods raise KubecaseError when the record cannot be read or written: then nothing more
    is let through.
    """

    async def spent(self) -> Spent:
        """Everything that was added so far."""

    async def add(self, spent: Spent) -> None:
        """Add `spent`, some of which may be negative: a correction of an estimate.

        No total falls below zero.
        """


class MemoryLedger:
    """A ledger for as long as the process lives."""

    def __init__(self, spent: Spent | None = None) -> None:
        self._spent = spent or Spent()

    async def spent(self) -> Spent:
        """Everything that was added so far."""
        return self._spent

    async def add(self, spent: Spent) -> None:
        """Add `spent`."""
        self._spent = self._spent.corrected(spent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request is not made. `retry_after` are seconds, for what passes by itself."""

    trouble: Trouble
    says: str
    retry_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much one call may still use; `None` for as much as it likes."""

    output_tokens: int | None = None
    micro_usd: int | None = None

    def holds(self, *, output_tokens: int, micro_usd: int) -> bool:
        """Whether this much fits."""
        return (self.output_tokens is None or output_tokens <= self.output_tokens) and (
            self.micro_usd is None or micro_usd <= self.micro_usd
        )


class Account:
    """One budget with its ledger: `name` is "run", "cluster" or "day", for the sentences.

    Share one object among the gateways of a process where they share a budget: the request rate is
    counted here.
    """

    def __init__(
        self,
        name: str,
        budget: Budget,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.budget = budget
        self.ledger = ledger
        self._clock = clock
        self._recent: deque[float] = deque()

    def too_fast(self) -> Refusal | None:
        """Count one request of any kind, unless there were too many within the last minute."""
        limit = self.budget.requests_per_minute
        if limit is None:
            return None
        now = self._clock()
        while self._recent and self._recent[0] <= now - MINUTE:
            self._recent.popleft()
        if len(self._recent) < limit:
            self._recent.append(now)
            return None
        wait = max(1, round(self._recent[0] + MINUTE - now + 0.5)) if self._recent else 60
        return Refusal(
            trouble=Trouble.QUOTA,
            says=f"kubecase: more than {limit} requests per minute of this {self.name}",
            retry_after=wait,
        )

    async def room(self, asked: Spent) -> Room | Refusal:
        """What is left for the answer of a call that takes in `asked`."""
        spent, budget = await self.ledger.spent(), self.budget
        after = spent + asked
        money = None if budget.max_cost_usd is None else round(budget.max_cost_usd * 1e6)
        output = budget.max_output_tokens
        for used, limit, what in (
            (after.requests, budget.max_requests, "model calls"),
            (after.input_tokens, budget.max_input_tokens, "input tokens"),
            (after.output_tokens + 1, output, "output tokens"),
        ):
            if limit is not None and used > limit:
                return self._used_up(f"{limit} {what}")
        if money is not None and after.charged_micro_usd >= money:
            return self._used_up(f"{budget.max_cost_usd:g} US dollars")
        return Room(
            output_tokens=None if output is None else output - spent.output_tokens,
            micro_usd=None if money is None else money - after.charged_micro_usd,
        )

    def _used_up(self, limit: str) -> Refusal:
        says = f"kubecase: the budget of this {self.name} is used up ({limit})"
        return Refusal(trouble=Trouble.BUDGET, says=says)


class Meter:
    """All accounts that one run is charged to."""

    def __init__(self, accounts: Sequence[Account]) -> None:
        self._accounts = tuple(accounts)
        self._lock = asyncio.Lock()

    def too_fast(self) -> Refusal | None:
        """Whether this request comes too soon after others; counted where it does not."""
        for account in self._accounts:
            if refusal := account.too_fast():
                return refusal
        return None

    async def admit(self, asked: Spent) -> Room | Refusal:
        """Charge `asked` to every account, or say which of them has not that much left."""
        async with self._lock:
            rooms: list[Room] = []
            for account in self._accounts:
                room = await account.room(asked)
                if isinstance(room, Refusal):
                    return room
                rooms.append(room)
            await self.correct(asked)
        return Room(
            output_tokens=_least(room.output_tokens for room in rooms),
            micro_usd=_least(room.micro_usd for room in rooms),
        )

    async def correct(self, difference: Spent) -> None:
        """Charge `difference` between what was admitted and what was used."""
        for account in self._accounts:
            await account.ledger.add(difference)


def _least(values: Any) -> int | None:
    return min((value for value in values if value is not None), default=None)


class LoopGuard:
    """Notices that one and the same request comes again and again."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def check(self, body: bytes) -> Refusal | None:
        """Count `body`; a refusal once it came more often than the limit."""
        digest = hashlib.sha256(body).digest()
        times = self._counts.pop(digest, 0) + 1
        self._counts[digest] = times
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        if times <= self._limit:
            return None
        says = f"kubecase: the same request came more than {self._limit} times"
        return Refusal(trouble=Trouble.REFUSED, says=says)
