"""Network policies, evaluated as the cluster does: who may reach whom on which port."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from kubecase.core.report import Evidence
from kubecase.diagnosis.backends import Backend
from kubecase.diagnosis.facts import Thing, title
from kubecase.diagnosis.finding import Finding, found, kubectl, near_pods
from kubecase.diagnosis.graph import Graph, matches
from kubecase.diagnosis.logs import Signal
from kubecase.diagnosis.pods import Container, Pod
from kubecase.diagnosis.values import dig, mapping, maps, number, pairs, text, texts


@dataclass(frozen=True)
class Flow:
    """Who wants to reach whom on which port."""

    caller: Pod
    peer: Pod
    port: int | None


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
        flow = Flow(caller, peer, _target(backend, peer))
        for policy, direction in _refusing(graph, flow):
            return _blocked(graph, policy, direction, flow, signal)
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


def _refusing(graph: Graph, flow: Flow) -> Iterator[tuple[Thing, str]]:
    """The newest of the policies that refuse the flow, and in which direction."""
    for direction, pod, rules in (
        ("Ingress", flow.peer, "ingress"),
        ("Egress", flow.caller, "egress"),
    ):
        policies = _policies(graph, pod, direction)
        # Policies add up: the traffic passes if any rule of any of them lets it pass.
        if policies and not any(
            _admits(graph, policy, rule_, flow, direction)
            for policy in policies
            for rule_ in maps(policy.raw, "spec", rules)
        ):
            yield max(policies, key=_made), direction


def _made(policy: Thing) -> float:
    return policy.created_at.timestamp() if policy.created_at else 0.0


def _admits(
    graph: Graph, policy: Thing, rule_: Mapping[str, Any], flow: Flow, direction: str
) -> bool:
    ports = maps(rule_, "ports")
    if ports and flow.port is not None and not any(_covers(p, flow) for p in ports):
        return False
    peers = maps(rule_, "from" if direction == "Ingress" else "to")
    other = flow.caller if direction == "Ingress" else flow.peer
    return not peers or any(_is_peer(graph, policy, peer, other) for peer in peers)


def _covers(rule_port: Mapping[str, Any], flow: Flow) -> bool:
    """Whether a rule's port is the one that is asked for; names are those of the peer's ports."""
    wanted, port = rule_port.get("port"), flow.port or 0
    if wanted is None:
        return True
    first = number(rule_port, "port")
    if first is None:
        return port in _ports_called(flow.peer, wanted)
    return first <= port <= (number(rule_port, "endPort") or first)


def _ports_called(pod: Pod, name: Any) -> list[int | None]:
    return [
        number(port, "containerPort")
        for container in pod.containers
        for port in container.ports
        if text(port, "name") == name
    ]


def _is_peer(graph: Graph, policy: Thing, peer: Mapping[str, Any], other: Pod) -> bool:
    if "ipBlock" in peer:
        return _in_block(text(other.thing.raw, "status", "podIP"), mapping(peer, "ipBlock"))
    if "namespaceSelector" in peer:
        space = graph.facts.thing("Namespace", "", other.thing.namespace)
        labels = dict(space.labels if space else {})
        labels.setdefault("kubernetes.io/metadata.name", other.thing.namespace)
        if not matches(peer.get("namespaceSelector"), labels):
            return False
    elif other.thing.namespace != policy.namespace:
        return False
    return "podSelector" not in peer or matches(peer.get("podSelector"), other.labels)


def _in_block(address: str, block: Mapping[str, Any]) -> bool:
    """Whether an address is in a block; one that is not known counts as inside."""
    try:
        at = ip_address(address)
        inside = at in ip_network(text(block, "cidr"), strict=False)
        return inside and not any(
            at in ip_network(each, strict=False) for each in texts(block, "except")
        )
    except ValueError:
        return True


def _target(backend: Backend, peer: Pod) -> int | None:
    ports = maps(backend.service.raw if backend.service else None, "spec", "ports")
    for each in ports:
        if backend.port in {None, number(each, "port"), number(each, "targetPort")}:
            target = each.get("targetPort", each.get("port"))
            if isinstance(target, int):
                return target
            return next(iter(_ports_called(peer, target)), None)
    return None


def _blocked(graph: Graph, policy: Thing, direction: str, flow: Flow, signal: Signal) -> Finding:
    age = graph.facts.age(policy.created_at)
    when = f", made {age / 60:.0f} minutes ago," if age is not None and age < 2 * 86400 else ""
    side = (
        (
            f"selects the pods of {title(graph.root_of(flow.peer))} and admits no ingress from "
            f"the pods of {title(graph.root_of(flow.caller))}"
        )
        if direction == "Ingress"
        else (
            f"selects the pods of {title(graph.root_of(flow.caller))} and allows no egress to "
            f"the pods of {title(graph.root_of(flow.peer))}"
        )
    )
    at = f" on port {flow.port}" if flow.port else ""
    return found(
        "network.policy_blocked",
        f"{policy.title}{when} {side}{at}, so their connections time out.",
        blamed=policy.key,
        strength=0.95,
        about=(*near_pods(graph, flow.caller), *near_pods(graph, flow.peer), policy.key),
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
