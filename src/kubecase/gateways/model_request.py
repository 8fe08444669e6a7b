"""What a CLI asks of the model gateway, checked before anything is done about it."""

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from aiohttp import web

from kubecase.core.metering import Trouble
from kubecase.gateways.protocols import Dialect, Kind, Route

MOST_TOOLS = 500
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")

_REQUEST_HEADERS = frozenset({"accept", "content-type", "user-agent", "idempotency-key"})
_ANSWER_HEADERS = frozenset({
    "content-type", "content-encoding", "cache-control", "request-id", "x-request-id",
    "retry-after", "retry-after-ms", "x-should-retry", "openai-processing-ms", "openai-version",
})  # fmt: skip
_ANSWER_PREFIXES = ("anthropic-ratelimit-", "x-ratelimit-")
_KEY_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")


class Refused(Exception):
    """A request that is not let through: with which status, and in which words."""

    def __init__(
        self, status: int, says: str, trouble: Trouble = Trouble.REFUSED,
        *, retry_after: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(says)
        self.status = status
        self.trouble = trouble
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that may pass as far as its form goes; `body` goes on byte for byte.

    `tools` are the names of what it offers to the model, as far as they are counted; `reaches_out`
    is what in it would have the vendor fetch or run something for the agent.
    """

    route: Route
    model: str | None
    tools: tuple[str, ...]
    reaches_out: str | None
    headers: Mapping[str, str]
    query: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)

    @property
    def estimated_input(self) -> int:
        """Tokens that the request may hold: a quarter of its bytes."""
        return len(self.body) // 4


def is_key(request: web.BaseRequest, key_sha256: str) -> bool:
    """Whether the request carries the run's key in any of the places where CLIs put it."""
    found = False
    for key in _keys(request):
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        found = hmac.compare_digest(digest, key_sha256) or found
    return found


def _keys(request: web.BaseRequest) -> Iterator[str]:
    for name in _KEY_HEADERS:
        yield from request.headers.getall(name, ())
    for value in request.headers.getall("authorization", ()):
        scheme, _, key = value.partition(" ")
        if scheme.lower() == "bearer":
            yield key.strip()
    yield from request.query.getall("key", ())


def route_of(request: web.BaseRequest, dialect: Dialect) -> Route:
    """What the request is for; raises Refused unless it is on the list.

    The path is compared as it came: an encoded byte or a dot in it is not on the list.
    """
    route = dialect.route(request.method, request.raw_path.partition("?")[0])
    if route is None:
        raise Refused(404, "kubecase: the model gateway does not offer this")
    return route


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The body, at most `limit` bytes; raises Refused."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "kubecase: a compressed request is not taken")
    too_large = Refused(413, f"kubecase: a request may have at most {limit} bytes")
    if (request.content_length or 0) > limit:
        raise too_large
    parts, size = [], 0
    while data := await request.content.readany():
        size += len(data)
        if size > limit:
            raise too_large
        parts.append(data)
    return b"".join(parts)


def parse(body: bytes) -> Mapping[str, Any]:
    """The JSON object that `body` holds; raises Refused.

    A name that stands twice in one object is refused: upstream might take the other one.
    """
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Refused(
            400, "kubecase: the request is not a JSON object with unique names"
        ) from error
    if not isinstance(value, dict):
        raise Refused(400, "kubecase: the request is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value


def checked(request: web.BaseRequest, route: Route, body: bytes, dialect: Dialect) -> Asked:
    """The request as it may go on as far as its form goes; raises Refused."""
    model, reaches_out = route.model, None
    tools: tuple[str, ...] = ()
    if route.kind is not Kind.LIST:
        value = parse(body)
        model = model or value.get("model")
        if not isinstance(model, str) or not MODEL_NAME.fullmatch(model):
            raise Refused(400, "kubecase: the request names no model")
        tools = tuple(islice(dialect.offered(value), MOST_TOOLS + 1))
        if len(tools) > MOST_TOOLS:
            raise Refused(400, f"kubecase: a request may offer {MOST_TOOLS} tools at most")
        reaches_out = dialect.reaches_out(value)
    elif body:
        raise Refused(400, "kubecase: this request has no body")
    allowed = _REQUEST_HEADERS | dialect.request_headers
    headers = {
        name: value
        for name, value in request.headers.items()
        if name.lower() in allowed or name.lower().startswith("x-stainless-")
    }
    query = tuple((name, value) for name, value in request.query.items() if name in route.query)
    return Asked(
        route=route, model=model, tools=tools, reaches_out=reaches_out,
        headers=headers, query=query, body=body,
    )  # fmt: skip


def answer_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers of an upstream's answer that the CLI is given."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in _ANSWER_HEADERS or name.lower().startswith(_ANSWER_PREFIXES)
    }
