"""What a fake API server answers: values, errors, Tables, and what it says to self reviews."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

ANY = re.compile("")


@dataclass(frozen=True)
class Answer:
    """What the server says; one that a test gives stands for requests whose target it fits."""

    pattern: re.Pattern[str]
    status: int = 200
    body: bytes | None = None
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    stream: Iterator[bytes] | None = None


def json_answer(status: int, body: Mapping[str, Any]) -> Answer:
    """A JSON object."""
    return Answer(ANY, status, body=json.dumps(body).encode())


def status_answer(code: int, message: str) -> Answer:
    """A `Status` object, as all errors are."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return json_answer(code, {**body, "message": message})


# Tables ------------------------------------------------------------------------------------------


def _age(each: Mapping[str, Any]) -> str:
    made = each["metadata"].get("creationTimestamp")
    if not made:
        return "<unknown>"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(made)).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"


def _containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(pod.get("status", {}).get("containerStatuses") or ())


def _ready(pod: Mapping[str, Any]) -> str:
    ready = sum(1 for each in _containers(pod) if each.get("ready"))
    return f"{ready}/{len(pod.get('spec', {}).get('containers', ()))}"


def _pod_status(pod: Mapping[str, Any]) -> str:
    for each in _containers(pod):
        for state in ("waiting", "terminated"):
            if reason := each.get("state", {}).get(state, {}).get("reason"):
                return str(reason)
    return _phase(pod)


def _phase(each: Mapping[str, Any]) -> str:
    return str(each.get("status", {}).get("phase", ""))


def _restarts(pod: Mapping[str, Any]) -> str:
    return str(sum(each.get("restartCount", 0) for each in _containers(pod)))


def _replicas(each: Mapping[str, Any]) -> str:
    return f"{each.get('status', {}).get('readyReplicas', 0)}/{each['spec'].get('replicas', 1)}"


def _involved(event: Mapping[str, Any]) -> str:
    return f"{event['involvedObject']['kind'].lower()}/{event['involvedObject']['name']}"


Cell = Callable[[Mapping[str, Any]], str]
_BETWEEN: dict[str, dict[str, Cell]] = {
    "Pod": {"Ready": _ready, "Status": _pod_status, "Restarts": _restarts},
    "Deployment": {"Ready": _replicas},
    "Namespace": {"Status": _phase},
    "PersistentVolumeClaim": {"Status": _phase},
    "Event": {
        "Type": lambda each: each.get("type", ""),
        "Reason": lambda each: each.get("reason", ""),
        "Object": _involved,
        "Message": lambda each: each.get("message", ""),
    },
}


def table(
    kind: str, items: list[Mapping[str, Any]], metadata: Mapping[str, Any], include: str
) -> dict[str, Any]:
    """A Table of `items`; `include` is the `includeObject` of the query."""
    name: dict[str, Cell] = {"Name": lambda each: each["metadata"]["name"]}
    cells = {**name, **_BETWEEN.get(kind, {}), "Age": _age}
    columns = [
        {"name": column, "type": "string", "format": "name" if column == "Name" else "",
         "description": "", "priority": 0}
        for column in cells
    ]  # fmt: skip
    rows = []
    for each in items:
        row: dict[str, Any] = {"cells": [cell(each) for cell in cells.values()]}
        if include == "Object":
            row["object"] = each
        elif include != "None":
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                             "metadata": each["metadata"]}  # fmt: skip
        rows.append(row)
    head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return {**head, "columnDefinitions": columns, "rows": rows}


# Self reviews ------------------------------------------------------------------------------------

_PROTOBUF = b"k8s\0"
_ATTRIBUTES = ("namespace", "verb", "group", "version", "resource", "subresource", "name")


def reader_may(asked: Mapping[str, Any]) -> bool:
    """What a reader may: get, list and watch, but no Secrets, and no way into a workload."""
    inside = asked.get("subresource") in {"exec", "attach", "portforward", "proxy", "token"}
    reads = asked.get("verb") in {"get", "list", "watch"}
    return reads and not inside and asked.get("resource") != "secrets"


def asked_by(body: bytes) -> Mapping[str, Any] | None:
    """The resource that an access review asks about, in JSON or protobuf; None if there is none."""
    try:
        if body.startswith(_PROTOBUF):
            return _from_protobuf(body)
        found = json.loads(body)["spec"]["resourceAttributes"]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return found if isinstance(found, dict) else None


def _from_protobuf(body: bytes) -> Mapping[str, Any]:
    # Unknown.raw is 2, SelfSubjectAccessReview.spec is 2, its resourceAttributes are 1.
    message = body[len(_PROTOBUF) :]
    for number in (2, 2, 1):
        message = _fields(message)[number]
    values = _fields(message)
    return {
        name: values[number].decode()
        for number, name in enumerate(_ATTRIBUTES, start=1)
        if values.get(number)
    }


def _fields(message: bytes) -> dict[int, bytes]:
    """The length-delimited fields of a protobuf message, by number."""
    found, at = {}, 0
    while at < len(message):
        tag, at = _varint(message, at)
        value, at = _varint(message, at)
        if tag & 7 == 2:
            found[tag >> 3] = message[at : at + value]
            at += value
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while message[at] & 0x80:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | message[at] << shift, at + 1


def review_answer(plural: str, allowed: bool) -> Answer:
    """The answer to one of the three self reviews."""
    rules = [{"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]}]
    kind, group, status = {
        "selfsubjectaccessreviews": (
            "SelfSubjectAccessReview", "authorization",
            {"allowed": allowed, "reason": "a fake says so"},
        ),
        "selfsubjectrulesreviews": (
            "SelfSubjectRulesReview", "authorization",
            {"resourceRules": rules, "nonResourceRules": [], "incomplete": False},
        ),
        "selfsubjectreviews": (
            "SelfSubjectReview", "authentication",
            {"userInfo": {"username": "reader", "groups": []}},
        ),
    }[plural]  # fmt: skip
    body = {"kind": kind, "apiVersion": f"{group}.k8s.io/v1", "metadata": {}, "spec": {}}
    return json_answer(201, {**body, "status": status})
