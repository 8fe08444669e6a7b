"""One session with an MCP server that pushes faults: opened, subscribed, looked after, lost.

The only client of MCP in kubecase.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import httpx2

from kubecase.channels.sources.intake import mapping_of, text_of
from kubecase.channels.sources.mcp_wire import SESSION, Pace, Refused, SessionLost, Unsuited, Wire
from kubecase.clusters.untrusted import Unreadable, parse_json

if TYPE_CHECKING:
    from mcp import ClientSession

SUBSCRIBE, UNSUBSCRIBE = "events_subscribe", "events_unsubscribe"
SUBSCRIPTIONS = "events_list_subscriptions"
MOST_PAGES = 20
MOST_ID = 256
FAREWELL = 2.0
Answer = TypeVar("Answer")


@dataclass(kw_only=True)
class FaultSession:
    """A session that is open. Every method raises SessionLost, or a kind of it, for what fails."""

    client: "ClientSession"
    wire: Wire
    pace: Pace
    subscription: str = ""
    _tools_there: frozenset[str] = frozenset()

    async def begin(self) -> None:
        """The handshake, and what a server must offer to push faults."""
        with _told(self.wire):
            await self._handshake()
        if self.wire.session is None:
            raise Unsuited("the MCP server keeps no sessions, so it cannot push faults")
        self._tools_there = frozenset(await self._tools())
        if SUBSCRIBE not in self._tools_there:
            raise Unsuited(
                f"the MCP server has no tool {SUBSCRIBE}: only a fork of kubernetes-mcp-server "
                "with event streaming pushes faults, the released server does not"
            )
        await self._hear()

    async def _handshake(self) -> None:
        from mcp import MCPError  # noqa: PLC0415 - slow to import

        try:
            await self._in_time(self.client.initialize())
        except (MCPError, RuntimeError):
            if self.wire.refused in {401, 403, 429}:
                raise
            if not await self._is_newer():
                raise
            raise Unsuited(
                "the MCP server speaks only a revision of MCP from 2026-07 on, which has no "
                "sessions and no log notifications, so it cannot push faults"
            ) from None

    async def _is_newer(self) -> bool:
        from mcp import MCPError  # noqa: PLC0415 - slow to import
        from pydantic import ValidationError  # noqa: PLC0415 - as slow

        try:
            await self._in_time(self.client.discover())
        except (MCPError, RuntimeError, ValidationError):
            return False
        return True

    async def _tools(self) -> set[str]:
        from mcp import MCPError, types  # noqa: PLC0415 - slow to import

        names: set[str] = set()
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            params = types.PaginatedRequestParams(cursor=cursor)
            with _told(self.wire):
                try:
                    found = await self._in_time(
                        self.client.send_request(
                            types.ListToolsRequest(params=params), types.ListToolsResult
                        )
                    )
                except MCPError as error:
                    if error.code == types.METHOD_NOT_FOUND and self.wire.refused is None:
                        return names
                    raise
            names |= {each.name for each in found.tools}
            cursor = found.next_cursor
            if not cursor:
                break
        return names

    async def _hear(self) -> None:
        """Ask for log notifications, and wait for the stream that they come on."""
        from mcp import MCPError, types  # noqa: PLC0415 - slow to import

        request = types.SetLevelRequest(params=types.SetLevelRequestParams(level="info"))
        with _told(self.wire):
            try:
                await self._in_time(self.client.send_request(request, types.EmptyResult))
            except MCPError as error:
                if error.code == types.METHOD_NOT_FOUND and self.wire.refused is None:
                    raise Unsuited(
                        "the MCP server does not know logging/setLevel, and without it pushes "
                        "no faults"
                    ) from None
                raise
        with anyio.move_on_after(self.pace.answer):
            while self.wire.stream is None:
                self.wire.changed.clear()
                await self.wire.changed.wait()
        if self.wire.stream == 405:
            raise Unsuited("the MCP server has no stream (GET is not allowed): it pushes nothing")

    async def subscribe(self) -> None:
        """Subscribe to faults, in place of a subscription that there may be."""
        if self.subscription:
            await self._call(UNSUBSCRIBE, {"subscriptionId": self.subscription}, tolerant=True)
        said = await self._call(SUBSCRIBE, {"mode": "faults"})
        try:
            found = text_of(mapping_of(parse_json(said)).get("subscriptionId"))
        except Unreadable:
            found = ""
        if not found or len(found) > MOST_ID:
            raise SessionLost("error", f"{SUBSCRIBE} answered without a subscriptionId")
        self.subscription = found

    async def next_look(self) -> None:
        """Wait until it is time to look, which is sooner when the stream ended or came back."""
        self.wire.changed.clear()
        with anyio.move_on_after(self.pace.ping):
            await self.wire.changed.wait()
            # The SDK opens the stream once more by itself; do not be quicker than that.
            await anyio.sleep(min(2 * self.pace.reopen, self.pace.ping))

    async def answers(self) -> bool:
        """Whether a ping is answered in time."""
        with _told(self.wire):
            try:
                await self._in_time(self.client.send_ping())
            except SessionLost as error:
                if error.reason == "silent":
                    return False
                raise
        return True

    async def _in_time(self, asked: Awaitable[Answer]) -> Answer:
        """What `asked` comes to. The SDK's own limit does not cover the writing, which a server
        that reads no more holds up.
        """
        with anyio.move_on_after(self.pace.answer):
            return await asked
        raise SessionLost("silent", "the MCP server did not answer in time")

    async def is_subscribed(self) -> bool:
        """Whether the server still knows our subscription; True where it has no tool for that."""
        if SUBSCRIPTIONS not in self._tools_there:
            return True
        said = await self._call(SUBSCRIPTIONS, {})
        try:
            return self.subscription in set(_ids(parse_json(said)))
        except Unreadable:  # a table, or a sentence
            return self.subscription in said

    async def _call(self, tool: str, arguments: dict[str, Any], *, tolerant: bool = False) -> str:
        from mcp import MCPError, types  # noqa: PLC0415 - slow to import

        # Not `call_tool`: it checks answers by a schema of the server's own.
        params = types.CallToolRequestParams(name=tool, arguments=arguments)
        with _told(self.wire):
            try:
                found = await self._in_time(
                    self.client.send_request(
                        types.CallToolRequest(params=params), types.CallToolResult
                    )
                )
            except MCPError:
                if tolerant and self.wire.refused is None:
                    return ""
                raise
        said = "".join(each.text for each in found.content if isinstance(each, types.TextContent))
        if found.is_error and not tolerant:
            raise SessionLost("error", f"{tool} failed: {_shown(said)}")
        return said


@asynccontextmanager
async def opened(
    url: str, token: str | None, pace: Pace, heard: Callable[[str, Any], None]
) -> AsyncIterator[FaultSession]:
    """A session with the server at `url`, begun by its user; `heard` is given the logger and the
    data of each log notification. Raises SessionLost, also for what breaks in the background.
    """
    from mcp import ClientSession, types  # noqa: PLC0415 - slow to import
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415 - as slow

    async def notified(params: types.LoggingMessageNotificationParams) -> None:
        heard(params.logger or "", params.data)

    wire = Wire(pace=pace)
    headers = {"Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    with _told(wire):
        async with (
            httpx2.AsyncClient(
                headers=headers, trust_env=False, follow_redirects=False,
                timeout=httpx2.Timeout(pace.answer, read=pace.quiet),
                event_hooks={"request": [wire.before], "response": [wire.after]},
            ) as http,
            streamable_http_client(url, http_client=http, terminate_on_close=False) as streams,
            ClientSession(*streams, logging_callback=notified) as client,
        ):  # fmt: skip
            try:
                yield FaultSession(client=client, wire=wire, pace=pace)
            finally:
                await _farewell(http, url, wire)


async def _farewell(http: httpx2.AsyncClient, url: str, wire: Wire) -> None:
    """End the session there, too, so that the server does not push to nobody; briefly."""
    if wire.session is None or wire.refused is not None:
        return
    with anyio.move_on_after(FAREWELL, shield=True):
        try:
            await http.delete(url, headers={SESSION: wire.session})
        except httpx2.HTTPError:
            return


@contextmanager
def _told(wire: Wire) -> Iterator[None]:
    """Whatever the SDK and the network raise, as SessionLost; bugs of ours stay what they are."""
    from mcp import MCPError  # noqa: PLC0415 - slow to import
    from pydantic import ValidationError  # noqa: PLC0415 - as slow

    outside = (
        MCPError, ValidationError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError,
        anyio.BrokenResourceError, anyio.ClosedResourceError,
    )  # fmt: skip
    try:
        yield
    except (*outside, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("Unsupported protocol"):
            raise
        raise _lost(error, wire) from None
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        told = [each for each in leaves if isinstance(each, SessionLost)]
        if any(not isinstance(each, (SessionLost, *outside)) for each in leaves):
            raise
        raise (told[0] if told else _lost(leaves[0], wire)) from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


def _lost(error: BaseException, wire: Wire) -> SessionLost:
    status = wire.refused or (wire.stream if wire.stream in {401, 403} else None)
    if status in {401, 403}:
        return Refused(
            "refused", f"the MCP server refused us (HTTP {status}): give it a token that may "
            "subscribe, by token_env or token_file of this source, and reload the settings",
        )  # fmt: skip
    if status == 429:
        why = "the MCP server is asked too often (HTTP 429)"
        return SessionLost("throttled", why, retry_after=wire.retry_after)
    if status == 404:
        why = "the MCP server knows our session no more, or nothing is at this address (HTTP 404)"
        return SessionLost("restarted", why)
    if status is not None:
        why = f"the MCP server answered HTTP {status}"
        return SessionLost("error", why, retry_after=wire.retry_after)
    if isinstance(error, httpx2.TransportError | OSError):
        return SessionLost("unreachable", f"the MCP server is unreachable: {_shown(str(error))}")
    if type(error).__name__ == "ValidationError":
        return SessionLost("error", "the MCP server's answer is no MCP")
    return SessionLost("error", f"the MCP server failed: {_shown(str(error))}")


def _ids(value: Any) -> Iterator[str]:
    """The subscriptions in an answer: a list of them, or an object with such a list."""
    if isinstance(value, dict):
        lists = [each for each in value.values() if isinstance(each, list)]
        value = [each for found in lists for each in found] + [value]
    for each in value if isinstance(value, list) else ():
        yield each if isinstance(each, str) else text_of(mapping_of(each).get("subscriptionId"))


def _shown(text: str) -> str:
    """Foreign words for people: short, one line, nothing that moves a terminal."""
    return ascii(" ".join(text.split())[:300])[1:-1] or "nothing said"
