"""What was collected, in one normal form: objects, events of both shapes, logs, the trigger."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from kubecase.core.model import Collection
from kubecase.core.report import Culprit, Evidence
from kubecase.diagnosis.logs import Log
from kubecase.diagnosis.values import dig, mapping, maps, moment, number, pairs, scalar, text

Key = tuple[str, str, str]
"""Kind, namespace (empty for cluster scope) and name of an object."""

_QUOTE = 360
_ABSENT_LOGS = ("unable to retrieve container logs", "[kubectl logs failed]")
_COMBINED = "(combined from similar events): "


@dataclass(frozen=True)
class Thing:
    """One object as the API served it."""

    kind: str
    namespace: str
    name: str
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def key(self) -> Key:
        """Kind, namespace and name."""
        return (self.kind, self.namespace, self.name)

    @property
    def source(self) -> str:
        """How evidence names this object."""
        return f"object:{self.kind}/{self.namespace}/{self.name}"

    @property
    def uid(self) -> str:
        """The object's uid, empty if it has none."""
        return text(self.raw, "metadata", "uid")

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Its own labels."""
        return pairs(self.raw, "metadata", "labels")

    @property
    def created_at(self) -> datetime | None:
        """When it was made."""
        return moment(self.raw, "metadata", "creationTimestamp")

    @property
    def deleted_at(self) -> datetime | None:
        """Since when it is being deleted."""
        return moment(self.raw, "metadata", "deletionTimestamp")

    @property
    def title(self) -> str:
        """For sentences: `Deployment shop/api`."""
        return title(self.key)

    def culprit(self) -> Culprit:
        """This object as a culprit."""
        return culprit(self.key)

    def condition(self, type_: str) -> Mapping[str, Any]:
        """The status condition of this type, empty if there is none."""
        for each in maps(self.raw, "status", "conditions"):
            if text(each, "type") == type_:
                return each
        return {}

    def quote(self, *path: str) -> Evidence | None:
        """`path.to.field: value` of this object; list positions do not belong in `path`."""
        found = _first(self.raw, path)
        if found is None or isinstance(found, Mapping | list):
            return None
        return self.states(".".join(path), found)

    def states(self, path: str, value: Any) -> Evidence:
        """`path: value` for a field that the caller has read; of a sentence only its words."""
        said = scalar(value).strip()
        if isinstance(value, str) and (" " in said or len(said) > 120):
            return Evidence(source=self.source, quote=said[:_QUOTE].strip())
        return Evidence(source=self.source, quote=f"{path}: {said}")


@dataclass(frozen=True)
class Happening:
    """One event; `count` is how often it was seen, `last` when it was seen last."""

    reason: str
    message: str
    warning: bool
    about: Key
    uid: str
    container: str
    component: str
    host: str
    count: int
    first: datetime | None
    last: datetime | None

    def quote(self) -> Evidence:
        """The message, or the reason of an event without one."""
        said = self.message if len(self.message.strip()) >= 4 else self.reason
        return Evidence(source=f"event:{self.reason}", quote=said[:_QUOTE].strip())


def culprit(key: Key) -> Culprit:
    """The object of this key as a culprit."""
    return Culprit(kind=key[0], namespace=key[1], name=key[2])


def title(key: Key) -> str:
    """For sentences: `Deployment shop/api`, `Node n1`."""
    kind, namespace, name = key
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def kept(*evidence: Evidence | None) -> tuple[Evidence, ...]:
    """Those that are there, each once, in order; too short ones cannot be checked and go."""
    seen: dict[tuple[str, str], Evidence] = {}
    for each in evidence:
        if each is not None and len(" ".join(each.quote.split())) >= 4:
            seen.setdefault((each.source, each.quote), each)
    return tuple(seen.values())


class Facts:
    """Everything known, indexed. Built once for a diagnosis and never changed."""

    def __init__(self, collection: Collection) -> None:
        self.now = collection.collected_at
        self.trigger: Mapping[str, Any] = mapping(collection.trigger)
        self.things = tuple(_things(collection.objects))
        self.gaps = collection.gaps
        self.event_count = len(collection.events)
        """How many events were collected; the trigger is not one of them."""
        self.by_key: Mapping[Key, Thing] = {each.key: each for each in self.things}
        self.by_uid = {each.uid: each for each in self.things if each.uid}
        raw = list(collection.events)
        if dig(self.trigger, "involvedObject") or dig(self.trigger, "regarding"):
            raw.append(self.trigger)
        self.events = tuple(_happenings(raw))
        self.logs = tuple(_logs(mapping(collection.logs)))
        self.absent_logs = frozenset(_absent_logs(mapping(collection.logs)))
        """Keys of the logs that were asked for and could not be had."""

    @cached_property
    def _by_kind(self) -> Mapping[str, tuple[Thing, ...]]:
        kinds: dict[str, list[Thing]] = {}
        for each in self.things:
            kinds.setdefault(each.kind, []).append(each)
        return {kind: tuple(found) for kind, found in kinds.items()}

    @cached_property
    def _events_by_key(self) -> Mapping[Key, tuple[Happening, ...]]:
        found: dict[Key, list[Happening]] = {}
        for each in self.events:
            found.setdefault(each.about, []).append(each)
        return {key: tuple(events) for key, events in found.items()}

    def of_kind(self, *kinds: str) -> tuple[Thing, ...]:
        """All objects of these kinds, in the order collected."""
        return tuple(each for kind in kinds for each in self._by_kind.get(kind, ()))

    def thing(self, kind: str, namespace: str, name: str) -> Thing | None:
        """The object of this name, if it was collected."""
        return self.by_key.get((kind, namespace, name))

    def events_of(self, key: Key, *reasons: str) -> tuple[Happening, ...]:
        """Events about the object, of these reasons if any are named, latest first."""
        found = [e for e in self._events_by_key.get(key, ()) if not reasons or e.reason in reasons]
        return tuple(sorted(found, key=lambda e: -(e.last.timestamp() if e.last else 0)))

    def events_with(self, *reasons: str) -> tuple[Happening, ...]:
        """All events of these reasons."""
        return tuple(each for each in self.events if each.reason in reasons)

    def logs_of(self, namespace: str, pod: str, container: str | None = None) -> tuple[Log, ...]:
        """The logs of a pod or one container, the current one before the previous one."""
        return tuple(
            sorted(
                (
                    log
                    for log in self.logs
                    if log.namespace == namespace
                    and log.pod == pod
                    and (container is None or log.container == container)
                ),
                key=lambda log: log.previous,
            )
        )

    def age(self, when: datetime | None) -> float | None:
        """Seconds from `when` to the moment of collection, `None` if unknown."""
        return None if when is None else (self.now - when).total_seconds()

    @property
    def is_alert(self) -> bool:
        """Whether an alert started this, as opposed to an event or a fault."""
        return bool(dig(self.trigger, "labels")) and not dig(self.trigger, "involvedObject")

    @property
    def trigger_labels(self) -> Mapping[str, str]:
        """The labels of the alert, or of a fault."""
        return pairs(self.trigger, "labels")

    @cached_property
    def trigger_text(self) -> str:
        """What the trigger says in words."""
        said = [text(self.trigger, "reason"), text(self.trigger, "message")]
        said += [text(self.trigger, "note"), text(self.trigger, "context")]
        said += [text(self.trigger, "faultType"), text(self.trigger, "labels", "alertname")]
        said += pairs(self.trigger, "annotations").values()
        return " ".join(each for each in said if each)[:8000]

    def trigger_quote(self) -> Evidence | None:
        """The alert's description or summary as evidence; events are quoted as events."""
        if not self.is_alert:
            return None
        for name in ("description", "message", "summary"):
            said = text(self.trigger, "annotations", name)
            if said:
                return Evidence(source="alert", quote=said[:_QUOTE].strip())
        name = self.trigger_labels.get("alertname", "")
        return Evidence(source="alert", quote=name) if len(name) >= 4 else None


def _first(value: Any, path: tuple[str, ...]) -> Any:
    """The first scalar at `path`, looking through lists on the way."""
    if not path:
        return value
    if isinstance(value, list | tuple):
        for each in value:
            found = _first(each, path)
            if found is not None:
                return found
        return None
    return (
        _first(value[path[0]], path[1:])
        if isinstance(value, Mapping) and path[0] in value
        else None
    )


def _things(objects: Iterable[Any]) -> Iterable[Thing]:
    for raw in objects:
        if not isinstance(raw, Mapping):
            continue
        if text(raw, "kind").endswith("List") and "items" in raw:
            yield from _things(maps(raw, "items"))
            continue
        kind, name = text(raw, "kind"), text(raw, "metadata", "name")
        if kind and name:
            yield Thing(kind, text(raw, "metadata", "namespace"), name, raw)


def _happenings(events: Iterable[Any]) -> Iterable[Happening]:
    seen: set[tuple[str, str, Key, str]] = set()
    for raw in events:
        if not isinstance(raw, Mapping):
            continue
        each = _happening(raw)
        name = text(raw, "metadata", "name") or text(raw, "metadata", "uid")
        mark = (name, each.reason, each.about, each.message)
        if mark not in seen:
            seen.add(mark)
            yield each


def _happening(raw: Mapping[str, Any]) -> Happening:
    about = mapping(raw, "involvedObject") or mapping(raw, "regarding")
    source = mapping(raw, "source") or mapping(raw, "deprecatedSource")
    message = text(raw, "message") or text(raw, "note")
    counts = (
        number(raw, "count"),
        number(raw, "series", "count"),
        number(raw, "deprecatedCount"),
        1,
    )
    first = moment(raw, "firstTimestamp") or moment(raw, "deprecatedFirstTimestamp")
    first = first or moment(raw, "eventTime") or moment(raw, "metadata", "creationTimestamp")
    last = moment(raw, "series", "lastObservedTime") or moment(raw, "lastTimestamp")
    last = last or moment(raw, "deprecatedLastTimestamp") or moment(raw, "eventTime") or first
    path = text(about, "fieldPath")
    return Happening(
        reason=text(raw, "reason"),
        message=message.removeprefix(_COMBINED),
        warning=text(raw, "type") == "Warning",
        about=(text(about, "kind"), _namespace(about), text(about, "name")),
        uid=text(about, "uid"),
        container=path.partition("{")[2].rstrip("}") if "{" in path else "",
        component=text(source, "component") or text(raw, "reportingComponent"),
        host=text(source, "host"),
        count=max(each for each in counts if each is not None),
        first=first,
        last=last,
    )


def _namespace(about: Mapping[str, Any]) -> str:
    # Events on a Node lie in namespace `default`; the Node itself has none.
    return "" if text(about, "kind") in {"Node", "PersistentVolume"} else text(about, "namespace")


def _absent_logs(logs: Mapping[str, Any]) -> Iterable[str]:
    for key, body in logs.items():
        if isinstance(body, str) and body.lstrip().startswith(_ABSENT_LOGS):
            yield key


def _logs(logs: Mapping[str, Any]) -> Iterable[Log]:
    for key, body in logs.items():
        if not isinstance(body, str) or not body.strip():
            continue
        if body.lstrip().startswith(_ABSENT_LOGS):
            continue
        parts = key.split("/")
        if len(parts) >= 3:
            yield Log(
                key=key,
                namespace=parts[0],
                pod=parts[1],
                container=parts[2],
                previous=parts[3:4] == ["previous"],
                body=body,
            )
