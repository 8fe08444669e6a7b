"""Collectors that contact nothing: what was recorded, and nothing at all."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from kubecase.clusters.untrusted import decode, parse_json
from kubecase.core.model import Collection, Fault, Gap


@dataclass(frozen=True, slots=True)
class RecordedCollector:
    """Answers with a collection that came together with its fault."""

    collection: Collection

    async def collect(self, fault: Fault) -> Collection:
        """The recorded collection, whatever the fault."""
        return self.collection


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingCollector:
    """Answers that there was nowhere to look."""

    clock: Callable[[], datetime]

    async def collect(self, fault: Fault) -> Collection:
        """A collection with the fault's own payload and one gap that says why there is no more."""
        text, _ = decode(fault.raw)
        try:
            trigger = parse_json(text)
        except ValueError:
            trigger = None
        return Collection(
            collected_at=self.clock(),
            trigger=trigger if isinstance(trigger, dict) else None,
            gaps=(
                Gap(
                    what="objects, events and logs",
                    why="no cluster and no recording was given",
                ),
            ),
        )
