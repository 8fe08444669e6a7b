"""Hearing somebody out before hanging up: else the answer is lost with the connection.

A socket that is closed while something lies unread in it is reset, and the other side, still busy
sending, never sees why it was refused.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def discard(receive: Receive, *, most: int, seconds: float) -> None:
    """Take what is left of a body, at most so many bytes and seconds, and keep nothing of it."""
    with anyio.move_on_after(seconds):
        while most > 0:
            message = await receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
            most -= len(message.get("body", b""))
