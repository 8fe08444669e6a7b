"""Any program that takes JSON by HTTP: our own document, signed where a secret is set."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kubecase.channels.sinks.options import SinkOptions
from kubecase.channels.sinks.posting import Poster
from kubecase.channels.sinks.webhook_document import webhook_document
from kubecase.core.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSink:
    """Posts one document a message; `Idempotency-Key` is the same when it is sent again."""

    name: str
    poster: Poster
    secret: str | None = field(default=None, repr=False)
    clock: Callable[[], float] = time.time

    @classmethod
    def configured(cls, options: SinkOptions, **parts: Any) -> Self:
        """The sink of these settings."""
        poster = Poster(options.name, options.url, options.way, **parts)
        return cls(name=options.name, poster=poster, secret=options.secret)

    async def send(self, message: Message, *, reference: str) -> None:
        """Deliver `message`; raises NotDelivered."""
        document = webhook_document(message, reference)
        body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")

        def headers(body: bytes) -> Mapping[str, str]:
            return {
                "Content-Type": "application/json; charset=utf-8",
                "Idempotency-Key": reference,
                **self._signature(body),
            }

        await self.poster.post(body, headers)

    def _signature(self, body: bytes) -> Mapping[str, str]:
        """When and by whom it was sent; a receiver refuses what is older than it likes."""
        if self.secret is None:
            return {}
        at = str(int(self.clock()))
        return {
            "Kubecase-Timestamp": at,
            "Kubecase-Signature": f"v1={signature(self.secret, at, body)}",
        }


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of `timestamp`, a dot and the body, as hexadecimal digits."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
