"""Bodies of requests: counted while they are read, due in time, of a declared type."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import anyio

from kubecase.app.web.context import context_of
from kubecase.app.web.problems import FieldError, Problem
from kubecase.clusters.untrusted import Unreadable, decode, parse_json

if TYPE_CHECKING:
    from fastapi import Request

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")


def media_type(request: "Request") -> str:
    """The media type of the body, without its parameters, in lower case; empty if none is said."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return given if _MEDIA_TYPE.fullmatch(given) else ""


def require_type(request: "Request", allowed: Iterable[str]) -> str:
    """The body's media type, one of `allowed`. Raises Problem: 415."""
    given, known = media_type(request), tuple(allowed)
    if given not in known:
        raise _unsupported("content-type", f"must be {' or '.join(known)}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", ""}:
        raise _unsupported("content-encoding", "must be absent: compressed bodies are not taken")
    return given


def _unsupported(header: str, what: str) -> Problem:
    error = FieldError(pointer=f"header.{header}", detail=what)
    return Problem(415, f"the header {header} {what}", errors=[error])


async def read_body(request: "Request") -> bytes:
    """The whole body. Raises Problem: 413 if it is too large, 408 if it does not come in time.

    Both close the connection, since what is left of the body is not read.
    """
    web = context_of(request).settings.web
    close = {"Connection": "close"}
    too_large = Problem(
        413, f"the body is larger than {web.max_body} bytes", hint="Send fewer faults at once; "
        "web.max_body may be raised.", headers=close,
    )  # fmt: skip
    stated = request.headers.get("content-length", "0")
    if stated.isascii() and stated.isdigit() and int(stated[:20]) > web.max_body:
        raise too_large
    read: list[bytes] = []
    size = 0
    with anyio.move_on_after(web.body_timeout) as scope:
        async for piece in request.stream():
            size += len(piece)
            if size > web.max_body:
                raise too_large
            read.append(piece)
    if scope.cancelled_caught:
        raise Problem(408, f"the body did not come within {web.body_timeout:g} s", headers=close)
    return b"".join(read)


def parsed(body: bytes) -> Any:
    """The one JSON value in `body`. Raises Problem: 400."""
    try:
        return parse_json(decode(body)[0])
    except Unreadable as error:
        raise Problem(
            400, f"the body is not one JSON value: {error}",
            errors=[FieldError(pointer="", detail=str(error))],
        ) from None  # fmt: skip
