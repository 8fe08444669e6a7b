"""CloudEvents 1.0 over HTTP: structured, batched, and binary (attributes in `ce-` headers)."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from kubecase.app.web.mapping import Mapped, inside_event, wrong
from kubecase.app.web.problems import FieldError
from kubecase.channels.sources.intake import Arrival
from kubecase.channels.sources.recording import as_bytes
from kubecase.clusters.untrusted import Unreadable, decode, parse_json

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
BINARY = "application/json"
TYPES = (STRUCTURED, BATCH, BINARY)
MAX_EVENTS = 500

REQUIRED = ("specversion", "id", "source", "type")
_MAX_ATTRIBUTE = 1024


def events_of(
    media_type: str, headers: Mapping[str, str], value: Any, body: bytes, arrival: Arrival
) -> Mapped:
    """The faults in a request of one of `TYPES`, whose body is the JSON `value`.

    Plain JSON without a `ce-` header counts as a structured event. Raises Problem: 422.
    """
    if media_type == BATCH:
        return _batch(value, arrival)
    if media_type == BINARY and any(name.lower().startswith("ce-") for name in headers):
        return _binary(headers, value, body, arrival)
    return _structured(value, body, arrival, "")


def _batch(value: Any, arrival: Arrival) -> Mapped:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_EVENTS:
        detail = f"is not a list of 1 to {MAX_EVENTS} events"
        raise wrong([FieldError(pointer="", detail=detail)])
    parts = [
        _structured(each, as_bytes(each), arrival, f"/{number}")
        for number, each in enumerate(value)
    ]
    return Mapped(
        faults=tuple(each for part in parts for each in part.faults),
        resolved=tuple(each for part in parts for each in part.resolved),
        ignored=tuple(each for part in parts for each in part.ignored),
    )


def _structured(value: Any, raw: bytes, arrival: Arrival, at: str) -> Mapped:
    if not isinstance(value, dict):
        raise wrong([FieldError(pointer=at, detail="is not an object")])
    _require(value, lambda name: f"{at}/{name}")
    return inside_event(value, raw, arrival, at, lambda: _data(value, at))


def _binary(headers: Mapping[str, str], value: Any, body: bytes, arrival: Arrival) -> Mapped:
    attributes = {
        name.lower()[3:]: unquote(text, errors="replace")
        for name, text in headers.items()
        if name.lower().startswith("ce-")
    }
    _require(attributes, lambda name: f"header.ce-{name}")
    envelope = {**attributes, "data": value}
    return inside_event(envelope, body, arrival, "", lambda: value)


def _require(attributes: Mapping[str, Any], pointer: Any) -> None:
    errors = []
    for name in REQUIRED:
        value = attributes.get(name)
        if not isinstance(value, str) or not value.strip():
            errors.append(FieldError(pointer=pointer(name), detail=f"{name} is missing or empty"))
        elif len(value) > _MAX_ATTRIBUTE:
            errors.append(FieldError(pointer=pointer(name), detail=f"{name} is too long"))
        elif name == "specversion" and value != "1.0":
            errors.append(FieldError(pointer=pointer(name), detail='specversion is not "1.0"'))
    if errors:
        raise wrong(errors)


def _data(value: Mapping[str, Any], at: str) -> Any:
    """What the event carries, parsed where it is a text or packed."""
    data = value.get("data")
    if data is None and isinstance(value.get("data_base64"), str):
        try:
            data = decode(base64.b64decode(value["data_base64"], validate=True))[0]
        except (ValueError, binascii.Error):
            error = FieldError(pointer=f"{at}/data_base64", detail="is not base64")
            raise wrong([error]) from None
    if isinstance(data, str):
        try:
            data = parse_json(data)
        except Unreadable as error:
            raise wrong([FieldError(pointer=f"{at}/data", detail=str(error))]) from None
    if data is None:
        raise wrong([FieldError(pointer=f"{at}/data", detail="data is missing")])
    return data
