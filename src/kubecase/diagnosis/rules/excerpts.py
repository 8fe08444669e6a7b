"""Logs whose pod was not collected: what they say counts, but only modestly."""

import re
from collections.abc import Iterator, Mapping

from kubecase.core.report import Evidence
from kubecase.diagnosis.backends import hosts_in
from kubecase.diagnosis.facts import Key, title
from kubecase.diagnosis.finding import Finding, describe, found, kubectl, word
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.logs import Log, Signal, words_of
from kubecase.diagnosis.scope import Scope

_BACKENDS: Mapping[str, tuple[str, str]] = {
    "refused": ("dependency.unavailable", "which refuses or drops connections"),
    "timeout": ("dependency.timeout", "which does not answer in time"),
    "saturated": ("dependency.saturated", "which has no room left"),
    "auth": ("dependency.auth_failed", "which refuses the credentials"),
    "no_such_host": ("dependency.host_not_found", "a name that does not exist"),
}
_OWN: Mapping[str, tuple[str, str, float]] = {
    "heap": ("app.heap_exhausted", "exhausts its managed heap", 0.58),
    "port_in_use": ("app.port_conflict", "cannot listen, its port is already in use", 0.58),
    "native": ("app.native_crash", "dies in native code", 0.5),
    "crash": ("app.crash", "ends with an unhandled error", 0.5),
    "error": ("app.crash", "reports an error", 0.36),
    "exec_format": ("image.arch_mismatch", "has no build for this processor", 0.55),
    "missing_env": ("config.missing_env", "misses an environment variable", 0.55),
    "invalid_value": ("config.invalid_value", "cannot use its configuration", 0.5),
    "bad_command": ("config.bad_command", "is started with a wrong command", 0.45),
    "readonly_fs": ("config.security_context", "cannot write to its file system", 0.45),
    "not_permitted": ("config.security_context", "is not permitted what it needs", 0.45),
    "denied": ("storage.permission_denied", "is denied access to a file", 0.4),
    "no_space": ("storage.volume_full", "has no space left on a volume", 0.5),
    "process_limits": ("resources.process_limits", "has no files or processes left", 0.5),
    "rbac": ("rbac.forbidden", "lacks a Kubernetes permission", 0.55),
    "mesh": ("network.mesh_policy", "is refused by the service mesh", 0.45),
    "cert_expired": ("tls.cert_expired", "meets an expired certificate", 0.5),
    "cert_name": ("tls.name_mismatch", "meets a certificate of another name", 0.5),
    "cert_untrusted": ("tls.cert_untrusted", "meets a certificate that it does not trust", 0.5),
    "dns_temporary": ("network.dns_failure", "cannot resolve names", 0.45),
    "unresponsive": ("app.unresponsive", "hangs", 0.4),
}
_BACKEND = 0.55
_CONNECTS = re.compile(r"connect|dial|host|://|broker|upstream|endpoint", re.IGNORECASE)
_LINES_BEFORE = 6


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for logs that came without their pod."""
    logs = [log for log in graph.facts.logs if not _has_pod(graph, log)]
    scope = Scope(graph) if logs else None
    for log in logs:
        cause = log.cause
        if scope is None or cause is None or cause.weight < (1.5 if log.previous else 2.0):
            continue
        if scope.is_open and not log.previous and cause.weight < 4:
            continue
        finding = _judge(graph, scope, cause)
        if finding is not None:
            yield finding


def _has_pod(graph: Graph, log: Log) -> bool:
    return ("Pod", log.namespace, log.pod) in graph.facts.by_key


def _judge(graph: Graph, scope: Scope, cause: Signal) -> Finding | None:
    if cause.kind in _BACKENDS:
        return _dependency(graph, scope, cause)
    if cause.kind not in _OWN:
        return None
    category, what, strength = _OWN[cause.kind]
    blamed = _subject(scope, cause.log)
    return _make(
        graph, scope, cause, category=category, what=what, strength=strength, blamed=blamed
    )


def _dependency(graph: Graph, scope: Scope, cause: Signal) -> Finding:
    category, what = _BACKENDS[cause.kind]
    host, port, told = _backend(cause)
    subject = _subject(scope, cause.log)
    service = graph.service_at(host, cause.log.namespace) if host else None
    blamed: Key = subject
    if host and cause.kind not in {"auth", "no_such_host"}:
        blamed = service.key if service is not None else ("External", "", host)
    named = f"{host}:{port}" if port else host or "a backend"
    return _make(
        graph,
        scope,
        cause,
        category=category,
        what=f"depends on {named}, {what}",
        strength=_BACKEND if host else _BACKEND - 0.1,
        blamed=blamed,
        told=told,
    )


def _make(
    graph: Graph,
    scope: Scope,
    cause: Signal,
    *,
    category: str,
    what: str,
    strength: float,
    blamed: Key,
    told: Evidence | None = None,
) -> Finding:
    log, subject = cause.log, _subject(scope, cause.log)
    container = f"container {log.container} " if log.container else "it "
    return found(
        category,
        f"{title(subject)}: {container}{what}: {words_of(cause.line)[:200]} "
        "(judged by its log alone, the object was not collected).",
        blamed=blamed,
        strength=strength,
        about=(subject, *(() if graph.facts.things else scope.focus)),
        evidence=[cause.quote(), told],
        steps=(_log_command(log), describe(subject)),
    )


def _subject(scope: Scope, log: Log) -> Key:
    """The object that has this log: that of the incident if it is called so, else the pod."""
    place = (log.namespace, log.pod)
    return next((key for key in scope.focus if key[1:] == place), ("Pod", *place))


def _log_command(log: Log) -> str:
    container = f" -c {word(log.container)}" if log.container else ""
    run = "--previous" if log.previous else "--tail=50"
    return f"{kubectl('logs', log.namespace)} {word(log.pod)}{container} {run}"


def _backend(cause: Signal) -> tuple[str, int | None, Evidence | None]:
    """Host and port of what could not be used, and the line that names it if it is another."""
    lines = cause.log.lines
    for index in range(cause.index, max(cause.index - _LINES_BEFORE, -1), -1):
        words = words_of(lines[index])
        if index != cause.index and not _CONNECTS.search(words):
            continue
        for host, port in hosts_in(words):
            if port is not None or "." in host or "-" in host:
                told = None if index == cause.index else cause.log.quote(lines[index])
                return host, port, told
    return "", None, None
