"""The way from the model gateway to a model's server: whose address, which key, how patiently."""

import asyncio
import email.utils
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

import aiohttp
from yarl import URL

from kubecase.core.errors import KubecaseError
from kubecase.core.metering import Trouble
from kubecase.gateways.protocols import DIALECTS, Dialect, ProtocolName


class UpstreamUnusable(KubecaseError):
    """The settings of an upstream cannot work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One server of models, by the name it has in settings.

    `base_url` is the vendor's own unless set; the version at its end (`/v1`, `/v1beta`) may be
    written or not. `key` goes into `header`, behind `prefix`; `None` sends none. With `ca` only
    certificates that this file vouches for are accepted. `proxy` is the HTTP proxy on the way.
    `models` are patterns of the models that may be asked for; empty allows any.
    """

    name: str
    protocol: ProtocolName
    base_url: str | None = None
    key: str | None = field(default=None, repr=False)
    header: str | None = None
    prefix: str | None = None
    ca: Path | None = None
    proxy: str | None = None
    models: tuple[str, ...] = ()

    @property
    def dialect(self) -> Dialect:
        """The protocol that is spoken here."""
        return DIALECTS[self.protocol]

    def url(self, path: str, query: Iterable[tuple[str, str]]) -> URL:
        """The address of `path`, which begins with the version of the protocol."""
        base = (self.base_url or self.dialect.base_url).rstrip("/")
        return URL(base.removesuffix(self.dialect.version) + path, encoded=True).with_query(
            list(query)
        )

    def key_headers(self) -> dict[str, str]:
        """The header that carries the key, if there is a key."""
        if self.key is None:
            return {}
        prefix = self.dialect.key_prefix if self.prefix is None else self.prefix
        return {self.header or self.dialect.key_header: prefix + self.key}

    def offers(self, model: str) -> bool:
        """Whether `model` may be asked for."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited, in seconds, and how often is tried again before the first byte.

    A pause doubles from `pause` on; what the server asks for by Retry-After is kept to instead, as
    long as all of it stays within `retry_seconds`. `call` bounds a whole answer.
    """

    tries: int = 4
    retry_seconds: float = 60.0
    pause: float = 0.5
    connect: float = 10.0
    first_byte: float = 300.0
    idle: float = 120.0
    call: float = 900.0


class CallFailed(Exception):
    """No answer was had from upstream; `trouble` and the sentence say why.

    `begun` says that the server may have been at work, and will want to be paid.
    """

    def __init__(self, trouble: Trouble, says: str, *, begun: bool = False) -> None:
        super().__init__(says)
        self.trouble = trouble
        self.begun = begun


class UpstreamClient:
    """Asks one upstream. Follows no redirect, keeps no cookie, and reads no environment."""

    def __init__(
        self,
        upstream: Upstream,
        patience: Patience,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._patience = patience
        self._clock = clock
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust_of(upstream)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=None, sock_connect=patience.connect, sock_read=None
            ),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]],
        headers: Mapping[str, str],
        body: bytes,
    ) -> aiohttp.ClientResponse:
        """The first answer that is none of 429 and 5xx, else the last of a bounded number.

        Its body has not been read. Raises CallFailed where there is no answer at all.
        """
        url = self._upstream.url(path, query)
        sent = {**headers, "Accept-Encoding": "identity", **self._upstream.key_headers()}
        ends, attempt = self._clock() + self._patience.retry_seconds, 1
        while True:
            failed: CallFailed | None = None
            response: aiohttp.ClientResponse | None = None
            try:
                response = await self._once(method, url, sent, body)
            except _Unreached as error:
                failed = CallFailed(Trouble.TRANSIENT, str(error))
            if response is not None and not (response.status == 429 or response.status >= 500):
                return response
            pause = self._pause(attempt, response)
            if attempt >= self._patience.tries or self._clock() + pause > ends:
                if response is not None:
                    return response
                raise failed or CallFailed(Trouble.TRANSIENT, "no answer")
            if response is not None:
                response.close()
            await asyncio.sleep(pause)
            attempt += 1

    async def _once(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes
    ) -> aiohttp.ClientResponse:
        name = self._upstream.name
        try:
            async with asyncio.timeout(self._patience.first_byte):
                return await self._session.request(
                    method, url, headers=headers, data=body or None, allow_redirects=False,
                    proxy=self._upstream.proxy,
                )  # fmt: skip
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            raise CallFailed(
                Trouble.REFUSED,
                f"the certificate of the upstream {name} is not trusted (models.{name}.ca)",
            ) from error
        except (aiohttp.ClientHttpProxyError, aiohttp.InvalidURL) as error:
            raise CallFailed(
                Trouble.REFUSED, f"the way to the upstream {name} is refused by its proxy"
            ) from error
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                raise _Unreached(f"the upstream {name} cannot be reached in time") from error
            # Not tried again: the server may be at work on it, and would be paid twice.
            says = f"the upstream {name} did not begin to answer in time"
            raise CallFailed(Trouble.TRANSIENT, says, begun=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _Unreached(
                f"the upstream {name} cannot be reached ({type(error).__name__})"
            ) from error

    def _pause(self, attempt: int, response: aiohttp.ClientResponse | None) -> float:
        if response is not None:
            asked = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            if asked is not None:
                return asked
        return self._patience.pause * float(2 ** (attempt - 1))


class _Unreached(Exception):
    """The connection failed before an answer; trying again cannot be paid twice."""


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for; `None` if it asks for none."""
    if value is None:
        return None
    try:
        return max(0.0, float(value)) if value.strip().isdecimal() else _until(value, now)
    except (ValueError, TypeError):
        return None


def _until(value: str, now: datetime) -> float:
    moment = email.utils.parsedate_to_datetime(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def trust_of(upstream: Upstream) -> ssl.SSLContext:
    """What certificates are checked against: `ca` alone where there is one.

    Raises UpstreamUnusable.
    """
    try:
        return ssl.create_default_context(cafile=upstream.ca)
    except (OSError, ssl.SSLError) as error:
        raise UpstreamUnusable(
            f"models.{upstream.name}.ca: {upstream.ca} holds no certificate that can be used",
            hint="Set it to a PEM file with the certificate of the authority.",
        ) from error
