"""What lies between healthy pods: network policies, mesh policies, cluster DNS."""

import re
from collections.abc import Iterator

from kubecase.diagnosis.backends import Backend, callers
from kubecase.diagnosis.facts import Key, Thing, title
from kubecase.diagnosis.finding import Finding, found, get, near_pods
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.logs import Signal, words_of
from kubecase.diagnosis.pods import Container, Pod
from kubecase.diagnosis.rules.policies import blocked_by_policy
from kubecase.diagnosis.values import mapping, number, pairs, text

_MTLS = re.compile(r"TLS|Secret is not supplied|reset|termination|\b503\b")
_REFUSAL = re.compile(r"\b403\b|access denied")
_DNS_LABELS = frozenset({"kube-dns", "coredns", "rke2-coredns-rke2-coredns"})


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for traffic that does not arrive."""
    blocked = set()
    for container, signal, backend in callers(graph, "timeout", "refused", "dns_temporary"):
        finding = blocked_by_policy(graph, container, signal, backend)
        if finding is not None:
            blocked.add(container.pod.thing.key)
            yield finding
    yield from _mesh(graph)
    yield from _dns(graph, blocked)


# --- network policies


# --- mesh


def _mesh(graph: Graph) -> Iterator[Finding]:
    for container, signal, backend in callers(graph, "mesh", "auth", "refused"):
        strict = _MTLS.search(signal.line) is not None
        policies = _strict(graph) if strict else list(graph.facts.of_kind("AuthorizationPolicy"))
        if signal.kind != "mesh" and not policies:
            continue
        if signal.kind == "refused" and not strict:
            continue
        if signal.kind == "auth" and not _REFUSAL.search(signal.line):
            continue
        policy = _mesh_policy(graph, container.pod, backend, policies)
        if policy is None and signal.kind == "mesh" and len(policies) == 1:
            policy = policies[0]
        if policy is not None or signal.kind == "mesh":
            yield _refused_by_mesh(graph, container, signal, backend, policy)


def _strict(graph: Graph) -> list[Thing]:
    return [
        each
        for each in graph.facts.of_kind("PeerAuthentication")
        if text(each.raw, "spec", "mtls", "mode") == "STRICT"
    ]


def _refused_by_mesh(
    graph: Graph, container: Container, signal: Signal, backend: Backend, policy: Thing | None
) -> Finding:
    root = graph.root_of(container.pod)
    what = f"it does not allow {title(root)} to call {backend.words}"
    proof = None
    if policy is not None:
        proof = policy.quote("spec", "mtls", "mode") or policy.quote("spec", "action")
        proof = proof or policy.states("metadata.name", policy.name)
        if policy.kind == "PeerAuthentication":
            what = "mTLS mode STRICT refuses plain traffic"
    return found(
        "network.mesh_policy",
        f"{policy.title if policy else 'A policy of the service mesh'} refuses the traffic of "
        f"{title(root)}: {what} ({words_of(signal.line)[:160]}).",
        blamed=policy.key if policy else root,
        strength=0.94 if policy else 0.8,
        about=(*near_pods(graph, container.pod), *((policy.key,) if policy else ())),
        evidence=[signal.quote(), proof],
        steps=("kubectl get authorizationpolicy,peerauthentication -A -o yaml",),
        lasting=True,
    )


def _mesh_policy(
    graph: Graph, caller: Pod, backend: Backend, policies: list[Thing]
) -> Thing | None:
    """The policy that selects what is behind the Service, or the pod that logs the refusal."""
    peers = list(graph.selected(backend.service)) if backend.service else []
    for pod in [*peers, caller]:
        for policy in policies:
            wanted = pairs(policy.raw, "spec", "selector", "matchLabels")
            if policy.namespace == pod.thing.namespace and wanted.items() <= pod.labels.items():
                return policy
    return None


# --- cluster DNS


def _dns_pods(graph: Graph) -> list[Pod]:
    return [
        p
        for p in graph.pods
        if p.labels.get("k8s-app") in _DNS_LABELS
        or p.labels.get("app.kubernetes.io/name") in _DNS_LABELS
    ]


def _dns(graph: Graph, blocked: set[Key]) -> Iterator[Finding]:
    victims = [
        (container, signal)
        for container, signal, _ in callers(graph, "dns_temporary", "timeout")
        if container.pod.thing.key not in blocked
        and (signal.kind == "dns_temporary" or ":53" in signal.line)
    ]
    pods = _dns_pods(graph)
    sick = [p for p in pods if not p.is_sound]
    for pod in pods:
        signals = [s for c in pod.containers for s in c.signals("corefile")]
        if signals or (pod in sick and (len(sick) == len(pods) or victims)):
            yield _dns_down(graph, pod, signals, victims)
            return
    service = next((s for s in graph.facts.of_kind("Service") if s.name == "kube-dns"), None)
    zero = [
        w for w in graph.workloads if w.name == "coredns" and number(w.raw, "spec", "replicas") == 0
    ]
    if zero:
        yield _dns_gone(graph, zero[0], victims)
        return
    for container, signal in victims[:1]:
        if text(container.pod.thing.raw, "spec", "dnsPolicy") in {"Default", "None"}:
            yield _dns_policy(graph, container, signal)
        else:
            root: Key = (
                ("Deployment", "kube-system", "coredns") if not pods else graph.root_of(pods[0])
            )
            yield found(
                "network.dns_failure",
                f"Cluster DNS does not answer: {title(graph.root_of(container.pod))} "
                "cannot resolve names "
                f"({words_of(signal.line)[:180]}).",
                blamed=root,
                strength=0.8,
                lasting=True,
                about=tuple(k for c, _ in victims for k in near_pods(graph, c.pod))
                + ((service.key,) if service else ()),
                evidence=[s.quote() for _, s in victims[:3]],
                steps=("kubectl -n kube-system get pods -l k8s-app=kube-dns",),
            )


def _dns_about(graph: Graph, victims: list[tuple[Container, Signal]]) -> tuple[Key, ...]:
    return tuple(k for c, _ in victims for k in near_pods(graph, c.pod))


def _dns_down(
    graph: Graph, pod: Pod, signals: list[Signal], victims: list[tuple[Container, Signal]]
) -> Finding:
    root = graph.root_of(pod)
    config = next(
        (
            m
            for m in graph.facts.of_kind("ConfigMap")
            if m.namespace == pod.thing.namespace and "Corefile" in mapping(m.raw, "data")
        ),
        None,
    )
    blamed = config.key if config and signals else root
    why = f": {words_of(signals[-1].line)[:200]}" if signals else ""
    by = f" because of the Corefile in {title(blamed)}" if signals and config else ""
    states = [c.state_quote() for c in pod.containers if not c.ready]
    return found(
        "network.dns_failure",
        (
            f"Cluster DNS is broken: the pods of {title(root)} (CoreDNS) are not "
            f"well{by}{why}; no name can be resolved."
        ),
        blamed=blamed,
        strength=0.95,
        about=(pod.thing.key, root, *_dns_about(graph, victims)),
        lasting=True,
        evidence=[
            *(s.quote() for s in signals[-1:]),
            *states,
            *(s.quote() for _, s in victims[:2]),
        ],
        steps=(
            "kubectl -n kube-system get pods -l k8s-app=kube-dns",
            "kubectl -n kube-system get configmap coredns -o yaml",
        ),
    )


def _dns_gone(graph: Graph, workload: Thing, victims: list[tuple[Container, Signal]]) -> Finding:
    return found(
        "network.dns_failure",
        f"Cluster DNS is broken: {workload.title} (CoreDNS) is scaled to 0 replicas.",
        blamed=workload.key,
        strength=0.95,
        about=(workload.key, *_dns_about(graph, victims)),
        lasting=True,
        evidence=[workload.states("spec.replicas", 0), *(s.quote() for _, s in victims[:2])],
        steps=(get(workload.key),),
    )


def _dns_policy(graph: Graph, container: Container, signal: Signal) -> Finding:
    root = graph.root_of(container.pod)
    policy = text(container.pod.thing.raw, "spec", "dnsPolicy")
    return found(
        "network.dns_failure",
        (
            f"{title(root)} has dnsPolicy {policy}, so that its pods do not ask the cluster "
            "DNS and cannot resolve its names."
        ),
        blamed=root,
        strength=0.88,
        about=near_pods(graph, container.pod),
        lasting=True,
        evidence=[signal.quote(), container.pod.thing.states("spec.dnsPolicy", policy)],
        steps=(get(root),),
    )
