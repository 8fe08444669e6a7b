"""A process that tells of what waits in a record, and may die at it.

`telling.py PLACE URL MODE`: `send` sends all that is due; `die` is killed when it has claimed a
message and not sent it; `die-after` when the receiver has taken it and nobody knows.
"""

import os
import signal
import sys

import anyio

from kubecase.channels.sinks.options import SinkOptions
from kubecase.channels.sinks.webhook import WebhookSink
from kubecase.core.messages import Message
from kubecase.core.ports import Silence
from kubecase.core.redact import Redactor
from kubecase.service.outbox import Outbox
from kubecase.store import Owner, Store, utc_now


class Dying:
    """A sink that is the end of its process."""

    name = "team"

    def __init__(self, inner: WebhookSink, *, after: bool) -> None:
        self.inner = inner
        self.after = after

    async def send(self, message: Message, *, reference: str) -> None:
        if self.after:
            await self.inner.send(message, reference=reference)
        os.kill(os.getpid(), signal.SIGKILL)


async def main(place: str, url: str, mode: str) -> None:
    sink = WebhookSink.configured(SinkOptions(name="team", url=url))
    async with Store.open(place, owner=Owner.current()) as store:
        outbox = Outbox(
            store=store,
            sinks={"team": sink if mode == "send" else Dying(sink, after=mode == "die-after")},
            routes=(),
            observer=Silence(),
            redactor=Redactor(),
            clock=utc_now,
            lease_seconds=1.5,
        )
        await outbox.send_due()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
