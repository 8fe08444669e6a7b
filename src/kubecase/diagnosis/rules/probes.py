"""Probes: is the probe wrong, is the program slow to start, or is it really unwell?"""

import re
from collections.abc import Iterator
from dataclasses import replace

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import title
from kubecase.diagnosis.finding import Finding, found, kubectl, near_pods, previous_log
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.logs import words_of
from kubecase.diagnosis.pods import Container
from kubecase.diagnosis.probing import Trouble, troubles
from kubecase.diagnosis.values import mapping, number, text

_TIMEOUT = re.compile(r"deadline exceeded|Client\.Timeout|timed? ?out|timeout:", re.IGNORECASE)
_REFUSED = re.compile(
    r"connection refused|connection reset|EOF|no route to host|malformed HTTP|server gave HTTP|"
    r"first record does not look like a TLS|http: server|protocol",
    re.IGNORECASE,
)
_NO_COMMAND = re.compile(
    r"no such file|not found|executable file|permission denied|unrecognized|usage:|OCI runtime",
    re.IGNORECASE,
)
_BOOTING = re.compile(
    r"warming|loading|starting|initiali[sz]|boot|migrat|preparing|importing|building|compil|"
    r"restoring|replay|recover|indexing|\d{1,3} ?%|\d+ of \d+|\d+/\d+",
    re.IGNORECASE,
)
_STANDBY = re.compile(
    r"\bstand-?by\b|\bpassive\b|not (?:the )?(?:leader|primary|master)", re.IGNORECASE
)
_DEPENDENCY = frozenset(
    {
        "refused",
        "timeout",
        "no_such_host",
        "dns_temporary",
        "auth",
        "saturated",
        "mesh",
        "cert_expired",
        "cert_untrusted",
        "cert_name",
        "rbac",
        "no_space",
        "readonly_fs",
        "denied",
    }
)
_UNWELL = frozenset({"unresponsive", "heap", "process_limits"})


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for failing probes."""
    for container in graph.containers:
        if any(e.reason == "OOMKilled" for e in container.endings):
            continue
        for trouble in troubles(container):
            finding = _judge(graph, trouble)
            if finding is not None:
                yield finding


def _judge(graph: Graph, trouble: Trouble) -> Finding | None:
    """Which of probe, start and program has to be repaired."""
    if trouble.probe == "readiness" and (trouble.container.ready or _is_just_starting(trouble)):
        return None
    if trouble.probe == "readiness" and (standby := _standby(graph, trouble)) is not None:
        return standby
    if trouble.status is not None and trouble.status < 500:
        return _wrong_probe(graph, trouble, f"the program answers {trouble.status} there", 0.9)
    if (other := _other_port(trouble)) is not None:
        return _wrong_probe(graph, trouble, f"the program listens on port {other}", 0.93)
    unwell = _unwell(graph, trouble)
    if unwell is not None:
        return unwell
    if mapping(trouble.spec, "exec") and not _TIMEOUT.search(trouble.said):
        return _exec(graph, trouble)
    cause = trouble.container.cause
    if cause is not None and cause.kind in _DEPENDENCY and cause.weight >= 2:
        return None
    if trouble.status is not None:
        return _unhealthy(
            graph,
            trouble,
            f"the program answers {trouble.status} to its {trouble.probe} probe",
            0.5,
        )
    if _is_slow_start(trouble):
        return _slow_start(graph, trouble)
    if _TIMEOUT.search(trouble.said):
        return _timeout(graph, trouble)
    if _REFUSED.search(trouble.said):
        return _wrong_probe(graph, trouble, "nothing answers there (connection refused)", 0.6)
    return _unhealthy(
        graph, trouble, f"its {trouble.probe} probe fails: {trouble.said.strip()[:120]}", 0.45
    )


def _is_just_starting(trouble: Trouble) -> bool:
    """Whether it failed no more often than any probe does before the program is up."""
    age = trouble.container.pod.facts.age(trouble.container.pod.thing.created_at)
    return trouble.count <= 5 and age is not None and age < 120 and trouble.container.restarts == 0


def _standby(graph: Graph, trouble: Trouble) -> Finding | None:
    """A replica that is not ready on purpose, as it says, beside one that is."""
    line = next(
        ((log, said) for log in trouble.container.logs if (said := log.line_with(_STANDBY))), None
    )
    peers = graph.pods_of(graph.root_of(trouble.container.pod))
    if line is None or not any(pod.is_ready for pod in peers):
        return None
    return replace(
        _make(
            graph,
            trouble,
            "none.no_fault",
            (
                "No fault: this replica is not ready by design, it is the standby: "
                f"{words_of(line[1])[:160]}"
            ),
            0.9,
            line[0].quote(line[1]),
        ),
        blamed=None,
        steps=(),
    )


def _other_port(trouble: Trouble) -> int | None:
    ports = trouble.listening
    if (
        not ports
        or trouble.port is None
        or trouble.port in ports
        or not _REFUSED.search(trouble.said)
    ):
        return None
    return ports[0]


def _log_proof(trouble: Trouble) -> Evidence | None:
    path = text(trouble.spec, "httpGet", "path")
    for log in trouble.container.logs:
        patterns = (
            [re.compile(re.escape(path) + r"\b[^\n]{0,40}\b[45]\d\d\b")] if len(path) > 1 else []
        )
        for pattern in patterns:
            line = log.line_with(pattern)
            if line:
                return log.quote(line)
        if log.up_line:
            return log.quote(log.up_line)
    return None


def _make(
    graph: Graph,
    trouble: Trouble,
    category: str,
    sentence: str,
    strength: float,
    *proof: Evidence | None,
) -> Finding:
    container = trouble.container
    root = graph.root_of(container.pod)
    field = f"{trouble.probe}Probe"
    spec = [
        container.pod.thing.states(f"{field}.httpGet.path", text(trouble.spec, "httpGet", "path"))
        if text(trouble.spec, "httpGet", "path")
        else None,
        container.pod.thing.states(
            f"{field}.tcpSocket.port", text(trouble.spec, "tcpSocket", "port")
        )
        if text(trouble.spec, "tcpSocket", "port")
        else None,
    ]
    killing = [e.quote() for e in container.events("Killing") if "probe" in e.message][:1]
    return found(
        category,
        f"{title(root)}: {sentence}.",
        blamed=root,
        strength=strength,
        about=near_pods(graph, container.pod),
        evidence=[trouble.events[0].quote(), *proof, *spec, *killing],
        steps=(
            f"{kubectl('get', root[1])} {root[0].lower()} {root[2]} -o jsonpath='{{..{field}}}'",
            previous_log(container.pod, container.name),
        ),
    )


def _wrong_probe(graph: Graph, trouble: Trouble, why: str, strength: float) -> Finding:
    kind = "readiness" if trouble.probe == "readiness" else "liveness"
    effect = (
        "so the pod never becomes ready although the program runs"
        if kind == "readiness"
        else "so the kubelet keeps killing a container that is well"
    )
    return _make(
        graph,
        trouble,
        f"probe.{kind}_misconfigured",
        (
            f"the {trouble.probe} probe of container {trouble.container.name} asks "
            f"{trouble.target}, but {why}, {effect}"
        ),
        strength,
        _log_proof(trouble),
    )


def _unwell(graph: Graph, trouble: Trouble) -> Finding | None:
    """The program says itself that it hangs."""
    cause = trouble.container.cause
    if cause is None or cause.kind != "unresponsive":
        cause = next(iter(trouble.container.signals("unresponsive")), None)
    if cause is None:
        return None
    return _make(
        graph,
        trouble,
        "app.unresponsive",
        (
            f"container {trouble.container.name} hangs, its {trouble.probe} probe is right: "
            f"{words_of(cause.line)[:180]}"
        ),
        0.9,
        cause.quote(),
    )


def _unhealthy(graph: Graph, trouble: Trouble, what: str, strength: float) -> Finding:
    return _make(
        graph,
        trouble,
        "app.unresponsive",
        (
            f"container {trouble.container.name} is up but reports itself unhealthy for an "
            f"internal reason: {what}"
        ),
        strength,
        _log_proof(trouble),
    )


def _exec(graph: Graph, trouble: Trouble) -> Finding:
    said = trouble.said.strip()
    if _NO_COMMAND.search(said):
        return _wrong_probe(graph, trouble, f"its command cannot run: {said[:160]}", 0.88)
    if said and not _REFUSED.search(said):
        return _unhealthy(graph, trouble, f"the {trouble.probe} probe says: {said[:160]}", 0.78)
    if _is_slow_start(trouble):
        return _slow_start(graph, trouble)
    return _wrong_probe(graph, trouble, f"its command fails: {said[:120] or 'no output'}", 0.6)


def _runs(container: Container) -> list[float]:
    return [e.seconds for e in container.endings if e.seconds is not None]


def _is_slow_start(trouble: Trouble) -> bool:
    """Whether the program was still starting when it was judged."""
    container = trouble.container
    if trouble.probe == "startup":
        return True
    if any(log.up_line for log in container.logs if log.previous) or trouble.listening:
        return False
    runs = _runs(container)
    if trouble.probe == "liveness":
        killed_early = bool(runs) and runs[0] <= trouble.seconds_to_kill * 2.5 + 60
    else:
        age = container.pod.facts.age(container.running_since)
        killed_early = age is not None and age < 600
    last = next((log.last_line for log in container.logs if log.last_line), None)
    return killed_early and last is not None and bool(_BOOTING.search(words_of(last)))


def _slow_start(graph: Graph, trouble: Trouble) -> Finding:
    runs = _runs(trouble.container)
    after = f" about {runs[0]:.0f} s after its start" if runs else ""
    last = next(((log, log.last_line) for log in trouble.container.logs if log.last_line), None)
    return _make(
        graph,
        trouble,
        "probe.startup_too_slow",
        f"container {trouble.container.name} is given {trouble.seconds_to_kill:.0f} s "
        f"by its {trouble.probe} probe "
        f"({trouble.target}) and is stopped{after}, before its start ends",
        0.88 if trouble.probe == "startup" else 0.85,
        last[0].quote(last[1]) if last else None,
    )


def _timeout(graph: Graph, trouble: Trouble) -> Finding:
    """A probe that is not answered in time: from the first moment, or after good service."""
    limit = number(trouble.spec, "timeoutSeconds") or 1
    runs = _runs(trouble.container)
    served = max(runs, default=0.0)
    age = trouble.container.pod.facts.age(trouble.container.running_since) or 0.0
    first = min((e.first for e in trouble.events if e.first), default=None)
    began = trouble.container.pod.thing.created_at
    good = (first - began).total_seconds() if first and began else 0.0
    if max(served, 0.0) > 1800 or (good > 1800 and (age > 1800 or served > 600)):
        return _unhealthy(
            graph,
            trouble,
            (
                f"it stopped answering its {trouble.probe} probe after {good or served:.0f} "
                "s of service"
            ),
            0.72,
        )
    return _wrong_probe(
        graph, trouble, f"the answer takes longer than the timeout of {limit} s", 0.66
    )
