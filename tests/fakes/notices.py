"""Messages to send, and a sink that remembers them."""

from dataclasses import dataclass, field
from typing import Any

from fakes.incidents import FINDINGS, after, an_incident
from kubecase.core.messages import Message, Notice
from kubecase.core.model import Investigation, Reason, Status


def an_investigation(status: Status = Status.SUCCESS, **changes: Any) -> Investigation:
    """An attempt that took 95 seconds."""
    values: dict[str, Any] = {
        "incident_id": an_incident().id,
        "attempt": 1,
        "agent": "claude",
        "status": status,
        "created_at": after(10),
        "started_at": after(12),
        "ended_at": after(107),
        "reason": Reason.EXIT_CODE if status is Status.FAILED else None,
        "error": None if status is Status.SUCCESS else "agent exited with non-zero code: 3",
    }
    return Investigation(**{**values, **changes})


def a_notice(status: Status = Status.SUCCESS, word: str = "critical", **changes: Any) -> Notice:
    """The end of an investigation, with findings."""
    values: dict[str, Any] = {
        "incident": an_incident(word),
        "investigation": an_investigation(status),
        "report": FINDINGS,
        "by": "claude",
        "report_url": "https://kubecase.example.com/incidents/0b8e4f5e",
    }
    return Notice(**{**values, **changes})


@dataclass
class MemorySink:
    """Remembers what it is given; first raises what it is told to."""

    name: str = "memory"
    troubles: list[Exception] = field(default_factory=list)
    sent: list[tuple[str, Message]] = field(default_factory=list)

    async def send(self, message: Message, *, reference: str) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        self.sent.append((reference, message))
