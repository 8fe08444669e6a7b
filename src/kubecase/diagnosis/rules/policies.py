"""Network policies, evaluated as the cluster does: who may reach whom on which port."""

from collections.abc import Iterator, Mapping
from typing import Any

from kubecase.core.report import Evidence
from kubecase.diagnosis.backends import Backend
from kubecase.diagnosis.facts import Thing, title
from kubecase.diagnosis.finding import Finding, found, kubectl, near_pods
from kubecase.diagnosis.graph import Graph, matches
from kubecase.diagnosis.logs import Signal
from kubecase.diagnosis.pods import Container, Pod
from kubecase.diagnosis.values import dig, maps, number, pairs, text, texts


def blocked_by_policy(
    graph: Graph, container: Container, signal: Signal, backend: Backend
) -> Finding | None:
    """The network policy that keeps this caller from its backend, if one does."""
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
