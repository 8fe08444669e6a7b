"""What a sink is made from."""

from dataclasses import dataclass, field

from kubecase.channels.sinks.posting import Way


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """One entry of `sinks`. `url` and `secret` are secrets; `secret` is the key of a signature."""

    name: str
    url: str = field(repr=False)
    way: Way = field(default_factory=Way)
    secret: str | None = field(default=None, repr=False)
