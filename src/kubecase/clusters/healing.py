"""Whether the object of a fault is well again, so that nobody needs to look into it.

Careful by design: only what is plainly well counts, and what cannot be had is no reason. A pod that
has just been restarted is not well yet.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from kubecase.clusters.client import ApiFailure, ClusterClient
from kubecase.clusters.credentials import Credentials
from kubecase.clusters.kinds import kind_of
from kubecase.core.errors import KubecaseError
from kubecase.core.model import Fault

QUIET = timedelta(minutes=10)
"""How long a container must have run since its last end, to be taken for well."""


async def healed(credentials: Credentials, fault: Fault, now: datetime) -> str | None:
    """Why `fault` needs no work any more; None if it does, or nobody knows."""
    kind = kind_of(fault.resource.kind)
    if kind is None or kind.kind not in {"Pod", "Deployment", "Job", "Node"}:
        return None
    try:
        async with ClusterClient(credentials) as client:
            await client.sign_in()
            found = await client.get(kind, fault.resource.name, fault.resource.namespace)
    except (ApiFailure, KubecaseError):
        return None
    uid = _mapping(found.get("metadata")).get("uid")
    if fault.resource.uid and uid and uid != fault.resource.uid:
        return None
    return well(found, now)


def well(each: Mapping[str, Any], now: datetime) -> str | None:
    """In words why `each`, as the API serves it, is well; None if it is not, or not plainly."""
    status, name = _mapping(each.get("status")), _mapping(each.get("metadata")).get("name")
    match each.get("kind"):
        case "Pod":
            if _condition(status, "Ready") == "True" and _is_quiet(status, now):
                return f"pod {name} is ready, and has been running for {QUIET.seconds // 60} min"
        case "Deployment":
            wanted = _mapping(each.get("spec")).get("replicas", 1)
            ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
            if wanted and ready == updated == wanted:
                return f"deployment {name} has all of its {wanted} replicas ready"
        case "Job":
            if _condition(status, "Complete") == "True":
                return f"job {name} is complete"
        case "Node":
            pressed = any(_condition(status, f"{word}Pressure") == "True" for word in _PRESSURES)
            if _condition(status, "Ready") == "True" and not pressed:
                return f"node {name} is ready"
    return None


_PRESSURES = ("Memory", "Disk", "PID")


def _is_quiet(status: Mapping[str, Any], now: datetime) -> bool:
    for container in _list(status.get("containerStatuses")):
        if container.get("ready") is not True:
            return False
        for ended in _ends(container):
            if ended is None or now - ended < QUIET:
                return False
    return True


def _ends(container: Mapping[str, Any]) -> Iterator[datetime | None]:
    for field in ("lastState", "state"):
        ended = _mapping(container.get(field)).get("terminated")
        if isinstance(ended, Mapping):
            yield _moment(ended.get("finishedAt"))


def _condition(status: Mapping[str, Any], kind: str) -> str | None:
    for each in _list(status.get("conditions")):
        if each.get("type") == kind:
            return str(each.get("status"))
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None
