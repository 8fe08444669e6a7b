"""The values that every room speaks of. All frozen, all keyword-only.

Durations are `float` seconds, sizes are `int` bytes, moments are timezone-aware `datetime` in
UTC. What has not happened yet is `None`; no default stands for "unknown".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NewType

from kubecase.core.errors import InvalidIncidentId
from kubecase.core.severity import Severity

IncidentId = NewType("IncidentId", str)
"""A UUID in its canonical text form: 36 characters, lower case, with hyphens."""

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

CLUSTER_SCOPED = frozenset(
    {"Node", "PersistentVolume", "StorageClass", "Namespace", "IngressClass", "ClusterRole"}
)
"""Kinds whose objects have no namespace, as far as faults name them."""


def parse_incident_id(text: str) -> IncidentId:
    """`text` as an incident id.

    Raises InvalidIncidentId for anything but a canonical UUID: ids become directory names, so
    no other spelling of the same number is taken either.
    """
    if not _CANONICAL_UUID.fullmatch(text):
        raise InvalidIncidentId(
            f"{ascii(text)[:80]} is not an incident id",
            hint="An incident id is a UUID in lower case, as `kubecase list` prints it.",
        )
    return IncidentId(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The Kubernetes object that a fault is about. Cluster-scoped kinds have no namespace."""

    kind: str
    name: str
    namespace: str | None
    api_version: str | None = None
    uid: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that a source reported.

    `fingerprint` is stable over repeats of the same condition. `raw` is the payload as it
    arrived, byte for byte. `severity_word` is what the source said, `severity` what it means.
    `owner` is the controller of the resource where the source knows it, `occurrences` how often the
    source itself has counted it.
    """

    fingerprint: str
    cluster: str
    resource: Resource
    reason: str
    message: str
    severity: Severity
    severity_word: str
    seen_at: datetime
    raw: bytes = field(repr=False)
    source: str = "file"
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: Resource | None = None
    occurrences: int = 1


class IncidentState(StrEnum):
    """Where an incident stands; `active` means accepted and being worked."""

    QUEUED = "queued"
    ACTIVE = "active"
    DONE = "done"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What was opened because of a fault. An investigation that ended well has not resolved it."""

    id: IncidentId
    fault: Fault
    opened_at: datetime
    state: IncidentState = IncidentState.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something that could not be collected, and why. A gap is a fact, not an error."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What is known about a fault: the input of every diagnosis.

    `objects` and `events` are Kubernetes objects as the API serves them (parsed JSON, mixed
    kinds). `logs` is text by `namespace/pod/container`, with `/previous` appended for the
    container before the restart. `trigger` is the event or alert that started it, as parsed JSON.
    `collected_at` is "now" for every reasoning about age.
    """

    collected_at: datetime
    trigger: Mapping[str, Any] | None
    objects: tuple[Mapping[str, Any], ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    origin: str = "nothing but the fault itself"


class Status(StrEnum):
    """The seven words for where an investigation stands; no other is ever shown or stored."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why an investigation is `failed`: a closed list."""

    START_ERROR = "start_error"
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    NO_REPORT = "no_report"
    STALLED = "stalled"
    OUTPUT_LIMIT = "output_limit"
    DISK_LIMIT = "disk_limit"
    BUDGET = "budget"
    QUOTA = "quota"
    AUTH = "auth"
    LOST = "lost"
    INTERNAL = "internal"


class Cause(StrEnum):
    """Why a supervised process is no longer running. The first cause wins."""

    EXITED = "exited"
    DEADLINE = "deadline"
    STOP_REQUESTED = "stop_requested"
    SUPERVISOR_LOST = "supervisor_lost"
    STALLED = "stalled"
    OUTPUT_LIMIT = "output_limit"
    DISK_LIMIT = "disk_limit"
    START_ERROR = "start_error"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a supervised process ended, and what was left of it.

    `code` is 0..255 as the process gave it, `signal` the number that killed it; exactly one is
    set, except for `START_ERROR` and `LOST`, where neither is known and `error` says why.
    `clean` is true when it was proved that no descendant is alive; `leftover` counts the
    descendants that had to be killed after the main process was gone.
    """

    cause: Cause
    code: int | None
    signal: int | None
    seconds: float
    clean: bool
    leftover: int = 0
    error: str | None = None

    def __post_init__(self) -> None:
        """Refuse an exit that says nothing, or two things at once."""
        known = (self.code is not None) + (self.signal is not None)
        unknowable = self.cause in {Cause.START_ERROR, Cause.LOST}
        if known != (0 if unknowable else 1):
            raise ValueError(f"an Exit by {self.cause} has {known} of code and signal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far one run may go. The first to be reached ends it.

    `wall_clock` counts from the moment the agent's process exists. `idle` is the longest time
    without a byte of output, `None` for no such limit. `log_bytes` is how much of each output
    stream is kept from its beginning (the last 64 KiB are kept beside it).
    """

    wall_clock: float
    grace: float
    idle: float | None
    output_bytes: int
    disk_bytes: int
    log_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: complete, so that a runtime adds nothing of its own.

    `environment` is the whole environment of the process and may hold a credential, hence its
    absence from the representation. `files` are placed before the start, by path relative to the
    workspace; `private_files` by name in `private`, a directory outside the workspace that the
    agent may read and that is gone with the run's record. `read_only_paths` is what a sandbox must
    let in. `listeners` are listening sockets (descriptors) that must outlive their maker: they are
    kept beside the run and handed to whoever supervises it next. `ports` are TCP ports of the
    loopback that the agent may connect to where its network is closed; in a network of its own they
    are listened on for us. `stop_signal` asks politely.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    cwd: Path
    stdin: bytes = field(default=b"", repr=False)
    stop_signal: int = 2
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    private_files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    read_only_paths: tuple[Path, ...] = ()
    listeners: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run consumed, as far as its agent tells; `None` where it does not."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    turns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A regular file that was left in `output/artifacts/`; `path` is absolute."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Something found in `output/artifacts/` that was not taken, and why. `path` is for display."""

    path: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an adapter reads from its CLI's output: a claim, which `judge` alone decides on.

    `failure` is set when the CLI said itself that it failed; `reason` is then its class.
    `report` is Markdown taken from the stream, for CLIs that cannot write files. `transient` says
    that the failure may pass by itself: a rate limit, a 5xx, the network. `model` and `version` are
    what the CLI says it started with, `denials` how many tool calls it says that it refused; None
    where it does not say.
    """

    report: str | None
    failure: str | None = None
    reason: Reason | None = None
    transient: bool = False
    usage: Usage | None = None
    model: str | None = None
    version: str | None = None
    denials: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an investigation ended: a final status, for `failed` the reason, and a sentence.

    `transient` is for a failure that another attempt may not meet.
    """

    status: Status
    reason: Reason | None
    error: str | None
    transient: bool = False

    def __post_init__(self) -> None:
        """Refuse an end that is not final, or a failure without its reason."""
        if self.status in {Status.CREATED, Status.STARTING, Status.RUNNING}:
            raise ValueError(f"{self.status} is not an end")
        if (self.status is Status.FAILED) != (self.reason is not None):
            raise ValueError("exactly a failed investigation has a reason")
        if self.transient and self.status is not Status.FAILED:
            raise ValueError("only a failure can be transient")


@dataclass(frozen=True, slots=True, kw_only=True)
class Investigation:
    """One attempt by one agent at one incident, as it is on record.

    Its JSON form is the `AgentResult` of docs/formats.md (see `service.result`).
    """

    incident_id: IncidentId
    attempt: int
    agent: str
    status: Status
    created_at: datetime
    workspace: Path | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: Reason | None = None
    error: str | None = None
    exit: Exit | None = None
    usage: Usage | None = None
    output_log: Path | None = None
    artifacts: tuple[Artifact, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    isolation: str | None = None

    @property
    def key(self) -> str:
        """`<incident id>-<attempt>`: the name of its run directory and of its rows."""
        return f"{self.incident_id}-{self.attempt}"
