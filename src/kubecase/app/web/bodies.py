"""Bodies of requests: counted while they are read, due in time, of a declared type."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
from starlette.requests import ClientDisconnect

from kubecase.app.web.context import context_of
from kubecase.app.web.lingering import discard
from kubecase.app.web.problems import FieldError, Problem
from kubecase.clusters.untrusted import Unreadable, decode, parse_json

if TYPE_CHECKING:
    from fastapi import Request

HEARD_OUT = 16 * 1024 * 1024
HEARD_SECONDS = 2.0
"""How much of a body that is too large is taken and thrown away, so that its sender is told."""

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
    stated = request.headers.get("content-length", "0")
    if stated.isascii() and stated.isdigit() and int(stated[:20]) > web.max_body:
        # Who asks first whether to send it at all is not waited for.
        await _refuse(request, web.max_body, rest="expect" not in request.headers)
    read: list[bytes] = []
    size = 0
    with anyio.move_on_after(web.body_timeout):
        while True:
            message = await request.receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            more = message.get("more_body", False)
            read.append(message.get("body", b""))
            size += len(read[-1])
            if size > web.max_body:
                await _refuse(request, web.max_body, rest=more)
            if not more:
                return b"".join(read)
    raise Problem(
        408, f"the body did not come within {web.body_timeout:g} s", headers={"Connection": "close"}
    )


async def _refuse(request: "Request", max_body: int, *, rest: bool) -> NoReturn:
    if rest:
        await discard(request.receive, most=HEARD_OUT, seconds=HEARD_SECONDS)
    raise Problem(
        413, f"the body is larger than {max_body} bytes",
        hint="Send fewer faults at once; web.max_body may be raised.",
        headers={"Connection": "close"},
    )  # fmt: skip


def parsed(body: bytes) -> Any:
    """The one JSON value in `body`. Raises Problem: 400."""
    try:
        return parse_json(decode(body)[0])
    except Unreadable as error:
        raise Problem(
            400, f"the body is not one JSON value: {error}",
            errors=[FieldError(pointer="", detail=str(error))],
        ) from None  # fmt: skip
