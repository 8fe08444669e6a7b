"""Triage cases: a fault with everything that was collected about it, in one file."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kubecase.channels.sources.alert import fault_from_alert
from kubecase.channels.sources.event import as_core_event, fault_from_event
from kubecase.channels.sources.intake import (
    Arrival,
    FaultInput,
    mapping_of,
    moment_of,
    rejected,
    text_of,
)
from kubecase.channels.sources.recording import (
    Recording,
    as_bytes,
    collected,
    fault_from_recording,
)
from kubecase.core.model import Gap


def fault_from_case(value: Mapping[str, Any], arrival: Arrival) -> FaultInput:
    """The fault in a triage case (or in its `inputs` alone), with its Collection.

    `collected_at` is taken as now. The raw payload is the event or alert alone: what a case
    expects of an investigator must not reach it. Raises FaultRejected if there is no fault in it.
    """
    inputs = mapping_of(value.get("inputs")) or value
    name = text_of(value.get("id"))[:80]
    origin = f"triage case {name}" if name else "triage case"
    recording = _recording(inputs)
    at = moment_of(inputs.get("collected_at"))
    trigger = inputs.get("event") or inputs.get("alert")
    if trigger is None:
        found = fault_from_recording(recording, arrival, origin=origin)
        if at is None or found.collection is None:
            return found
        return replace(found, collection=replace(found.collection, collected_at=at))
    at = at or recording.latest()
    arrival = replace(arrival, now=at or arrival.now)
    trigger = mapping_of(trigger)
    is_alert = trigger.get("kind") == "Alert" or "labels" in trigger
    if is_alert:
        given = fault_from_alert(trigger, as_bytes(trigger), arrival)
    elif trigger:
        given = fault_from_event(trigger, as_bytes(trigger), arrival)
        trigger = as_core_event(trigger)
    else:
        raise rejected("event of the triage case is neither an Event nor an alert")
    notes = () if at else ("no collected_at: counts as collected now",)
    collection = collected(recording, arrival.now, trigger=trigger, origin=origin)
    return replace(given, collection=collection, notes=(*given.notes, *notes))


def _recording(inputs: Mapping[str, Any]) -> Recording:
    recording = Recording()
    for key in ("objects", "events"):
        value = inputs.get(key, [])
        for each in value if isinstance(value, list) else [value]:
            is_bare = key == "events" and isinstance(each, dict) and "kind" not in each
            recording.add({"kind": "Event", **each} if is_bare else each)
    logs = inputs.get("logs", {})
    if not isinstance(logs, dict):
        recording.gaps.append(Gap(what="logs of the triage case", why="not an object of texts"))
        logs = {}
    for key, text in logs.items():
        if isinstance(text, str):
            recording.add_log(key, text)
        else:
            recording.gaps.append(Gap(what=f"log {key}", why="not a text"))
    return recording
