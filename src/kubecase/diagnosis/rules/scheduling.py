"""Pods without a node: which of the scheduler's reasons keeps them away."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, Thing, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods
from kubecase.diagnosis.graph import Graph, names
from kubecase.diagnosis.nodes import CONTROL_PLANE, capacity, is_control_plane, shortage, taints
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.rules.placement import host_port, insufficient, node_affinity, pod_affinity
from kubecase.diagnosis.unscheduled import (
    Verdict,
    has_selector,
    matching,
    tolerates,
    unscheduled,
    verdict_of,
    workers,
)
from kubecase.diagnosis.values import dig, listing, maps, number, text

_TAINT = re.compile(r"taint \{([^}:]{1,300}):? ?([^}]{0,200})\}")
_UNTAINTED = "untolerated taint"
_NODE_TAINTS = {
    "node.kubernetes.io/not-ready": "node.not_ready",
    "node.kubernetes.io/unreachable": "node.not_ready",
    "node.kubernetes.io/disk-pressure": "node.disk_pressure",
    "node.kubernetes.io/memory-pressure": "node.memory_pressure",
    "node.kubernetes.io/pid-pressure": "node.pid_pressure",
    "node.kubernetes.io/network-unavailable": "network.cni_failure",
}


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for every pod that has no node."""
    for pod in graph.pods:
        if text(pod.thing.condition("PodScheduled"), "reason") == "SchedulingGated" or (
            pod.is_unscheduled and listing(pod.thing.raw, "spec", "schedulingGates")
        ):
            yield _gated(graph, pod)
        elif pod.reason in {"OutOfcpu", "OutOfmemory", "OutOfpods", "NodeAffinity"}:
            yield _rejected(graph, pod)
        elif pod.is_unscheduled and (verdict := verdict_of(pod)) is not None:
            finding = _judge(graph, verdict)
            if finding is not None:
                yield finding
        elif pod.phase == "Pending" and pod.node and graph.facts.of_kind("Node"):
            yield from _absent_node(graph, pod)
    yield from _preempted(graph)


def _judge(graph: Graph, verdict: Verdict) -> Finding | None:
    """The reason that has to be repaired; storage is another rule's business."""
    said = " ".join(reason for _, reason in verdict.items)
    if re.search(
        r"volume node affinity|PersistentVolume|persistentvolumeclaim|storageclass|max volume", said
    ):
        return None
    taint = _taint(graph, verdict)
    if taint is not None and taint.category != "scheduling.taint":
        return taint
    if _cordon_decides(graph, verdict):
        return _unschedulable(graph, verdict)
    if verdict.count("free ports"):
        return host_port(graph, verdict)
    if verdict.count("anti-affinity", "pod affinity rules", "topology spread"):
        return pod_affinity(graph, verdict)
    shortage_count = verdict.count("Insufficient", "Too many pods")
    if taint is not None and (not shortage_count or _wants_tainted(graph, verdict)):
        return taint
    if shortage_count:
        return insufficient(graph, verdict)
    if verdict.count(
        "affinity/selector", "node affinity", "node selector", "node(s) didn't match the req"
    ):
        return node_affinity(graph, verdict)
    return _unschedulable(graph, verdict) if verdict.count("unschedulable") else taint


def _taint(graph: Graph, verdict: Verdict) -> Finding | None:
    """The taint in the way, or the trouble of the node that a taint stands for."""
    told = [
        (key, value.strip())
        for _, reason in verdict.items
        if _UNTAINTED in reason or "taint {" in reason
        for key, value in _TAINT.findall(reason)
        if key not in CONTROL_PLANE
    ]
    if not told and not any("taint(s)" in reason for _, reason in verdict.items):
        return None
    on_nodes = [
        (node, taint)
        for node in graph.facts.of_kind("Node")
        for taint in taints(node)
        if taint.key not in CONTROL_PLANE
        and taint.effect != "PreferNoSchedule"
        and not tolerates(verdict.pod, taint.key, taint.value, taint.effect)
        and (not told or (taint.key, taint.value) in told)
    ]
    for node, taint in on_nodes:
        if taint.key in _NODE_TAINTS:
            return _node_trouble(graph, verdict, node, taint.key)
    if all(taint.key == "node.kubernetes.io/unschedulable" for _, taint in on_nodes) and on_nodes:
        return _unschedulable(graph, verdict)
    keys = list(dict.fromkeys([t.words for _, t in on_nodes] or [f"{k}={v}" for k, v in told]))
    if not keys:
        return None
    nodes = list(dict.fromkeys(node.name for node, _ in on_nodes))
    where = f"nodes {', '.join(nodes[:4])} carry" if nodes else "the nodes carry"
    first = on_nodes[0] if on_nodes else None
    return unscheduled(
        graph,
        verdict,
        "scheduling.taint",
        f"{where} taint {', '.join(keys[:3])}, which the pod does not tolerate (no toleration)",
        0.93,
        first[0].states("spec.taints.key", first[1].key) if first else None,
        steps=("kubectl get nodes -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints",),
    )


def _node_trouble(graph: Graph, verdict: Verdict, node: Thing, taint: str) -> Finding:
    ready = node.condition("Ready")
    why = text(ready, "message") if taint.endswith(("ready", "unreachable")) else ""
    return unscheduled(
        graph,
        verdict,
        _NODE_TAINTS[taint],
        f"node {node.name} is not usable, it carries taint {taint}{': ' + why if why else ''}",
        0.93,
        node.states("spec.taints.key", taint),
        blamed=node.key,
        steps=(f"kubectl describe node {node.name}",),
    )


def _wants_tainted(graph: Graph, verdict: Verdict) -> bool:
    """Whether the nodes that the pod asks for are the tainted ones."""
    if not has_selector(verdict.pod):
        return False
    nodes = [n for n in matching(graph, verdict.pod) if not is_control_plane(n)]
    return bool(nodes) and all(
        any(not tolerates(verdict.pod, t.key, t.value, t.effect) for t in taints(n)) for n in nodes
    )


def _cordon_decides(graph: Graph, verdict: Verdict) -> bool:
    if not verdict.count("unschedulable"):
        return False
    if not verdict.count("Insufficient", "Too many pods"):
        return True
    cordoned = [n for n in workers(graph) if dig(n.raw, "spec", "unschedulable") is True]
    return any(
        shortage(verdict.pod, capacity(graph, n, allocatable=True)) is None for n in cordoned
    )


def _unschedulable(graph: Graph, verdict: Verdict) -> Finding:
    nodes = [n for n in workers(graph) if dig(n.raw, "spec", "unschedulable") is True]
    since = next(
        (t.added for n in nodes for t in taints(n) if t.key.endswith("/unschedulable")), ""
    )
    when = f" since {since}" if since else ""
    which = f"nodes {names(nodes)} are" if nodes else "the nodes that could take it are"
    return unscheduled(
        graph,
        verdict,
        "scheduling.node_unschedulable",
        f"{which} cordoned (unschedulable){when}",
        0.92,
        nodes[0].states("spec.unschedulable", True) if nodes else None,
        blamed=nodes[0].key if nodes else None,
        steps=("kubectl get nodes",),
    )


def _gated(graph: Graph, pod: Pod) -> Finding:
    gates = [text(g, "name") for g in maps(pod.thing.raw, "spec", "schedulingGates")]
    root = graph.root_of(pod)
    return found(
        "scheduling.gated",
        f"{title(root)}: pod {pod.thing.name} is held back by scheduling gate "
        f"{', '.join(gates)}, which "
        "nothing has removed (SchedulingGated).",
        blamed=root,
        strength=0.94,
        about=near_pods(graph, pod),
        evidence=[
            pod.thing.states("reason", "SchedulingGated")
            if text(pod.thing.condition("PodScheduled"), "reason") == "SchedulingGated"
            else None,
            pod.thing.quote("spec", "schedulingGates", "name"),
        ],
        steps=(
            (
                f"{kubectl('get', pod.thing.namespace)} pod {pod.thing.name} -o "
                f"jsonpath='{{.spec.schedulingGates}}'"
            ),
        ),
    )


def _rejected(graph: Graph, pod: Pod) -> Finding:
    affinity = pod.reason == "NodeAffinity"
    root = graph.root_of(pod)
    return found(
        "scheduling.node_affinity" if affinity else "scheduling.insufficient_resources",
        (
            f"{title(root)}: node {pod.node} rejected pod {pod.thing.name} with "
            f"{pod.reason}: {pod.message}"
        ),
        blamed=root,
        strength=0.85,
        about=near_pods(graph, pod),
        evidence=[
            pod.thing.states("status.reason", pod.reason),
            pod.thing.quote("status", "message"),
        ],
        steps=("kubectl describe nodes", get(root)),
    )


def _absent_node(graph: Graph, pod: Pod) -> Iterator[Finding]:
    if graph.facts.thing("Node", "", pod.node) is not None or pod.thing.deleted_at:
        return
    root = graph.root_of(pod)
    near = graph.near("Node", "", pod.node)
    similar = f" (similar: {near.name})" if near else ""
    yield found(
        "scheduling.node_affinity",
        f"{title(root)}: spec.nodeName names node {pod.node}, which does not exist{similar}.",
        blamed=root,
        strength=0.88,
        about=near_pods(graph, pod),
        evidence=[pod.thing.states("spec.nodeName", pod.node)],
        steps=("kubectl get nodes", get(root)),
    )


def _preempted(graph: Graph) -> Iterator[Finding]:
    for event in graph.facts.events_with("Preempted"):
        matched = re.search(r"by (?:pod )?([0-9a-f-]{36})|by (?:pod )?(\S{1,253})", event.message)
        uid = matched.group(1) if matched and matched.group(1) else ""
        winner = graph.facts.by_uid.get(uid)
        root = graph.root(event.about)
        yield _preemption(graph, event.about, root, winner, event.quote())
    for pod in graph.pods:
        target = pod.thing.condition("DisruptionTarget")
        if text(target, "reason") == "PreemptionByScheduler" and not pod.events("Preempted"):
            quote = pod.thing.states("reason", "PreemptionByScheduler")
            yield _preemption(graph, pod.thing.key, graph.root_of(pod), None, quote)


def _preemption(
    graph: Graph, victim: Key, root: Key, winner: Thing | None, quote: Evidence
) -> Finding:
    by, proof, blamed = "a pod of higher priority", None, root
    if winner is not None:
        priority = number(winner.raw, "spec", "priority")
        above = f" (priority {priority})" if priority is not None else ""
        by, blamed = f"{winner.title}{above}", graph.root(winner.key)
        proof = winner.quote("spec", "priorityClassName") or winner.quote("spec", "priority")
    return found(
        "scheduling.preempted",
        f"{title(root)}: pod {victim[2]} was preempted (removed from its node) for {by}.",
        blamed=blamed,
        strength=0.95,
        about=(victim, root),
        evidence=[quote, proof],
        steps=("kubectl get priorityclass", get(blamed)),
        lasting=False,
    )
