"""Autoscalers without metrics, without requests, without a target, or at their limit."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, Thing, title
from kubecase.diagnosis.finding import Finding, describe, found, get
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.values import maps, number, text

_REQUEST = re.compile(
    r"missing request for (\w+)(?: in container ([^\s]{1,253}))?(?: of Pod ([^\s]{1,253}))?"
)
_METRICS = re.compile(
    r"unable to fetch metrics|unable to get metrics|no metrics returned|"
    r"did not receive metrics|metrics API|"
    r"the server is currently unable to handle the request|could not find the requested resource",
    re.IGNORECASE,
)
_API = re.compile(r"(custom|external)\.metrics")
_METRICS_API: Key = ("APIService", "", "v1beta1.metrics.k8s.io")


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for every HorizontalPodAutoscaler."""
    for scaler in graph.facts.of_kind("HorizontalPodAutoscaler"):
        finding = _judge(graph, scaler)
        if finding is not None:
            yield finding


def _judge(graph: Graph, scaler: Thing) -> Finding | None:
    able, active = scaler.condition("AbleToScale"), scaler.condition("ScalingActive")
    target, told = _target(scaler), _told(graph, scaler)
    if text(able, "reason") == "FailedGetScale" or (
        text(able, "status") == "False" and "not found" in text(able, "message")
    ):
        what = f"has target {title(target)}, which does not exist (not found, FailedGetScale)"
        return _finding(graph, scaler, "hpa.target_missing", what, scaler.key, *told)
    if text(active, "status") == "False":
        said = " ".join([text(active, "message"), *(quote.quote for quote in told)])
        if matched := _REQUEST.search(said):
            what = (
                f"cannot compute utilisation: container {matched.group(2) or 'one'} of "
                f"{title(target)} has no request for {matched.group(1)} (missing request for "
                f"{matched.group(1)})"
            )
            return _finding(graph, scaler, "hpa.missing_requests", what, target, *told)
        if _METRICS.search(said):
            return _no_metrics(graph, scaler, told, said)
    return _at_limit(graph, scaler, told)


def _at_limit(graph: Graph, scaler: Thing, told: list[Evidence]) -> Finding | None:
    limited = scaler.condition("ScalingLimited")
    most = number(scaler.raw, "spec", "maxReplicas")
    now = number(scaler.raw, "status", "currentReplicas")
    if text(limited, "status") != "True" or text(limited, "reason") != "TooManyReplicas":
        return None
    if most is None or now is None or now < most:
        return None
    return _finding(
        graph,
        scaler,
        "hpa.at_limit",
        f"is at its limit: {now} of maxReplicas {most} run while the load asks for more"
        f"{_load(scaler)}",
        scaler.key,
        scaler.states("reason", "TooManyReplicas"),
        scaler.states("spec.maxReplicas", most),
        *told[:1],
        strength=0.9,
    )


def _told(graph: Graph, scaler: Thing) -> list[Evidence]:
    """What the autoscaler says, by condition and by event."""
    quotes = []
    for type_ in ("AbleToScale", "ScalingActive"):
        condition = scaler.condition(type_)
        said = text(condition, "message")
        if text(condition, "status") == "False" and said:
            quotes.append(scaler.states("message", said))
    return quotes + [e.quote() for e in graph.facts.events_of(scaler.key) if e.warning][:2]


def _target(scaler: Thing) -> Key:
    ref = ("spec", "scaleTargetRef")
    return (text(scaler.raw, *ref, "kind"), scaler.namespace, text(scaler.raw, *ref, "name"))


def _finding(
    graph: Graph,
    scaler: Thing,
    category: str,
    what: str,
    blamed: Key,
    *proof: Evidence,
    strength: float = 0.95,
    about: tuple[Key, ...] = (),
) -> Finding:
    return found(
        category,
        f"{scaler.title} {what}.",
        blamed=blamed,
        strength=strength,
        about=(scaler.key, *about),
        evidence=[*proof, graph.facts.trigger_quote()],
        steps=(describe(scaler.key), get(_target(scaler))),
        lasting=True,
    )


def _load(scaler: Thing) -> str:
    for each in maps(scaler.raw, "status", "currentMetrics"):
        now = number(each, "resource", "current", "averageUtilization")
        if now is not None:
            return f" ({text(each, 'resource', 'name')} utilisation {now} %)"
    return ""


def _no_metrics(graph: Graph, scaler: Thing, told: list[Evidence], said: str) -> Finding:
    """Follows the metrics API to what should serve it."""
    own = _API.search(said)
    apis = [
        api
        for api in graph.facts.of_kind("APIService")
        if "metrics.k8s.io" in api.name and (own is None or own.group(0) in api.name)
    ]
    down = next((a for a in apis if text(a.condition("Available"), "status") != "True"), None)
    blamed: Key = down.key if down else _METRICS_API
    proof: list[Evidence] = []
    why = "; nothing serves the metrics API" if not apis else ""
    if down is not None:
        available = down.condition("Available")
        why = f"; {down.title} is not available: {text(available, 'message')[:200]}"
        if text(available, "message"):
            proof.append(down.states("message", text(available, "message")))
        server = _server(graph, down)
        if server is not None:
            blamed, more, quotes = server
            why += more
            proof += quotes
    return _finding(
        graph,
        scaler,
        "hpa.metrics_unavailable",
        f"gets no metrics: unable to fetch metrics from the metrics API{why}",
        blamed,
        *told[:2],
        *proof,
        about=(blamed, *((down.key,) if down else ())),
    )


def _server(graph: Graph, api: Thing) -> tuple[Key, str, list[Evidence]] | None:
    """The program behind a metrics API, what is wrong with it, and proof."""
    key = (
        "Service",
        text(api.raw, "spec", "service", "namespace"),
        text(api.raw, "spec", "service", "name"),
    )
    service = graph.facts.by_key.get(key)
    workloads = (
        list(graph.selected_workloads(service))
        if service
        else [w for w in graph.workloads if w.namespace == key[1] and w.name == key[2]]
    )
    for workload in workloads:
        sick = [p for p in graph.pods_of(workload.key) if not p.is_sound]
        for pod in sick:
            for container in pod.containers:
                quotes = [
                    q
                    for q in (
                        container.state_quote() if not container.ready else None,
                        container.cause.quote() if container.cause else None,
                    )
                    if q
                ]
                if quotes:
                    return (
                        workload.key,
                        f"; the pods of {workload.title} behind it are not ready",
                        quotes,
                    )
        if number(workload.raw, "spec", "replicas") == 0:
            return (
                workload.key,
                f"; {workload.title} behind it is scaled to 0",
                [workload.states("spec.replicas", 0)],
            )
    return None
