"""Metrics of investigations, and how the observers of a process are told together.

What each event carries, by its name. All moments are the observer's own; fields that are not listed
are for logs only.

- `workspace_created`: incident_id, cluster, workspace
- `agent_started`: incident_id, cluster, command, cwd, pid
- `state_changed`: incident_id, cluster, attempt, agent, from, to (words of `Status`)
- `agent_completed`: incident_id, cluster, status, reason, duration (seconds)
- `workspace_size`: cluster, bytes
- `breaker`: agent (the name of an adapter), position (one of `BREAKER_POSITIONS`)
- `error`: error_type (one of `ERROR_TYPES`; any other word counts as `other`), error
- those of the service: see `intake_metrics`

An attempt counts as active from the moment it is `starting` until it has any final status. An
`agent_completed` ends whatever of its incident is still counted, so that no way of ending leaves
the gauge above the truth.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from kubecase.app import intake_metrics
from kubecase.core.errors import KubecaseError
from kubecase.core.lifecycle import is_final
from kubecase.core.model import Reason, Status
from kubecase.core.ports import Observer

if TYPE_CHECKING:
    from kubecase.app.metrics_server import MetricsServer

OTHER = "other"
"""The label of clusters that are not configured, and of errors of no known type."""

STAGES = (
    "workspace", "skills", "preflight", "context", "start", "run", "collect", "conclude", "cleanup",
)  # fmt: skip
ERROR_TYPES = frozenset({*STAGES, *(str(reason) for reason in Reason), "store", "notify", OTHER})
"""Where something failed, or why an investigation did: the only values of `error_type`."""

DURATION_BUCKETS = (1, 5, 15, 30, 60, 120, 180, 300, 450, 600, 900, 1800, 3600)
"""Upper bounds in seconds; the default limit of ten minutes is one of them."""

NAMES = MappingProxyType({
    "invocations": "agent_runtime_invocations_total",
    "duration": "agent_runtime_duration_seconds",
    "active": "agent_runtime_active_agents",
    "size": "agent_runtime_workspace_size_bytes",
    "errors": "agent_runtime_errors_total",
    "breaker": "kubecase_circuit_breaker_state",
    **intake_metrics.NAMES,
})  # fmt: skip

BREAKER_POSITIONS = ("closed", "half_open", "open")

FINAL = tuple(status for status in Status if is_final(status))


class RuntimeMetrics:
    """An observer that counts; a registry of its own, labels bounded.

    `clusters` are the configured names; faults of any other cluster are counted as `other`. The
    names of the metrics are those of docs/formats.md section 6.
    """

    def __init__(self, *, clusters: Iterable[str] = ()) -> None:
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            disable_created_metrics,
        )

        # Moments of creation as series of their own are in no document and on no dashboard.
        disable_created_metrics()  # type: ignore[no-untyped-call]

        self.registry = CollectorRegistry()
        self._clusters = frozenset(clusters)
        self._active: set[tuple[str, str, str]] = set()
        self._invocations = Counter(
            NAMES["invocations"], "Ended investigations.", ["cluster", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._duration = Histogram(
            NAMES["duration"], "How long investigations took.", ["cluster", "status"],
            buckets=DURATION_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._gauge = Gauge(
            NAMES["active"], "Investigations that are being run.", ["cluster"],
            registry=self.registry,
        )  # fmt: skip
        self._size = Gauge(
            NAMES["size"], "Size of the workspace that was measured last.", ["cluster"],
            registry=self.registry,
        )  # fmt: skip
        self._errors = Counter(
            NAMES["errors"], "What went wrong, by where or why.", ["cluster", "error_type"],
            registry=self.registry,
        )  # fmt: skip
        self._breaker = Gauge(
            NAMES["breaker"], "Whether an agent is asked: 0 closed, 1 half open, 2 open.",
            ["agent"], registry=self.registry,
        )  # fmt: skip
        self._intake = intake_metrics.IntakeMetrics(self.registry, self._cluster)
        self._begin()

    def _begin(self) -> None:
        """Let every series start at zero: the first failure must be an increase already."""
        self._intake.begin(frozenset({*self._clusters, OTHER}))
        for cluster in {*self._clusters, OTHER}:
            self._gauge.labels(cluster).set(0)
            for status in FINAL:
                self._invocations.labels(cluster, status)
            for error_type in ERROR_TYPES:
                self._errors.labels(cluster, error_type)

    def record(self, event: str, /, **fields: object) -> None:
        """Count `event`; events that no metric is made of change nothing.

        Raises ValueError for a status that does not exist.
        """
        cluster = self._cluster(fields.get("cluster"))
        match event:
            case "state_changed":
                self._changed(cluster, fields)
            case "agent_completed":
                self._completed(cluster, fields)
            case "workspace_size":
                self._size.labels(cluster).set(_number(fields.get("bytes")))
            case "breaker":
                position = BREAKER_POSITIONS.index(str(fields["position"]))
                self._breaker.labels(str(fields["agent"])).set(position)
            case "error":
                word = str(fields.get("error_type", OTHER))
                self._errors.labels(cluster, word if word in ERROR_TYPES else OTHER).inc()
            case _:
                self._intake.record(event, fields)

    def _cluster(self, name: object) -> str:
        return name if isinstance(name, str) and name in self._clusters else OTHER

    def _changed(self, cluster: str, fields: dict[str, object]) -> None:
        attempt = (cluster, str(fields.get("incident_id")), str(fields.get("attempt")))
        status = Status(str(fields["to"]))
        if is_final(status):
            self._active.discard(attempt)
        elif status is not Status.CREATED:
            self._active.add(attempt)
        self._count_active(cluster)

    def _completed(self, cluster: str, fields: dict[str, object]) -> None:
        status = Status(str(fields["status"]))
        self._invocations.labels(cluster, status).inc()
        self._duration.labels(cluster, status).observe(max(0.0, _number(fields.get("duration"))))
        incident, attempt = str(fields.get("incident_id")), fields.get("attempt")
        self._active = {
            each
            for each in self._active
            if each[:2] != (cluster, incident) or attempt not in (None, each[2])
        }
        self._count_active(cluster)

    def _count_active(self, cluster: str) -> None:
        self._gauge.labels(cluster).set(sum(1 for each in self._active if each[0] == cluster))

    def text(self) -> str:
        """Everything as Prometheus reads it."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry).decode("utf-8")

    def write(self, path: Path) -> None:
        """Replace the file at `path`, in one step, by what is counted now; raises KubecaseError."""
        from prometheus_client import write_to_textfile

        try:
            write_to_textfile(str(path), self.registry)
        except OSError as error:
            raise KubecaseError(
                f"cannot write the metrics to {str(path)!a}: {error.strerror}",
                hint="Let this user write there, or set agent_runtime.metrics_enabled "
                "(AGENT_RUNTIME_METRICS) to false.",
            ) from error

    def serve(self, host: str, port: int) -> "MetricsServer":
        """Serve the metrics at `http://host:port/metrics` until the server is closed.

        Port 0 takes any that is free. Raises KubecaseError unless `host` is a loopback address, and
        when the address cannot be had.
        """
        from kubecase.app.metrics_server import MetricsServer

        return MetricsServer(self.registry, host, port)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


class ObserverGroup:
    """Several observers as one. One that fails is reported and never keeps the others from it."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def record(self, event: str, /, **fields: object) -> None:
        """Tell every observer of `event`."""
        for observer in self._observers:
            try:
                observer.record(event, **fields)
            # What an observer's own mistake or its device can raise; an interrupt is neither.
            except _MISTAKES:
                logging.getLogger(__name__).warning(
                    "an observer failed on %s", event, exc_info=True
                )


_MISTAKES = (
    KubecaseError, OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError,
    ArithmeticError, AssertionError, NameError,
)  # fmt: skip
