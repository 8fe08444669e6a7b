"""A request to a cluster as it came, and what is decided about it."""

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeRequest:
    """A request as it came, nothing decoded.

    `target` is the second word of the request line; `headers` are all of them, in order, names in
    any case; `body` is whole, and at most a little longer than `Bounds.review_bytes`.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> tuple[str, ...]:
        """All values of the header `name`, which is written in lower case."""
        return tuple(value for key, value in self.headers if key.lower() == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much one request may ask for: sizes in bytes, times in seconds."""

    log_bytes: int = 8 * 1024 * 1024
    log_lines: int = 5000
    watch_seconds: int = 300
    review_bytes: int = 64 * 1024


class Answer(StrEnum):
    """How the answer to an allowed request is to be handled."""

    OBJECT = "object"
    WATCH = "watch"
    LOG = "log"
    FOLLOW = "follow"
    SCHEMA = "schema"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A request that may pass, as it is to be sent: nothing else of the original goes on.

    `query` has every parameter once, decoded. `resource` is plural and group as `pods` or
    `deployments.apps`, with its subresource as `pods/log`; `None` for discovery and health.
    `left_out` names parameters that are not sent on.
    """

    answer: Answer
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    accept: str
    resource: str | None = None
    content_type: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def streams(self) -> bool:
        """Whether the answer comes over time and has no end of its own."""
        return self.answer in {Answer.WATCH, Answer.FOLLOW}


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A request that may not pass: which rule, and a sentence on what to do instead.

    `code` and `reason` are those of the Kubernetes Status that is answered.
    """

    rule: str
    says: str
    code: int = 403
    reason: str = "Forbidden"


Decision = Allowed | Denied
