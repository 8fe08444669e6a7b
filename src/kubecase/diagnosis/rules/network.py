"""What lies between healthy pods: network policies, mesh policies, cluster DNS."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubecase.core.report import Evidence
from kubecase.diagnosis.backends import Backend, callers
from kubecase.diagnosis.facts import Key, Thing, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods
from kubecase.diagnosis.graph import Graph, matches
from kubecase.diagnosis.logs import Signal, words_of
from kubecase.diagnosis.pods import Container, Pod
from kubecase.diagnosis.values import dig, mapping, maps, number, pairs, text, texts

_DNS_LABELS = frozenset({"kube-dns", "coredns", "rke2-coredns-rke2-coredns"})


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for traffic that does not arrive."""
    blocked = set()
    for container, signal, backend in callers(graph, "timeout", "refused", "dns_temporary"):
        finding = _policy(graph, container, signal, backend)
        if finding is not None:
            blocked.add(container.pod.thing.key)
            yield finding
    yield from _mesh(graph)
    yield from _dns(graph, blocked)


# --- network policies


def _policy(graph: Graph, container: Container, signal: Signal, backend: Backend) -> Finding | None:
    caller = container.pod
    if signal.kind == "dns_temporary" or ":53" in signal.line:
        return _no_dns(graph, caller, signal)
    if signal.kind == "refused" or backend.service is None:
        return (
            _egress_to_outside(graph, caller, signal, backend) if signal.kind == "timeout" else None
        )
    for peer in graph.selected(backend.service):
        port = _target(backend, peer)
        for policy, direction in _refusing(graph, caller, peer, port):
            return _blocked(graph, policy, direction, caller, peer, port, signal)
    return None


def _policies(graph: Graph, pod: Pod, direction: str) -> list[Thing]:
    """The policies that select a pod in this direction."""
    return [
        p
        for p in graph.facts.of_kind("NetworkPolicy")
        if p.namespace == pod.thing.namespace
        and matches(dig(p.raw, "spec", "podSelector"), pod.labels)
        and direction in _types(p)
    ]


def _types(policy: Thing) -> tuple[str, ...]:
    declared = texts(policy.raw, "spec", "policyTypes")
    if declared:
        return declared
    return ("Ingress", "Egress") if dig(policy.raw, "spec", "egress") else ("Ingress",)


def _refusing(
    graph: Graph, caller: Pod, peer: Pod, port: int | None
) -> Iterator[tuple[Thing, str]]:
    for pod, other, direction, rules, side in (
        (peer, caller, "Ingress", "ingress", "from"),
        (caller, peer, "Egress", "egress", "to"),
    ):
        policies = _policies(graph, pod, direction)
        # Policies add up: the traffic passes if any rule of any of them lets it pass.
        if policies and not any(
            _admits(graph, policy, rule_, side, other, port)
            for policy in policies
            for rule_ in maps(policy.raw, "spec", rules)
        ):
            yield (
                max(policies, key=lambda p: p.created_at.timestamp() if p.created_at else 0.0),
                direction,
            )


def _admits(
    graph: Graph, policy: Thing, rule_: Mapping[str, Any], side: str, other: Pod, port: int | None
) -> bool:
    ports = maps(rule_, "ports")
    if ports and port is not None and not any(_covers(p, port, other) for p in ports):
        return False
    peers = maps(rule_, side)
    return not peers or any(_is_peer(graph, policy, peer, other) for peer in peers)


def _covers(rule_port: Mapping[str, Any], port: int, pod: Pod) -> bool:
    wanted = rule_port.get("port")
    if wanted is None:
        return True
    first = number(rule_port, "port")
    if first is None:
        return any(
            text(p, "name") == wanted and number(p, "containerPort") == port
            for c in pod.containers
            for p in c.ports
        )
    last = number(rule_port, "endPort") or first
    return first <= port <= last


def _is_peer(graph: Graph, policy: Thing, peer: Mapping[str, Any], other: Pod) -> bool:
    if "ipBlock" in peer:
        return text(peer, "ipBlock", "cidr") in {"0.0.0.0/0", "::/0", "10.0.0.0/8"}
    if "namespaceSelector" in peer:
        space = graph.facts.thing("Namespace", "", other.thing.namespace)
        labels = dict(space.labels if space else {})
        labels.setdefault("kubernetes.io/metadata.name", other.thing.namespace)
        if not matches(peer.get("namespaceSelector"), labels):
            return False
    elif other.thing.namespace != policy.namespace:
        return False
    return "podSelector" not in peer or matches(peer.get("podSelector"), other.labels)


def _target(backend: Backend, peer: Pod) -> int | None:
    ports = maps(backend.service.raw if backend.service else None, "spec", "ports")
    for each in ports:
        if backend.port in {None, number(each, "port"), number(each, "targetPort")}:
            target = each.get("targetPort", each.get("port"))
            if isinstance(target, int):
                return target
            named = [
                number(p, "containerPort")
                for c in peer.containers
                for p in c.ports
                if text(p, "name") == target
            ]
            return named[0] if named else None
    return None


def _blocked(
    graph: Graph,
    policy: Thing,
    direction: str,
    caller: Pod,
    peer: Pod,
    port: int | None,
    signal: Signal,
) -> Finding:
    age = graph.facts.age(policy.created_at)
    when = f", made {age / 60:.0f} minutes ago," if age is not None and age < 2 * 86400 else ""
    side = (
        (
            f"selects the pods of {title(graph.root_of(peer))} and admits no ingress from "
            f"the pods of {title(graph.root_of(caller))}"
        )
        if direction == "Ingress"
        else (
            f"selects the pods of {title(graph.root_of(caller))} and allows no egress to "
            f"the pods of {title(graph.root_of(peer))}"
        )
    )
    at = f" on port {port}" if port else ""
    return found(
        "network.policy_blocked",
        f"{policy.title}{when} {side}{at}, so their connections time out.",
        blamed=policy.key,
        strength=0.95,
        about=(*near_pods(graph, caller), *near_pods(graph, peer), policy.key),
        evidence=[
            signal.quote(),
            *_selector_quotes(policy),
            policy.quote("metadata", "creationTimestamp"),
        ],
        steps=(f"{kubectl('get', policy.namespace)} networkpolicy -o yaml",),
        lasting=True,
    )


def _selector_quotes(policy: Thing) -> Iterator[Evidence]:
    for key, value in list(pairs(policy.raw, "spec", "podSelector", "matchLabels").items())[:1]:
        yield policy.states(f"spec.podSelector.matchLabels.{key}", value)
    for direction in _types(policy)[:1]:
        yield policy.states("spec.policyTypes", direction)


def _no_dns(graph: Graph, caller: Pod, signal: Signal) -> Finding | None:
    policies = _policies(graph, caller, "Egress")
    if not policies:
        return None
    for policy in policies:
        for rule_ in maps(policy.raw, "spec", "egress"):
            ports = maps(rule_, "ports")
            if not ports or any(number(p, "port") == 53 for p in ports):
                return None
    policy = policies[0]
    return found(
        "network.policy_blocked",
        f"{policy.title} allows the pods of {title(graph.root_of(caller))} no egress to "
        "port 53, so that they cannot resolve any "
        "name (DNS).",
        blamed=policy.key,
        strength=0.96,
        about=(*near_pods(graph, caller), policy.key),
        evidence=[signal.quote(), *_selector_quotes(policy)],
        steps=(f"{kubectl('get', policy.namespace)} networkpolicy -o yaml",),
        lasting=True,
    )


def _egress_to_outside(
    graph: Graph, caller: Pod, signal: Signal, backend: Backend
) -> Finding | None:
    policies = _policies(graph, caller, "Egress")
    if (
        not policies
        or any(
            "ipBlock" in peer
            for p in policies
            for r in maps(p.raw, "spec", "egress")
            for peer in maps(r, "to")
        )
        or any(not maps(r, "to") for p in policies for r in maps(p.raw, "spec", "egress"))
    ):
        return None
    policy = policies[0]
    return found(
        "network.policy_blocked",
        (
            f"{policy.title} allows the pods of {title(graph.root_of(caller))} no egress to "
            f"{backend.words}, so connections time out."
        ),
        blamed=policy.key,
        strength=0.85,
        about=(*near_pods(graph, caller), policy.key),
        evidence=[signal.quote(), *_selector_quotes(policy)],
        steps=(f"{kubectl('get', policy.namespace)} networkpolicy -o yaml",),
        lasting=True,
    )


# --- mesh


def _mesh(graph: Graph) -> Iterator[Finding]:
    strict = [
        p
        for p in graph.facts.of_kind("PeerAuthentication")
        if text(p.raw, "spec", "mtls", "mode") == "STRICT"
    ]
    policies = graph.facts.of_kind("AuthorizationPolicy")
    for container, signal, backend in callers(graph, "mesh", "auth", "refused"):
        tls = re.search(r"TLS|Secret is not supplied|reset|termination|503", signal.line)
        if (
            signal.kind != "mesh"
            and not (signal.kind == "refused" and strict and tls)
            and not (
                signal.kind == "auth"
                and policies
                and re.search(r"\b403\b|access denied", signal.line)
            )
        ):
            continue
        policy = _mesh_policy(
            graph, container.pod, backend, list(strict) if tls else list(policies)
        ) or next(iter(strict if tls else policies), None)
        if policy is None and signal.kind != "mesh":
            continue
        root = graph.root_of(container.pod)
        mode = policy.kind == "PeerAuthentication" if policy else False
        what = (
            "mTLS mode STRICT refuses plain traffic"
            if mode
            else f"it does not allow {title(root)} to call {backend.words}"
        )
        yield found(
            "network.mesh_policy",
            f"{policy.title if policy else 'A policy of the service mesh'} refuses the "
            f"traffic of {title(root)}: {what} "
            f"({words_of(signal.line)[:160]}).",
            blamed=policy.key if policy else root,
            strength=0.94 if policy else 0.8,
            about=(*near_pods(graph, container.pod), *((policy.key,) if policy else ())),
            evidence=[
                signal.quote(),
                (
                    policy.quote("spec", "mtls", "mode")
                    or policy.quote("spec", "action")
                    or policy.states("metadata.name", policy.name)
                )
                if policy
                else None,
            ],
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
