"""What is known of the service while it runs: its sources, its agents, its record."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubecase.app import wiring
from kubecase.app.settings import Settings
from kubecase.app.web.backend import ClusterState, ClusterStatus

_WORST_FIRST = (
    ClusterStatus.FAILED,
    ClusterStatus.DEGRADED,
    ClusterStatus.DISCONNECTED,
    ClusterStatus.CONNECTING,
    ClusterStatus.SUBSCRIBING,
    ClusterStatus.CONNECTED,
    ClusterStatus.ACTIVE,
)


@dataclass(kw_only=True)
class Source:
    """The last that one source has said of itself."""

    status: ClusterStatus = ClusterStatus.CONNECTING
    event_count: int = 0
    last_event: datetime | None = None
    error: str | None = None
    retry_in: float | None = None


@dataclass(kw_only=True)
class States:
    """An observer that remembers the last state of each source and agent."""

    sources: dict[tuple[str, str], Source] = field(default_factory=dict)
    breakers: dict[str, str] = field(default_factory=dict)
    permissions: dict[str, Any] = field(default_factory=dict)
    store_error: str | None = None

    def record(self, event: str, /, **fields: object) -> None:
        """Remember what `event` says, if it is about a state."""
        match event:
            case "source_state":
                self._source(fields)
            case "breaker":
                self.breakers[str(fields.get("agent"))] = str(fields.get("position"))
            case "store_checked":
                error = fields.get("error")
                self.store_error = None if error is None else str(error)

    def _source(self, fields: dict[str, object]) -> None:
        key = (str(fields.get("cluster")), str(fields.get("source")))
        if fields.get("state") == "removed":
            self.sources.pop(key, None)
            return
        known = self.sources.setdefault(key, Source())
        known.status = ClusterStatus(str(fields.get("state")))
        error, retry_in = fields.get("error"), fields.get("retry_in")
        known.error = None if error is None else str(error)[:500]
        known.retry_in = float(retry_in) if isinstance(retry_in, int | float) else None
        count = fields.get("event_count")
        if isinstance(count, int) and count > known.event_count:
            known.event_count, known.last_event = count, wiring.now()

    def clusters(self, settings: Settings) -> tuple[ClusterState, ...]:
        """Every configured cluster, each as well as its worst source."""
        found = []
        for name, options in settings.clusters.items():
            sources = [each for (cluster, _), each in self.sources.items() if cluster == name]
            worst = min(sources, key=lambda each: _WORST_FIRST.index(each.status), default=None)
            moments = [each.last_event for each in sources if each.last_event is not None]
            labels = {"environment": options.environment} if options.environment else {}
            found.append(
                ClusterState(
                    name=name,
                    status=ClusterStatus.DISCONNECTED if worst is None else worst.status,
                    event_count=sum(each.event_count for each in sources),
                    triage_enabled=options.triage,
                    last_event=max(moments, default=None),
                    error=None if worst is None else worst.error,
                    permissions=self.permissions.get(name),
                    labels=labels,
                    retry_in=None if worst is None else worst.retry_in,
                )
            )
        return tuple(found)

    def not_ready(self, settings: Settings) -> str | None:
        """Why faults cannot be worked now; None if they can."""
        if self.store_error is not None:
            return f"the record cannot be used: {self.store_error}"
        wanted = [name for name, each in settings.clusters.items() if each.watch]
        good = {
            cluster
            for (cluster, _), each in self.sources.items()
            if each.status is ClusterStatus.ACTIVE
        }
        if wanted and not good & set(wanted):
            return "no source is connected"
        passed_over = sorted(name for name, word in self.breakers.items() if word == "open")
        if passed_over:
            return f"not asked since it kept failing: {', '.join(passed_over)}"
        return None
