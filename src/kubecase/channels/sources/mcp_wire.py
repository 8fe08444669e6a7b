"""The HTTP below a session with an MCP server: watched, bounded, and never asked in circles.

The SDK opens the server's stream again twice and then is deaf without a word, and it folds what a
server refuses into one error. So this sees for itself whether the stream is open and what was said.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import anyio
import httpx2

MOST_BODY = 4 * 1024 * 1024
LONGEST_RETRY_AFTER = 3600.0
SESSION = "mcp-session-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often things are done and how long they may take, in seconds.

    A request has `answer` for its answer, the server's stream as long to open. Every `ping` the
    session is looked at; `silent` looks in a row without an answer, or without an open stream, end
    it. A stream that says nothing for `quiet` is opened anew. A session that lasted `steady` makes
    the next pause short again. A server that cannot push faults is asked again after `unsuited`.
    """

    ping: float = 15.0
    answer: float = 10.0
    silent: int = 2
    quiet: float = 300.0
    reopen: float = 1.0
    steady: float = 60.0
    unsuited: float = 300.0


class SessionLost(Exception):
    """The session is over: `reason` is one word of a few, the text is for people."""

    def __init__(self, reason: str, why: str, *, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.reason = reason
        self.retry_after = retry_after


class Unsuited(SessionLost):
    """The server cannot push faults, and will not before it is another one."""

    def __init__(self, why: str) -> None:
        super().__init__("unsuited", why)


class Refused(SessionLost):
    """The server does not let us in (401, 403): trying again would help nobody."""


@dataclass(kw_only=True)
class Wire:
    """What the HTTP below the SDK was seen to do. `refused` is the last status of 400 or more of a
    message of ours, with its Retry-After; `stream` the status of the last try to open the stream.
    """

    pace: Pace
    session: str | None = None
    refused: int | None = None
    retry_after: float | None = None
    stream: int | None = None
    listening: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _opened: int = 0

    async def before(self, request: httpx2.Request) -> None:
        """Keep a server that ends its stream at once, and says `retry: 0`, from being asked in
        circles.
        """
        if request.method == "GET":
            self._opened += 1
            if self._opened > 1:
                await anyio.sleep(self.pace.reopen)

    async def after(self, response: httpx2.Response) -> None:
        """Note the answer, and bound its body."""
        status = response.status_code
        if response.request.method == "GET":
            self.stream = status
            self.listening = status == 200
            self.changed.set()
        elif response.request.method == "POST":
            self.session = response.headers.get(SESSION, self.session)
            self.refused = status if status >= 400 else None
            self.retry_after = seconds_of(response.headers.get("retry-after"))
        # Nothing is unpacked: a small body could be a huge one.
        response.headers.pop("content-encoding", None)
        body = response.stream
        assert isinstance(body, httpx2.AsyncByteStream)  # noqa: S101 - of an AsyncClient
        streamed = response.headers.get("content-type", "").startswith("text/event-stream")
        response.stream = _Body(
            body, None if streamed else MOST_BODY,
            self._unheard if response.request.method == "GET" else None,
        )  # fmt: skip

    def _unheard(self) -> None:
        self.listening = False
        self.changed.set()


class _Body(httpx2.AsyncByteStream):
    """`inner`, at most `limit` bytes of it; tells `closed` of its end."""

    def __init__(
        self, inner: httpx2.AsyncByteStream, limit: int | None, closed: Callable[[], None] | None
    ) -> None:
        self._inner, self._left, self._closed = inner, limit, closed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            if self._left is not None:
                self._left -= len(chunk)
                if self._left < 0:
                    raise httpx2.ReadError(f"the answer is larger than {MOST_BODY} bytes")
            yield chunk

    async def aclose(self) -> None:
        if self._closed is not None:
            self._closed()
        await self._inner.aclose()


def seconds_of(header: str | None) -> float | None:
    """A Retry-After in seconds, at most an hour; None for what is none. A date is not taken: it
    would need the server's clock.
    """
    if header and len(header) < 16 and header.isascii() and header.isdigit():
        return min(float(header), LONGEST_RETRY_AFTER)
    return None
