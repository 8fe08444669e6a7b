"""From a body to faults: recognised and mapped by the same code as faults from files."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubecase.app.web.problems import FieldError, Problem
from kubecase.channels.sources.alert import fault_from_alert, is_resolved
from kubecase.channels.sources.intake import Arrival, FaultInput, Form, mapping_of
from kubecase.channels.sources.mapping import one
from kubecase.channels.sources.recognise import form_of
from kubecase.channels.sources.recording import as_bytes
from kubecase.core.errors import FaultRejected

MAX_FAULTS = 500
MAX_ALERTS = 1000

SINGLE = frozenset({Form.FAULT, Form.MCP, Form.EVENT, Form.EVENT_V1})
"""The forms of one fault; what holds recorded facts besides is for `kubecase investigate`."""

ELSEWHERE: Mapping[Form, str] = {
    Form.ALERTMANAGER: "send it to /api/v1/alertmanager",
    Form.ALERT: "send a whole notification to /api/v1/alertmanager",
    Form.CLOUDEVENT: "send it to /api/v1/cloudevents",
}

_FIELD = re.compile(
    r"(?P<what>label |data of the |)(?P<name>[A-Za-z_]+(?:\.[A-Za-z]+)?)[ :]"
)  # fmt: skip
_KNOWN = frozenset(
    {
        "cluster", "namespace", "reason", "message", "severity", "timestamp", "fingerprint",
        "labels", "id", "resource", "resource.kind", "resource.name", "resource.namespace",
        "resource.apiVersion", "resource.uid", "faultType", "alertname", "data_base64",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """One entry that no fault was made of, and why."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What a body holds: faults, faults that are over, and entries that could not be used."""

    faults: tuple[FaultInput, ...]
    resolved: tuple[FaultInput, ...] = ()
    ignored: tuple[Ignored, ...] = ()


def faults_of(value: Any, body: bytes, arrival: Arrival) -> Mapped:
    """The faults in `value`, one or a list of at most 500, which came as `body`.

    All or none: raises Problem (422) that names every entry and field that is wrong.
    """
    entries = value if isinstance(value, list) else [value]
    if not entries or len(entries) > MAX_FAULTS:
        raise wrong([FieldError(
            pointer="", detail=f"is a list of {len(entries)}; from 1 to {MAX_FAULTS} are taken"
        )])  # fmt: skip
    found: list[FaultInput] = []
    errors: list[FieldError] = []
    for number, each in enumerate(entries):
        at = f"/{number}" if isinstance(value, list) else ""
        raw = as_bytes(each) if isinstance(value, list) else body
        try:
            found.append(_single(each, raw, arrival))
        except FaultRejected as error:
            errors.append(field_error(at, error))
    if errors:
        raise wrong(errors)
    return Mapped(faults=tuple(found))


def _single(value: Any, raw: bytes, arrival: Arrival) -> FaultInput:
    form = form_of(value)
    if form not in SINGLE:
        where = ELSEWHERE.get(form, "use `kubecase investigate`")
        raise FaultRejected(
            f"cannot take this as a fault: it is a form of its own ({form}); {where}"
        )
    return one(value, raw, arrival).faults[0]


def alerts_of(value: Any, body: bytes, arrival: Arrival, at: str = "") -> Mapped:
    """The alerts in one notification of Alertmanager (webhook, version 4), which came as `body`.

    Its group stays together: labels that all of it has are those of each alert, and of several
    alerts with one fingerprint the first counts. An alert that names no object is left out; raises
    Problem (422) if it is no notification, or no alert in it can be used.
    """
    alerts = _alerts(value, at)
    common = mapping_of(value.get("commonLabels"))
    firing: dict[str, FaultInput] = {}
    over: dict[str, FaultInput] = {}
    errors: list[FieldError] = []
    for number, each in enumerate(alerts):
        alert = {**mapping_of(each), "labels": {**common, **_labels(each)}}
        raw = body if len(alerts) == 1 else as_bytes(each)
        try:
            found = fault_from_alert(alert, raw, arrival)
        except FaultRejected as error:
            errors.append(field_error(f"{at}/alerts/{number}", error))
            continue
        of = over if is_resolved(alert) else firing
        of.setdefault(found.fault.fingerprint, found)
    if errors and not firing and not over:
        raise wrong(errors)
    return Mapped(
        faults=tuple(firing.values()),
        # What fires again in the same notification is not over.
        resolved=tuple(each for key, each in over.items() if key not in firing),
        ignored=(
            *(Ignored(pointer=e.pointer, detail=e.detail) for e in errors),
            *_cut_off(value.get("truncatedAlerts"), at),
        ),
    )


def _cut_off(count: Any, at: str) -> tuple[Ignored, ...]:
    """A remark if Alertmanager left alerts out since the group has more than `max_alerts`."""
    if type(count) is not int or not 0 < count < 10**9:
        return ()
    detail = f"{count} alerts were cut off by max_alerts of Alertmanager"
    return (Ignored(pointer=f"{at}/truncatedAlerts", detail=detail),)


def _labels(alert: Any) -> Mapping[str, Any]:
    return mapping_of(mapping_of(alert).get("labels"))


def _alerts(value: Any, at: str) -> Sequence[Any]:
    if not isinstance(value, dict):
        raise wrong([FieldError(pointer=at, detail="is not an object")])
    if value.get("version") != "4":
        raise wrong([FieldError(pointer=f"{at}/version", detail='is not "4"')])
    alerts = value.get("alerts")
    if not isinstance(alerts, list):
        raise wrong([FieldError(pointer=f"{at}/alerts", detail="is not a list")])
    if not 0 < len(alerts) <= MAX_ALERTS:
        detail = f"holds {len(alerts)}; from 1 to {MAX_ALERTS} are taken"
        raise wrong([FieldError(pointer=f"{at}/alerts", detail=detail)])
    return alerts


def inside_event(
    value: Any, raw: bytes, arrival: Arrival, at: str, data: Callable[[], Any]
) -> Mapped:
    """The faults in one CloudEvent: `data` gives what is in it, `value` is the whole of it."""
    inner = data()
    try:
        form = form_of(inner)
        if form is Form.ALERTMANAGER:
            return alerts_of(inner, raw, arrival, f"{at}/data")
        if form not in SINGLE | {Form.ALERT}:
            raise FaultRejected(f"cannot take this as a fault: it is a form of its own ({form})")
        return Mapped(faults=one(value, raw, arrival).faults)
    except FaultRejected as error:
        raise wrong([field_error(f"{at}/data", error)]) from None


def field_error(at: str, error: FaultRejected) -> FieldError:
    """What was wrong with the entry at `at`, with the field if the error begins with its name."""
    said = str(error).partition(": ")[2] or str(error)
    match = _FIELD.match(said)
    pointer = at
    if match and match["what"] == "label ":
        pointer = f"{at}/labels/{match['name']}"
    elif match and match["name"] in _KNOWN:
        pointer = f"{at}/" + match["name"].replace(".", "/")
    return FieldError(pointer=pointer, detail=said)


def wrong(errors: Sequence[FieldError]) -> Problem:
    """422: the body is JSON, and not what is asked for."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    where = f"{first.pointer}: " if first.pointer else ""
    return Problem(422, f"{where}{first.detail}{more}", errors=errors)
