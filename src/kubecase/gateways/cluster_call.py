"""One request to the cluster gateway, and what is counted over all of a run."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kubecase.core.redact import Redactor
from kubecase.gateways.audit import read_lines
from kubecase.gateways.policy import Allowed, Bounds, Denied

KIND = "cluster"
"""What the lines of this gateway are called in the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLimits:
    """How much one run may ask for. Sizes in bytes, times in seconds.

    `requests` and `total_bytes` are those of the whole run; of `at_once` requests `streams` may be
    watches and followed logs; a log is followed for `follow_seconds`. Of denials the first
    `denials` are put on record, and of requests without a credential the first `strangers`.
    """

    bounds: Bounds = field(default_factory=Bounds)
    requests: int = 5000
    total_bytes: int = 512 * 1024 * 1024
    object_bytes: int = 32 * 1024 * 1024
    line_bytes: int = 4 * 1024 * 1024
    at_once: int = 128
    streams: int = 64
    follow_seconds: float = 300.0
    denials: int = 2000
    strangers: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord:
    """What a run has asked of its cluster so far; `masked` values were taken out of answers."""

    requests: int = 0
    denied: int = 0
    bytes: int = 0
    masked: int = 0

    @classmethod
    def of(cls, path: Path) -> "ClusterRecord":
        """What the lines of the record at `path` add up to; raises OSError."""
        return cls.of_lines(read_lines(path))

    @classmethod
    def of_lines(cls, lines: Iterable[Mapping[str, Any]]) -> "ClusterRecord":
        """The same for lines that were read already."""
        record = cls()
        for line in lines:
            if line.get("kind") == KIND and line.get("caller") is not None:
                record = record.after(
                    denied=line.get("decision") == "denied",
                    size=_number(line.get("bytes")),
                    masked=_number(line.get("masked")),
                )
        return record

    def after(self, *, denied: bool, size: int, masked: int) -> "ClusterRecord":
        """What it is after one more request."""
        return replace(
            self,
            requests=self.requests + 1,
            denied=self.denied + denied,
            bytes=self.bytes + size,
            masked=self.masked + masked,
        )

    def used_up(self, limits: ClusterLimits) -> str | None:
        """Why nothing more is given to this run, if so."""
        if self.requests >= limits.requests:
            return f"kubecase: the {limits.requests} requests of this investigation are used up"
        if self.bytes >= limits.total_bytes:
            return f"kubecase: the {limits.total_bytes} bytes of this investigation are used up"
        return None


@dataclass(slots=True)
class KubeCall:
    """A request under way; `size` bytes were answered, of which `masked` values were taken out."""

    method: str
    target: str
    body: bytes = field(default=b"", repr=False)
    begun: float = field(default_factory=time.monotonic)
    caller: str | None = None
    allowed: Allowed | None = None
    denied: Denied | None = None
    status: int | None = None
    says: str | None = None
    size: int = 0
    masked: int = 0
    answer: str | None = None

    def line(self, redactor: Redactor) -> dict[str, Any]:
        """The fields of its line on record; what the caller wrote is shortened and redacted."""
        denied = self.denied
        line: dict[str, Any] = {
            "caller": self.caller,
            "method": self.method[:16],
            "target": redactor.text(self.target[:1024])[0],
            "decision": "denied" if denied is not None else "allowed",
            "rule": None if denied is None else denied.rule,
            "reason": self.says,
            "status": self.status,
            "bytes": self.size,
            "masked": self.masked,
            "answer": self.answer,
            "ms": round((time.monotonic() - self.begun) * 1000),
        }
        if self.allowed is not None:
            line["resource"] = self.allowed.resource
            line["sent"] = {key: redactor.text(value)[0] for key, value in self.allowed.query}
            if self.allowed.left_out:
                line["left_out"] = list(self.allowed.left_out)
        return line


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
