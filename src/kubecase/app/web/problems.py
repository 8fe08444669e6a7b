"""Errors of the HTTP API in the form of RFC 9457, `application/problem+json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

PROBLEM_JSON = "application/problem+json"
MAX_TEXT = 500
MAX_ERRORS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """What is wrong with one part of a request. `pointer` is a JSON pointer into the body, or
    `query.<name>`, `path.<name>`, `header.<name>`.
    """

    pointer: str
    detail: str


class Problem(Exception):
    """A request is answered with an error: `detail` says why, `hint` what to do about it."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        hint: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The answer's body."""
        return json.dumps(self.document()).encode()

    def document(self) -> dict[str, Any]:
        """The answer's body as parsed JSON, every text bounded and printable."""
        found: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": shown(self.detail),
        }
        if self.hint:
            found["hint"] = shown(self.hint)
        if self.errors:
            found["errors"] = [
                {"pointer": shown(each.pointer), "detail": shown(each.detail)}
                for each in self.errors[:MAX_ERRORS]
            ]
        return found


@dataclass(frozen=True, slots=True)
class Raised:
    """Answers of middleware, before any route: status, headers and body."""

    status: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


def answer(problem: Problem) -> Raised:
    """`problem` as it is sent."""
    body = problem.body()
    headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode("latin-1", "replace"))
          for name, value in problem.headers.items()),
    ]  # fmt: skip
    return Raised(problem.status, headers, body)


def shown(text: str) -> str:
    """`text`, bounded, with everything that does not print replaced."""
    cut = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cut)


def busy(detail: str, seconds: float, *, status: int = 503) -> Problem:
    """Come again later: an answer with Retry-After."""
    return Problem(status, detail, headers={"Retry-After": str(max(1, round(seconds)))})
