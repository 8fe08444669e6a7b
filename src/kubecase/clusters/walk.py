"""Which objects, events and logs belong to a fault, and in which order they are asked for."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import anyio

from kubecase.clusters.gathering import Gathering
from kubecase.clusters.kinds import is_name
from kubecase.clusters.relations import (
    at,
    backends,
    labels,
    owners,
    pod_selector,
    pod_spec,
    references,
    selector_query,
    selects,
    sickness,
    word,
    words_of,
)
from kubecase.core.model import Fault

MAX_PODS = 8
MAX_PODS_WITH_LOGS = 4
MAX_NODES = 5
MAX_DEPENDENCIES = 5
MAX_OTHER_EVENTS = 100

_WORKLOADS = (
    "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController",
)  # fmt: skip
_ALWAYS_THERE = frozenset({("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")})
_PREEMPTED = re.compile(r"^Preempted by pod ([0-9a-f-]{36}) on node ([a-z0-9][-a-z0-9.]*)")
_ELSEWHERE = re.compile(r"\b([a-z0-9][-a-z0-9]{0,62})\.([a-z0-9][-a-z0-9]{0,62})\.svc\b")


async def walk(found: Gathering, fault: Fault) -> None:
    """Take in what belongs to `fault`, the fault's own object first.

    If not even that could be asked for, because no answer comes at all, nothing else is.
    """
    resource = fault.resource
    namespace = resource.namespace
    subject = await found.get(resource.kind, resource.name, namespace)
    if found.unreachable:
        found.gaps["everything else"] = "the cluster gives no answer"
        return
    async with anyio.create_task_group() as group:
        group.start_soon(_events, found, fault)
        await _family(found, fault, subject)
        for step in (_logs, _nodes, _needs, _scaling):
            group.start_soon(step, found, fault)
        group.start_soon(_services, found, fault)
    await _policies(found, fault)
    await _preemptors(found)
    await _dependencies(found, fault)
    _drop_unrelated_events(found, fault)


async def _family(found: Gathering, fault: Fault, subject: Mapping[str, Any] | None) -> None:
    """Owners above the fault's object, and pods below it or beside it."""
    if subject is None:
        resource = fault.resource
        await found.guess_owner(resource.kind, resource.name, resource.namespace)
    else:
        await found.climb(subject)
        below = _BELOW.get(word(subject, "kind"))
        if below is not None:
            await below(found, subject)
    for cronjob in found.of_kind("CronJob"):
        await _below_cronjob(found, cronjob)
    workloads = found.of_kind(*_WORKLOADS)
    names = {(word(each, "kind"), word(each, "metadata", "name")) for each in workloads}
    for workload in workloads:
        if names.isdisjoint(owners(workload)):
            await _pods_of(found, workload, fault)
    for pod in found.of_kind("Pod"):
        await found.climb(pod)


async def _pods_of(found: Gathering, workload: Mapping[str, Any], fault: Fault) -> None:
    query = selector_query(pod_selector(workload))
    if not query:
        return
    namespace = word(workload, "metadata", "namespace")
    pods = await found.all_of("Pod", namespace, labels=query)
    found.sickest(pods, MAX_PODS, fault.resource.name)
    if word(workload, "kind") == "Deployment":
        await found.owned("ReplicaSet", workload, 3, labels=query)


async def _below_cronjob(found: Gathering, cronjob: Mapping[str, Any]) -> None:
    await found.owned("Job", cronjob, 3)


async def _below_service(found: Gathering, service: Mapping[str, Any]) -> None:
    """The pods it selects; if there are none, those that it may have meant."""
    namespace = word(service, "metadata", "namespace")
    selector = pod_selector(service)
    query = selector_query(selector)
    pods = await found.all_of("Pod", namespace, labels=query) if query else []
    found.sickest(pods or await found.all_of("Pod", namespace), MAX_PODS)


async def _below_node(found: Gathering, node: Mapping[str, Any]) -> None:
    query = f"spec.nodeName={word(node, 'metadata', 'name')}"
    found.sickest(await found.all_of("Pod", None, fields=query), MAX_PODS)


async def _below_claim(found: Gathering, claim: Mapping[str, Any]) -> None:
    namespace, name = word(claim, "metadata", "namespace"), word(claim, "metadata", "name")
    wanted = ("PersistentVolumeClaim", name)
    pods = [
        pod
        for pod in await found.all_of("Pod", namespace, limit=200)
        if wanted in references(pod_spec({"kind": "Pod", **pod}))
    ]
    found.sickest(pods, MAX_PODS)


async def _below_volume(found: Gathering, volume: Mapping[str, Any]) -> None:
    claim = at(volume, "spec", "claimRef")
    kept = await found.get("PersistentVolumeClaim", word(claim, "name"), word(claim, "namespace"))
    if kept is not None:
        await _below_claim(found, kept)


async def _below_scaler(found: Gathering, scaler: Mapping[str, Any]) -> None:
    target = at(scaler, "spec", "scaleTargetRef")
    namespace = word(scaler, "metadata", "namespace")
    await found.get(word(target, "kind"), word(target, "name"), namespace)


async def _below_ingress(found: Gathering, ingress: Mapping[str, Any]) -> None:
    namespace = word(ingress, "metadata", "namespace")
    await found.get("IngressClass", word(ingress, "spec", "ingressClassName"), None)
    for name in sorted(backends(ingress))[:MAX_DEPENDENCIES]:
        service = await found.get("Service", name, namespace)
        if service is not None:
            await _below_service(found, service)


async def _below_namespace(found: Gathering, namespace: Mapping[str, Any]) -> None:
    pods = await found.all_of("Pod", word(namespace, "metadata", "name"), limit=200)
    found.sickest([pod for pod in pods if sickness(pod)], MAX_PODS)


async def _below_selector(found: Gathering, each: Mapping[str, Any]) -> None:
    query = selector_query(pod_selector(each))
    namespace = word(each, "metadata", "namespace")
    if query:
        found.sickest(await found.all_of("Pod", namespace, labels=query), MAX_PODS)


_BELOW: Mapping[str, Callable[[Gathering, Mapping[str, Any]], Awaitable[None]]] = {
    "Service": _below_service,
    "Endpoints": _below_service,
    "Node": _below_node,
    "PersistentVolumeClaim": _below_claim,
    "PersistentVolume": _below_volume,
    "HorizontalPodAutoscaler": _below_scaler,
    "Ingress": _below_ingress,
    "Namespace": _below_namespace,
    "PodDisruptionBudget": _below_selector,
    "NetworkPolicy": _below_selector,
}


async def _logs(found: Gathering, fault: Fault) -> None:
    pods = found.of_kind("Pod")
    own = [pod for pod in pods if word(pod, "metadata", "name") == fault.resource.name]
    others = sorted((pod for pod in pods if pod not in own), key=sickness, reverse=True)
    for pod in (*own, *others)[:MAX_PODS_WITH_LOGS]:
        await found.logs_of(pod)


async def _nodes(found: Gathering, fault: Fault) -> None:
    """The nodes of the pods, or all of them when a pod finds none."""
    pods = found.of_kind("Pod")
    names = {word(pod, "spec", "nodeName") for pod in pods}
    if fault.reason == "FailedScheduling" or ("" in names and pods):
        for node in await found.all_of("Node", None):
            found.keep(node)
    for name in sorted(names - {""})[:MAX_NODES]:
        await found.get("Node", name, None)
    if fault.resource.kind == "Node":
        names.add(fault.resource.name)
    for name in sorted(names - {""})[:MAX_NODES]:
        query = f"involvedObject.kind=Node,involvedObject.name={name}"
        _keep_events(found, await found.all_of("Event", "default", fields=query))


async def _needs(found: Gathering, fault: Fault) -> None:
    """What the pods refer to: configuration, claims with their volumes, service accounts."""
    namespace = fault.resource.namespace
    wanted: dict[tuple[str, str, str], None] = {}
    for each in found.of_kind("Pod", *_WORKLOADS):
        here = word(each, "metadata", "namespace")
        for kind, name in references(pod_spec(each)):
            if name and (kind, name) not in _ALWAYS_THERE:
                wanted[kind, name, here or namespace or ""] = None
    for kind, name, here in list(wanted)[:30]:
        await found.get(kind, name, here)
    claims = found.of_kind("PersistentVolumeClaim")
    for claim in claims[:MAX_PODS]:
        await found.get("PersistentVolume", word(claim, "spec", "volumeName"), None)
        await found.get("StorageClass", word(claim, "spec", "storageClassName"), None)
    if any(word(claim, "status", "phase") != "Bound" for claim in claims):
        for each in await found.all_of("StorageClass", None):
            found.keep(each)


async def _scaling(found: Gathering, fault: Fault) -> None:
    """What scales a workload of ours."""
    if fault.resource.namespace is None:
        return
    names = {
        (word(each, "kind"), word(each, "metadata", "name")) for each in found.of_kind(*_WORKLOADS)
    }
    for scaler in await found.all_of("HorizontalPodAutoscaler", fault.resource.namespace):
        target = at(scaler, "spec", "scaleTargetRef")
        if (word(target, "kind"), word(target, "name")) in names:
            found.keep(scaler)


async def _services(found: Gathering, fault: Fault) -> None:
    """The Services in front of our pods with their endpoints, and the Ingresses before those."""
    namespace = fault.resource.namespace
    if namespace is None:
        return
    pods = [labels(pod) for pod in found.of_kind("Pod")]
    for service in await found.all_of("Service", namespace):
        selector = pod_selector(service)
        if at(selector, "matchLabels") and any(selects(selector, pod) for pod in pods):
            found.keep(service)
    names = {word(each, "metadata", "name") for each in found.of_kind("Service")}
    if fault.resource.kind == "Service":
        names.add(fault.resource.name)
    for name in sorted(names)[:MAX_DEPENDENCIES]:
        await _endpoints(found, name, namespace)
    for ingress in await found.all_of("Ingress", namespace) if names else []:
        if backends(ingress) & names:
            found.keep(ingress)
            await found.get("IngressClass", word(ingress, "spec", "ingressClassName"), None)


async def _endpoints(found: Gathering, service: str, namespace: str) -> None:
    if is_name(service):
        query = f"kubernetes.io/service-name={service}"
        for each in await found.all_of("EndpointSlice", namespace, labels=query):
            found.keep(each)


async def _policies(found: Gathering, fault: Fault) -> None:
    """What may keep pods from being made or from being reached."""
    namespace = fault.resource.namespace
    if namespace is None:
        return
    pods = [labels(pod) for pod in found.of_kind("Pod")]
    for policy in await found.all_of("NetworkPolicy", namespace):
        if any(selects(pod_selector(policy), pod) for pod in pods):
            found.keep(policy)
    reasons = {fault.reason, *(word(event, "reason") for event in found.events.values())}
    if "FailedCreate" in reasons:
        await found.get("Namespace", namespace, None)
        for kind in ("ResourceQuota", "LimitRange"):
            for each in await found.all_of(kind, namespace):
                found.keep(each)


async def _preemptors(found: Gathering) -> None:
    """The pods for which others had to go, which events name by uid and node only."""
    said = [
        _PREEMPTED.search(word(event, "message"))
        for event in found.events.values()
        if word(event, "reason") == "Preempted"
    ]
    wanted = {(match[1], match[2]) for match in said if match}
    for uid, node in sorted(wanted)[:MAX_NODES]:
        for pod in await found.all_of("Pod", None, limit=500, fields=f"spec.nodeName={node}"):
            if word(pod, "metadata", "uid") == uid:
                await found.climb(found.keep(pod))


async def _dependencies(found: Gathering, fault: Fault) -> None:
    """Services that our pods or their logs name: a cause often lies behind one of them."""
    namespace = fault.resource.namespace
    if namespace is None:
        return
    specs = [words_of(pod_spec(each)) for each in found.of_kind("Pod")]
    said = [word(each, "message") for each in found.events.values()]
    text = "\n".join((*specs, *said, *found.logs.values()))
    named = {(name, place) for name, place in _ELSEWHERE.findall(text)}
    for service in await found.all_of("Service", namespace):
        name = word(service, "metadata", "name")
        if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text):
            named.add((name, namespace))
    own = {word(each, "metadata", "name") for each in found.of_kind("Service")}
    others = sorted(each for each in named if each[0] not in own)
    for name, place in others[:MAX_DEPENDENCIES]:
        await _dependency(found, name, place)


async def _dependency(found: Gathering, name: str, namespace: str) -> None:
    service = await found.get("Service", name, namespace)
    if service is None:
        return
    await _endpoints(found, name, namespace)
    query = selector_query(pod_selector(service))
    pods = await found.all_of("Pod", namespace, limit=20, labels=query) if query else []
    kept = found.sickest(pods, 2)
    for pod in kept:
        await found.climb(pod)
        if sickness(pod):
            await found.logs_of(pod)


async def _events(found: Gathering, fault: Fault) -> None:
    """The events of the fault's object, then those of its namespace."""
    resource = fault.resource
    namespace = resource.namespace or "default"
    if is_name(resource.name):
        query = f"involvedObject.name={resource.name}"
        _keep_events(found, await found.all_of("Event", namespace, fields=query))
    if resource.namespace is not None:
        _keep_events(found, await found.all_of("Event", namespace, limit=500))


def _keep_events(found: Gathering, events: Iterable[Mapping[str, Any]]) -> None:
    for event in events:
        key = (word(event, "metadata", "namespace"), word(event, "metadata", "name"))
        metadata = {k: v for k, v in at(event, "metadata").items() if k != "managedFields"}
        found.events[key] = {**event, "metadata": metadata}


def _drop_unrelated_events(found: Gathering, fault: Fault) -> None:
    """Of events about other objects, leave only the latest Warnings."""
    ours = {(kind, name) for kind, _, name in found.objects}
    ours.add((fault.resource.kind, fault.resource.name))
    # What a controller made is named after it: also pods that are gone by now.
    stems = tuple(f"{name}-" for kind, _, name in found.objects if kind in _WORKLOADS)
    others = []
    for key, event in found.events.items():
        name = word(event, "involvedObject", "name")
        is_ours = (word(event, "involvedObject", "kind"), name) in ours
        if not is_ours and not name.startswith(stems):
            others.append((word(event, "lastTimestamp") or word(event, "eventTime"), key))
    others.sort(reverse=True)
    warnings = [key for _, key in others if word(found.events[key], "type") == "Warning"]
    kept = set(warnings[:MAX_OTHER_EVENTS])
    for _, key in others:
        if key not in kept:
            del found.events[key]
