"""What the incident is about, and how near everything else is to that."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from kubecase.diagnosis.backends import callers
from kubecase.diagnosis.facts import Key, Thing
from kubecase.diagnosis.graph import WORKLOADS, Graph, matches, references
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.values import dig, mapping, maps, pairs, text

_LABELS: Mapping[str, tuple[str, ...]] = {
    "pod": ("Pod",),
    "pod_name": ("Pod",),
    "deployment": ("Deployment",),
    "statefulset": ("StatefulSet",),
    "daemonset": ("DaemonSet",),
    "replicaset": ("ReplicaSet",),
    "job_name": ("Job",),
    "job": ("Job",),
    "cronjob": ("CronJob",),
    "node": ("Node",),
    "instance": ("Node",),
    "nodename": ("Node",),
    "service": ("Service",),
    "ingress": ("Ingress",),
    "persistentvolumeclaim": ("PersistentVolumeClaim",),
    "horizontalpodautoscaler": ("HorizontalPodAutoscaler",),
    "hpa": ("HorizontalPodAutoscaler",),
    "poddisruptionbudget": ("PodDisruptionBudget",),
    "certificate": ("Certificate",),
    "persistentvolume": ("PersistentVolume",),
    "resourcequota": ("ResourceQuota",),
    "workload": WORKLOADS,
    "app": (*WORKLOADS, "Service"),
    "name": ("Certificate", "Ingress", "Service", "Namespace", *WORKLOADS),
    "container": (),
}
_TELLING = (
    "deployment",
    "statefulset",
    "daemonset",
    "replicaset",
    "job_name",
    "cronjob",
    "horizontalpodautoscaler",
    "persistentvolumeclaim",
    "ingress",
    "node",
    "service",
)
"""Labels that name an object although none of that name was collected, the surest first."""
_REFERENCES = ("involvedObject", "regarding", "resource")
_WEIGHTS = (1.0, 0.97, 0.94, 0.7, 0.66, 0.6)
_FAR = 0.28
_TOKEN = re.compile(r"[a-z0-9][a-z0-9./-]{1,300}[a-z0-9]")


class Scope:
    """The objects that the trigger names, and the distance of all others from them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.facts = graph.facts
        self.focus = tuple(dict.fromkeys(self._focus()))
        self._complaints = self._who_complains()

    @cached_property
    def is_open(self) -> bool:
        """Whether nothing names an object, so that the sick ones have to be found."""
        return not self.focus

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """The pods of what the incident is about."""
        if self.is_open:
            return self.graph.pods
        return tuple(p for p in self.graph.pods if self.distances.get(p.thing.key, 9) == 0)

    def weight(self, *keys: Key | None) -> float:
        """How much trouble in any of these objects counts, 0 to 1."""
        if self.is_open:
            return 1.0
        near = [self.distances[key] for key in keys if key is not None and key in self.distances]
        return _WEIGHTS[min(*near, len(_WEIGHTS) - 1)] if near else _FAR

    def is_about(self, *keys: Key) -> bool:
        """Whether the trigger names any of these objects, or what belongs to it."""
        return not self.is_open and any(self.distances.get(key) == 0 for key in keys)

    def upstream(self, key: Key) -> frozenset[Key]:
        """What stands behind the Services that a pod or controller complains about, all the way."""
        found: set[Key] = set()
        waiting = [key]
        while waiting:
            for service in self._asked_by(waiting.pop()):
                behind = [service.key]
                for pod in self.graph.selected(service):
                    behind += [pod.thing.key, self.graph.root_of(pod)]
                behind += [each.key for each in self.graph.selected_workloads(service)]
                fresh = [each for each in behind if each not in found and each != key]
                found.update(fresh)
                waiting += fresh
        return frozenset(found)

    def _asked_by(self, key: Key) -> tuple[Thing, ...]:
        """The Services that it complains about; of a silent, unready pod those that it names."""
        complaints = self._complaints.get(key, ())
        pod = self.graph.pod_by_key.get(key)
        if complaints or pod is None or pod.is_ready or pod.thing.key in self.focus:
            return complaints
        return self.graph.services_named_by(pod)

    def _who_complains(self) -> Mapping[Key, tuple[Thing, ...]]:
        found: dict[Key, list[Thing]] = {}
        kinds = ("refused", "timeout", "no_such_host", "saturated", "mesh", "auth")
        for container, _, backend in callers(self.graph, *kinds):
            if backend.service is not None:
                for key in (container.pod.thing.key, self.graph.root_of(container.pod)):
                    found.setdefault(key, []).append(backend.service)
        return {key: tuple(services) for key, services in found.items()}

    # --- what the trigger names

    def _focus(self) -> Iterator[Key]:
        trigger = self.facts.trigger
        fields = ("involvedObject", "regarding") if self._by_labels else _REFERENCES
        for field in fields:
            named = mapping(trigger, field)
            if named:
                yield from self._named(
                    text(named, "kind"),
                    text(named, "namespace") or text(trigger, "namespace"),
                    text(named, "name"),
                )
        slashed = text(trigger, "resource")
        if "/" in slashed:
            kind, _, name = slashed.partition("/")
            yield from self._named(kind, text(trigger, "namespace"), name)
        if dig(trigger, "labels"):
            yield from self._from_labels()

    def _named(self, kind: str, namespace: str, name: str) -> Iterator[Key]:
        for key in ((kind, namespace, name), (kind, "", name)):
            if key in self.facts.by_key:
                yield key
                return
        lower = kind.lower()
        for thing in self.facts.things:
            if (
                thing.name == name
                and thing.kind.lower() == lower
                and thing.namespace in {namespace, ""}
            ):
                yield thing.key
                return
        if kind and name:
            yield (kind, namespace, name)

    def _from_labels(self) -> Iterator[Key]:
        labels = self.facts.trigger_labels
        namespace = labels.get("namespace") or labels.get("exported_namespace") or ""
        found: list[Key] = []
        for label, kinds in _LABELS.items():
            name = labels.get(label) or labels.get(f"exported_{label}") or ""
            for kind in kinds if name else ():
                for key in ((kind, namespace, name), (kind, "", name)):
                    if key in self.facts.by_key and key not in found:
                        found.append(key)
            if name and label in {"pod", "pod_name"} and not any(k[2] == name for k in found):
                found.append(("Pod", namespace, name))
        # The node is only where it happened if the alert names something that runs there.
        found = [key for key in found if key[0] != "Node"] or found
        found = found or list(self._in_words(namespace))
        yield from found or self._not_collected(namespace)

    @property
    def _by_labels(self) -> bool:
        """Whether an alert started this: what it is about, its labels say best."""
        return "alertname" in self.facts.trigger_labels

    def _not_collected(self, namespace: str) -> Iterator[Key]:
        """What an alert is about when none of it was collected; its namespace if that was."""
        resource = mapping(self.facts.trigger, "resource")
        kind, name = text(resource, "kind"), text(resource, "name")
        is_known = any(thing.namespace == namespace for thing in self.facts.things)
        if kind and name:
            yield (kind, text(resource, "namespace"), name)
        elif not is_known:
            labels = self.facts.trigger_labels
            label = next((each for each in _TELLING if labels.get(each)), "")
            if label:
                place = "" if label == "node" else namespace
                yield (_LABELS[label][0], place, labels[label])
                return
        if namespace and (is_known or not (kind and name)):
            yield ("Namespace", "", namespace)

    def _in_words(self, namespace: str) -> Iterator[Key]:
        """The objects that the words of the alert name."""
        said = " ".join(
            [
                *pairs(self.facts.trigger, "annotations").values(),
                *self.facts.trigger_labels.values(),
            ]
        )
        tokens = set(_TOKEN.findall(said[:8000].lower()))
        tokens |= {part for token in tokens for part in token.split("/")}
        for thing in self.facts.things:
            full = f"{thing.namespace}/{thing.name}"
            if full in tokens or (
                thing.name in tokens and len(thing.name) > 3 and thing.namespace in {namespace, ""}
            ):
                yield thing.key

    # --- how near the others are

    @cached_property
    def distances(self) -> Mapping[Key, int]:
        """Steps from the incident to everything that hangs together with it."""
        found: dict[Key, int] = {}
        waiting: list[list[Key]] = [list(self.focus)] + [[] for _ in range(8)]
        for distance in range(6):
            while waiting[distance]:
                key = waiting[distance].pop()
                if key in found:
                    continue
                found[key] = distance
                for step, other in self._edges(key, distance):
                    if other not in found:
                        waiting[min(distance + step, 8)].append(other)
        return found

    def _edges(self, key: Key, distance: int) -> Iterator[tuple[int, Key]]:
        kind = key[0]
        root = self.graph.root(key)
        yield 0, root
        for owner in self.graph.owners(key):
            yield 0, owner
        for service in self._complaints.get(key, ()):
            yield 1, service.key
        if kind == "Pod":
            yield from self._pod_edges(key)
        elif kind in WORKLOADS:
            for pod in self.graph.pods_of(root):
                yield 0, pod.thing.key
            yield from self._workload_edges(key)
        elif kind == "Service":
            yield from self._service_edges(key)
        yield from self._other_edges(key, distance)

    def _pod_edges(self, key: Key) -> Iterator[tuple[int, Key]]:
        pod = self.graph.pod_by_key.get(key)
        if pod is None:
            return
        if pod.node:
            yield 1, ("Node", "", pod.node)
        for kind, name, _ in references(pod.thing.raw.get("spec")):
            yield 1, (kind, key[1], name)
        for claim in pod.claims:
            yield 1, ("PersistentVolumeClaim", key[1], claim)
        for service in self.graph.services_named_by(pod):
            yield 3, service.key
        for service in self.facts.of_kind("Service"):
            if service.namespace == key[1] and pod in self.graph.selected(service):
                yield 1, service.key

    def _workload_edges(self, key: Key) -> Iterator[tuple[int, Key]]:
        for kind, name, _ in references(self.graph.template(key).get("spec")):
            yield 1, (kind, key[1], name)
        for scaler in self.facts.of_kind("HorizontalPodAutoscaler"):
            if (
                scaler.namespace == key[1]
                and text(scaler.raw, "spec", "scaleTargetRef", "name") == key[2]
            ):
                yield 1, scaler.key
        for job in self.facts.of_kind("Job") if key[0] == "CronJob" else ():
            if key in set(self.graph.owners(job.key)):
                yield 0, job.key
        for service in self.facts.of_kind("Service"):
            if any(each.key == key for each in self.graph.selected_workloads(service)):
                yield 1, service.key

    def _service_edges(self, key: Key) -> Iterator[tuple[int, Key]]:
        service = self.facts.by_key.get(key)
        if service is None:
            return
        for pod in self.graph.selected(service):
            yield 0, pod.thing.key
        for each in self.graph.selected_workloads(service):
            yield 0, each.key
        for each in self.graph.workloads:
            if (each.namespace, each.name) == (service.namespace, service.name):
                yield 1, each.key

    def _other_edges(self, key: Key, distance: int) -> Iterator[tuple[int, Key]]:
        thing = self.facts.by_key.get(key)
        raw, namespace = (thing.raw if thing else {}), key[1]
        match key[0]:
            case "Ingress":
                for each in maps(raw, "spec", "rules"):
                    for path in maps(each, "http", "paths"):
                        yield 1, ("Service", namespace, text(path, "backend", "service", "name"))
                for tls in maps(raw, "spec", "tls"):
                    yield 1, ("Secret", namespace, text(tls, "secretName"))
            case "HTTPRoute" | "GRPCRoute":
                for each in maps(raw, "spec", "rules"):
                    for ref in maps(each, "backendRefs"):
                        yield 1, ("Service", namespace, text(ref, "name"))
            case "HorizontalPodAutoscaler":
                ref = mapping(raw, "spec", "scaleTargetRef")
                yield 1, (text(ref, "kind"), namespace, text(ref, "name"))
            case "PersistentVolumeClaim":
                yield 1, ("PersistentVolume", "", text(raw, "spec", "volumeName"))
                yield 1, ("StorageClass", "", text(raw, "spec", "storageClassName"))
                for pod in self.graph.pods:
                    if pod.thing.namespace == namespace and key[2] in pod.claims:
                        yield 1, pod.thing.key
            case "PodDisruptionBudget":
                for pod in self.graph.pods:
                    if pod.thing.namespace == namespace and matches(
                        dig(raw, "spec", "selector"), pod.labels
                    ):
                        yield 1, pod.thing.key
            case _:
                if distance == 0:
                    yield from self._when_focus(key)

    def _when_focus(self, key: Key) -> Iterator[tuple[int, Key]]:
        """Edges that would lead everywhere, were they not only taken from the focus."""
        kind, namespace, name = key
        if kind == "Namespace":
            for thing in self.facts.things:
                if thing.namespace == name:
                    yield 1, thing.key
        elif kind in {
            "Secret",
            "ConfigMap",
            "ServiceAccount",
            "ResourceQuota",
            "LimitRange",
            "NetworkPolicy",
        }:
            for pod in self.graph.pods:
                refers = {(k, n) for k, n, _ in references(pod.thing.raw.get("spec"))}
                if pod.thing.namespace == namespace and (kind, name) in refers:
                    yield 1, pod.thing.key
