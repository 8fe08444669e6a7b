"""Pods without a node: which of the scheduler's reasons keeps them away."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, Thing, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods
from kubecase.diagnosis.graph import Graph, matches, names
from kubecase.diagnosis.nodes import CONTROL_PLANE, capacity, is_control_plane, shortage, taints
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.values import dig, listing, maps, number, pairs, text, texts

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


@dataclass(frozen=True)
class Verdict:
    """What the scheduler said about a pod, without what it adds about preemption."""

    pod: Pod
    said: str
    quote: Evidence
    items: tuple[tuple[int, str], ...]

    def count(self, *words: str) -> int:
        """On how many nodes one of these reasons was given."""
        return sum(n for n, reason in self.items if any(w in reason for w in words))


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


def verdict_of(pod: Pod) -> Verdict | None:
    """The scheduler's latest word on a pod."""
    events = pod.events("FailedScheduling")
    said = text(pod.thing.condition("PodScheduled"), "message")
    if events:
        said, quote = events[0].message, events[0].quote()
    elif said:
        quote = pod.thing.states("message", said)
    else:
        return None
    head = re.split(r"\.? (?:no new claims|preemption:)", said, maxsplit=1)[0]
    body = head.partition("nodes are available: ")[2] or head
    return Verdict(pod, said, quote, tuple(_items(body)))


def _items(body: str) -> Iterator[tuple[int, str]]:
    for part in re.split(r", (?=\d{1,5} )", body[:4000]):
        matched = re.match(r"(\d{1,5}) (.+)", part)
        yield (int(matched.group(1)), matched.group(2)) if matched else (0, part)


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
        return _host_port(graph, verdict)
    if verdict.count("anti-affinity", "pod affinity rules", "topology spread"):
        return _pod_affinity(graph, verdict)
    shortage_count = verdict.count("Insufficient", "Too many pods")
    if taint is not None and (not shortage_count or _wants_tainted(graph, verdict)):
        return taint
    if shortage_count:
        return _insufficient(graph, verdict)
    if verdict.count(
        "affinity/selector", "node affinity", "node selector", "node(s) didn't match the req"
    ):
        return _node_affinity(graph, verdict)
    return _unschedulable(graph, verdict) if verdict.count("unschedulable") else taint


def _make(
    graph: Graph,
    verdict: Verdict,
    category: str,
    what: str,
    strength: float,
    *proof: Evidence | None,
    blamed: Key | None = None,
    steps: tuple[str, ...] = (),
) -> Finding:
    pod = verdict.pod
    root = graph.root_of(pod)
    return found(
        category,
        f"{title(root)}: pod {pod.thing.name} cannot be scheduled: {what}.",
        blamed=blamed or root,
        strength=strength,
        about=near_pods(graph, pod),
        evidence=[verdict.quote, *proof],
        steps=(*steps, get(root)),
    )


def _workers(graph: Graph) -> list[Thing]:
    return [node for node in graph.facts.of_kind("Node") if not is_control_plane(node)]


def _tolerates(pod: Pod, key: str, value: str, effect: str) -> bool:
    for each in maps(pod.thing.raw, "spec", "tolerations"):
        if text(each, "effect") not in {"", effect} and effect:
            continue
        if text(each, "operator") == "Exists" and text(each, "key") in {"", key}:
            return True
        if text(each, "key") == key and text(each, "value") == value:
            return True
    return False


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
        and not _tolerates(verdict.pod, taint.key, taint.value, taint.effect)
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
    return _make(
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
    return _make(
        graph,
        verdict,
        _NODE_TAINTS[taint],
        f"node {node.name} is not usable, it carries taint {taint}{': ' + why if why else ''}",
        0.93,
        node.states("spec.taints.key", taint),
        blamed=node.key,
        steps=(f"kubectl describe node {node.name}",),
    )


def _matching(graph: Graph, pod: Pod) -> list[Thing]:
    """The nodes that the pod's node selector and required node affinity take."""
    terms = maps(
        pod.thing.raw,
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    )
    return [
        node
        for node in graph.facts.of_kind("Node")
        if pod.node_selector.items() <= node.labels.items()
        and (not terms or any(matches(term, node.labels) for term in terms))
    ]


def _has_selector(pod: Pod) -> bool:
    return bool(pod.node_selector or dig(pod.thing.raw, "spec", "affinity", "nodeAffinity"))


def _wants_tainted(graph: Graph, verdict: Verdict) -> bool:
    """Whether the nodes that the pod asks for are the tainted ones."""
    if not _has_selector(verdict.pod):
        return False
    nodes = [n for n in _matching(graph, verdict.pod) if not is_control_plane(n)]
    return bool(nodes) and all(
        any(not _tolerates(verdict.pod, t.key, t.value, t.effect) for t in taints(n)) for n in nodes
    )


def _cordon_decides(graph: Graph, verdict: Verdict) -> bool:
    if not verdict.count("unschedulable"):
        return False
    if not verdict.count("Insufficient", "Too many pods"):
        return True
    cordoned = [n for n in _workers(graph) if dig(n.raw, "spec", "unschedulable") is True]
    return any(
        shortage(verdict.pod, capacity(graph, n, allocatable=True)) is None for n in cordoned
    )


def _unschedulable(graph: Graph, verdict: Verdict) -> Finding:
    nodes = [n for n in _workers(graph) if dig(n.raw, "spec", "unschedulable") is True]
    since = next(
        (t.added for n in nodes for t in taints(n) if t.key.endswith("/unschedulable")), ""
    )
    when = f" since {since}" if since else ""
    which = f"nodes {names(nodes)} are" if nodes else "the nodes that could take it are"
    return _make(
        graph,
        verdict,
        "scheduling.node_unschedulable",
        f"{which} cordoned (unschedulable){when}",
        0.92,
        nodes[0].states("spec.unschedulable", True) if nodes else None,
        blamed=nodes[0].key if nodes else None,
        steps=("kubectl get nodes",),
    )


def _insufficient(graph: Graph, verdict: Verdict) -> Finding:
    wanted = [r for _, r in verdict.items if r.startswith("Insufficient") or "Too many pods" in r]
    nodes = _matching(graph, verdict.pod)
    best = max(
        (capacity(graph, n) for n in nodes if not is_control_plane(n)),
        key=lambda c: (c.cpu, c.memory),
        default=None,
    )
    ever = [capacity(graph, n, allocatable=True) for n in nodes if not is_control_plane(n)]
    never = bool(ever) and all(shortage(verdict.pod, c) is not None for c in ever)
    free = f"; the node with most room has {best.words} free" if best else ""
    kind = "no node is ever large enough" if never else "no node has enough free"
    blamed, plugin = _device_plugin(graph, wanted)
    return _make(
        graph,
        verdict,
        "scheduling.insufficient_resources",
        (
            f"{', '.join(dict.fromkeys(wanted))}: it requests {_requests(verdict.pod)} and "
            f"{kind}{free}{plugin}"
        ),
        0.9,
        _request_quote(verdict.pod, wanted),
        blamed=blamed,
        steps=(
            "kubectl describe nodes",
            f"{kubectl('get', verdict.pod.thing.namespace)} pods -o wide",
        ),
    )


def _requests(pod: Pod) -> str:
    said = []
    for container in pod.containers:
        for name, amount in pairs(container.spec, "resources", "requests").items():
            said.append(f"{name} {amount}")
    return ", ".join(said[:6]) or "nothing in particular"


def _request_quote(pod: Pod, wanted: list[str]) -> Evidence | None:
    for reason in wanted:
        resource = reason.removeprefix("Insufficient ")
        for container in pod.containers:
            amount = text(container.spec, "resources", "requests", resource)
            if amount:
                return pod.thing.states(f"resources.requests.{resource}", amount)
    return None


def _device_plugin(graph: Graph, wanted: list[str]) -> tuple[Key | None, str]:
    """The DaemonSet that should offer an extended resource which no node has."""
    for reason in wanted:
        resource = reason.removeprefix("Insufficient ")
        if "/" not in resource:
            continue
        if any(
            (number(n.raw, "status", "allocatable", resource) or 0) > 0
            for n in graph.facts.of_kind("Node")
        ):
            continue
        for each in graph.facts.of_kind("DaemonSet"):
            ready = number(each.raw, "status", "numberReady") or 0
            if "plugin" in each.name and ready < (
                number(each.raw, "status", "desiredNumberScheduled") or 1
            ):
                return each.key, f"; no node offers {resource}: DaemonSet {each.name} is not ready"
    return None, ""


def _node_affinity(graph: Graph, verdict: Verdict) -> Finding:
    wanted = [f"{key}={value}" for key, value in verdict.pod.node_selector.items()]
    terms = maps(
        verdict.pod.thing.raw,
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    )
    for term in terms:
        for each in maps(term, "matchExpressions"):
            wanted.append(
                f"{text(each, 'key')} {text(each, 'operator')} {'|'.join(texts(each, 'values'))}"
            )
    have = sorted(
        {
            f"{key}={node.labels[key]}"
            for node in graph.facts.of_kind("Node")
            for key in verdict.pod.node_selector
            if key in node.labels
        }
    )
    also = f" (nodes have {', '.join(have[:4])})" if have else ""
    first = next(iter(verdict.pod.node_selector.items()), None)
    return _make(
        graph,
        verdict,
        "scheduling.node_affinity",
        f"no usable node has label {', '.join(wanted[:4]) or 'asked for'}, which its "
        "node selector or affinity "
        f"requires{also}",
        0.92,
        verdict.pod.thing.states(f"spec.nodeSelector.{first[0]}", first[1]) if first else None,
        steps=("kubectl get nodes --show-labels",),
    )


def _pod_affinity(graph: Graph, verdict: Verdict) -> Finding:
    reason = next(r for _, r in verdict.items if "affinity" in r or "topology spread" in r)
    root = graph.facts.by_key.get(graph.root_of(verdict.pod))
    replicas = number(root.raw if root else None, "spec", "replicas")
    placed = [p for p in graph.pods_of(graph.root_of(verdict.pod)) if p.node]
    count = f"; {replicas} replicas are wanted, {len(placed)} are placed" if replicas else ""
    workers = _workers(graph)
    return _make(
        graph,
        verdict,
        "scheduling.pod_affinity",
        f"{reason.removeprefix('node(s) ')}{count}, and there are {len(workers)} worker nodes",
        0.9,
        steps=(f"{kubectl('get', verdict.pod.thing.namespace)} pods -o wide",),
    )


def _host_port(graph: Graph, verdict: Verdict) -> Finding:
    mine = {number(p, "hostPort") for c in verdict.pod.containers for p in c.ports} - {None}
    holders = [
        pod
        for pod in graph.pods
        if pod.node
        and pod is not verdict.pod
        and {number(p, "hostPort") for c in pod.containers for p in c.ports} & mine
    ]
    port = ", ".join(str(p) for p in sorted(p for p in mine if p is not None))
    by = f" by {', '.join(title(p.thing.key) for p in holders[:3])}" if holders else ""
    first = next((p for p in sorted(p for p in mine if p is not None)), None)
    return _make(
        graph,
        verdict,
        "scheduling.host_port",
        f"hostPort {port} is already taken{by} on every candidate node",
        0.92,
        verdict.pod.thing.states("ports.hostPort", first) if first else None,
        holders[0].thing.states("ports.hostPort", first) if holders else None,
        steps=("kubectl get pods -A -o wide",),
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
