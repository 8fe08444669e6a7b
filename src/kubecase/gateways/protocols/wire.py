"""The values in which every model protocol is described, and what its answers are read into."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from kubecase.core.metering import Tokens, Trouble

UNNAMED = "(a tool without a name)"
"""What stands for a tool whose name cannot be read; no CLI is given one of this name."""

ProtocolName = Literal["anthropic", "openai", "gemini"]

Json = Mapping[str, Any]


class Kind(StrEnum):
    """What a request is for: an answer of the model, a count, or the list of models."""

    ANSWER = "answer"
    COUNT = "count"
    LIST = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A request that may pass: `path` is what upstream is asked, after the base URL.

    `model` and `streamed` are set where the path says them, as in Gemini; `query` are the
    parameters that are handed on.
    """

    kind: Kind
    path: str
    model: str | None = None
    streamed: bool | None = None
    query: frozenset[str] = frozenset()


@dataclass(slots=True)
class Seen:
    """What was read from an answer so far. `characters` of text stand in for missing counts.

    `finished` is set by the protocol's own end: an answer without one was cut off.
    """

    model: str | None = None
    input: int | None = None
    cache_read: int = 0
    cache_write: int = 0
    cache_write_long: int = 0
    output: int | None = None
    characters: int = 0
    finished: bool = False
    trouble: Trouble | None = None

    @property
    def tokens(self) -> Tokens | None:
        """The tokens as the answer told them; `None` where it has not told both sides."""
        if self.input is None or self.output is None:
            return None
        return self.told(input=self.input, output=self.output)

    def told(self, *, input: int, output: int) -> Tokens:
        """The tokens with these two in place of what may be missing."""
        return Tokens(
            input=input,
            cache_read=self.cache_read,
            cache_write=self.cache_write,
            cache_write_long=self.cache_write_long,
            output=output,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One protocol: which requests there are, how it refuses, how its answers are read. Pure.

    `route` is given method and path as they came, undecoded. `error` makes the body of a refusal
    from status and sentence. `reaches_out` names what in a request would have the vendor fetch or
    run something for the agent, or `None`. `offered` names every tool that a request offers to the
    model, wherever it stands: one that the vendor runs by its type, one in a namespace as
    `namespace/name`, and what cannot be read as UNNAMED. `observe` adds one event or document to
    what was seen; it never raises, whatever the value holds. `refusal` is the status of a refusal
    for good, chosen so that the CLIs of this protocol do not try again; `key_header` and
    `key_prefix` are how the vendor wants its key; `version` stands at the end of base URLs that
    include it.
    """

    name: ProtocolName
    base_url: str
    version: str
    key_header: str
    key_prefix: str
    refusal: int
    request_headers: frozenset[str]
    route: Callable[[str, str], Route | None] = field(repr=False)
    error: Callable[[int, str], Json] = field(repr=False)
    reaches_out: Callable[[Json], str | None] = field(repr=False)
    offered: Callable[[Json], Iterator[str]] = field(repr=False)
    observe: Callable[[Any, Seen], None] = field(repr=False)


def count(value: Any) -> int | None:
    """`value` as a number of tokens; `None` if it is none."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**12:
        return None
    return value


def mapping(value: Any) -> Json:
    """`value` if it is a mapping, else an empty one: answers are not trusted to have a shape."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def several(value: Any) -> list[Any]:
    """`value` as a list: what is none counts as the one thing in it, and null as nothing."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def name_in(value: Any) -> str:
    """The `name` in a mapping, or UNNAMED."""
    name = mapping(value).get("name")
    return name if isinstance(name, str) and name else UNNAMED


def length(value: Any) -> int:
    """The length of a text; 0 for anything else."""
    return len(value) if isinstance(value, str) else 0


def trouble_of(status: int) -> Trouble | None:
    """What an answer's HTTP status says went wrong; `None` for one of success."""
    if status < 300:
        return None
    if status in {401, 403}:
        return Trouble.AUTH
    if status == 429:
        return Trouble.QUOTA
    if status >= 500 or status == 408:
        return Trouble.TRANSIENT
    return Trouble.REFUSED
