"""Which form a payload is in, by its own marks. Pure, and without trust in the payload."""

from collections.abc import Mapping
from typing import Any

from kubecase.channels.sources.intake import Form, rejected, text_of
from kubecase.clusters.untrusted import Unreadable, decode, parse_documents

_CHANGES = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"})


def recognise(data: bytes) -> Form:
    """The form of the payload `data`; of several values in it, that of the first.

    Raises FaultRejected if it is no JSON, or JSON in no form that kubecase takes.
    """
    try:
        value = parse_documents(decode(data)[0])[0][0]
    except Unreadable as error:
        raise rejected(str(error)) from None
    while isinstance(value, list) and value:
        value = value[0]
    return form_of(value)


def form_of(value: Any) -> Form:
    """The form of one parsed JSON value. Raises FaultRejected if it is in none."""
    if not isinstance(value, dict):
        raise rejected(f"a JSON object is expected, not {_word_for(value)}")
    form = _as_wrapped(value) or _as_kubernetes(value) or _as_alert(value) or _as_fault(value)
    if form is None:
        keys = ", ".join(ascii(key[:40])[1:-1] for key in list(value)[:8])
        raise rejected(f"its keys ({keys or 'none'}) are those of no known form")
    return form


def _as_wrapped(value: Mapping[str, Any]) -> Form | None:
    if "specversion" in value:
        return Form.CLOUDEVENT
    if isinstance(value.get("inputs"), dict):
        return Form.CASE
    if isinstance(value.get("objects"), list) and value.keys() & {"event", "events", "alert"}:
        return Form.CASE
    if text_of(value.get("type")) in _CHANGES and isinstance(value.get("object"), dict):
        return Form.WATCH
    return None


def _as_kubernetes(value: Mapping[str, Any]) -> Form | None:
    kind = value.get("kind")
    if not isinstance(kind, str) or kind == "Alert":
        return None
    if kind == "Event":
        return Form.EVENT_V1 if "regarding" in value or "note" in value else Form.EVENT
    if kind.endswith("List") and isinstance(value.get("items"), list):
        return Form.OBJECTS
    return Form.OBJECTS if isinstance(value.get("metadata"), dict) else None


def _as_alert(value: Mapping[str, Any]) -> Form | None:
    if isinstance(value.get("alerts"), list):
        return Form.ALERTMANAGER
    if "resource" in value or not isinstance(value.get("labels"), dict):
        return None
    is_alert = value.get("kind") == "Alert" or "alertname" in value["labels"]
    return Form.ALERT if is_alert else None


def _as_fault(value: Mapping[str, Any]) -> Form | None:
    if "faultType" in value or "faultId" in value:
        return Form.MCP
    notified = value.get("params") if isinstance(value.get("params"), dict) else value
    if isinstance(notified, dict) and isinstance(notified.get("data"), dict):
        return Form.MCP if "faultType" in notified["data"] else None
    own = {"resource", "reason", "message", "namespace"}
    return Form.FAULT if value.keys() & own else None


def _word_for(value: Any) -> str:
    words = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return words.get(type(value), "a number")
