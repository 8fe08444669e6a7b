"""From a payload of any form to its faults. Pure: bytes and a moment in, values out."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kubecase.channels.sources.alert import fault_from_alert, faults_from_alertmanager, is_resolved
from kubecase.channels.sources.event import as_core_event, fault_from_event
from kubecase.channels.sources.intake import (
    Arrival,
    FaultInput,
    Form,
    Intake,
    mapping_of,
    moment_of,
    rejected,
    text_of,
)
from kubecase.channels.sources.kubecase_fault import fault_from_kubecase
from kubecase.channels.sources.mcp_fault import fault_from_mcp
from kubecase.channels.sources.recognise import form_of
from kubecase.channels.sources.recording import Recording, as_bytes, fault_from_recording
from kubecase.channels.sources.triage_case import fault_from_case
from kubecase.clusters.untrusted import Unreadable, decode, escaped, parse_documents, restored

MAX_PAYLOAD = 8 * 1024 * 1024
MAX_FAULTS = 1000


def faults_in(data: bytes, arrival: Arrival) -> Intake:
    """Every fault in the payload `data`, in the order sent.

    One JSON value, a list of them, or several one after another (JSON Lines). The raw payload of
    each fault is its own part of `data`, byte for byte, unless it was one of several inside one
    value. Raises FaultRejected for what is in no known form, and only that, whatever `data` holds.
    """
    if len(data) > MAX_PAYLOAD:
        raise rejected(f"{len(data)} bytes, at most {MAX_PAYLOAD} are taken")
    text, replaced = decode(data)
    try:
        documents = parse_documents(text)
    except Unreadable as error:
        raise rejected(str(error)) from None
    notes = (f"{replaced} bytes that are not UTF-8 were replaced",) if replaced else ()
    entries = _entries(documents, data)
    forms = [form_of(value) for value, _ in entries]
    if set(forms) <= {Form.OBJECTS, Form.WATCH} and forms:
        return _recorded(entries, forms, arrival, notes)
    intakes = [
        _numbered(number, len(entries), value, raw, arrival)
        for number, (value, raw) in enumerate(entries, start=1)
    ]
    faults = [each for intake in intakes for each in intake.faults]
    if len(faults) > MAX_FAULTS:
        raise rejected(f"{len(faults)} faults at once, at most {MAX_FAULTS} are taken")
    return Intake(
        form=" and ".join(dict.fromkeys(intake.form for intake in intakes)),
        faults=tuple(replace(each, notes=(*each.notes, *notes)) for each in faults),
        notes=tuple(note for intake in intakes for note in intake.notes),
    )


def _entries(documents: list[tuple[Any, int, int]], data: bytes) -> list[tuple[Any, bytes]]:
    original = escaped(data)
    entries: list[tuple[Any, bytes]] = []
    for value, start, end in documents:
        if isinstance(value, list):
            if len(value) > MAX_FAULTS:
                raise rejected(f"a list of {len(value)}, at most {MAX_FAULTS} are taken")
            alone = len(documents) == len(value) == 1
            entries += [(each, data if alone else as_bytes(each)) for each in value]
        else:
            entries.append((value, data if len(documents) == 1 else restored(original[start:end])))
    if not entries:
        raise rejected("an empty list")
    return entries


def _numbered(number: int, count: int, value: Any, raw: bytes, arrival: Arrival) -> Intake:
    intake = one(value, raw, arrival)
    if count == 1:
        return intake
    return replace(
        intake, notes=tuple(f"entry {number} of {count}: {note}" for note in intake.notes)
    )


def one(value: Any, raw: bytes, arrival: Arrival) -> Intake:
    """The faults of one parsed value, which came as the bytes `raw`."""
    form = form_of(value)
    if form is Form.CLOUDEVENT:
        return _inside_cloudevent(value, raw, arrival)
    if form is Form.ALERTMANAGER:
        faults, notes = faults_from_alertmanager(value, raw, arrival)
        return Intake(form=form, faults=faults, notes=notes)
    if form is Form.ALERT and is_resolved(value):
        return Intake(form=form, faults=(), notes=("1 resolved left out",))
    return Intake(form=form, faults=(_fault(form, value, raw, arrival),))


def _fault(form: Form, value: Mapping[str, Any], raw: bytes, arrival: Arrival) -> FaultInput:
    match form:
        case Form.FAULT:
            return fault_from_kubecase(value, raw, arrival)
        case Form.MCP:
            return fault_from_mcp(value, raw, arrival)
        case Form.ALERT:
            return fault_from_alert(value, raw, arrival)
        case Form.CASE:
            return fault_from_case(value, arrival)
        case Form.OBJECTS | Form.WATCH:
            recording = Recording()
            recording.add(value["object"] if form is Form.WATCH else value)
            return fault_from_recording(recording, arrival, origin="Kubernetes objects given")
        case _:
            return fault_from_event(value, raw, arrival)


def _inside_cloudevent(value: Mapping[str, Any], raw: bytes, arrival: Arrival) -> Intake:
    data = value.get("data")
    packed = value.get("data_base64")
    if data is None and isinstance(packed, str):
        try:
            data = base64.b64decode(packed, validate=True).decode("utf-8", "replace")
        except (ValueError, binascii.Error):
            raise rejected("data_base64 of the CloudEvent is not base64") from None
    if isinstance(data, str):
        try:
            data = parse_documents(data)[0][0]
        except Unreadable as error:
            raise rejected(f"data of the CloudEvent: {error}") from None
    if data is None:
        raise rejected("data of the CloudEvent is missing")
    if form_of(data) is Form.CLOUDEVENT:
        raise rejected("a CloudEvent inside a CloudEvent")
    sent = moment_of(value.get("time"))
    inner = one(data, raw, replace(arrival, now=sent or arrival.now))
    return replace(inner, form=f"{Form.CLOUDEVENT} around {inner.form}")


def watched(notifications: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What a watch knows at its end: the last state of each object that it sent.

    DELETED is ignored: events vanish by age alone.
    """
    last: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for each in notifications:
        found = mapping_of(each.get("object"))
        metadata = mapping_of(found.get("metadata"))
        if text_of(each.get("type")) not in {"ADDED", "MODIFIED"} or not metadata:
            continue
        key = (str(found.get("kind")), str(metadata.get("namespace")), str(metadata.get("name")))
        last[key] = found
    return list(last.values())


def _recorded(
    entries: list[tuple[Any, bytes]], forms: list[Form], arrival: Arrival, notes: tuple[str, ...]
) -> Intake:
    recording = Recording()
    for (value, _), form in zip(entries, forms, strict=True):
        if form is Form.OBJECTS:
            recording.add(value)
    changes = [value for (value, _), form in zip(entries, forms, strict=True) if form is Form.WATCH]
    for each in watched(changes):
        recording.add(as_core_event(each) if each.get("kind") == "Event" else each)
    found = fault_from_recording(recording, arrival, origin="Kubernetes objects given")
    found = replace(found, notes=(*found.notes, *notes))
    return Intake(form=" and ".join(dict.fromkeys(forms)), faults=(found,))
