"""The form of kubecase's own: a fault as an operator or a program writes it by hand."""

from collections.abc import Mapping
from typing import Any

from kubecase.channels.sources.intake import (
    MAX_LABEL,
    MAX_LABELS,
    MAX_NAME,
    Arrival,
    FaultInput,
    fingerprint_of,
    mapping_of,
    message_from,
    moment_of,
    named,
    rejected,
    severity_from,
    text_of,
)
from kubecase.clusters.kinds import is_namespaced, kind_of
from kubecase.core.errors import InvalidIncidentId
from kubecase.core.model import CLUSTER_SCOPED, Fault, IncidentId, Resource, parse_incident_id

UNSPECIFIED = "Unspecified"


def fault_from_kubecase(value: Mapping[str, Any], raw: bytes, arrival: Arrival) -> FaultInput:
    """The fault in `value`, whose schema is `fault.schema.json` beside this file.

    Unknown keys are ignored (they stay in `raw`). Raises FaultRejected for a field that is
    missing or of the wrong type.
    """
    notes: list[str] = []
    for key in (
        "cluster",
        "namespace",
        "reason",
        "message",
        "severity",
        "timestamp",
        "fingerprint",
    ):
        if not isinstance(value.get(key), str | None):
            raise rejected(f"{key} is not a text")
    cluster = text_of(value.get("cluster"))[:MAX_NAME] or arrival.cluster_default
    resource = _resource(value)
    reason, message = text_of(value.get("reason")), text_of(value.get("message"))
    if not reason and not message:
        raise rejected("reason and message are both missing, one of them is needed")
    reason = named(reason or UNSPECIFIED, "reason")
    seen_at = moment_of(value.get("timestamp"))
    if text_of(value.get("timestamp")) and seen_at is None:
        raise rejected("timestamp is not in the form 2026-01-02T03:04:05Z")
    severity, word = severity_from(value.get("severity"), notes)
    return FaultInput(
        fault=Fault(
            fingerprint=fingerprint_of(value.get("fingerprint"), cluster, resource, reason),
            cluster=cluster,
            resource=resource,
            reason=reason,
            message=message_from(message, notes),
            severity=severity,
            severity_word=word,
            seen_at=seen_at or arrival.now,
            raw=raw,
            source=arrival.source,
            labels=_labels(value.get("labels")),
        ),
        incident_id=_incident_id(value.get("id")),
        notes=tuple(notes),
    )


def _resource(value: Mapping[str, Any]) -> Resource:
    given = value.get("resource")
    if isinstance(given, str):
        word, slash, name = given.partition("/")
        if not slash:
            raise rejected('resource is not in the form "Kind/name"')
        given = {"kind": word, "name": name}
    if given is None:
        raise rejected("resource is missing")
    if not isinstance(given, dict):
        raise rejected('resource is neither "Kind/name" nor an object with kind and name')
    for key in ("kind", "name", "namespace", "apiVersion", "uid"):
        if not isinstance(given.get(key), str | None):
            raise rejected(f"resource.{key} is not a text")
    return resource_from(given, text_of(value.get("namespace")))


def resource_from(given: Any, namespace: str) -> Resource:
    """The resource that the object `given` names, in `namespace` unless it says another.

    Raises FaultRejected if its kind or name is missing, or the namespace of a kind that has one.
    """
    given = mapping_of(given)
    word = named(text_of(given.get("kind")), "resource.kind")
    known = kind_of(word)
    kind = known.kind if known else word
    name = named(text_of(given.get("name")), "resource.name")
    namespace = namespace or text_of(given.get("namespace"))
    if kind in CLUSTER_SCOPED or not is_namespaced(kind):
        namespace = ""
    elif not namespace:
        raise rejected(f"namespace is missing, and {ascii(kind)[:80]} is not cluster-scoped")
    return Resource(
        kind=kind,
        name=name,
        namespace=named(namespace, "namespace") if namespace else None,
        api_version=text_of(given.get("apiVersion"))[:MAX_NAME] or None,
        uid=text_of(given.get("uid"))[:MAX_NAME] or None,
    )


def _labels(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise rejected("labels is not an object of texts")
    if len(value) > MAX_LABELS:
        raise rejected(f"labels has more than {MAX_LABELS} entries")
    return {key[:MAX_NAME]: each[:MAX_LABEL] for key, each in value.items()}


def _incident_id(value: Any) -> IncidentId | None:
    if value is None:
        return None
    try:
        return parse_incident_id(value if isinstance(value, str) else "")
    except InvalidIncidentId:
        raise rejected("id is not a UUID in lower case") from None
