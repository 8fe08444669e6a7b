"""One HTTP POST to a receiver that the operator named: tried a few times, bounded in all ways.

No redirect is followed, no cookie kept, no environment read; of an answer some hundred bytes are
looked at. The address may be a secret, so nothing here says more of it than its host.
"""

import email.utils
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio

from kubecase.core.errors import NotDelivered, SettingsInvalid
from kubecase.core.fencing import one_line

PAUSES = (1.0, 2.0, 4.0)
POST_SECONDS = 10.0
ANSWER_BYTES = 2048
LONGEST_WAIT = 30.0
"""A receiver that asks for more patience than this within one send is tried again later."""

Headers = Callable[[bytes], Mapping[str, str]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a receiver is reached: `ca` is the PEM file of the only authority that is believed."""

    proxy: str | None = None
    ca: Path | None = None
    post_seconds: float = POST_SECONDS
    pauses: Sequence[float] = PAUSES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    retry_after: float | None
    words: str


class Poster:
    """Posts to one address. Raises SettingsInvalid for a `ca` that cannot be read."""

    def __init__(self, name: str, url: str, way: Way, *, sleep: Sleep = anyio.sleep) -> None:
        self._name = name
        self._url = url
        self._way = way
        self._sleep = sleep
        self._host = urlsplit(url).hostname or "?"
        self._verify = _trust(name, way.ca)
        # The library would log every address it asks, at `info`; here they hold a secret.
        logging.getLogger("httpx2").setLevel(logging.WARNING)

    async def post(self, body: bytes, headers: Headers) -> None:
        """Deliver `body`; `headers` is asked before each try. Raises NotDelivered.

        Tried again after 429, 5xx and what is no answer at all, after 1, 2 and 4 seconds or as
        long as Retry-After says; not after any other answer.
        """
        for pause in (*self._way.pauses, None):
            error = await self._try(body, headers(body))
            if error is None:
                return
            wait = max(pause or 0, error.retry_after or 0)
            if error.lasting or pause is None or wait > LONGEST_WAIT:
                raise error
            await self._sleep(wait)

    async def _try(self, body: bytes, headers: Mapping[str, str]) -> NotDelivered | None:
        import httpx2  # noqa: PLC0415 - only for those who have a sink

        try:
            with anyio.fail_after(self._way.post_seconds):
                answer = await self._ask(body, headers)
        except TimeoutError:
            said = f"no answer from {self._host} within {self._way.post_seconds:.0f} s"
            return self._failed(said, hint="See that the receiver is up and can be reached.")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            # Not chained and not quoted: the library's words may hold the address.
            return self._failed(
                f"cannot reach {self._host} ({type(error).__name__})",
                hint=f"See that {self._host} can be reached from here; a proxy is set by "
                f"sinks.{self._name}.proxy.",
            )
        return self._judged(answer)

    async def _ask(self, body: bytes, headers: Mapping[str, str]) -> _Answer:
        import httpx2  # noqa: PLC0415

        client = httpx2.AsyncClient(
            verify=self._verify, proxy=self._way.proxy, trust_env=False, follow_redirects=False,
            timeout=httpx2.Timeout(self._way.post_seconds),
        )  # fmt: skip
        async with (
            client,
            client.stream(
                "POST", self._url, content=body,
                headers={"Accept-Encoding": "identity", "User-Agent": "kubecase", **headers},
            ) as response,
        ):  # fmt: skip
            start = b""
            async for piece in response.aiter_raw(ANSWER_BYTES):
                start += piece
                if len(start) >= ANSWER_BYTES:
                    break
            return _Answer(
                status=response.status_code,
                retry_after=_seconds(response.headers.get("retry-after")),
                words=one_line(start[:ANSWER_BYTES].decode("utf-8", "replace"), 200),
            )

    def _judged(self, answer: _Answer) -> NotDelivered | None:
        if 200 <= answer.status < 300:
            return None
        said = f": {answer.words}" if answer.words else ""
        words = f"{self._host} answered {answer.status}{said}".replace(self._url, "[its address]")
        if answer.status == 429 or answer.status >= 500:
            return self._failed(words, retry_after=answer.retry_after)
        redirects = 300 <= answer.status < 400
        hint = "Name the address it redirects to." if redirects else (
            f"Correct the address of sinks.{self._name}; try it: kubecase notify test {self._name}"
        )  # fmt: skip
        return self._failed(words, hint=hint, lasting=True)

    def _failed(self, words: str, **more: Any) -> NotDelivered:
        return NotDelivered(f"cannot tell {self._name}: {words}", **more)


def _seconds(header: str | None) -> float | None:
    """Retry-After, as seconds or as a date."""
    if header is None:
        return None
    if header.strip().isdigit() and len(header.strip()) < 8:
        return float(header)
    try:
        at = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _trust(name: str, ca: Path | None) -> ssl.SSLContext:
    try:
        if ca is None:
            return ssl.create_default_context()
        return ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise SettingsInvalid(
            f"cannot use sinks.{name}.ca: {error}", hint="Name a PEM file with certificates."
        ) from error
