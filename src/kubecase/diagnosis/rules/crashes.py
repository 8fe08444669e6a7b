"""Containers that end: from how they ended and from the line that says why."""

from collections.abc import Iterator, Mapping

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import title
from kubecase.diagnosis.finding import Finding, found, get, near_pods, previous_log
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.logs import Signal, words_of
from kubecase.diagnosis.pods import Container, Ending
from kubecase.diagnosis.values import text

_SIGNALS: Mapping[int, str] = {132: "SIGILL", 134: "SIGABRT", 135: "SIGBUS", 139: "SIGSEGV"}
_OTHER_RULES = frozenset(
    {
        "refused",
        "timeout",
        "no_such_host",
        "dns_temporary",
        "auth",
        "saturated",
        "rbac",
        "mesh",
        "cert_expired",
        "cert_untrusted",
        "cert_name",
        "no_space",
        "etcd",
        "corefile",
        "exec_format",
        "process_limits",
        "missing_env",
        "invalid_value",
        "bad_command",
        "readonly_fs",
        "denied",
        "not_permitted",
        "unresponsive",
    }
)
"""Kinds of log lines that other rules explain."""


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for containers that end by themselves."""
    for container in graph.containers:
        if not container.is_failing or is_killed_by_kubelet(container):
            continue
        for judge in (_heap, _port, _native, _clean_exit, _crash):
            finding = judge(graph, container)
            if finding is not None:
                yield finding
                break


def is_killed_by_kubelet(container: Container) -> bool:
    """Whether a probe, a hook, an eviction or the memory limit ended it."""
    if container.pod.reason in {"Evicted", "Preempting", "NodeShutdown", "Terminated"}:
        return True
    ended = container.ending
    if ended is not None and ended.reason in {"OOMKilled", "StartError", "ContainerCannotRun"}:
        return True
    if ended is None or ended.code not in {137, 143}:
        return False
    return any(
        "failed liveness probe" in e.message
        or "failed startup probe" in e.message
        or "PostStartHook" in e.message
        for e in container.events("Killing", "FailedPostStartHook")
    )


def _make(
    graph: Graph,
    container: Container,
    category: str,
    what: str,
    strength: float,
    *proof: Evidence | None,
) -> Finding:
    root = graph.root_of(container.pod)
    return found(
        category,
        f"{title(root)}: container {container.name} {what}{_change(graph, container)}.",
        blamed=root,
        strength=strength,
        about=near_pods(graph, container.pod),
        evidence=[*proof, _exit_quote(container), container.state_quote()],
        steps=(previous_log(container.pod, container.name), get(root)),
    )


def _exit_quote(container: Container) -> Evidence | None:
    ended = container.ending
    if ended is None or ended.code is None:
        return None
    return container.pod.thing.states(f"{ended.path}.exitCode", ended.code)


def _change(graph: Graph, container: Container) -> str:
    before = graph.container_before(container)
    if before is None or text(before[0], "image") in {"", container.image}:
        return ""
    return f"; it began with image {container.image} (before: {text(before[0], 'image')})"


def _heap(graph: Graph, container: Container) -> Finding | None:
    signals = container.signals("heap")
    if not signals:
        return None
    limit = container.limit("memory")
    inside = f" inside its container limit of {limit}" if limit else ""
    said = words_of(signals[-1].line)[:160]
    return _make(
        graph,
        container,
        "app.heap_exhausted",
        f"exhausts its managed heap{inside}: {said}",
        0.93,
        signals[-1].quote(),
    )


def _port(graph: Graph, container: Container) -> Finding | None:
    signals = container.signals("port_in_use")
    if not signals:
        return None
    said = words_of(signals[-1].line)[:160]
    others = [c.name for c in container.pod.containers if c.name != container.name and not c.init]
    shared = f" (the pod also runs {', '.join(others[:3])})" if others else ""
    return _make(
        graph,
        container,
        "app.port_conflict",
        f"cannot listen, its port is already in use inside the pod{shared}: {said}",
        0.93,
        signals[-1].quote(),
    )


def _native(graph: Graph, container: Container) -> Finding | None:
    ended, signals = container.ending, container.signals("native")
    code = ended.code if ended else None
    if code not in _SIGNALS and not signals:
        return None
    cause = container.cause
    if cause is not None and cause.kind not in {"native", "error"} and code != 139:
        return None
    name = _SIGNALS.get(code or 0, "a signal")
    said = f": {words_of(signals[-1].line)[:160]}" if signals else ""
    return _make(
        graph,
        container,
        "app.native_crash",
        f"dies in native code of {name} (exit code {code}){said}",
        0.9 if code in _SIGNALS else 0.7,
        signals[-1].quote() if signals else None,
    )


def _clean_exit(graph: Graph, container: Container) -> Finding | None:
    ended = container.ending
    if ended is None or ended.code != 0 or container.init:
        return None
    if container.pod.restart_policy != "Always" or container.pod.is_sound:
        return None
    last = next((log.last_line for log in container.logs if log.last_line), None)
    quote = next((log.quote(last) for log in container.logs if last and last in log.lines), None)
    return _make(
        graph,
        container,
        "app.clean_exit",
        "ends by itself with exit code 0 (Completed) and is restarted again and again: "
        "a one-shot program "
        "is run as a service",
        0.9,
        quote,
    )


def _crash(graph: Graph, container: Container) -> Finding | None:
    ended, cause = container.ending, container.cause
    if ended is None or ended.code == 0:
        return None
    if ended.reason == "ContainerStatusUnknown":
        return None
    if cause is None or cause.weight < 1.5:
        return _unexplained(graph, container, ended)
    other = cause.kind in _OTHER_RULES
    strength = 0.35 if other else 0.86 if cause.kind == "crash" else 0.74
    return _make(
        graph,
        container,
        "app.crash",
        f"exits with code {ended.code} after an unhandled error: {_said(cause)}",
        strength,
        *_trace(cause),
    )


def _unexplained(graph: Graph, container: Container, ended: Ending) -> Finding | None:
    last = next((log.last_line for log in container.logs if log.last_line), None)
    if last is None or ended.code in {126, 127, 128, 137, 143, 255}:
        return None
    quote = next((log.quote(last) for log in container.logs if last in log.lines), None)
    return _make(
        graph,
        container,
        "app.crash",
        f"exits with code {ended.code}; its last words are: {words_of(last)[:160]}",
        0.42,
        quote,
    )


def _said(cause: Signal) -> str:
    frame = _frame(cause)
    where = f" ({frame})" if frame else ""
    return f"{words_of(cause.line)[:220]}{where}"


def _frame(cause: Signal) -> str:
    """The place in the program's own code that a stack trace names nearest to its cause."""
    return next((line[:160] for line in _frames(cause)), "")


def _frames(cause: Signal) -> Iterator[str]:
    lines = cause.log.lines
    for index in range(cause.index - 1, max(cause.index - 12, -1), -1):
        line = lines[index]
        if line.startswith('File "') and "site-packages" not in line:
            yield line
            return
    for line in lines[cause.index + 1 : cause.index + 14]:
        if line.startswith("at ") or (".go:" in line and "/usr/local/go" not in line):
            yield line
            return


def _trace(cause: Signal) -> Iterator[Evidence]:
    yield cause.quote()
    for line in _frames(cause):
        yield cause.log.quote(line)
