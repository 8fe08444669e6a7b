"""What started an incident, as parsed JSON: the event or alert, or an event that says the same."""

from collections.abc import Mapping
from typing import Any

from kubecase.clusters.untrusted import Unreadable, decode, parse_json
from kubecase.core.model import Fault


def trigger_of(fault: Fault) -> Mapping[str, Any]:
    """The event or alert in the fault's raw payload, else a core/v1 Event made from the fault."""
    try:
        value = parse_json(decode(fault.raw)[0])
    except Unreadable:
        value = None
    if isinstance(value, dict):
        if value.get("kind") == "Event" and isinstance(value.get("involvedObject"), dict):
            return value
        alerts = value.get("alerts")
        if isinstance(alerts, list) and len(alerts) == 1 and isinstance(alerts[0], dict):
            value = {"kind": "Alert", **alerts[0]}
        if isinstance(value.get("labels"), dict) and "alertname" in value["labels"]:
            return {"kind": "Alert", **value}
    return as_event(fault)


def trigger_about(fault: Fault) -> Mapping[str, Any]:
    """`trigger_of`, and for an alert also the object that its labels were read as: `resource`.

    An alert names its object by labels, which many things carry; what the fault was taken to be
    about is settled, and the diagnosis must not settle it otherwise.
    """
    trigger = trigger_of(fault)
    if trigger.get("kind") != "Alert":
        return trigger
    return {**trigger, "resource": _named(fault)}


def as_event(fault: Fault) -> Mapping[str, Any]:
    """`fault` in the words of a core/v1 Event."""
    resource = fault.resource
    when = fault.seen_at.isoformat()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{resource.name}.{fault.fingerprint}",
            "namespace": resource.namespace or "default",
        },
        "involvedObject": _named(fault),
        "reason": fault.reason,
        "message": fault.message,
        "type": "Normal" if fault.severity.rank == 0 else "Warning",
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }


def _named(fault: Fault) -> dict[str, str]:
    """The fault's object as an object reference."""
    resource = fault.resource
    named = {
        "kind": resource.kind,
        "name": resource.name,
        "namespace": resource.namespace,
        "apiVersion": resource.api_version,
        "uid": resource.uid,
    }
    return {key: value for key, value in named.items() if value}
