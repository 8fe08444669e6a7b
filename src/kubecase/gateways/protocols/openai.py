"""OpenAI: Responses, chat completions, the list of models; LiteLLM and Ollama speak it too."""

import re
from collections.abc import Iterator
from typing import Any

from kubecase.core.metering import Trouble
from kubecase.gateways.protocols.wire import (
    UNNAMED,
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

_MODEL = re.compile(r"/v1/models(?:/[A-Za-z0-9._:-]{1,100})?")
_POSTS = frozenset({"/v1/responses", "/v1/chat/completions"})
_CODES = {
    401: "invalid_api_key", 403: "permission_denied", 404: "not_found",
    413: "request_too_large", 429: "rate_limit_exceeded",
}  # fmt: skip
_QUOTA = frozenset({"rate_limit_exceeded", "insufficient_quota", "rate_limit_error"})
# Tools that the client runs itself; a namespace holds more of them.
_OWN_TOOLS = frozenset({"function", "custom", "local_shell", "apply_patch"})
# A reference to what the vendor keeps is input that cannot be looked at here.
_BY_REFERENCE = ("background", "conversation", "previous_response_id", "prompt",
                 "web_search_options")  # fmt: skip
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


def route(method: str, path: str) -> Route | None:
    """The request that `method` and `path` stand for, if it may pass."""
    if method == "POST" and path in _POSTS:
        return Route(kind=Kind.ANSWER, path=path)
    if method == "GET" and _MODEL.fullmatch(path):
        return Route(kind=Kind.LIST, path=path)
    return None


def error(status: int, message: str) -> Json:
    """A refusal in OpenAI's form."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    code = _CODES.get(status)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def reaches_out(body: Json) -> str | None:
    """What in a request would have the vendor reach out for the agent."""
    for name in _BY_REFERENCE:
        if body.get(name):
            return f"`{name}`"
    for tool, _ in _tools(body):
        kind = mapping(tool).get("type")
        if kind not in _OWN_TOOLS:
            return f"a tool of the vendor's ({str(kind)[:40]!a})"
    for part in _parts(body):
        address = part.get("image_url")
        if isinstance(address, dict):
            address = address.get("url")
        if part.get("file_url") or (address and not str(address).startswith("data:")):
            return "content behind a URL"
    return None


def offered(body: Json) -> Iterator[str]:
    """The names of the tools that a request offers, in both forms, and of what else holds tools."""
    for tool, space in _tools(body):
        for name in _names(mapping(tool)):
            yield f"{space}{name}"
    yield from map(name_in, several(body.get("functions")))


def _names(tool: Json) -> Iterator[str]:
    """The name of one tool, or both where it has two; what the vendor runs goes by its type."""
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        yield kind if isinstance(kind, str) and kind else UNNAMED
        return
    inner = tool.get(kind)
    if inner is None or "name" in tool:
        yield name_in(tool)
    if inner is not None:
        yield name_in(inner)


def _tools(body: Json) -> Iterator[tuple[Any, str]]:
    """Every tool with the namespace that it lies in. New ones can come in the conversation too, as
    Codex sends them: its items hold the tools of a search, or more tools.
    """
    pending = [(body.get("tools"), "")]
    pending += [(mapping(item).get("tools"), "") for item in items(body.get("input"))]
    while pending:
        tools, space = pending.pop()
        for tool in several(tools):
            if mapping(tool).get("type") == "namespace":
                pending.append((mapping(tool).get("tools"), f"{space}{name_in(tool)}/"))
            else:
                yield tool, space


def _parts(body: Json) -> Iterator[Json]:
    """Every part of the content of a conversation, in both forms, and of tool outputs."""
    for message in (*items(body.get("messages")), *items(body.get("input"))):
        for name in ("content", "output"):
            for part in items(mapping(message).get(name)):
                if isinstance(part, dict):
                    yield part


def observe(value: Any, seen: Seen) -> None:
    """Add one event of a stream, or a whole response or completion, to what was seen."""
    event = mapping(value)
    kind = event.get("type")
    if isinstance(kind, str) and kind.startswith("response."):
        seen.characters += length(event.get("delta"))
        if isinstance(event.get("response"), dict):
            _observe_response(event["response"], seen)
        seen.finished = seen.finished or kind in _ENDS
    elif event.get("object") == "response":
        _observe_response(event, seen)
        seen.finished = True
    elif kind == "error" or "error" in event:
        _observe_error(mapping(event.get("error")) or event, seen)
    else:
        _observe_completion(event, seen)


def _observe_response(response: Json, seen: Seen) -> None:
    _observe_model(response, seen)
    usage = mapping(response.get("usage"))
    cached = mapping(usage.get("input_tokens_details")).get("cached_tokens")
    _observe_usage(usage.get("input_tokens"), cached, usage.get("output_tokens"), seen)
    if response.get("error"):
        _observe_error(mapping(response["error"]), seen)


def _observe_completion(event: Json, seen: Seen) -> None:
    _observe_model(event, seen)
    usage = mapping(event.get("usage"))
    cached = mapping(usage.get("prompt_tokens_details")).get("cached_tokens")
    _observe_usage(usage.get("prompt_tokens"), cached, usage.get("completion_tokens"), seen)
    for choice in map(mapping, items(event.get("choices"))):
        delta = mapping(choice.get("delta"))
        seen.characters += length(delta.get("content")) + length(delta.get("reasoning_content"))
        for call in items(delta.get("tool_calls")):
            seen.characters += length(mapping(mapping(call).get("function")).get("arguments"))
        seen.finished = seen.finished or bool(choice.get("finish_reason"))


def _observe_model(value: Json, seen: Seen) -> None:
    if isinstance(value.get("model"), str):
        seen.model = value["model"]


def _observe_usage(taken: Any, cached: Any, given: Any, seen: Seen) -> None:
    """What was read from the cache is part of what was taken in, and is counted once."""
    taken, given = count(taken), count(given)
    if taken is not None:
        seen.cache_read = min(count(cached) or 0, taken)
        seen.input = taken - seen.cache_read
    if given is not None:
        seen.output = given


def _observe_error(told: Json, seen: Seen) -> None:
    words = {str(told.get("code")), str(told.get("type"))}
    if words & _QUOTA:
        seen.trouble = Trouble.QUOTA
    elif "invalid_prompt" in words or "invalid_request_error" in words:
        seen.trouble = Trouble.REFUSED
    else:
        seen.trouble = Trouble.TRANSIENT


OPENAI = Dialect(
    name="openai",
    base_url="https://api.openai.com/v1",
    version="/v1",
    key_header="authorization",
    key_prefix="Bearer ",
    refusal=400,
    request_headers=frozenset({"openai-beta"}),
    route=route,
    error=error,
    reaches_out=reaches_out,
    offered=offered,
    observe=observe,
)
