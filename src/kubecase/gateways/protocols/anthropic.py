"""Anthropic Messages: `/v1/messages`, streamed or not, counting tokens, the list of models."""

import re
from collections.abc import Iterator
from typing import Any

from kubecase.core.metering import Trouble
from kubecase.gateways.protocols.wire import (
    Dialect,
    Json,
    Kind,
    Route,
    Seen,
    count,
    items,
    length,
    mapping,
    name_in,
    several,
)

_MODEL = re.compile(r"/v1/models(?:/[A-Za-z0-9._-]{1,100})?")
_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
}  # fmt: skip
_STREAM_TROUBLE = {
    "rate_limit_error": Trouble.QUOTA,
    "authentication_error": Trouble.AUTH,
    "permission_error": Trouble.AUTH,
    "billing_error": Trouble.QUOTA,
    "invalid_request_error": Trouble.REFUSED,
}
# Tools that the client runs itself. What is not here may be run by the vendor, who reaches the net.
_OWN_TOOLS = re.compile(
    r"custom|(?:bash|text_editor|computer|memory)_\d{8}|tool_search_tool_[a-z0-9]+(?:_\d{8})?"
)


def route(method: str, path: str) -> Route | None:
    """The request that `method` and `path` stand for, if it may pass."""
    if method == "POST" and path == "/v1/messages":
        return Route(kind=Kind.ANSWER, path=path, query=frozenset({"beta"}))
    if method == "POST" and path == "/v1/messages/count_tokens":
        return Route(kind=Kind.COUNT, path=path, query=frozenset({"beta"}))
    if method == "GET" and _MODEL.fullmatch(path):
        query = frozenset({"limit", "after_id", "before_id", "beta"})
        return Route(kind=Kind.LIST, path=path, query=query)
    return None


def error(status: int, message: str) -> Json:
    """A refusal in Anthropic's form."""
    kind = _KINDS.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def reaches_out(body: Json) -> str | None:
    """What in a request would have the vendor reach out for the agent."""
    for name in ("mcp_servers", "container"):
        if body.get(name):
            return f"`{name}`"
    for tool in items(body.get("tools")):
        kind = mapping(tool).get("type", "custom")
        if not isinstance(kind, str) or not _OWN_TOOLS.fullmatch(kind):
            return f"a tool of the vendor's ({str(kind)[:40]!a})"
    for block in _blocks(body):
        if mapping(block.get("source")).get("type") == "url":
            return "content behind a URL"
    return None


def offered(body: Json) -> Iterator[str]:
    """The names of the tools that a request offers."""
    for tool in several(body.get("tools")):
        kind = mapping(tool).get("type", "custom")
        # Only what the client declares has a name of its choice.
        yield name_in(tool) if kind in (None, "custom") else str(kind)


def _blocks(body: Json) -> Iterator[Json]:
    """Every content block of a conversation, those inside of tool results too."""
    pending: list[Any] = [mapping(each).get("content") for each in items(body.get("messages"))]
    pending.append(body.get("system"))
    while pending:
        for block in items(pending.pop()):
            if isinstance(block, dict):
                yield block
                pending.append(block.get("content"))


def observe(value: Any, seen: Seen) -> None:
    """Add one event of a stream, or a whole message, to what was seen."""
    event = mapping(value)
    match event.get("type"):
        case "content_block_delta":
            delta = mapping(event.get("delta"))
            seen.characters += sum(
                length(delta.get(key)) for key in ("text", "partial_json", "thinking")
            )
        case "message_start":
            _observe_message(mapping(event.get("message")), seen)
        case "message_delta":
            _observe_usage(mapping(event.get("usage")), seen)
        case "message_stop":
            seen.finished = True
        case "message":
            _observe_message(event, seen)
            seen.finished = True
        case "error":
            kind = mapping(event.get("error")).get("type")
            seen.trouble = _STREAM_TROUBLE.get(str(kind), Trouble.TRANSIENT)


def _observe_message(message: Json, seen: Seen) -> None:
    model = message.get("model")
    if isinstance(model, str):
        seen.model = model
    _observe_usage(mapping(message.get("usage")), seen)


def _observe_usage(usage: Json, seen: Seen) -> None:
    """Counts are cumulative: a later one replaces an earlier one."""
    for key, name in (("input_tokens", "input"), ("output_tokens", "output"),
                      ("cache_read_input_tokens", "cache_read")):  # fmt: skip
        if (number := count(usage.get(key))) is not None:
            setattr(seen, name, number)
    written = count(usage.get("cache_creation_input_tokens"))
    if written is not None:
        long = count(mapping(usage.get("cache_creation")).get("ephemeral_1h_input_tokens")) or 0
        seen.cache_write_long = min(long, written)
        seen.cache_write = written - seen.cache_write_long


ANTHROPIC = Dialect(
    name="anthropic",
    base_url="https://api.anthropic.com",
    version="/v1",
    key_header="x-api-key",
    key_prefix="",
    refusal=403,
    request_headers=frozenset({"anthropic-version", "anthropic-beta", "x-app"}),
    route=route,
    error=error,
    reaches_out=reaches_out,
    offered=offered,
    observe=observe,
)
