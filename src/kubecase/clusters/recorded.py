"""Collectors that ask no cluster: for what was recorded before, and for nothing at all."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from kubecase.clusters.trigger import trigger_about
from kubecase.core.model import Collection, Fault, Gap
from kubecase.core.ports import Collector


class RecordedCollector:
    """Answers with what was recorded; implements `core.ports.Collector`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def collect(self, fault: Fault) -> Collection:
        """The recording, with the fault as its trigger if it names none."""
        if self._collection.trigger is not None:
            return self._collection
        return replace(self._collection, trigger=trigger_about(fault))


class NothingCollector:
    """Knows nothing but the fault itself; implements `core.ports.Collector`."""

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    async def collect(self, fault: Fault) -> Collection:
        """The fault as its own trigger, and the gap that nothing else was given."""
        gap = Gap(what="everything else", why="no cluster and no recording was given")
        return Collection(collected_at=self._clock(), trigger=trigger_about(fault), gaps=(gap,))


class JoinedCollector:
    """A cluster's answers together with what came with the fault, such as log excerpts.

    Implements `core.ports.Collector`. Where both know a log, the cluster's counts.
    """

    def __init__(self, live: Collector, recorded: Collection) -> None:
        self._live = live
        self._recorded = recorded

    async def collect(self, fault: Fault) -> Collection:
        """What the cluster says, and logs that only came with the fault."""
        found = await self._live.collect(fault)
        return replace(
            found,
            logs={**self._recorded.logs, **found.logs},
            gaps=(*found.gaps, *self._recorded.gaps),
            origin=f"{found.origin}; {self._recorded.origin}",
        )
