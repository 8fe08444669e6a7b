"""From recorded objects, events and logs to one fault with everything known about it. Pure."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kubecase.channels.sources.event import as_core_event, fault_from_event
from kubecase.channels.sources.intake import (
    Arrival,
    FaultInput,
    mapping_of,
    moment_of,
    rejected,
    text_of,
)
from kubecase.channels.sources.telling import Sign, most_telling, sickest
from kubecase.core.model import Collection, Fault, Gap

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
# These name the future: a certificate's end, a lease to come, the end of a grace period.
_NOT_YET = re.compile("delet|expir|notafter|renew|next|schedule", re.IGNORECASE)
WITHHELD = "<withheld>"
_LOG_FAILED = ("[kubectl logs failed]", "unable to retrieve container logs")


@dataclass(kw_only=True)
class Recording:
    """What was recorded, in the making; `objects` and `events` are parsed JSON."""

    objects: list[Mapping[str, Any]] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    def add(self, value: Any) -> None:
        """Take in a Kubernetes object, an Event, or a List of them; anything else is a gap."""
        for each in flattened(value):
            if not isinstance(each, dict) or not mapping_of(each.get("metadata")):
                self.gaps.append(Gap(what="an entry of the recording", why="not an object"))
            elif each.get("kind") == "Event":
                self.events.append(as_core_event(each))
            else:
                self.objects.append(_without_secrets(each))

    def add_log(self, key: str, text: str) -> None:
        """Take in the log `key`; a text that is an error about a log is a gap instead."""
        for prefix in _LOG_FAILED:
            if text.startswith(prefix):
                why = text.removeprefix("[kubectl logs failed]").strip().splitlines()[0]
                self.gaps.append(Gap(what=f"log {key}", why=why[:500]))
                return
        self.logs[key] = text

    def latest(self) -> datetime | None:
        """The latest moment in the recording that had passed when it was made."""
        found = [moment for each in (*self.objects, *self.events) for moment in _moments(each)]
        for text in self.logs.values():
            last = text.rstrip().rpartition("\n")[2]
            match = _MOMENT.match(last)
            if match and (moment := moment_of(match[0])):
                found.append(moment)
        return max(found, default=None)


def flattened(value: Any) -> Iterator[Any]:
    """The objects in `value`: itself, or the items of a List of any kind, one level deep."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list):
        inner = kind.removesuffix("List")
        for each in value["items"]:
            # Items of a typed list (PodList) come from the API without their own kind.
            bare = inner and isinstance(each, dict) and "kind" not in each
            yield {"kind": inner, "apiVersion": value.get("apiVersion"), **each} if bare else each
    else:
        yield value


def _without_secrets(each: Mapping[str, Any]) -> Mapping[str, Any]:
    """A Secret with its keys only: that it exists is a fact, its values are nobody's business."""
    if each.get("kind") != "Secret":
        return each
    hidden = {
        part: dict.fromkeys(mapping_of(each[part]), WITHHELD)
        for part in ("data", "stringData")
        if part in each
    }
    metadata = {key: one for key, one in each["metadata"].items() if key != "annotations"}
    return {**each, **hidden, "metadata": metadata}


def _moments(value: Any) -> Iterator[datetime]:
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, str):
                named_time = key.endswith(("Time", "Timestamp", "At")) or key == "time"
                if named_time and not _NOT_YET.search(key) and (moment := moment_of(each)):
                    yield moment
            elif key != "annotations":
                yield from _moments(each)
    elif isinstance(value, list):
        for each in value:
            yield from _moments(each)


def fault_from_recording(
    recording: Recording, arrival: Arrival, *, origin: str, given: FaultInput | None = None
) -> FaultInput:
    """The fault that `recording` is about, with its Collection.

    `given` is a fault that came with the recording; without one it is drawn from the most telling
    Warning event, else from the object that looks worst. `collected_at` is the latest moment in
    the recording. Raises FaultRejected if there is nothing to draw a fault from.
    """
    latest = recording.latest()
    arrival = replace(arrival, now=latest or arrival.now)
    notes = [] if latest else ["no timestamp in the recording: counts as recorded now"]
    trigger: Mapping[str, Any] | None = None
    if given is None:
        given, trigger = _drawn(recording, arrival)
    collection = collected(recording, arrival.now, trigger=trigger, origin=origin)
    return replace(given, collection=collection, notes=(*given.notes, *notes))


def collected(
    recording: Recording, at: datetime, *, trigger: Mapping[str, Any] | None, origin: str
) -> Collection:
    """`recording` as a Collection made at `at`."""
    return Collection(
        collected_at=at,
        trigger=trigger,
        objects=tuple(latest_of_each(recording.objects)),
        events=tuple(recording.events),
        logs=dict(recording.logs),
        gaps=tuple(recording.gaps),
        origin=origin,
    )


def latest_of_each(objects: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """`objects` in order, with the first of several recordings of the same object only."""
    seen: set[tuple[str, str, str]] = set()
    for each in objects:
        metadata = mapping_of(each.get("metadata"))
        key = (
            text_of(each.get("kind")),
            text_of(metadata.get("namespace")),
            text_of(metadata.get("name")),
        )
        if key not in seen:
            seen.add(key)
            yield each


def _drawn(recording: Recording, arrival: Arrival) -> tuple[FaultInput, Mapping[str, Any] | None]:
    event = most_telling(recording.events, recording.objects)
    if event is not None:
        return fault_from_event(event, as_bytes(event), arrival), event
    objects: Sequence[Mapping[str, Any]] = [
        each for each in recording.objects if text_of(mapping_of(each["metadata"]).get("name"))
    ]
    worst = sickest(objects)
    if worst is None:
        raise rejected("neither a Warning event nor an object is in the recording")
    return FaultInput(fault=_fault_of(*worst, arrival)), None


def _fault_of(each: Mapping[str, Any], sign: Sign, arrival: Arrival) -> Fault:
    metadata = mapping_of(each.get("metadata"))
    weight, reason, message = sign
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {
            "kind": text_of(each.get("kind")),
            "name": text_of(metadata.get("name")),
            "namespace": text_of(metadata.get("namespace")) or "default",
            "uid": text_of(metadata.get("uid")),
            "apiVersion": text_of(each.get("apiVersion")),
        },
        "type": "Warning" if weight else "Normal",
        "reason": reason,
        "message": message,
        "lastTimestamp": arrival.now.isoformat(),
    }
    return fault_from_event(event, as_bytes(each), arrival).fault


def as_bytes(value: Any) -> bytes:
    """`value` as compact UTF-8 JSON."""
    return json.dumps(value, ensure_ascii=False).encode()
