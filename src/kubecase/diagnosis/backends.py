"""Which backend a log line speaks of: the Service, what is behind it, or a host outside."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kubecase.diagnosis.facts import Key, Thing
from kubecase.diagnosis.graph import Graph, service_name
from kubecase.diagnosis.logs import Signal, words_of
from kubecase.diagnosis.pods import Container, Pod
from kubecase.diagnosis.values import dig, maps, number

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9][A-Za-z0-9_-]{0,62}){0,8})"
_SCHEMES = (
    r"https?|tcp|amqps?|postgres(?:ql)?|mysql|rediss?|mongodb(?:\+srv)?|nats|kafka|grpc|"
    r"jdbc:\w{2,12}|ldaps?|s3|ws"
)
_FIELDS = r"host|hostname|server|address|addr|broker|endpoint|upstream|backend"
_BEFORE = (
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|UnknownHostException:?|"
    r"Could not resolve(?: host)?:?|Connection to|not known:?|resolve host|bad address|upstream|"
    r"dial tcp|connect(?:ing)? to|connection to|connect:|to"
)
_AFTER = r"Name or service not known|no such host|Temporary failure"
_PATTERNS = (
    rf"lookup ({_NAME})",
    rf"(?:{_SCHEMES})://(?:[^@/\s]{{1,100}}@)?({_NAME})(?::(\d{{1,5}}))?",
    rf"(?:{_FIELDS})[ =:\"']{{1,3}}({_NAME})(?::(\d{{1,5}}))?",
    rf"translate host name \"({_NAME})\"",
    rf"(?:{_BEFORE}) ['\"]?({_NAME})(?:[:/](\d{{1,5}}))?",
    rf"({_NAME}):(\d{{2,5}})\b",
    rf"\b({_NAME}\.svc(?:\.[\w.]{{1,60}})?)",
    rf"({_NAME}):? (?:{_AFTER})",
)
_HOSTS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in _PATTERNS)
_NO_HOSTS = frozenset(
    {
        "tcp",
        "udp",
        "the",
        "a",
        "an",
        "at",
        "on",
        "server",
        "database",
        "db",
        "host",
        "read",
        "write",
        "connect",
        "be",
        "get",
        "post",
        "error",
        "failed",
        "timeout",
        "localhost",
        "127.0.0.1",
        "read-only",
        "upstream",
        "exit",
        "start",
    }
)
_ADDRESS_VARIABLE = re.compile(
    r"HOST|URL|URI|ADDR|ENDPOINT|SERVER|BROKER|DSN|UPSTREAM", re.IGNORECASE
)
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")


_LATEST = 40


@dataclass(frozen=True)
class Backend:
    """What a program could not reach: host and port as written, the Service if there is one."""

    host: str
    port: int | None
    service: Thing | None

    @property
    def words(self) -> str:
        """For a sentence: `orders-db:5432`."""
        return f"{self.host}:{self.port}" if self.port else self.host or "a backend"


def hosts_in(line: str) -> Iterator[tuple[str, int | None]]:
    """The hosts that a line names, the most telling first."""
    for pattern in _HOSTS:
        for matched in pattern.finditer(line):
            host = matched.group(1).rstrip(".").lower()
            port = matched.group(2) if pattern.groups > 1 and matched.group(2) else None
            if (
                host in _NO_HOSTS
                or host.isdigit()
                or re.fullmatch(r"[\w-]+\.(?:go|py|js|java|rb|ts|c|rs|php)", host)
            ):
                continue
            if re.fullmatch(r"\d{4}-\d\d-\d\dt?\d*|\d{1,2}", host):
                continue
            yield host, int(port) if port and int(port) < 65536 else None


def backend_of(graph: Graph, container: Container, signal: Signal) -> Backend:
    """The backend that a log line speaks of, or else the one that the settings of the pod name."""
    namespace = container.pod.thing.namespace
    outside: Backend | None = None
    for host, port in hosts_in(signal.line):
        service = graph.service_at(host, namespace)
        if service is not None:
            return Backend(host, port, service)
        if (
            outside is None
            and not _ADDRESS.fullmatch(host)
            and _looks_like_host(graph, host, port, namespace)
        ):
            outside = Backend(host, port, None)
    if outside is not None:
        return outside
    return _from_settings(graph, container, signal)


def _looks_like_host(graph: Graph, host: str, port: int | None, namespace: str) -> bool:
    if port is not None or "." in host:
        return True
    return (
        bool(workloads_called(graph, host, namespace))
        or "-" in host
        or graph.near("Service", namespace, host) is not None
    )


def _from_settings(graph: Graph, container: Container, signal: Signal) -> Backend:
    """Only an address, or nothing, is in the line: the port, then the named Services decide."""
    named = graph.services_named_by(container.pod)
    address, port = next(((h, p) for h, p in hosts_in(signal.line)), ("", None))
    for service in named:
        if port is not None and port in _ports(service):
            return Backend(service.name, port, service)
    for service in named:
        if service.name.lower() in signal.line.lower():
            return Backend(service.name, port, service)
    unwell = [service for service in named if not is_served(graph, service)]
    if len(named) == 1 or len(unwell) == 1:
        service = (unwell or list(named))[0]
        return Backend(service.name, port, service)
    set_ = [
        (host, at)
        for name, value in container.env.items()
        if _ADDRESS_VARIABLE.search(name)
        for host, at in [*hosts_in(f"host={value}")][:1]
    ]
    for host, at in set_:
        if (at is not None and at == port) or len(set_) == 1:
            return Backend(host, at or port, graph.service_at(host, container.pod.thing.namespace))
    return Backend(address, port, None)


def _ports(service: Thing) -> set[int | None]:
    ports = maps(service.raw, "spec", "ports")
    return {number(p, "port") for p in ports} | {number(p, "targetPort") for p in ports}


def is_served(graph: Graph, service: Thing) -> bool:
    """Whether a ready pod is behind a Service; one without a selector counts as served."""
    if not maps(service.raw, "spec", "ports") or not dig(service.raw, "spec", "selector"):
        return True
    return any(pod.is_ready for pod in graph.selected(service))


def workloads_called(graph: Graph, host: str, namespace: str) -> list[Thing]:
    """The controllers that have the name a Service of this host would have."""
    place = service_name(host, namespace)
    if place is None:
        return []
    return [
        w
        for w in graph.workloads
        if (w.name, w.namespace) == place and w.kind not in {"Job", "CronJob"}
    ]


def callers(graph: Graph, *kinds: str) -> Iterator[tuple[Container, Signal, Backend]]:
    """Every container that cannot reach something, with the line that says so and the backend."""
    for container in graph.containers:
        if container.pod.is_done:
            continue
        seen: set[tuple[str, str]] = set()
        # Programs in trouble repeat themselves: of the same words the latest line is enough.
        latest = {words_of(s.line): s for s in container.signals(*kinds)[-_LATEST:]}
        for signal in sorted(latest.values(), key=lambda s: (s.log.previous, -s.index)):
            backend = backend_of(graph, container, signal)
            if (signal.kind, backend.host) not in seen and len(seen) < 6:
                seen.add((signal.kind, backend.host))
                yield container, signal, backend


def key_of(graph: Graph, backend: Backend, pod: Pod) -> Key:
    """What to call a backend as a culprit: its controller, its Service, or the host outside."""
    if backend.service is not None:
        pods = graph.selected(backend.service)
        roots = [w.key for w in graph.selected_workloads(backend.service)] + [
            graph.root_of(p) for p in pods
        ]
        return roots[0] if roots else backend.service.key
    if "." in backend.host and not backend.host.endswith((".local", ".svc")):
        return ("External", "", backend.host)
    return graph.root_of(pod) if not backend.host else ("External", "", backend.host)
