"""What becomes of a fault that comes in: words, rules, and what follows from them. Pure.

The rules that need no memory are here; those that ask what is on record are in `store.intake`.
"""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kubecase.core.model import Fault, IncidentId
from kubecase.core.severity import Severity


class Decision(StrEnum):
    """What became of one fault.

    `opened` a new incident; `joined` one that is open; `reopened` one that was done; `member` of a
    storm's incident; `pending` until a second sign; `filtered` by a rule; `suppressed`, since its
    incident has its report and the repetition is only counted; `refused` since the queue is full;
    `resolved` says that its source took it back.
    """

    OPENED = "opened"
    JOINED = "joined"
    REOPENED = "reopened"
    MEMBER = "member"
    PENDING = "pending"
    FILTERED = "filtered"
    SUPPRESSED = "suppressed"
    REFUSED = "refused"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of one fault, and why in words. The incident is None where there is none."""

    decision: Decision
    reason: str
    incident_id: IncidentId | None = None

    @property
    def begins_work(self) -> bool:
        """Whether somebody has to investigate now."""
        return self.decision in {Decision.OPENED, Decision.REOPENED}


FLAPPING = frozenset(
    {"Unhealthy", "FailedScheduling", "FailedMount", "FailedAttachVolume", "ProvisioningFailed"}
)
"""Reasons of which a single one occurs in healthy starts: a probe before the listener is up, a pod
before a preemption or before its claim is bound."""

_RANKS: Mapping[Severity, int] = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A time in which faults that fit are not worked: a maintenance window, or a known trouble.

    Patterns are those of a shell; None fits anything. Without an end it holds until removed.
    """

    reason: str
    cluster: str | None = None
    namespace: str | None = None
    resource: str | None = None
    fault: str | None = None
    begins: datetime | None = None
    ends: datetime | None = None

    def fits(self, fault: Fault, now: datetime) -> bool:
        """Whether it holds for `fault` at `now`."""
        if (self.begins and now < self.begins) or (self.ends and now >= self.ends):
            return False
        return all(
            pattern is None or fnmatch.fnmatchcase(value, pattern)
            for pattern, value in (
                (self.cluster, fault.cluster),
                (self.namespace, fault.resource.namespace or ""),
                (self.resource, str(fault.resource)),
                (self.fault, fault.reason),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which faults of one cluster are worked at all, and how they are brought together.

    Durations are seconds. A flapping reason waits until it was seen twice with `second_sign` at
    least between, within `sign_window`. A fault of an incident that is done is counted onto it
    until `repeat_after` since its end, and opens it again after that. From `storm` new incidents of
    one namespace within `storm_window` on, further ones become members of one; 0 is never. At most
    `max_queued` incidents wait.
    """

    min_severity: Severity = Severity.WARNING
    namespaces: tuple[str, ...] = ()
    excluded_namespaces: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    silences: tuple[Silence, ...] = ()
    triage: bool = True
    second_sign: float = 5.0
    sign_window: float = 600.0
    repeat_after: float = 3600.0
    storm: int = 50
    storm_window: float = 300.0
    max_queued: int = 1000


def filtered(fault: Fault, rules: Rules, now: datetime) -> str | None:
    """Why `fault` is not worked by these rules; None if it is."""
    if not rules.triage:
        return f"triage is off for cluster {fault.cluster}"
    if _RANKS[fault.severity] < _RANKS[rules.min_severity]:
        return f"severity {fault.severity} is below {rules.min_severity}"
    namespace = fault.resource.namespace or ""
    if namespace and rules.namespaces and not _any(namespace, rules.namespaces):
        return f"namespace {namespace} is not among those that are watched"
    if namespace and _any(namespace, rules.excluded_namespaces):
        return f"namespace {namespace} is excluded"
    for label, wanted in rules.labels.items():
        if not fnmatch.fnmatchcase(fault.labels.get(label, ""), wanted):
            return f"label {label} does not fit {wanted}"
    for silence in rules.silences:
        if silence.fits(fault, now):
            return f"silenced: {silence.reason}"
    return None


def waits(fault: Fault) -> bool:
    """Whether one sign of `fault` is not enough."""
    return fault.reason in FLAPPING and fault.occurrences < 2


def priority(severity: Severity) -> int:
    """How urgent work is; higher comes first."""
    return _RANKS[severity]


def _any(value: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)
