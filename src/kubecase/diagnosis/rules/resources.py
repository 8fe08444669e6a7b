"""Limits that a container or its process runs into: memory, CPU, ephemeral storage, descriptors."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods, word
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.logs import words_of
from kubecase.diagnosis.pods import Container, Ending, Pod
from kubecase.diagnosis.values import quantity, text

_OWN_LIMIT = re.compile(
    r"ephemeral local storage usage exceeds|exceeded its local ephemeral storage limit|"
    r"Usage of EmptyDir volume|exceeds the (?:total )?limit"
)
_OOM_AT_START = re.compile(r"OOM-killed|memory limit too low|oom_kill", re.IGNORECASE)
_THROTTLED = re.compile(r"throttl", re.IGNORECASE)
_SLOW = re.compile(
    r"\bslow\b|took \d{4,}|latency|duration[=:]\d{4,}|elapsed|\b\d{4,6} ?ms\b", re.IGNORECASE
)


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for containers at a limit of their own."""
    for pod in graph.pods:
        yield from _evicted(graph, pod)
        yield from _oom_sandbox(graph, pod)
    for container in graph.containers:
        for ended in container.endings:
            if ended.reason == "OOMKilled" or _OOM_AT_START.search(ended.message):
                yield _oom(graph, container, ended)
                break
        else:
            yield from _process_limits(graph, container)
        yield from _throttled(graph, container)


def _oom(graph: Graph, container: Container, ended: Ending) -> Finding:
    limit = container.limit("memory")
    root = graph.root_of(container.pod)
    bytes_ = quantity(container.spec, "resources", "limits", "memory")
    slip = " (milli-bytes: a slip of the unit)" if limit.endswith("m") else ""
    slip = slip or (" (far too low for any program)" if bytes_ and bytes_ < 4 * 2**20 else "")
    has = (
        f"its memory limit of {limit}{slip}"
        if limit
        else "the memory of its node (it has no limit)"
    )
    changed = _limit_before(graph, container, limit)
    evidence = [
        container.pod.thing.states(f"{ended.path}.reason", ended.reason) if ended.reason else None,
        container.pod.thing.states(f"{ended.path}.message", ended.message)
        if ended.message
        else None,
        container.pod.thing.states(f"{ended.path}.exitCode", ended.code),
        container.pod.thing.states("resources.limits.memory", limit) if limit else None,
        *(log.quote(log.last_line) for log in container.logs[-1:] if log.last_line),
    ]
    return found(
        "resources.oom_killed",
        f"{title(root)}: container {container.name} is OOM-killed (OOMKilled, exit code "
        f"{ended.code}): it needs "
        f"more than {has}{changed}.",
        blamed=root,
        strength=_oom_strength(graph, container, ended, limit),
        about=near_pods(graph, container.pod),
        evidence=evidence,
        steps=(
            (
                f"{kubectl('top', container.pod.thing.namespace)} pod "
                f"{word(container.pod.thing.name)} --containers"
            ),
            get(root),
        ),
    )


def _oom_strength(graph: Graph, container: Container, ended: Ending, limit: str) -> float:
    age = graph.facts.age(ended.finished)
    if container.ready and age is not None and age > 6 * 3600:
        return 0.2
    return 0.95 if limit else 0.7


def _limit_before(graph: Graph, container: Container, limit: str) -> str:
    template = graph.template(graph.root_of(container.pod))
    pod_spec = template.get("spec")
    containers = pod_spec.get("containers") if isinstance(pod_spec, dict) else None
    for spec in containers if isinstance(containers, list) else ():
        if not isinstance(spec, dict):
            continue
        asked = text(spec, "resources", "limits", "memory")
        if text(spec, "name") == container.name and asked and limit and asked != limit:
            return f" (its template asks for {asked}: something changed it when the pod was made)"
    before = graph.container_before(container)
    if before is None:
        return ""
    was = text(before[0], "resources", "limits", "memory")
    return f" (the revision before had {was})" if was and was != limit else ""


def _oom_sandbox(graph: Graph, pod: Pod) -> Iterator[Finding]:
    for event in pod.events("FailedCreatePodSandBox", "Failed"):
        if not _OOM_AT_START.search(event.message):
            continue
        root = graph.root_of(pod)
        limits = [c for c in pod.containers if c.limit("memory")]
        least = min(
            limits,
            key=lambda c: quantity(c.spec, "resources", "limits", "memory") or 0.0,
            default=None,
        )
        limit = least.limit("memory") if least else "unknown"
        slip = " (milli-bytes: a slip of the unit)" if limit.endswith("m") else ""
        yield found(
            "resources.oom_killed",
            f"{title(root)}: the container is OOM-killed while it is started, its "
            f"memory limit of {limit}{slip} "
            "is too low.",
            blamed=root,
            strength=0.95,
            about=near_pods(graph, pod),
            evidence=[
                event.quote(),
                pod.thing.states("resources.limits.memory", limit) if least else None,
            ],
            steps=(get(root),),
        )
        return


def _evicted(graph: Graph, pod: Pod) -> Iterator[Finding]:
    events = [e for e in pod.events("Evicted") if _OWN_LIMIT.search(e.message)]
    said = pod.message if pod.reason == "Evicted" and _OWN_LIMIT.search(pod.message) else ""
    if not events and not said:
        return
    words = (said or events[0].message).strip().rstrip(".")
    root = graph.root_of(pod)
    quotes: list[Evidence | None] = [e.quote() for e in events[:1]]
    quotes += [
        pod.thing.states("status.reason", "Evicted") if pod.reason == "Evicted" else None,
        pod.thing.states("status.message", said) if said else None,
    ]
    yield found(
        "resources.ephemeral_storage",
        f"{title(root)}: pod {pod.thing.name} was evicted because it exceeds its own "
        "ephemeral-storage limit: "
        f"{words}.",
        blamed=root,
        strength=0.95,
        about=near_pods(graph, pod),
        evidence=quotes,
        steps=(
            f"{kubectl('get', pod.thing.namespace)} pods --field-selector status.phase=Failed",
            get(root),
        ),
    )


def _process_limits(graph: Graph, container: Container) -> Iterator[Finding]:
    signals = container.signals("process_limits")
    if not signals:
        return
    cause = signals[-1]
    root = graph.root_of(container.pod)
    yield found(
        "resources.process_limits",
        f"{title(root)}: container {container.name} has used up its file descriptors, "
        "processes, threads or shared "
        f"memory: {words_of(cause.line)[:200]}.",
        blamed=root,
        strength=0.9 if cause.weight >= 3 else 0.75,
        about=near_pods(graph, container.pod),
        evidence=[cause.quote(), container.state_quote()],
        lasting=True,
        steps=(
            (
                f"{kubectl('logs', container.pod.thing.namespace)} "
                f"{word(container.pod.thing.name)} -c {word(container.name)}"
            ),
            get(root),
        ),
    )


def _throttled(graph: Graph, container: Container) -> Iterator[Finding]:
    """A small CPU limit together with an alert about throttling, or with slowness and timeouts."""
    limit = container.limit("cpu")
    cores = quantity(container.spec, "resources", "limits", "cpu")
    if not limit or cores is None:
        return
    named = _THROTTLED.search(graph.facts.trigger_text) and container.pod.thing.name in " ".join(
        [graph.facts.trigger_text, *graph.facts.trigger_labels.values()]
    )
    told = next((s for log in container.logs for s in [log.line_with(_THROTTLED)] if s), None)
    slow = next(((log, line) for log in container.logs if (line := log.line_with(_SLOW))), None)
    timeouts = [
        e
        for e in container.events("Unhealthy")
        if re.search(r"deadline exceeded|timed? ?out", e.message)
    ]
    if named or told:
        strength = 0.9
    elif cores <= 0.25 and slow and timeouts:
        strength = 0.86
    elif cores <= 0.1 and timeouts:
        strength = 0.6
    else:
        return
    root = graph.root_of(container.pod)
    yield found(
        "resources.cpu_throttled",
        f"{title(root)}: the CPU limit of {limit} of container {container.name} is too "
        "low for its load, so that it "
        "is throttled.",
        blamed=root,
        strength=strength,
        about=near_pods(graph, container.pod),
        lasting=True,
        evidence=[
            graph.facts.trigger_quote() if named else None,
            container.pod.thing.states("resources.limits.cpu", limit),
            slow[0].quote(slow[1]) if slow else None,
            timeouts[0].quote() if timeouts else None,
        ],
        steps=(
            (
                f"{kubectl('top', container.pod.thing.namespace)} pod "
                f"{word(container.pod.thing.name)} --containers"
            ),
            get(root),
        ),
    )
