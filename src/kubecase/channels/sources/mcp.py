"""Faults that a Kubernetes MCP server pushes (docs/formats.md section 1); docs/sources.md.

Only a fork of kubernetes-mcp-server offers this. The server sends nothing that is older than the
subscription and nothing again that was lost on the way, so a session is looked after: a server that
forgot the session or the subscription, or fell silent, gets a new one.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kubecase.channels.sources.intake import Arrival, mapping_of, text_of
from kubecase.channels.sources.mcp_fault import fault_from_mcp
from kubecase.channels.sources.mcp_session import FaultSession, opened
from kubecase.channels.sources.mcp_wire import Pace, Refused, SessionLost, Unsuited
from kubecase.channels.sources.reconnecting import BackOff
from kubecase.clusters.untrusted import Unreadable, parse_json
from kubecase.core.errors import FaultRejected
from kubecase.core.model import Fault
from kubecase.core.ports import Credential, Observer

FAULTS, TROUBLE = "kubernetes/faults", "kubernetes/subscription_error"
WAITING = 500
WAITING_BYTES = 32 * 1024 * 1024
MOST_KNOWN = 20_000
DEFAULT_CLUSTER = "default"


@dataclass(kw_only=True)
class McpSource:
    """The faults of the server at `url`. State changes are told as `source_state`.

    `cluster` is the cluster of all of them, whatever the server calls it; where it is None, the
    server's own word counts. Ends only when the server lets us in no more.
    """

    name: str
    url: str
    cluster: str | None
    token: Credential | None
    observer: Observer
    clock: Callable[[], datetime]
    pace: Pace = field(default_factory=Pace)
    back_off: Callable[[], BackOff] = BackOff
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    count: int = 0
    _found: "asyncio.Queue[Fault]" = field(default_factory=lambda: asyncio.Queue(WAITING))
    _waiting_bytes: int = 0
    _known: "OrderedDict[str, None]" = field(default_factory=OrderedDict)
    _unusable: "OrderedDict[str, int]" = field(default_factory=OrderedDict)
    _told: tuple[str, int] = ("disconnected", 0)
    _troubled: bool = False
    _session: FaultSession | None = None

    async def faults(self) -> AsyncIterator[Fault]:
        """The faults as they come; ends when the server refuses us. Only a bug of ours raises."""
        keeping = asyncio.create_task(self._keep())
        next_one = asyncio.create_task(self._found.get())
        try:
            while True:
                await asyncio.wait({next_one, keeping}, return_when=asyncio.FIRST_COMPLETED)
                if next_one.done():
                    fault, next_one = next_one.result(), asyncio.create_task(self._found.get())
                    self._waiting_bytes -= len(fault.raw)
                    yield fault
                elif keeping.done():
                    keeping.result()
                    return
        finally:
            next_one.cancel()
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(next_one, keeping, return_exceptions=True)

    async def _keep(self) -> None:
        """One session after another, never without a pause between them."""
        back_off = self.back_off()
        while True:
            self._tell("connecting")
            begun = self.clock()
            try:
                await self._one_session()
            except Refused as error:
                self._tell("failed", error=str(error))
                self._reconnecting(error.reason)
                return
            except Unsuited as error:
                await self._wait("failed", error, self.pace.unsuited)
            except SessionLost as error:
                if self._was_active and self._lasted(begun):
                    back_off.worked()
                await self._wait("degraded", error, back_off.failed(error.retry_after))

    @property
    def _was_active(self) -> bool:
        return self._told[0] in {"active", "degraded"}

    def _lasted(self, begun: datetime) -> bool:
        return self.clock() - begun >= timedelta(seconds=self.pace.steady)

    async def _wait(self, state: str, error: SessionLost, seconds: float) -> None:
        self._report()
        self._tell(state, error=str(error), retry_in=round(seconds, 1))
        self._reconnecting(error.reason)
        await self.pause(seconds)

    async def _one_session(self) -> None:
        """Until the session is lost, which is raised."""
        token = self.token.value if self.token is not None else None
        async with opened(self.url, token, self.pace, self._heard) as session:
            await session.begin()
            self._tell("connected")
            self._session = session
            try:
                await self._subscribe(session)
                await self._look_after(session)
            finally:
                self._session = None

    async def _subscribe(self, session: FaultSession) -> None:
        self._tell("subscribing")
        self._troubled = False
        await session.subscribe()
        self._tell("active")

    async def _look_after(self, session: FaultSession) -> None:
        silent = unheard = 0
        while True:
            await session.next_look()
            self._report()
            silent = 0 if await session.answers() else silent + 1
            unheard = 0 if session.wire.listening else unheard + 1
            if silent >= self.pace.silent:
                raise SessionLost("silent", f"the MCP server left {silent} pings unanswered")
            if unheard >= self.pace.silent:
                raise SessionLost("deaf", "the stream of the MCP server is closed and stays closed")
            if silent:
                continue
            if self._troubled or not await session.is_subscribed():
                self._reconnecting("subscription")
                await self._subscribe(session)
            elif self._told != ("active", self.count):
                self._tell("active")

    def _heard(self, logger: str, data: Any) -> None:
        """Take in one notification. Never waits: the answers to pings come the same way."""
        if logger == FAULTS:
            self._take(data)
        elif logger == TROUBLE:
            said = mapping_of(data)
            theirs = text_of(said.get("subscriptionId"))
            ours = self._session.subscription if self._session is not None else ""
            if theirs in {"", ours}:
                self._troubled = True
                why = ascii(text_of(said.get("error"))[:300])[1:-1]
                self._tell("degraded", error=f"the MCP server's subscription failed: {why}")

    def _take(self, data: Any) -> None:
        try:
            text = json.dumps(data, separators=(",", ":"), allow_nan=False)
            value = parse_json(text)
            if not isinstance(value, dict):
                raise Unreadable("it is no JSON object")
            fault = self._mapped(value, text.encode())
        except (FaultRejected, Unreadable, ValueError, RecursionError) as error:
            self._leave_out(f"could not be mapped: {error}")
            return
        key = json.dumps([fault.fingerprint, fault.cluster, text_of(value.get("timestamp"))])
        if text_of(value.get("timestamp")) and key in self._known:
            return
        if self._waiting_bytes + len(fault.raw) > WAITING_BYTES or self._found.full():
            self._leave_out("came faster than they could be taken in, and are lost")
            return
        self._known[key] = None
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        self._waiting_bytes += len(fault.raw)
        self._found.put_nowait(fault)
        self.count += 1

    def _mapped(self, value: dict[str, Any], raw: bytes) -> Fault:
        arrival = Arrival(
            now=self.clock(), cluster_default=self.cluster or DEFAULT_CLUSTER,
            source=f"mcp:{self.name}",
        )  # fmt: skip
        if self.cluster is not None:
            value = {**value, "cluster": self.cluster}
        found = fault_from_mcp(value, raw, arrival)
        for note in found.notes:
            self._leave_out(f"were taken with a remark: {note}")
        return found.fault

    def _leave_out(self, why: str) -> None:
        """Remember what was odd until the next look: a flood of it must not flood the log."""
        why = why[:300]
        if why in self._unusable or len(self._unusable) < 5:
            self._unusable[why] = self._unusable.get(why, 0) + 1
        else:
            self._unusable["were odd in more ways"] = (
                self._unusable.get("were odd in more ways", 0) + 1
            )

    def _report(self) -> None:
        for why, count in self._unusable.items():
            self.observer.record(
                "error", cluster=self.cluster or DEFAULT_CLUSTER, error_type="context",
                error=f"source {self.name}: {count} notifications {why}",
            )  # fmt: skip
        self._unusable.clear()

    def _tell(self, state: str, **more: object) -> None:
        self._told = (state, self.count)
        self.observer.record(
            "source_state", cluster=self.cluster or DEFAULT_CLUSTER, source=self.name, state=state,
            event_count=self.count, **more,
        )  # fmt: skip

    def _reconnecting(self, reason: str) -> None:
        self.observer.record(
            "source_reconnecting", cluster=self.cluster or DEFAULT_CLUSTER, source=self.name,
            reason=reason,
        )  # fmt: skip
