"""How objects of a cluster point at one another, read from the objects themselves. Pure.

Every object is untrusted JSON: whatever has an unexpected type counts as not there.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Object = Mapping[str, Any]


def at(value: Any, *path: str) -> Mapping[str, Any]:
    """The object at `path` inside `value`, or an empty one."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def items(value: Any, *path: str) -> list[Mapping[str, Any]]:
    """The objects in the list at `path` inside `value`."""
    found = at(value, *path[:-1]).get(path[-1])
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def word(value: Any, *path: str) -> str:
    """The text at `path` inside `value`, or the empty one."""
    found = at(value, *path[:-1]).get(path[-1])
    return found if isinstance(found, str) else ""


def owners(each: Object) -> list[tuple[str, str]]:
    """Kind and name of what `each` belongs to, its controller first."""
    found = items(each, "metadata", "ownerReferences")
    found.sort(key=lambda owner: owner.get("controller") is not True)
    return [(word(owner, "kind"), word(owner, "name")) for owner in found]


def is_owned_by(each: Object, owner: Object) -> bool:
    """Whether `each` names `owner` as one of its owners."""
    uid = word(owner, "metadata", "uid")
    named = (word(owner, "kind"), word(owner, "metadata", "name"))
    found = items(each, "metadata", "ownerReferences")
    return any(word(ref, "uid") == uid for ref in found) if uid else named in owners(each)


def labels(each: Object) -> dict[str, str]:
    """The labels of `each`."""
    found = at(each, "metadata", "labels")
    return {key: value for key, value in found.items() if isinstance(value, str)}


def pod_selector(each: Object) -> Mapping[str, Any]:
    """The label selector by which `each` finds its pods; empty for what has none."""
    kind = word(each, "kind")
    if kind in {"Service", "ReplicationController"}:
        return {"matchLabels": at(each, "spec", "selector")}
    if kind == "NetworkPolicy":
        return at(each, "spec", "podSelector")
    return at(each, "spec", "selector")


def selects(selector: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    """Whether a label selector fits `given` labels; an empty one fits all."""
    if any(given.get(key) != value for key, value in at(selector, "matchLabels").items()):
        return False
    return all(_holds(each, given) for each in items(selector, "matchExpressions"))


def _holds(expression: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    has = given.get(word(expression, "key"))
    listed = expression.get("values")
    values = listed if isinstance(listed, list) else []
    match word(expression, "operator"):
        case "In":
            return has in values
        case "NotIn":
            return has not in values
        case "Exists":
            return has is not None
        case _:
            return has is None


def selector_query(selector: Mapping[str, Any]) -> str:
    """A label selector as a query's `labelSelector`; the empty text if it selects nothing."""
    parts = [f"{key}={value}" for key, value in at(selector, "matchLabels").items()]
    for each in items(selector, "matchExpressions"):
        key, listed = word(each, "key"), each.get("values")
        values = ",".join(map(str, listed)) if isinstance(listed, list) else ""
        forms = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(forms.get(word(each, "operator"), ""))
    return ",".join(part for part in parts if part)


def pod_spec(each: Object) -> Mapping[str, Any]:
    """The pod specification in `each`: its own, or that of its template."""
    kind = word(each, "kind")
    if kind == "Pod":
        return at(each, "spec")
    if kind == "CronJob":
        return at(each, "spec", "jobTemplate", "spec", "template", "spec")
    return at(each, "spec", "template", "spec")


def containers(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The containers of a pod specification: init, ordinary, ephemeral."""
    keys = ("initContainers", "containers", "ephemeralContainers")
    return [each for key in keys for each in items(spec, key)]


def references(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Kind and name of what a pod specification needs: ConfigMap, claim, service account.

    Secrets are left out: they are never asked for, and what is wrong with one is in the events.
    """
    for volume in items(spec, "volumes"):
        yield "ConfigMap", word(volume, "configMap", "name")
        yield "PersistentVolumeClaim", word(volume, "persistentVolumeClaim", "claimName")
        for source in items(volume, "projected", "sources"):
            yield "ConfigMap", word(source, "configMap", "name")
    for container in containers(spec):
        for entry in items(container, "env"):
            yield "ConfigMap", word(entry, "valueFrom", "configMapKeyRef", "name")
        for entry in items(container, "envFrom"):
            yield "ConfigMap", word(entry, "configMapRef", "name")
    yield "ServiceAccount", word(spec, "serviceAccountName")


def statuses(pod: Object) -> list[Mapping[str, Any]]:
    """What the kubelet says of each container of `pod`, init containers first."""
    keys = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return [each for key in keys for each in items(pod, "status", key)]


def sickness(pod: Object) -> int:
    """How ill `pod` looks: 0 for healthy, more for worse. For choosing, not for diagnosing."""
    found = 0
    for each in statuses(pod):
        restarts = each.get("restartCount")
        found += 1 if isinstance(restarts, int) and restarts > 0 else 0
        found += 3 if word(each, "state", "waiting", "reason") else 0
        code = at(each, "state", "terminated").get("exitCode")
        found += 3 if code not in (None, 0) else 0
    phase = word(pod, "status", "phase")
    found += {"Failed": 3, "Pending": 2, "Unknown": 2}.get(phase, 0)
    ready = [word(each, "status") for each in items(pod, "status", "conditions")
             if word(each, "type") == "Ready"]  # fmt: skip
    return found + (1 if ready == ["False"] and phase == "Running" else 0)


def has_restarted(pod: Object, container: str) -> bool:
    """Whether there can be a log of an earlier run of `container`."""
    for each in statuses(pod):
        if word(each, "name") == container:
            restarts = each.get("restartCount")
            return restarts != 0 or bool(at(each, "lastState"))
    return False


def words_of(spec: Mapping[str, Any]) -> str:
    """Every text by which the containers of a pod specification may name another Service."""
    found: list[str] = []
    for container in containers(spec):
        for key in ("command", "args"):
            listed = container.get(key)
            found += map(str, listed) if isinstance(listed, list) else []
        found += [word(entry, "value") for entry in items(container, "env")]
    return "\n".join(found)


def backends(ingress: Object) -> set[str]:
    """The names of the Services that `ingress` sends requests to."""
    paths = [
        each for rule in items(ingress, "spec", "rules") for each in items(rule, "http", "paths")
    ]
    names = {word(each, "backend", "service", "name") for each in paths}
    return {*names, word(ingress, "spec", "defaultBackend", "service", "name")} - {""}


def trimmed(each: Object) -> dict[str, Any]:
    """`each` without what tells nothing and may hold secrets: managedFields, the last manifest.

    Of a ConfigMap only the keys are kept.
    """
    metadata = {key: value for key, value in at(each, "metadata").items() if key != "managedFields"}
    notes = at(metadata, "annotations")
    last = "kubectl.kubernetes.io/last-applied-configuration"
    if last in notes:
        metadata["annotations"] = {key: value for key, value in notes.items() if key != last}
    found = {**each, "metadata": metadata}
    if word(each, "kind") in {"ConfigMap", "Secret"}:
        for part in ("data", "binaryData", "stringData"):
            if part in each:
                found[part] = dict.fromkeys(at(each, part), "<withheld>")
    return found
