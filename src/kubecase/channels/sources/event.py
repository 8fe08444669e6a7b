"""Kubernetes Events of both API groups; both shapes that clusters send."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kubecase.channels.sources.intake import (
    MAX_NAME,
    Arrival,
    FaultInput,
    fingerprint_of,
    mapping_of,
    message_from,
    moment_of,
    named,
    severity_from,
    text_of,
)
from kubecase.channels.sources.kubecase_fault import resource_from
from kubecase.core.model import Fault

_CORE_NAMES: Mapping[str, str] = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedCount": "count",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedSource": "source",
    "reportingController": "reportingComponent",
}


def as_core_event(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """`event` in the words of core/v1, whichever of the two groups it was read from."""
    if "regarding" not in event and "note" not in event:
        return event
    renamed = {_CORE_NAMES.get(key, key): each for key, each in event.items()}
    return {**renamed, "apiVersion": "v1", "kind": "Event"}


def last_seen(event: Mapping[str, Any]) -> datetime | None:
    """When `event`, in the words of core/v1, happened the last time as far as it says."""
    moments = (
        mapping_of(event.get("series")).get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
        mapping_of(event.get("metadata")).get("creationTimestamp"),
    )
    return next((moment for each in moments if (moment := moment_of(each))), None)


def occurrences(event: Mapping[str, Any]) -> int:
    """How often `event`, in the words of core/v1, was counted; at least once."""
    counts = (event.get("count"), mapping_of(event.get("series")).get("count"))
    return max([each for each in counts if type(each) is int] + [1])


def fault_from_event(event: Mapping[str, Any], raw: bytes, arrival: Arrival) -> FaultInput:
    """The fault that `event`, of either group, reports.

    An Event has a type instead of a severity: Warning, or Normal, which counts as info. Raises
    FaultRejected if it names no object or has neither reason nor message.
    """
    event = as_core_event(event)
    notes: list[str] = []
    involved = mapping_of(event.get("involvedObject"))
    metadata = mapping_of(event.get("metadata"))
    cluster = text_of(metadata.get("clusterName"))[:MAX_NAME] or arrival.cluster_default
    own = {"namespace": text_of(metadata.get("namespace")), **involved}
    resource = resource_from(own, text_of(involved.get("namespace")))
    message = text_of(event.get("message"))
    reason = named(text_of(event.get("reason")) or ("Event" if message else ""), "reason")
    word = text_of(event.get("type"))
    severity, _ = severity_from("info" if word == "Normal" else word, notes)
    seen_at = last_seen(event)
    if seen_at is None:
        notes.append("no usable timestamp: counts as seen now")
    path = text_of(involved.get("fieldPath"))
    return FaultInput(
        fault=Fault(
            fingerprint=fingerprint_of(None, cluster, resource, reason, path),
            cluster=cluster,
            resource=resource,
            reason=reason,
            message=message_from(message, notes),
            severity=severity,
            severity_word=word[:MAX_NAME],
            seen_at=seen_at or arrival.now,
            raw=raw,
            source=arrival.source,
            occurrences=occurrences(event),
        ),
        notes=tuple(notes),
    )
