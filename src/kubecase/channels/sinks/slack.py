"""Slack, by the address of an incoming webhook, which is itself the secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kubecase.channels.sinks.options import SinkOptions
from kubecase.channels.sinks.posting import Poster
from kubecase.channels.sinks.slack_blocks import encoded, slack_message
from kubecase.core.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackSink:
    """Posts Block Kit messages to one channel. Slack has no way to tell a repetition."""

    name: str
    poster: Poster

    @classmethod
    def configured(cls, options: SinkOptions, **parts: Any) -> Self:
        """The sink of these settings."""
        return cls(
            name=options.name, poster=Poster(options.name, options.url, options.way, **parts)
        )

    async def send(self, message: Message, *, reference: str) -> None:
        """Deliver `message`; raises NotDelivered."""
        await self.poster.post(encoded(slack_message(message)), _headers)


def _headers(_body: bytes) -> Mapping[str, str]:
    return {"Content-Type": "application/json; charset=utf-8"}
