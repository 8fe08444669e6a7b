"""Nodes that are silent, under pressure, broken below, or taken out of service on purpose."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Happening, Key, Thing
from kubecase.diagnosis.finding import Finding, found, near_pods, word
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.nodes import is_cordoned, taints
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.values import mapping, text

_PRESSURES = {
    "DiskPressure": ("node.disk_pressure", "disk space (ephemeral-storage)"),
    "MemoryPressure": ("node.memory_pressure", "memory"),
    "PIDPressure": ("node.pid_pressure", "process ids"),
}
_LOW = re.compile(r"low on resource: (\w[\w-]*)")
_LOW_KINDS = {
    "memory": "MemoryPressure",
    "ephemeral-storage": "DiskPressure",
    "inodes": "DiskPressure",
    "imagefs": "DiskPressure",
    "nodefs": "DiskPressure",
    "pids": "PIDPressure",
    "pid": "PIDPressure",
}
RUNTIME = re.compile(
    r"containerd\.sock|crio\.sock|docker\.sock|PLEG is not healthy|"
    r"container runtime is (?:down|not ready)|"
    r"runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady$|"
    r"rpc error: code = Unavailable[^\n]{0,80}unix|"
    r"failed to start sandbox|failed to create (?:containerd|shim) task|"
    r"runc create failed|failed to create shim"
)
_MAINTENANCE = frozenset({"EvictionByEvictionAPI", "TerminationByKubelet"})


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for nodes, and for pods whose trouble is their node's."""
    for node in graph.facts.of_kind("Node"):
        yield from _for_node(graph, node)
    yield from _silent(graph)
    yield from _evictions(graph)
    yield from _maintenance(graph)


def _on(graph: Graph, node: str) -> tuple[Key, ...]:
    about: list[Key] = [("Node", "", node)]
    for pod in graph.pods:
        if pod.node == node:
            about += near_pods(graph, pod)
    return tuple(about)


def node_finding(
    graph: Graph,
    category: str,
    node: str,
    what: str,
    strength: float,
    *proof: Evidence | None,
    about: tuple[Key, ...] = (),
) -> Finding:
    """A finding that blames a node and concerns every pod on it."""
    key = ("Node", "", node)
    return found(
        category,
        f"Node {node} {what}.",
        blamed=key,
        strength=strength,
        about=(*about, *_on(graph, node)) if about else _on(graph, node),
        evidence=proof,
        steps=(
            f"kubectl describe node {word(node)}",
            f"kubectl get pods -A --field-selector spec.nodeName={word(node)}",
        ),
        lasting=True,
    )


def _for_node(graph: Graph, node: Thing) -> Iterator[Finding]:
    ready = node.condition("Ready")
    said = text(ready, "message")
    if ready and text(ready, "status") != "True":
        yield _not_ready(graph, node, said)
    for type_, (category, what) in _PRESSURES.items():
        condition = node.condition(type_)
        if text(condition, "status") == "True":
            yield node_finding(
                graph,
                category,
                node.name,
                f"is out of {what}: {type_} is True{_biggest(graph, node, type_)}",
                0.93,
                node.states("message", text(condition, "message"))
                if text(condition, "message")
                else None,
                *(
                    e.quote()
                    for e in graph.facts.events_of(
                        node.key,
                        "SystemOOM",
                        "EvictionThresholdMet",
                        "FreeDiskSpaceFailed",
                        "ImageGCFailed",
                    )[:2]
                ),
                *(e.quote() for e in _low(graph, node.name)[:1]),
            )


def _not_ready(graph: Graph, node: Thing, said: str) -> Finding:
    lost = text(node.condition("Ready"), "status") == "Unknown"
    since = text(node.condition("Ready"), "lastTransitionTime")
    events = graph.facts.events_of(node.key, "NodeNotReady")
    proof = [
        node.states("message", said) if said else None,
        *(e.quote() for e in events[:1]),
        next(
            (
                node.states("spec.taints.key", t.key)
                for t in taints(node)
                if t.key.endswith(("unreachable", "not-ready"))
            ),
            None,
        ),
    ]
    if RUNTIME.search(said):
        return node_finding(
            graph,
            "node.runtime_failure",
            node.name,
            f"is NotReady because its container runtime is broken: {said[:240]}",
            0.95,
            *proof,
        )
    if "cni plugin not initialized" in said or "NetworkPluginNotReady" in said:
        return node_finding(
            graph,
            "network.cni_failure",
            node.name,
            f"is NotReady because its pod network (CNI) is not set up: {said[:240]}",
            0.95,
            *proof,
        )
    pods = [p for p in graph.pods if p.node == node.name]
    hit = f"; {len(pods)} pods seen on it are affected" if pods else ""
    what = "has stopped reporting, it is not ready (status Unknown)" if lost else "is NotReady"
    return node_finding(
        graph,
        "node.not_ready",
        node.name,
        f"{what} since {since or 'an unknown time'}: {said[:200]}{hit}",
        0.94,
        *proof,
    )


def _silent(graph: Graph) -> Iterator[Finding]:
    """NodeNotReady told by events alone, the node itself not collected."""
    for event in graph.facts.events_with("NodeNotReady"):
        if event.about[0] == "Node":
            name = event.about[2]
        else:
            pod = graph.pod_by_key.get(event.about)
            name = pod.node if pod else ""
        if (
            not name
            or graph.facts.thing("Node", "", name) is not None
            or _came_back(graph, name, event)
        ):
            continue
        evictions = [e.quote() for e in graph.facts.events_with("TaintManagerEviction")[:1]]
        yield node_finding(
            graph,
            "node.not_ready",
            name,
            "is not ready (NodeNotReady), its pods are affected",
            0.9,
            event.quote(),
            *evictions,
            about=(event.about,),
        )
        return


def _came_back(graph: Graph, name: str, event: Happening) -> bool:
    ready = graph.facts.events_of(("Node", "", name), "NodeReady")
    return any(e.last and event.last and e.last > event.last for e in ready)


def _low(graph: Graph, node: str) -> list[Happening]:
    return [
        e
        for e in graph.facts.events_with("Evicted")
        if _LOW.search(e.message) and (e.host == node or _node_of(graph, e.about) == node)
    ]


def _node_of(graph: Graph, key: Key) -> str:
    pod = graph.pod_by_key.get(key)
    return pod.node if pod else ""


def _evictions(graph: Graph) -> Iterator[Finding]:
    """Evictions that name what the node lacks."""
    for event in graph.facts.events_with(
        "Evicted", "SystemOOM", "EvictionThresholdMet", "FreeDiskSpaceFailed"
    ):
        node = (
            event.about[2]
            if event.about[0] == "Node"
            else event.host or _node_of(graph, event.about)
        )
        type_ = _pressure(event)
        if not node or type_ is None:
            continue
        category, what = _PRESSURES[type_]
        thing = graph.facts.thing("Node", "", node)
        if thing is not None and text(thing.condition(type_), "status") == "True":
            continue
        yield node_finding(
            graph,
            category,
            node,
            f"is out of {what}: {event.message.strip()[:200]}",
            0.88,
            event.quote(),
            about=(event.about, graph.root(event.about)),
        )
    for pod in graph.pods:
        matched = _LOW.search(pod.message) if pod.reason == "Evicted" else None
        kind = _LOW_KINDS.get(matched.group(1)) if matched else None
        if kind and pod.node:
            category, what = _PRESSURES[kind]
            yield node_finding(
                graph,
                category,
                pod.node,
                f"is out of {what}: {pod.message.strip()[:200]}",
                0.88,
                pod.thing.states("status.message", pod.message),
                about=near_pods(graph, pod),
            )


def _pressure(event: Happening) -> str | None:
    matched = _LOW.search(event.message)
    if matched:
        return _LOW_KINDS.get(matched.group(1))
    if event.reason == "SystemOOM":
        return "MemoryPressure"
    if event.reason == "FreeDiskSpaceFailed" or "ephemeral-storage" in event.message:
        return "DiskPressure" if event.reason != "Evicted" else None
    return (
        "MemoryPressure"
        if event.reason == "EvictionThresholdMet" and "memory" in event.message
        else None
    )


def _biggest(graph: Graph, node: Thing, type_: str) -> str:
    """The pod that most likely uses up the memory: one without a limit."""
    if type_ != "MemoryPressure":
        return ""
    for pod in graph.pods:
        if (
            pod.node == node.name
            and pod.containers
            and not any(c.limit("memory") for c in pod.containers)
        ):
            return f"; pod {pod.thing.namespace}/{pod.thing.name} on it has no memory limit"
    return ""


def _maintenance(graph: Graph) -> Iterator[Finding]:
    for node in graph.facts.of_kind("Node"):
        events = graph.facts.events_of(
            node.key,
            "NodeShutdown",
            "Rebooted",
            "Shutdown",
            "NodeNotSchedulable",
            "Drain",
            "Draining",
            "NodeUpgrade",
            "Upgrade",
            "KubeletUpdated",
            "Cordon",
        )
        drained = [p for p in graph.pods if p.node == node.name and _is_drained(p)]
        planned = [
            key
            for key in mapping(node.raw, "metadata", "annotations")
            if re.search(r"upgrade|drain|maintenance|reboot|cordon", key)
        ]
        signs = [e for e in events if e.reason != "NodeNotSchedulable"]
        if not (is_cordoned(node) or signs) or not (drained or signs or planned):
            continue
        why = next((f": {e.message[:140]}" for e in signs), "")
        proof = [e.quote() for e in events[:2]]
        proof += [
            p.thing.states("reason", text(p.thing.condition("DisruptionTarget"), "reason"))
            for p in drained[:1]
            if p.thing.condition("DisruptionTarget")
        ]
        finding = node_finding(
            graph,
            "node.maintenance",
            node.name,
            "is in planned maintenance (cordoned and drained, rebooted or "
            f"upgraded){why}; its pods were moved and nothing "
            "is broken",
            0.9,
            *proof,
            node.states("spec.unschedulable", True) if is_cordoned(node) else None,
        )
        yield finding
    yield from _shut_down(graph)


def _is_drained(pod: Pod) -> bool:
    return text(
        pod.thing.condition("DisruptionTarget"), "reason"
    ) in _MAINTENANCE or pod.reason in {"NodeShutdown", "Terminated"}


def _shut_down(graph: Graph) -> Iterator[Finding]:
    """Pods that were evicted by a drain, their node not collected or in service again."""
    for pod in graph.pods:
        node = graph.facts.thing("Node", "", pod.node)
        if not _is_drained(pod) or not pod.node or (node is not None and is_cordoned(node)):
            continue
        target = pod.thing.condition("DisruptionTarget")
        yield node_finding(
            graph,
            "node.maintenance",
            pod.node,
            (
                f"was drained or shut down on purpose, so pod {pod.thing.name} was evicted; "
                "nothing is broken"
            ),
            0.8,
            pod.thing.states("reason", text(target, "reason")) if target else None,
            pod.thing.states("status.reason", pod.reason) if pod.reason else None,
            about=near_pods(graph, pod),
        )
        return
