"""Which of many recorded events and objects an incident is opened for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kubecase.channels.sources.event import as_core_event, last_seen, occurrences
from kubecase.channels.sources.intake import mapping_of, text_of

BENIGN = frozenset(
    {
        "CgroupV1",
        "InvalidDiskCapacity",
        "DNSConfigForming",
        "FailedToRetrieveImagePullSecret",
        "NodeSysctlChange",
    }
)
"""Reasons of Warning events that healthy clusters send as well."""

_SYMPTOMS = frozenset({"BackOff", "Unhealthy", "FailedScheduling", "FailedMount", "Rebooted"})

Sign = tuple[int, str, str]
"""How bad an object looks (more is worse), the reason, and a message."""


def most_telling(
    events: Iterable[Mapping[str, Any]], objects: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """The Warning event that says most about what is wrong now, if there is any.

    Of recorded objects before others, specific reasons before symptoms before harmless ones, then
    the latest, then the most frequent. What comes back is in the words of core/v1.
    """
    known = {_identity(each) for each in objects}
    warnings = [
        event
        for event in map(as_core_event, events)
        if event.get("type") == "Warning"
        and text_of(mapping_of(event.get("involvedObject")).get("name"))
    ]
    return max(warnings, key=lambda event: _rank(event, known), default=None)


def _rank(event: Mapping[str, Any], known: set[tuple[str, str]]) -> tuple[Any, ...]:
    reason = text_of(event.get("reason"))
    involved = mapping_of(event.get("involvedObject"))
    weight = 0 if reason in BENIGN else 1 if reason in _SYMPTOMS else 2
    return (
        weight > 0,
        (text_of(involved.get("kind")), text_of(involved.get("name"))) in known,
        weight,
        last_seen(event) or datetime.min.replace(tzinfo=UTC),
        occurrences(event),
    )


def _identity(each: Mapping[str, Any]) -> tuple[str, str]:
    return text_of(each.get("kind")), text_of(mapping_of(each.get("metadata")).get("name"))


def sickest(objects: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Sign] | None:
    """The object that looks worst by its own status, and why; `None` if there are no objects.

    If nothing looks wrong, the outermost object counts, with severity 0 and the reason
    `NothingReported`.
    """
    signs = [(each, sign) for each in objects if (sign := _sign(each, objects))]
    if signs:
        return max(signs, key=lambda found: found[1][0])
    plain = sorted(objects, key=lambda each: _OUTERMOST.index(_kind_in(each)))
    if not plain:
        return None
    return plain[0], (0, "NothingReported", "no Warning event, and no recorded object looks sick")


_OUTERMOST = (
    "Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "ReplicaSet", "Pod", "Service",
    "Node", "",
)  # fmt: skip


def _kind_in(each: Mapping[str, Any]) -> str:
    kind = text_of(each.get("kind"))
    return kind if kind in _OUTERMOST else ""


def _sign(each: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> Sign | None:
    kind = text_of(each.get("kind"))
    if kind == "Pod":
        return _of_pod(each)
    if kind == "Service":
        return _of_service(each, objects)
    if kind == "PersistentVolumeClaim":
        phase = text_of(mapping_of(each.get("status")).get("phase"))
        return (50, f"Claim{phase}", f"the claim is {phase}") if phase in _UNBOUND else None
    return _of_conditions(each, _SICK_CONDITIONS.get(kind, {}))


_UNBOUND = frozenset({"Pending", "Lost"})

_SICK_CONDITIONS: Mapping[str, Mapping[tuple[str, str], int]] = {
    "Node": {
        ("Ready", "False"): 90, ("Ready", "Unknown"): 90, ("DiskPressure", "True"): 80,
        ("MemoryPressure", "True"): 80, ("PIDPressure", "True"): 80,
    },
    "Deployment": {
        ("ReplicaFailure", "True"): 60, ("Progressing", "False"): 58, ("Available", "False"): 40,
    },
    "ReplicaSet": {("ReplicaFailure", "True"): 59},
    "Job": {("Failed", "True"): 65, ("FailureTarget", "True"): 64},
    "HorizontalPodAutoscaler": {("ScalingActive", "False"): 45, ("AbleToScale", "False"): 46},
}  # fmt: skip


def _of_conditions(each: Mapping[str, Any], sick: Mapping[tuple[str, str], int]) -> Sign | None:
    signs: list[Sign] = []
    for condition in map(mapping_of, _list(mapping_of(each.get("status")).get("conditions"))):
        key = (text_of(condition.get("type")), text_of(condition.get("status")))
        if key in sick:
            reason = text_of(condition.get("reason")) or f"{key[0]}{key[1]}"
            signs.append((sick[key], reason, text_of(condition.get("message"))))
    return max(signs, default=None)


def _of_pod(pod: Mapping[str, Any]) -> Sign | None:
    status = mapping_of(pod.get("status"))
    states = [
        mapping_of(state)
        for key in ("initContainerStatuses", "containerStatuses")
        for state in _list(status.get(key))
    ]
    signs = [sign for state in states if (sign := _of_container(state))]
    if text_of(status.get("phase")) == "Failed":
        reason = text_of(status.get("reason")) or "PodFailed"
        signs.append((75, reason, text_of(status.get("message"))))
    if not signs and text_of(status.get("phase")) != "Succeeded":
        conditions = {("PodScheduled", "False"): 55, ("Ready", "False"): 30}
        return _of_conditions(pod, conditions)
    return max(signs, default=None)


def _of_container(state: Mapping[str, Any]) -> Sign | None:
    name = text_of(state.get("name"))
    waiting = mapping_of(mapping_of(state.get("state")).get("waiting"))
    reason = text_of(waiting.get("reason"))
    if reason and reason not in {"ContainerCreating", "PodInitializing"}:
        return 70, reason, text_of(waiting.get("message")) or f"container {name} is waiting"
    ended = mapping_of(mapping_of(state.get("state")).get("terminated")) or mapping_of(
        mapping_of(state.get("lastState")).get("terminated")
    )
    code = ended.get("exitCode")
    if type(code) is int and code != 0:
        reason = text_of(ended.get("reason")) or "Error"
        return 60, reason, f"container {name} ended with exit code {code}"
    return None


def _of_service(service: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> Sign | None:
    selector = mapping_of(mapping_of(service.get("spec")).get("selector"))
    if not selector:
        return None
    here = mapping_of(service.get("metadata")).get("namespace")
    pods: list[Mapping[str, Any]] = [
        mapping_of(each.get("metadata")) for each in objects if each.get("kind") == "Pod"
    ]
    matches: Callable[[Mapping[str, Any]], bool] = lambda metadata: all(  # noqa: E731
        mapping_of(metadata.get("labels")).get(key) == value for key, value in selector.items()
    )
    near = [each for each in pods if each.get("namespace") == here]
    if not near or any(matches(each) for each in near):
        return None
    return 35, "ServiceWithoutPods", "the selector of the Service matches no recorded pod"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
