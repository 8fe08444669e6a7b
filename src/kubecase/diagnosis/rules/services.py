"""Services, load balancers and Ingresses that do not lead to the pods they should lead to."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubecase.core.report import Evidence
from kubecase.diagnosis.backends import callers
from kubecase.diagnosis.facts import Key, Thing, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods, word
from kubecase.diagnosis.graph import Graph, names
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.values import listing, mapping, maps, number, pairs, text


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for every Service, Ingress and route."""
    for service in graph.facts.of_kind("Service"):
        yield from _selector(graph, service)
        yield from _port(graph, service)
        yield from _balancer(graph, service)
    yield from _caller_ports(graph)
    for ingress in graph.facts.of_kind("Ingress"):
        yield from _ingress(graph, ingress)
    for route in graph.facts.of_kind("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "Gateway"):
        yield from _route(graph, route)


def _selector(graph: Graph, service: Thing) -> Iterator[Finding]:
    wanted = pairs(service.raw, "spec", "selector")
    if not wanted or graph.selected(service) or graph.selected_workloads(service):
        yield from _strangers(graph, service)
        return
    near = _nearest(graph, service, wanted)
    if near is None:
        return
    pod, differing = near
    said = ", ".join(
        f"{key}={value} (the pods have {key}={pod.labels[key]})"
        if key in pod.labels
        else f"{key}={value} (the pods have no label {key})"
        for key, value in differing.items()
    )
    first = next(iter(differing.items()))
    root = graph.root_of(pod)
    yield found(
        "network.service_selector",
        (
            f"{service.title} has no endpoints: its selector asks for label {said}, so it "
            f"matches no pod of {title(root)}."
        ),
        blamed=service.key,
        strength=0.93,
        about=(service.key, *near_pods(graph, pod)),
        lasting=True,
        evidence=[
            service.states(f"spec.selector.{first[0]}", first[1]),
            pod.thing.states(f"metadata.labels.{first[0]}", pod.labels[first[0]])
            if first[0] in pod.labels
            else None,
            graph.facts.trigger_quote(),
        ],
        steps=(f"{kubectl('get', service.namespace)} pods --show-labels", get(service.key)),
    )


def _nearest(
    graph: Graph, service: Thing, wanted: Mapping[str, str]
) -> tuple[Pod, Mapping[str, str]] | None:
    """The pod that the Service most likely means, and the labels in which it differs."""
    best: tuple[int, Pod, Mapping[str, str]] | None = None
    for pod in graph.pods:
        if pod.thing.namespace != service.namespace or pod.phase in {"Succeeded", "Failed"}:
            continue
        differing = {k: v for k, v in wanted.items() if pod.labels.get(k) != v}
        score = 2 * (len(wanted) - len(differing))
        score += 2 * (graph.root_of(pod)[2] == service.name)
        score += sum(
            1 for k, v in differing.items() if k in pod.labels and _alike(v, pod.labels[k])
        )
        if score > 0 and (best is None or score > best[0]):
            best = (score, pod, differing)
    return (best[1], best[2]) if best else None


def _alike(one: str, other: str) -> bool:
    return bool(one) and bool(other) and (one in other or other in one or one[:3] == other[:3])


def _strangers(graph: Graph, service: Thing) -> Iterator[Finding]:
    """Pods of another program that carry the labels by accident."""
    roots = {graph.root_of(pod): pod for pod in graph.selected(service)}
    if len(roots) < 2 or (service.name,) not in {(root[2],) for root in roots}:
        return
    wanted = {number(p, "targetPort") for p in maps(service.raw, "spec", "ports")} - {None}
    for root, pod in roots.items():
        declared = {number(p, "containerPort") for c in pod.containers for p in c.ports}
        if root[2] == service.name or not declared or declared & wanted or not wanted:
            continue
        label = next(iter(pairs(service.raw, "spec", "selector").items()))
        yield found(
            "network.service_selector",
            (
                f"The selector of {service.title} also takes pods of {title(root)}, which "
                "do not serve it: their labels match."
            ),
            blamed=service.key,
            strength=0.85,
            about=(service.key,),
            lasting=True,
            evidence=[
                service.states(f"spec.selector.{label[0]}", label[1]),
                pod.thing.states(f"metadata.labels.{label[0]}", label[1]),
            ],
            steps=(f"{kubectl('get', service.namespace)} pods --show-labels", get(service.key)),
        )
        return


def _port(graph: Graph, service: Thing) -> Iterator[Finding]:
    pods = [p for p in graph.selected(service) if p.phase == "Running"]
    if not pods:
        return
    pod = pods[0]
    for port in maps(service.raw, "spec", "ports"):
        target = port.get("targetPort", port.get("port"))
        wrong = _mismatch(pod, target, text(port, "protocol") or "TCP")
        if wrong is None:
            continue
        have, quote, sure = wrong
        yield found(
            "network.service_port",
            f"{service.title} sends port {text(port, 'port')} to targetPort {target}, "
            "but the pods of "
            f"{title(graph.root_of(pod))} listen on {have}.",
            blamed=service.key,
            strength=sure,
            about=(service.key, *near_pods(graph, pod)),
            lasting=True,
            evidence=[
                service.states("targetPort", target)
                if "targetPort" in port
                else service.quote("spec", "ports", "port"),
                quote,
            ],
            steps=(get(service.key), f"{kubectl('get', service.namespace)} endpointslices"),
        )
        return


def _mismatch(pod: Pod, target: Any, protocol: str) -> tuple[str, Evidence | None, float] | None:
    """What the pod serves instead, proof, and how sure that is; `None` if the port is right."""
    declared = [p for c in pod.containers if not c.init for p in c.ports]
    if isinstance(target, str) and not target.isdigit():
        if target in {text(p, "name") for p in declared}:
            return None
        named = (
            ", ".join(f"{text(p, 'name') or text(p, 'containerPort')}" for p in declared[:4])
            or "no named port"
        )
        first = next((p for p in declared if text(p, "name")), None)
        return (
            f"{named}",
            pod.thing.states("ports.name", text(first, "name")) if first else None,
            0.93,
        )
    wanted = int(target) if isinstance(target, str) else target
    if not isinstance(wanted, int):
        return None
    heard = [(log, port) for c in pod.containers for log in c.logs for port in log.listening_ports]
    if wanted in {port for _, port in heard}:
        return None
    ports = {
        number(p, "containerPort") for p in declared if (text(p, "protocol") or "TCP") == protocol
    }
    if wanted in ports and not heard:
        return None
    if heard:
        log, port = heard[0]
        line = next((line for line in log.lines if str(port) in line), "")
        return (
            f"port {port} (as their log says)",
            log.quote(line) if line else None,
            0.9 if wanted not in ports else 0.6,
        )
    if not declared:
        return None
    first_port = text(declared[0], "containerPort")
    other = "" if ports else f" {text(declared[0], 'protocol') or 'TCP'}"
    return f"port {first_port}{other}", pod.thing.states("ports.containerPort", first_port), 0.86


def _caller_ports(graph: Graph) -> Iterator[Finding]:
    """Callers that use a port which the Service does not have."""
    for container, signal, backend in callers(graph, "refused", "timeout"):
        service = backend.service
        if (
            service is None
            or backend.port is None
            or text(service.raw, "spec", "clusterIP") == "None"
        ):
            continue
        ports = {number(p, "port") for p in maps(service.raw, "spec", "ports")}
        targets = {number(p, "targetPort") for p in maps(service.raw, "spec", "ports")}
        if not ports or backend.port in ports | targets or not re.search(r"[a-z]", backend.host):
            continue
        root = graph.root_of(container.pod)
        yield found(
            "network.service_port",
            f"{title(root)} calls {service.title} on port {backend.port}, which it does "
            "not have; it has port "
            f"{', '.join(str(p) for p in sorted(p for p in ports if p))}.",
            blamed=service.key,
            strength=0.85,
            about=(*near_pods(graph, container.pod), service.key),
            evidence=[signal.quote(), service.quote("spec", "ports", "port")],
            lasting=True,
            steps=(get(service.key), get(root)),
        )


def _balancer(graph: Graph, service: Thing) -> Iterator[Finding]:
    if text(service.raw, "spec", "type") != "LoadBalancer" or listing(
        service.raw, "status", "loadBalancer", "ingress"
    ):
        return
    events = graph.facts.events_of(
        service.key,
        "SyncLoadBalancerFailed",
        "AllocationFailed",
        "CreatingLoadBalancerFailed",
        "FailedAllocation",
        "EnsureFailed",
        "FailedBuildModel",
        "FailedDeployModel",
    )
    age = graph.facts.age(service.created_at)
    if not events and (age is None or age < 300):
        return
    why = (
        f"the provider refuses: {events[0].message[:240]}"
        if events
        else "nothing has given it an address"
    )
    yield found(
        "network.load_balancer",
        (
            f"The load balancer of {service.title} is not provisioned, it has no external "
            f"address: {why}."
        ),
        blamed=service.key,
        strength=0.93 if events else 0.75,
        about=(service.key,),
        lasting=True,
        evidence=[*(e.quote() for e in events[:2]), service.states("spec.type", "LoadBalancer")],
        steps=(f"{kubectl('describe', service.namespace)} service {word(service.name)}",),
    )


def _ingress(graph: Graph, ingress: Thing) -> Iterator[Finding]:
    """What an Ingress refers to and what is not there."""
    class_ = text(ingress.raw, "spec", "ingressClassName") or text(
        ingress.raw, "metadata", "annotations", "kubernetes.io/ingress.class"
    )
    classes = graph.facts.of_kind("IngressClass")
    if class_ and classes and class_ not in {c.name for c in classes}:
        what = f"names ingress class {class_}, which does not exist (there are: {names(classes)})"
        yield _wrong(graph, ingress, what, ingress.quote("spec", "ingressClassName"))
    for backend in _backends(ingress):
        yield from _ingress_backend(graph, ingress, backend)
    for tls in maps(ingress.raw, "spec", "tls"):
        name = text(tls, "secretName")
        known = graph.facts.thing("Secret", ingress.namespace, name) is not None
        if name and graph.facts.of_kind("Secret") and not known:
            what = f"names TLS Secret {name}, which does not exist"
            yield _wrong(graph, ingress, what, ingress.quote("spec", "tls", "secretName"))


def _ingress_backend(graph: Graph, ingress: Thing, backend: Mapping[str, Any]) -> Iterator[Finding]:
    name = text(backend, "name")
    service = graph.facts.thing("Service", ingress.namespace, name)
    if service is None:
        if name and graph.facts.of_kind("Service"):
            near = graph.near("Service", ingress.namespace, name)
            similar = f" (similar: {near.name})" if near else ""
            what = f"sends requests to backend Service {name}, which does not exist{similar}"
            yield _wrong(graph, ingress, what, ingress.states("service.name", name))
        return
    wanted = number(backend, "port", "number") or text(backend, "port", "name")
    ports = maps(service.raw, "spec", "ports")
    if wanted and wanted not in {number(p, "port") for p in ports} | {
        text(p, "name") for p in ports
    }:
        told = ", ".join(text(p, "port") for p in ports)
        field = "number" if isinstance(wanted, int) else "name"
        yield _wrong(
            graph,
            ingress,
            f"sends requests to port {wanted} of Service {name}, which has only port {told}",
            ingress.states(f"service.port.{field}", wanted),
            service.quote("spec", "ports", "port"),
        )


def _backends(ingress: Thing) -> Iterator[Mapping[str, Any]]:
    default = mapping(ingress.raw, "spec", "defaultBackend", "service")
    if default:
        yield default
    for each in maps(ingress.raw, "spec", "rules"):
        for path in maps(each, "http", "paths"):
            yield mapping(path, "backend", "service")


def _wrong(graph: Graph, thing: Thing, what: str, *proof: Evidence | None) -> Finding:
    logs = [
        log.quote(line)
        for pod in graph.pods
        for log in graph.facts.logs_of(pod.thing.namespace, pod.thing.name)
        if pod.thing.namespace != thing.namespace
        for line in [log.line_with(re.compile(re.escape(f"{thing.namespace}/")))]
        if line
    ]
    return found(
        "network.ingress_misconfigured",
        f"{thing.title} {what}.",
        blamed=thing.key,
        strength=0.92,
        about=(thing.key, *_behind(graph, thing)),
        evidence=[*proof, *logs[:1], graph.facts.trigger_quote()],
        lasting=True,
        steps=(
            get(thing.key),
            "kubectl get ingressclass",
            f"{kubectl('get', thing.namespace)} service",
        ),
    )


def _behind(graph: Graph, thing: Thing) -> Iterator[Key]:
    for backend in _backends(thing):
        yield ("Service", thing.namespace, text(backend, "name"))


def _route(graph: Graph, route: Thing) -> Iterator[Finding]:
    groups = [maps(p, "conditions") for p in maps(route.raw, "status", "parents")] + [
        maps(route.raw, "status", "conditions")
    ]
    groups += [maps(p, "conditions") for p in maps(route.raw, "status", "listeners")]
    for condition in (c for group in groups for c in group):
        type_ = text(condition, "type")
        if (
            type_ in {"Accepted", "ResolvedRefs", "Programmed"}
            and text(condition, "status") == "False"
        ):
            said = text(condition, "message") or text(condition, "reason")
            yield _wrong(
                graph,
                route,
                (
                    f"is not accepted as it is ({type_} is False, "
                    f"{text(condition, 'reason')}): {said[:240]}"
                ),
                route.states("message", said) if len(said) >= 4 else None,
            )
            return
