"""The reasons for which nodes refuse a pod: room, labels, company, ports."""

import re

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, title
from kubecase.diagnosis.finding import Finding, kubectl
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.nodes import capacity, is_control_plane, shortage
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.unscheduled import Verdict, matching, unscheduled, workers
from kubecase.diagnosis.values import maps, number, pairs, text, texts


def insufficient(graph: Graph, verdict: Verdict) -> Finding:
    """No node has enough of what the pod requests."""
    wanted = [r for _, r in verdict.items if r.startswith("Insufficient") or "Too many pods" in r]
    nodes = matching(graph, verdict.pod)
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
    return unscheduled(
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


def node_affinity(graph: Graph, verdict: Verdict) -> Finding:
    """No node has the labels that the pod asks for."""
    wanted = [f"{key}={value}" for key, value in verdict.pod.node_selector.items()]
    terms = maps(
        verdict.pod.thing.raw,
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    )
    wanted += [
        f"{text(each, 'key')} {text(each, 'operator')} {'|'.join(texts(each, 'values'))}"
        for term in terms
        for each in maps(term, "matchExpressions")
    ]
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
    return unscheduled(
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


def pod_affinity(graph: Graph, verdict: Verdict) -> Finding:
    """The rule about other pods cannot be kept on any node."""
    reason = next(r for _, r in verdict.items if "affinity" in r or "topology spread" in r)
    root = graph.facts.by_key.get(graph.root_of(verdict.pod))
    replicas = number(root.raw if root else None, "spec", "replicas")
    placed = [p for p in graph.pods_of(graph.root_of(verdict.pod)) if p.node]
    count = f"; {replicas} replicas are wanted, {len(placed)} are placed" if replicas else ""
    count_of_workers = len(workers(graph))
    return unscheduled(
        graph,
        verdict,
        "scheduling.pod_affinity",
        f"{reason.removeprefix('node(s) ')}{count}, and there are {count_of_workers} worker nodes",
        0.9,
        steps=(f"{kubectl('get', verdict.pod.thing.namespace)} pods -o wide",),
    )


def host_port(graph: Graph, verdict: Verdict) -> Finding:
    """The port of the node is taken everywhere."""
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
    return unscheduled(
        graph,
        verdict,
        "scheduling.host_port",
        f"hostPort {port} is already taken{by} on every candidate node",
        0.92,
        verdict.pod.thing.states("ports.hostPort", first) if first else None,
        holders[0].thing.states("ports.hostPort", first) if holders else None,
        steps=("kubectl get pods -A -o wide",),
    )


_BARE = (
    (r"unbound immediate PersistentVolumeClaims", "storage.pvc_unbound", "a claim is not bound"),
    (r"volume node affinity conflict", "storage.zone_conflict",
     "its volume is bound to a node or zone that it cannot use"),
    (r"Insufficient |Too many pods", "scheduling.insufficient_resources",
     "no node has enough free resources"),
    (r"free ports", "scheduling.host_port", "its host port is taken"),
    (r"untolerated taint \{node\.kubernetes\.io/(?:not-ready|unreachable)", "node.not_ready",
     "its nodes are not ready"),
    (r"untolerated taint|that the pod didn't tolerate", "scheduling.taint",
     "it does not tolerate a taint"),
    (r"node affinity/selector|node selector", "scheduling.node_affinity",
     "its node selector or affinity matches no node"),
    (r"pod affinity|pod anti-affinity|anti-affinity rules|topology spread",
     "scheduling.pod_affinity", "its pod affinity or topology spread cannot be met"),
    (r"unschedulable", "scheduling.node_unschedulable", "its nodes are cordoned"),
)  # fmt: skip


def judged_by_scheduler(said: str) -> tuple[str, str, bool] | None:
    """Category, reason and certainty from the scheduler's message alone, else `None`.

    Of several reasons that counts which keeps most nodes away, the control plane's aside.
    """
    head, found_, body = said.partition("nodes are available: ")
    if not found_ or len(head) > 200:
        return None
    body = re.split(r"\.? (?:no new claims|preemption:)", body[:4000], maxsplit=1)[0]
    best: tuple[int, str, str] | None = None
    for part in re.split(r", (?=\d{1,5} )", body):
        counted = re.match(r"\d{1,5}(?= )", part)
        count = int(counted[0]) if counted else 0
        if re.search(r"node-role\.kubernetes\.io/(?:control-plane|master)", part):
            continue
        meant = next(((c, w) for p, c, w in _BARE if re.search(p, part)), None)
        if meant is not None and (best is None or count > best[0]):
            best = (count, *meant)
    return None if best is None else (best[1], f"it cannot be scheduled, {best[2]}", True)
