"""Metrics of the service: what came in, what waits, and how its sources stand.

What each event carries, by its name; fields that are not listed are for logs only.

- `fault_received`: cluster, severity, source
- `fault_decided`: cluster, decision (of `core.intake.Decision`), reason (words)
- `incident_queued`, `incident_expired`: nothing
- `queue_depth`: cluster, depth
- `source_state`: cluster, source, state (of docs/formats.md section 8, or `removed`)
- `source_reconnecting`: cluster, source, reason (a word)

Faults cannot invent a series: clusters are the configured ones, severities and reasons of a filter
are closed lists, and of sources and of reasons to reconnect only the first so many are told apart.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kubecase import __version__
from kubecase.core.severity import Severity

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

OTHER = "other"
MAX_SOURCES = 200
MAX_REASONS = 30

NAMES = MappingProxyType({
    "received": "kubecase_faults_received_total",
    "filtered": "kubecase_faults_filtered_total",
    "queued": "kubecase_incidents_queued_total",
    "expired": "kubecase_incidents_expired_total",
    "depth": "kubecase_queue_depth",
    "connected": "kubecase_source_connected",
    "reconnections": "kubecase_source_reconnections_total",
    "build": "kubecase_build_info",
})  # fmt: skip

CONNECTED = frozenset({"connected", "subscribing", "active"})

FILTERS = ("triage_off", "severity", "namespace", "label", "silenced", "repetition", "queue_full")
"""Why a fault is not worked: the values of `reason`, and `other`."""

_BY_DECISION = {"suppressed": "repetition", "refused": "queue_full"}
_BEGINNINGS = (
    ("triage is off", "triage_off"), ("severity", "severity"), ("namespace", "namespace"),
    ("label", "label"), ("silenced", "silenced"),
)  # fmt: skip
_WORD = re.compile(r"[a-z0-9][a-z0-9_.:/ -]{0,62}", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


class IntakeMetrics:
    """Counts what the service tells of. `cluster` gives the label of a cluster's name."""

    def __init__(self, registry: "CollectorRegistry", cluster: Callable[[object], str]) -> None:
        from prometheus_client import Counter, Gauge

        def counter(name: str, about: str, *labels: str) -> Any:
            return Counter(NAMES[name], about, labels, registry=registry)

        def gauge(name: str, about: str, *labels: str) -> Any:
            return Gauge(NAMES[name], about, labels, registry=registry)

        self._cluster = cluster
        self._sources: set[str] = set()
        self._reasons: set[str] = set()
        self._received = counter(
            "received", "Faults that came in.", "cluster", "severity", "source"
        )
        self._filtered = counter(
            "filtered", "Faults that are not worked, by why.", "cluster", "reason"
        )
        self._queued = counter("queued", "Incidents that were handed to the queue.")
        self._expired = counter("expired", "Incidents that waited too long.")
        self._depth = gauge("depth", "Incidents that wait.", "cluster")
        self._connected = gauge(
            "connected", "Whether a source is connected: 1 it is.", "cluster", "source"
        )
        self._reconnections = counter(
            "reconnections", "How often a source began anew.", "cluster", "source", "reason"
        )
        build = gauge("build", "Which kubecase this is; always 1.", "version", "commit")
        build.labels(__version__, commit()).set(1)

    def begin(self, clusters: frozenset[str]) -> None:
        """Let the series of `clusters` start at zero."""
        for cluster in clusters:
            self._depth.labels(cluster).set(0)
            for reason in (*FILTERS, OTHER):
                self._filtered.labels(cluster, reason)

    def record(self, event: str, fields: dict[str, object]) -> None:
        """Count `event`; events that no metric is made of change nothing."""
        cluster = self._cluster(fields.get("cluster"))
        match event:
            case "fault_received":
                severity = str(fields.get("severity"))
                severity = severity if severity in set(Severity) else OTHER
                self._received.labels(cluster, severity, self._source(fields)).inc()
            case "fault_decided":
                self._decided(cluster, fields)
            case "incident_queued":
                self._queued.inc()
            case "incident_expired":
                self._expired.inc()
            case "queue_depth":
                depth = fields.get("depth")
                self._depth.labels(cluster).set(depth if isinstance(depth, int | float) else 0)
            case "source_state":
                self._source_is(str(fields.get("state")), cluster, self._source(fields))
            case "source_reconnecting":
                reason = _known(fields.get("reason"), self._reasons, MAX_REASONS)
                self._reconnections.labels(cluster, self._source(fields), reason).inc()

    def _decided(self, cluster: str, fields: dict[str, object]) -> None:
        decision = str(fields.get("decision"))
        if decision == "filtered":
            self._filtered.labels(cluster, filter_of(str(fields.get("reason")))).inc()
        elif decision in _BY_DECISION:
            self._filtered.labels(cluster, _BY_DECISION[decision]).inc()

    def _source_is(self, state: str, cluster: str, source: str) -> None:
        if state != "removed":
            self._connected.labels(cluster, source).set(state in CONNECTED)
        elif source != OTHER:
            # What nobody wants any more is not missed.
            with suppress(KeyError):
                self._connected.remove(cluster, source)

    def _source(self, fields: dict[str, object]) -> str:
        return _known(fields.get("source"), self._sources, MAX_SOURCES)


def filter_of(words: str) -> str:
    """Which rule of `core.intake.filtered` said `words`, as a label."""
    return next((label for begin, label in _BEGINNINGS if words.startswith(begin)), OTHER)


def commit() -> str:
    """The commit that this program was built from, where whoever built it has put that down."""
    try:
        text = files("kubecase").joinpath("commit.txt").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return "unknown"
    return text if _COMMIT.fullmatch(text) else "unknown"


def _known(word: object, known: set[str], most: int) -> str:
    """`word` as a label, if it is one and not one too many."""
    text = str(word)
    if text in known:
        return text
    if not _WORD.fullmatch(text) or len(known) >= most:
        return OTHER
    known.add(text)
    return text
