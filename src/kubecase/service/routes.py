"""What follows from the end of an attempt: whether another one does, and who is told. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kubecase.core.lifecycle import is_final
from kubecase.core.messages import ENDED
from kubecase.core.model import Ended, Incident, Investigation, Status
from kubecase.core.severity import Severity
from kubecase.store import Addressed

StaysOpen = Callable[[Ended], bool]
"""Whether an incident stays open after an attempt that ended so, since another one follows."""


def closed(ended: Ended) -> bool:
    """No: nothing follows."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which messages go to the sink `sink`.

    `on` has words of ends (`success`, `failed`, `timeout`, `cancelled`), `degraded`, `recovered`.
    `clusters` empty means all of them; what is about the service itself belongs to no cluster.
    """

    sink: str
    on: frozenset[str]
    min_severity: Severity = Severity.INFO
    clusters: frozenset[str] = frozenset()

    def wants(self, incident: Incident, status: Status) -> bool:
        """Whether the end of an investigation of `incident` is told there."""
        fault = incident.fault
        return (
            status.value in self.on
            and fault.severity.rank >= self.min_severity.rank
            and (not self.clusters or fault.cluster in self.clusters)
        )


def addressed(
    routes: Sequence[Route], incident: Incident, investigation: Investigation
) -> tuple[Addressed, ...]:
    """The messages that an end of `investigation` makes true; none while it has not ended."""
    if not is_final(investigation.status):
        return ()
    subject = (incident.id, investigation.attempt)
    return tuple(
        Addressed(sink=route.sink, kind=ENDED, subject=subject, payload={})
        for route in routes
        if route.wants(incident, investigation.status)
    )
