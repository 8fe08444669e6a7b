"""What sinks tell people, and the plain form in which the service's own messages are put on record.

A notice about an incident is not stored: it is made from the record when it is sent. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubecase.core.model import Incident, Investigation
from kubecase.core.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An investigation that ended, and what is known.

    `report` is the best conclusion there is: the agent's, else the built-in investigator's; `by`
    says whose. All words are redacted already, and still untrusted.
    """

    incident: Incident
    investigation: Investigation
    report: Report | None
    report_url: str | None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded:
    """An agent is not asked for a while: it failed `failures` times in a row in `window` seconds.

    `reasons` are the last three, newest first.
    """

    agent: str
    failures: int
    window: float
    reasons: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The agent answers again after `downtime` seconds and `failures` failures in total."""

    agent: str
    downtime: float
    failures: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A message that only shows that the way to people works."""

    at: datetime


Message = Notice | Degraded | Recovered | Trial
ServiceMessage = Degraded | Recovered | Trial

ENDED, DEGRADED, RECOVERED, TRIAL = "ended", "degraded", "recovered", "trial"


def kind_of(message: Message) -> str:
    """The word for the kind of `message`: `ended`, `degraded`, `recovered` or `trial`."""
    match message:
        case Notice():
            return ENDED
        case Degraded():
            return DEGRADED
        case Recovered():
            return RECOVERED
        case Trial():
            return TRIAL


def as_payload(message: ServiceMessage) -> dict[str, Any]:
    """`message` as plain JSON."""
    told: dict[str, Any] = {"kind": kind_of(message), "at": message.at.isoformat()}
    match message:
        case Degraded():
            told |= {
                "agent": message.agent,
                "failures": message.failures,
                "window": message.window,
                "reasons": list(message.reasons),
            }
        case Recovered():
            told |= {
                "agent": message.agent,
                "downtime": message.downtime,
                "failures": message.failures,
            }
        case Trial():
            pass
    return told


def from_payload(payload: Mapping[str, Any]) -> ServiceMessage:
    """The message in `payload`. Raises ValueError or KeyError for one that is none of ours."""
    at = datetime.fromisoformat(payload["at"])
    match payload["kind"]:
        case "degraded":
            return Degraded(
                agent=str(payload["agent"]),
                failures=int(payload["failures"]),
                window=float(payload["window"]),
                reasons=tuple(str(each) for each in payload["reasons"][:3]),
                at=at,
            )
        case "recovered":
            return Recovered(
                agent=str(payload["agent"]),
                downtime=float(payload["downtime"]),
                failures=int(payload["failures"]),
                at=at,
            )
        case "trial":
            return Trial(at=at)
    raise ValueError(f"no message is of the kind {payload['kind']!r}")
