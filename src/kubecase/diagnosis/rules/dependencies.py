"""Backends that a program cannot use, as its log tells; what is behind them others explain."""

import re
from collections.abc import Iterator, Mapping

from kubecase.core.report import Evidence
from kubecase.diagnosis.backends import Backend, callers, key_of, workloads_called
from kubecase.diagnosis.facts import Key, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods, word
from kubecase.diagnosis.graph import Graph, references
from kubecase.diagnosis.logs import Signal, words_of
from kubecase.diagnosis.pods import Container
from kubecase.diagnosis.values import leaf_texts, maps, text

_WORDS: Mapping[str, tuple[str, str, float]] = {
    "refused": ("dependency.unavailable", "is not available, it refuses or drops connections", 0.8),
    "timeout": ("dependency.timeout", "does not answer in time (timeout)", 0.8),
    "saturated": (
        "dependency.saturated",
        "has no room left: its connections, pool or rate limit are used up",
        0.9,
    ),
    "auth": ("dependency.auth_failed", "refuses the credentials (authentication failed)", 0.9),
}
_GENERIC = re.compile(r"\b(?:status|code|returned|HTTP)\b|40[13]", re.IGNORECASE)


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for what programs say about their backends."""
    for container, signal, backend in callers(graph, *_WORDS):
        if _counts(graph, container, signal):
            yield _trouble(graph, container, signal, backend)
    for container, signal, backend in callers(graph, "no_such_host"):
        if _counts(graph, container, signal):
            yield from _unknown_host(graph, container, signal, backend)


def _counts(graph: Graph, container: Container, signal: Signal) -> bool:
    """Whether the line is about the trouble at hand rather than in passing."""
    if container.pod.is_sound and not graph.facts.is_alert and not signal.weight >= 4:
        return False
    if not signal.log.previous and container.endings and signal.weight < 2:
        return False
    return signal.weight >= 1.2


def _is_cause(container: Container, signal: Signal) -> float:
    """How much less a line counts than the one that says why."""
    cause = container.cause
    if cause is None or cause.kind == signal.kind or cause.weight <= signal.weight:
        return 1.0
    return 0.6


def _trouble(graph: Graph, container: Container, signal: Signal, backend: Backend) -> Finding:
    category, what, strength = _WORDS[signal.kind]
    root = graph.root_of(container.pod)
    who = f" ({title(key_of(graph, backend, container.pod))})" if backend.service else ""
    blamed: Key = key_of(graph, backend, container.pod)
    if signal.kind == "auth":
        blamed = _secret(graph, container) or root
        behind = f"; they come from Secret {blamed[2]}" if blamed[0] == "Secret" else ""
        if _GENERIC.search(signal.line):
            strength -= 0.1
    else:
        behind = ""
    return found(
        category,
        f"{title(root)}: container {container.name} depends on {backend.words}{who}, "
        f"which {what}{behind}: "
        f"{words_of(signal.line)[:200]}.",
        blamed=blamed,
        strength=strength * _is_cause(container, signal),
        about=near_pods(graph, container.pod),
        evidence=[signal.quote(), container.state_quote(), _unready(container)],
        steps=_steps(graph, container, backend),
        lasting=graph.facts.is_alert,
    )


def _unready(container: Container) -> Evidence | None:
    events = [e for e in container.events("Unhealthy", "BackOff") if e.warning]
    return events[0].quote() if events else None


def _secret(graph: Graph, container: Container) -> Key | None:
    """The Secret from which the credentials most likely come."""
    for each in maps(container.spec, "env"):
        name = text(each, "valueFrom", "secretKeyRef", "name")
        if name and re.search(
            r"pass|user|token|key|cred|secret|auth|dsn|url", text(each, "name"), re.IGNORECASE
        ):
            return ("Secret", container.pod.thing.namespace, name)
    for each in maps(container.spec, "envFrom"):
        if name := text(each, "secretRef", "name"):
            return ("Secret", container.pod.thing.namespace, name)
    return None


def _steps(graph: Graph, container: Container, backend: Backend) -> tuple[str, ...]:
    namespace = backend.service.namespace if backend.service else container.pod.thing.namespace
    return (
        f"{kubectl('get', namespace)} service,endpointslices",
        (
            f"{kubectl('logs', container.pod.thing.namespace)} "
            f"{word(container.pod.thing.name)} -c {word(container.name)} --tail=50"
        ),
        get(graph.root_of(container.pod)),
    )


def _unknown_host(
    graph: Graph, container: Container, signal: Signal, backend: Backend
) -> Iterator[Finding]:
    """A name that nothing answers to: gone, or never right."""
    root = graph.root_of(container.pod)
    namespace = container.pod.thing.namespace
    gone = workloads_called(graph, backend.host, namespace) if backend.service is None else []
    if gone:
        key: Key = ("Service", gone[0].namespace, gone[0].name)
        yield found(
            "network.service_missing",
            f"Service {key[1]}/{key[2]}, which {title(root)} asks for as "
            f"{backend.host}, does not exist, although its "
            f"{gone[0].kind} {gone[0].name} does.",
            blamed=key,
            strength=0.93,
            about=(*near_pods(graph, container.pod), gone[0].key),
            evidence=[
                signal.quote(),
                gone[0].states("metadata.name", gone[0].name),
                _setting(container, backend.host),
            ],
            steps=(f"{kubectl('get', key[1])} service", get(gone[0].key)),
            lasting=graph.facts.is_alert,
        )
        return
    near = _similar(graph, backend.host, namespace)
    similar = f"; there is a Service {near}" if near else ""
    yield found(
        "dependency.host_not_found",
        f"{title(root)}: container {container.name} asks for host "
        f"{backend.host or 'a name'}, which does not exist (no such "
        f"host){similar}: {words_of(signal.line)[:160]}.",
        blamed=_config_with(graph, container, backend.host) or root,
        strength=0.88 * _is_cause(container, signal),
        about=near_pods(graph, container.pod),
        evidence=[signal.quote(), _setting(container, backend.host), container.state_quote()],
        steps=(f"{kubectl('get', namespace)} service", get(root)),
        lasting=graph.facts.is_alert,
    )


def _similar(graph: Graph, host: str, namespace: str) -> str:
    labels = host.split(".")
    near = graph.near("Service", namespace, labels[0]) if labels[0] else None
    if near is None and len(labels) > 1:
        near = graph.near("Service", labels[1], labels[0]) or graph.facts.thing(
            "Service", namespace, labels[0]
        )
    if near is None:
        near = next((s for s in graph.facts.of_kind("Service") if s.name == labels[0]), None)
    return f"{near.namespace}/{near.name}" if near else ""


def _config_with(graph: Graph, container: Container, host: str) -> Key | None:
    """The ConfigMap that holds the host, if no variable of the specification does."""
    if not host or _setting(container, host) is not None:
        return None
    for kind, name, _ in references(container.pod.thing.raw.get("spec")):
        thing = graph.facts.thing(kind, container.pod.thing.namespace, name)
        if kind != "ConfigMap" or thing is None:
            continue
        if any(host in said.lower() for said in leaf_texts(thing.raw.get("data"), limit=50)):
            return thing.key
    return None


def _setting(container: Container, host: str) -> Evidence | None:
    """The variable that holds the host."""
    for value in container.env.values():
        if host and host in value.lower():
            return container.pod.thing.states("value", value)
    return None
