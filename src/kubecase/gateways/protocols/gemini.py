"""Gemini: `generateContent`, streamed or not, counting tokens, the list of models."""

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
    trouble_of,
)

_CALL = re.compile(
    r"/v1(?:beta)?/models/(?P<model>[A-Za-z0-9._-]{1,100})"
    r":(?P<verb>generateContent|streamGenerateContent|countTokens)"
)
_MODEL = re.compile(r"/v1(?:beta)?/models(?:/[A-Za-z0-9._-]{1,100})?")
_STATUS = {
    400: "FAILED_PRECONDITION", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED",
    404: "NOT_FOUND", 413: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE",
}  # fmt: skip


def route(method: str, path: str) -> Route | None:
    """The request that `method` and `path` stand for, if it may pass."""
    if method == "POST" and (call := _CALL.fullmatch(path)):
        counts = call["verb"] == "countTokens"
        return Route(
            kind=Kind.COUNT if counts else Kind.ANSWER,
            path=path,
            model=call["model"],
            streamed=call["verb"] == "streamGenerateContent",
            query=frozenset({"alt"}),
        )
    if method == "GET" and _MODEL.fullmatch(path):
        return Route(kind=Kind.LIST, path=path, query=frozenset({"pageSize", "pageToken"}))
    return None


def error(status: int, message: str) -> Json:
    """A refusal in Google's form."""
    word = _STATUS.get(status, "INTERNAL")
    return {"error": {"code": status, "message": message, "status": word}}


def reaches_out(body: Json) -> str | None:
    """What in a request would have the vendor reach out for the agent."""
    body = _plain(mapping(body.get("generateContentRequest")) or body)
    if body.get("cachedcontent"):
        return "`cachedContent`"
    for tool in items(body.get("tools")):
        for name in mapping(tool):
            if _plain_name(name) != "functiondeclarations":
                return f"a tool of the vendor's ({name[:40]!a})"
    for part in _parts(body):
        if "filedata" in _plain(part):
            return "content behind a URL"
    return None


def offered(body: Json) -> Iterator[str]:
    """The names of the tools that a request offers; those of the vendor's by their keys."""
    for each in (body, mapping(body.get("generateContentRequest"))):
        for tool in several(each.get("tools")):
            if not isinstance(tool, dict):
                yield UNNAMED
            for key, value in mapping(tool).items():
                if _plain_name(key) == "functiondeclarations":
                    yield from map(name_in, several(value))
                else:
                    yield key


def _plain_name(name: str) -> str:
    """The API takes `fileData` and `file_data` alike."""
    return name.replace("_", "").lower()


def _plain(value: Json) -> Json:
    return {_plain_name(str(name)): each for name, each in value.items()}


def _parts(body: Json) -> Iterator[Json]:
    contents = body.get("contents")
    turns = [*items(contents), body.get("systeminstruction")]
    if isinstance(contents, dict):
        turns.append(contents)
    for turn in turns:
        parts = mapping(turn).get("parts")
        for part in [parts] if isinstance(parts, dict) else items(parts):
            if isinstance(part, dict):
                yield part
                yield from (p for p in items(mapping(
                    _plain(part).get("functionresponse")).get("parts"))
                    if isinstance(p, dict))  # fmt: skip


def observe(value: Any, seen: Seen) -> None:
    """Add one chunk of a stream, or a whole answer, to what was seen.

    Without `alt=sse` a stream is one list of chunks.
    """
    for chunk in value if isinstance(value, list) else [value]:
        _observe_chunk(mapping(chunk), seen)


def _observe_chunk(chunk: Json, seen: Seen) -> None:
    if isinstance(chunk.get("modelVersion"), str):
        seen.model = chunk["modelVersion"]
    if "error" in chunk:
        code = count(mapping(chunk.get("error")).get("code")) or 500
        seen.trouble = trouble_of(code) or Trouble.TRANSIENT
    for candidate in map(mapping, items(chunk.get("candidates"))):
        for part in items(mapping(candidate.get("content")).get("parts")):
            seen.characters += length(mapping(part).get("text"))
        seen.finished = seen.finished or bool(candidate.get("finishReason"))
    if mapping(chunk.get("promptFeedback")).get("blockReason"):
        seen.finished = True
    _observe_usage(mapping(chunk.get("usageMetadata")), seen)


def _observe_usage(usage: Json, seen: Seen) -> None:
    taken = count(usage.get("promptTokenCount"))
    if taken is None:
        return
    tools = count(usage.get("toolUsePromptTokenCount")) or 0
    seen.cache_read = min(count(usage.get("cachedContentTokenCount")) or 0, taken)
    seen.input = taken - seen.cache_read + tools
    given = count(usage.get("candidatesTokenCount"))
    thought = count(usage.get("thoughtsTokenCount"))
    if given is not None or thought is not None:
        seen.output = (given or 0) + (thought or 0)


GEMINI = Dialect(
    name="gemini",
    base_url="https://generativelanguage.googleapis.com",
    version="/v1beta",
    key_header="x-goog-api-key",
    key_prefix="",
    refusal=400,
    request_headers=frozenset({"x-goog-api-client"}),
    route=route,
    error=error,
    reaches_out=reaches_out,
    offered=offered,
    observe=observe,
)
