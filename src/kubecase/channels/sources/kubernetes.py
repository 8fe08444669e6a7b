"""A cluster's own Warning events, and a light look at what has none: faults as they happen.

Events are listed and then watched from the version of the list. The loop survives the end of a
watch, both kinds of 410, a cluster that was restored to an earlier state (it lists anew every few
minutes), replays, and everything that a connection can do. Beside it a poll looks at pods,
Deployments, Jobs and Nodes: an OOM kill, a rollout past its deadline or a node that is not ready
has no Warning event.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kubecase.channels.sources.event import fault_from_event, last_seen, occurrences
from kubecase.channels.sources.intake import Arrival, mapping_of, moment_of, text_of
from kubecase.channels.sources.polling import conditions_of
from kubecase.channels.sources.reconnecting import BackOff
from kubecase.channels.sources.telling import BENIGN
from kubecase.clusters.client import ApiFailure, ClusterClient
from kubecase.clusters.following import Changed, Expired, changes, pages
from kubecase.clusters.kinds import Kind, kind_of
from kubecase.core.errors import FaultRejected, KubecaseError
from kubecase.core.model import Fault
from kubecase.core.ports import Observer

WARNINGS = "type=Warning"
MOST_KNOWN = 20_000
WAITING = 500
POLLED = ("Pod", "Deployment", "Job", "Node")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often things are done, in seconds.

    A watch lasts `watch`, is given up after `idle` of silence, and at the latest after `relist`
    everything is listed again. `poll` is the pause between two looks at objects. Events last seen
    longer ago than `horizon` are old when they come, and of no interest.
    """

    watch: int = 240
    idle: float = 270.0
    relist: float = 300.0
    poll: float = 30.0
    horizon: float = 600.0
    recreated: float = 60.0
    least: float = 1.0


@dataclass(kw_only=True)
class KubernetesSource:
    """The faults of one cluster. `connect` makes a client, which is entered by the source.

    `namespaces` are those to watch; none means all. State changes are told as `source_state`.
    """

    cluster: str
    connect: Callable[[], ClusterClient]
    observer: Observer
    clock: Callable[[], datetime]
    namespaces: tuple[str, ...] = ()
    pace: Pace = field(default_factory=Pace)
    back_off: Callable[[], BackOff] = BackOff
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    count: int = 0
    _known: "OrderedDict[str, int]" = field(default_factory=OrderedDict)

    @property
    def name(self) -> str:
        """The name in settings and metrics."""
        return "kubernetes"

    async def faults(self) -> AsyncIterator[Fault]:
        """The faults as they come; never exhausted. Only a bug of ours is raised."""
        found: asyncio.Queue[Fault] = asyncio.Queue(WAITING)
        loops = [
            asyncio.create_task(self._for_ever(self._watch, namespace, found, "watch"))
            for namespace in self.namespaces or (None,)
        ]
        loops.append(asyncio.create_task(self._for_ever(self._poll, None, found, "poll")))
        next_one = asyncio.create_task(found.get())
        try:
            while True:
                await asyncio.wait({next_one, *loops}, return_when=asyncio.FIRST_COMPLETED)
                if next_one.done():
                    fault, next_one = next_one.result(), asyncio.create_task(found.get())
                    yield fault
                    continue
                for loop in loops:
                    if loop.done():
                        loop.result()
        finally:
            for task in (next_one, *loops):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(next_one, *loops, return_exceptions=True)

    async def _for_ever(
        self,
        work: Callable[[ClusterClient, str | None, "asyncio.Queue[Fault]"], Awaitable[None]],
        namespace: str | None,
        found: "asyncio.Queue[Fault]",
        what: str,
    ) -> None:
        back_off = self.back_off()
        while True:
            self._tell(what, "connecting")
            begun = self.clock()
            try:
                async with self.connect() as client:
                    await client.sign_in()
                    await work(client, namespace, found)
                if self.clock() - begun > timedelta(seconds=self.pace.least):
                    back_off.worked()
                else:
                    # A server that ends everything at once must not be asked without a pause.
                    await self.pause(back_off.failed())
            except Expired:
                self._reconnecting(what, "expired")
                await self.pause(back_off.failed())
            except (ApiFailure, KubecaseError) as error:
                asked = error.retry_after if isinstance(error, ApiFailure) else None
                seconds = back_off.failed(asked)
                self._tell(what, _state_after(error), error=str(error), retry_in=round(seconds, 1))
                self._reconnecting(what, _reason_of(error))
                await self.pause(seconds)

    async def _watch(
        self, client: ClusterClient, namespace: str | None, found: "asyncio.Queue[Fault]"
    ) -> None:
        """One list, then watches from there on, until it is time to list again."""
        kind = _kind("Event")
        version = ""
        async for page in pages(client, kind, namespace, fields=WARNINGS):
            version = page.version or version
            for event in page.items:
                await self._event(event, found, listed=True)
        self._tell("watch", "active")
        until = self.clock() + timedelta(seconds=self.pace.relist)
        while self.clock() < until:
            stream = changes(
                client, kind, namespace, fields=WARNINGS, since=version,
                seconds=self.pace.watch, idle=self.pace.idle,
            )  # fmt: skip
            before = version
            async for change in stream:
                version = change.version or version
                if change.type in {"ADDED", "MODIFIED"}:
                    await self._changed(change, found)
            if version == before:
                # Nothing came: a list is the only way to know that nothing was there.
                return

    async def _changed(self, change: Changed, found: "asyncio.Queue[Fault]") -> None:
        await self._event(change.object, found, listed=False)

    async def _event(
        self, event: Mapping[str, Any], found: "asyncio.Queue[Fault]", *, listed: bool
    ) -> None:
        """Hand on what `event` reports, if it is news."""
        if not self._is_news(event):
            return
        raw = json.dumps(event, separators=(",", ":")).encode("utf-8", "replace")
        arrival = Arrival(
            now=self.clock(), cluster_default=self.cluster, source=f"kubernetes:{self.cluster}"
        )
        try:
            fault = fault_from_event(event, raw, arrival).fault
        except FaultRejected:
            return
        self.count += 1
        await found.put(fault)

    def _is_news(self, event: Mapping[str, Any]) -> bool:
        """Whether it is a trouble, of now, and not known already with this count."""
        if text_of(event.get("type")) != "Warning" or text_of(event.get("reason")) in BENIGN:
            return False
        last = last_seen(event)
        if last is None or self.clock() - last > timedelta(seconds=self.pace.horizon):
            return False
        made = moment_of(mapping_of(event.get("metadata")).get("creationTimestamp"))
        if made is not None and made - last > timedelta(seconds=self.pace.recreated):
            # The scheduler makes old events anew when it closes a series, also of pods long gone.
            return False
        return self._grew(_key_of(event), occurrences(event))

    def _grew(self, key: str, count: int) -> bool:
        """Whether `key` was counted further than known; forgets the oldest keys."""
        known = self._known.pop(key, 0)
        self._known[key] = max(known, count)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return count > known

    async def _poll(
        self, client: ClusterClient, namespace: str | None, found: "asyncio.Queue[Fault]"
    ) -> None:
        """Look at objects for ever; raises what the cluster does not give."""
        while True:
            for word in POLLED:
                async for page in pages(client, _kind(word), namespace):
                    for fault in self._faults_of(page.items, word):
                        self.count += 1
                        await found.put(fault)
            self._tell("poll", "active")
            await self.pause(self.pace.poll)

    def _faults_of(self, objects: tuple[Mapping[str, Any], ...], kind: str) -> Iterator[Fault]:
        now = self.clock()
        for each in objects:
            namespace = text_of(mapping_of(each.get("metadata")).get("namespace"))
            if self.namespaces and namespace and namespace not in self.namespaces:
                continue
            for sign in conditions_of({"kind": kind, **each}, now):
                if self._grew(sign.key, sign.count):
                    yield sign.as_fault(self.cluster, now)

    def _tell(self, what: str, state: str, **more: object) -> None:
        self.observer.record(
            "source_state", cluster=self.cluster, source=f"kubernetes:{what}", state=state,
            event_count=self.count, **more,
        )  # fmt: skip

    def _reconnecting(self, what: str, reason: str) -> None:
        self.observer.record(
            "source_reconnecting",
            cluster=self.cluster,
            source=f"kubernetes:{what}",
            reason=reason,
        )


def _kind(word: str) -> Kind:
    found = kind_of(word)
    assert found is not None  # noqa: S101 - the words of this file are in the list
    return found


def _key_of(event: Mapping[str, Any]) -> str:
    """What the kubelet counts together: never the event's own uid, which changes when it is made
    anew.
    """
    involved = mapping_of(event.get("involvedObject"))
    return "\0".join(
        text_of(value)
        for value in (
            involved.get("uid") or involved.get("name"), involved.get("namespace"),
            event.get("reason"), involved.get("fieldPath"),
            mapping_of(event.get("metadata")).get("name"),
        )
    )  # fmt: skip


def _state_after(error: Exception) -> str:
    status = error.status if isinstance(error, ApiFailure) else None
    return "failed" if status in {401, 403} else "degraded"


def _reason_of(error: Exception) -> str:
    """One word of a few, for a metric."""
    if isinstance(error, ApiFailure):
        if error.status == 429:
            return "throttled"
        if error.status in {401, 403}:
            return "refused"
        return "unreachable" if error.unreachable else "error"
    return "credential"
