"""One request over HTTP, and what came of it; nothing is followed and nothing is kept open."""

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MAX_BODY = 16 * 1024 * 1024
MAX_ERROR = 64 * 1024

Json = dict[str, Any]


class Broken(Exception):
    """No answer, or half of one: that may pass."""


class Answered(Exception):
    """An answer that is a refusal. `after` are the seconds that the server asks to wait."""

    def __init__(self, status: int, says: str, after: float | None = None) -> None:
        super().__init__(f"status {status}: {says}" if says else f"status {status}")
        self.status = status
        self.says = says
        self.after = after


@dataclass(frozen=True)
class Server:
    """Where to ask, and with which key, which is shown to nobody."""

    url: str
    key: str
    seconds: float

    @contextmanager
    def posted(
        self, path: str, value: Json, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to `value`, open. Raises Broken, and Answered for a status from 300 on."""
        try:
            connection, prefix = self._connection()
            told = {"Content-Type": "application/json", **headers}
            if self.key:
                told["Authorization"] = f"Bearer {self.key}"
            try:
                body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
                connection.request("POST", prefix + path, body, told)
                answer = connection.getresponse()
                if answer.status >= 300:
                    says = _words(answer.read(MAX_ERROR)).replace(self.key or "\0", "[redacted]")
                    raise Answered(answer.status, says, _after(answer))
                yield answer
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            name = type(error).__name__
            raise Broken(f"connection error: {str(error)[:200] or name}") from error

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        return kind(host, parts.port, timeout=self.seconds), parts.path.rstrip("/")


def whole(answer: http.client.HTTPResponse) -> Json:
    """The JSON object that an answer holds. Raises Broken."""
    data = answer.read(MAX_BODY + 1)
    if len(data) > MAX_BODY:
        raise Broken("the answer is longer than 16 MiB")
    return document(data)


def document(data: bytes) -> Json:
    """The JSON object that `data` holds. Raises Broken."""
    try:
        value = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise Broken("the answer is no JSON") from None
    if not isinstance(value, dict):
        raise Broken("the answer is no JSON object")
    return value


def events(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The data of each event of a stream; of one line each, as all servers of models send them."""
    size = 0
    while line := answer.readline(MAX_BODY):
        size += len(line)
        if size > MAX_BODY:
            raise Broken("the answer is longer than 16 MiB")
        if line.startswith(b"data:"):
            yield line[5:].strip()


def _words(body: bytes) -> str:
    """What a refusal says, in one of the forms that servers have for it."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split())[:300]
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error.get("code") or error
    return " ".join(str(error).split())[:300]


def _after(answer: http.client.HTTPResponse) -> float | None:
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "")))
    except ValueError:
        return None


def pause(seconds: float) -> None:
    """Wait before another try."""
    time.sleep(seconds)
