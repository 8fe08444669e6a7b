"""Who belongs to whom and who refers to whom: owners, selectors, references, near names."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from kubecase.diagnosis.facts import Facts, Key, Thing
from kubecase.diagnosis.pods import Container, Pod
from kubecase.diagnosis.values import dig, leaf_texts, listing, mapping, maps, pairs, text

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?")
_MAX_TEXT = 20_000


class Graph:
    """The facts and how they hang together."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.pods = tuple(Pod(each, facts) for each in facts.of_kind("Pod"))
        self.pod_by_key: Mapping[Key, Pod] = {pod.thing.key: pod for pod in self.pods}
        self._roots: dict[Key, Key] = {}
        self._named: dict[Key, tuple[Thing, ...]] = {}

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """Every container of every pod."""
        return tuple(c for pod in self.pods for c in pod.containers)

    def owners(self, key: Key) -> Iterator[Key]:
        """The owners of an object as its references name them."""
        thing = self.facts.by_key.get(key)
        for ref in maps(thing.raw if thing else None, "metadata", "ownerReferences"):
            if text(ref, "kind") and text(ref, "name") and text(ref, "kind") != "Node":
                yield (text(ref, "kind"), key[1], text(ref, "name"))

    def root(self, key: Key) -> Key:
        """The controller at the top of the owner chain; the object itself if it has none."""
        if key not in self._roots:
            at, seen = key, {key}
            while (up := self._above(at)) is not None and up not in seen:
                seen.add(up)
                at = up
            self._roots[key] = at
        return self._roots[key]

    def _above(self, key: Key) -> Key | None:
        for owner in self.owners(key):
            if owner[0] in WORKLOADS or owner in self.facts.by_key:
                return owner
        kind, namespace, name = key
        if kind == "ReplicaSet":
            # The ReplicaSet was not collected, but the Deployment that it is called after was.
            above = ("Deployment", namespace, name.rpartition("-")[0])
            if above in self.facts.by_key:
                return above
        if kind in {"Pod", "Job"} and key not in self.facts.by_key:
            return self._namesake(namespace, name, kind)
        return None

    def _namesake(self, namespace: str, name: str, kind: str) -> Key | None:
        found = [
            each.key
            for each in self.facts.of_kind(*WORKLOADS)
            if each.namespace == namespace
            and name.startswith(each.name + "-")
            and each.kind != kind
        ]
        return max(found, key=lambda key: len(key[2]), default=None)

    @cached_property
    def _pods_by_root(self) -> Mapping[Key, tuple[Pod, ...]]:
        found: dict[Key, list[Pod]] = {}
        for pod in self.pods:
            found.setdefault(self.root(pod.thing.key), []).append(pod)
        return {key: tuple(pods) for key, pods in found.items()}

    def pods_of(self, root: Key) -> tuple[Pod, ...]:
        """The pods at the bottom of this controller."""
        return self._pods_by_root.get(root, ())

    def root_of(self, pod: Pod) -> Key:
        """The controller at the top of this pod."""
        return self.root(pod.thing.key)

    def template(self, key: Key) -> Mapping[str, Any]:
        """The pod template of a controller, empty if it was not collected."""
        thing = self.facts.by_key.get(key)
        if thing is None:
            return {}
        if thing.kind == "CronJob":
            return mapping(thing.raw, "spec", "jobTemplate", "spec", "template")
        return mapping(thing.raw, "spec", "template")

    @cached_property
    def workloads(self) -> tuple[Thing, ...]:
        """Controllers that are nobody's."""
        return tuple(t for t in self.facts.of_kind(*WORKLOADS) if self.root(t.key) == t.key)

    def selected(self, service: Thing) -> tuple[Pod, ...]:
        """The pods that a Service selects, dead ones left out."""
        wanted = pairs(service.raw, "spec", "selector")
        if not wanted:
            return ()
        return tuple(
            pod
            for pod in self.pods
            if pod.thing.namespace == service.namespace
            and wanted.items() <= pod.labels.items()
            and pod.phase not in {"Succeeded", "Failed"}
        )

    def selected_workloads(self, service: Thing) -> tuple[Thing, ...]:
        """The controllers whose pods the Service would select."""
        wanted = pairs(service.raw, "spec", "selector")
        return tuple(
            each
            for each in self.workloads
            if wanted
            and each.namespace == service.namespace
            and wanted.items() <= pairs(self.template(each.key), "metadata", "labels").items()
        )

    def service_at(self, host: str, namespace: str) -> Thing | None:
        """The Service that a program in `namespace` reaches by this host name or address."""
        bare = host.strip("[]").rstrip(".").lower()
        if re.fullmatch(r"[\d.]{7,15}", bare):
            for each in self.facts.of_kind("Service"):
                if text(each.raw, "spec", "clusterIP") == bare:
                    return each
            return None
        place = service_name(bare, namespace)
        return self.facts.thing("Service", place[1], place[0]) if place else None

    def services_named_by(self, pod: Pod) -> tuple[Thing, ...]:
        """The Services whose names are in the pod's variables, arguments or ConfigMaps."""
        if pod.thing.key not in self._named:
            self._named[pod.thing.key] = tuple(self._find_named(pod))
        return self._named[pod.thing.key]

    def _find_named(self, pod: Pod) -> Iterable[Thing]:
        found: dict[Key, Thing] = {}
        for said in self._settings(pod):
            for token in _HOST.findall(said[:_MAX_TEXT].lower()):
                service = self.service_at(token, pod.thing.namespace)
                if service is not None:
                    found.setdefault(service.key, service)
        return found.values()

    def _settings(self, pod: Pod) -> Iterator[str]:
        for each in pod.containers:
            yield from each.env.values()
            yield from leaf_texts([listing(each.spec, "command"), listing(each.spec, "args")])
        for kind, name, _ in references(pod.thing.raw.get("spec")):
            if kind == "ConfigMap" and name != "kube-root-ca.crt":
                thing = self.facts.thing(kind, pod.thing.namespace, name)
                yield from leaf_texts(dig(thing.raw, "data") if thing else None, limit=50)

    def revisions(self, deployment: Key) -> tuple[Thing, ...]:
        """The ReplicaSets of a Deployment, the newest revision first."""
        sets = [
            each
            for each in self.facts.of_kind("ReplicaSet")
            if each.namespace == deployment[1] and deployment in set(self.owners(each.key))
        ]
        return tuple(sorted(sets, key=_revision, reverse=True))

    def container_before(self, container: Container) -> tuple[Mapping[str, Any], str] | None:
        """The same container in the revision before, and what that revision is called."""
        mine = next((o for o in self.owners(container.pod.thing.key)), None)
        revisions = self.revisions(self.root_of(container.pod))
        older = [r for r in revisions if r.key != mine]
        for each in older:
            for spec in maps(each.raw, "spec", "template", "spec", "containers"):
                if text(spec, "name") == container.name:
                    return spec, text(
                        each.raw, "metadata", "annotations", "deployment.kubernetes.io/revision"
                    )
        return None

    def near(self, kind: str, namespace: str, name: str) -> Thing | None:
        """The object of this kind whose name is most like `name`, if any is like it at all."""
        found = [
            (distance, each.name, each)
            for each in self.facts.of_kind(kind)
            if each.namespace == namespace
            and each.name != name
            and (distance := unlikeness(name, each.name)) <= max(2, len(name) // 3)
        ]
        return min(found, key=lambda f: f[:2])[2] if found else None


def _revision(thing: Thing) -> tuple[int, float]:
    said = text(thing.raw, "metadata", "annotations", "deployment.kubernetes.io/revision")
    created = thing.created_at
    return (int(said) if said.isdigit() else 0, created.timestamp() if created else 0.0)


def service_name(host: str, namespace: str) -> tuple[str, str] | None:
    """The Service name and namespace that a host name stands for, `None` for other names."""
    labels = host.split(".")
    if len(labels) == 1:
        return labels[0], namespace
    if len(labels) == 2 or labels[2] == "svc":
        return labels[0], labels[1]
    return None


def references(spec: Any) -> Iterator[tuple[str, str, bool]]:
    """Every object that a pod specification refers to: kind, name, and whether it is optional."""
    for group in ("initContainers", "containers"):
        for container in maps(spec, group):
            yield from _env_references(container)
    for volume in maps(spec, "volumes"):
        yield from _volume_references(volume)
        for source in maps(volume, "projected", "sources"):
            for kind, field in (("ConfigMap", "configMap"), ("Secret", "secret")):
                ref = mapping(source, field)
                if ref:
                    yield kind, text(ref, "name"), ref.get("optional") is True
    for secret in maps(spec, "imagePullSecrets"):
        yield "Secret", text(secret, "name"), False
    if text(spec, "serviceAccountName"):
        yield "ServiceAccount", text(spec, "serviceAccountName"), False


def _env_references(container: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    for each in maps(container, "envFrom"):
        for kind, field in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            ref = mapping(each, field)
            if ref:
                yield kind, text(ref, "name"), ref.get("optional") is True
    for each in maps(container, "env"):
        for kind, field in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            ref = mapping(each, "valueFrom", field)
            if ref:
                yield kind, text(ref, "name"), ref.get("optional") is True


def _volume_references(volume: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    config, secret = mapping(volume, "configMap"), mapping(volume, "secret")
    if config:
        yield "ConfigMap", text(config, "name"), config.get("optional") is True
    if secret:
        yield "Secret", text(secret, "secretName"), secret.get("optional") is True
    claim = text(volume, "persistentVolumeClaim", "claimName")
    if claim:
        yield "PersistentVolumeClaim", claim, False


def unlikeness(one: str, other: str) -> int:
    """How many single changes make one name into the other; a shared stem counts as near."""
    if len(one) > 80 or len(other) > 80:
        return 80
    if min(len(one), len(other)) >= 4 and (one.startswith(other) or other.startswith(one)):
        return 1
    row = list(range(len(other) + 1))
    for n, a in enumerate(one, start=1):
        before, row[0] = row[0], n
        for m, b in enumerate(other, start=1):
            before, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, before + (a != b))
    return row[-1]


def matches(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether a label selector (matchLabels and matchExpressions) takes these labels."""
    wanted = pairs(selector, "matchLabels")
    if not wanted.items() <= labels.items():
        return False
    return all(_expression(each, labels) for each in maps(selector, "matchExpressions"))


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = text(expression, "key"), set(leaf_texts(dig(expression, "values"), limit=200))
    match text(expression, "operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return True


def names(things: Iterable[Thing], *, limit: int = 4) -> str:
    """The names of things for a sentence, the first few."""
    found = [each.name for each in things]
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more
