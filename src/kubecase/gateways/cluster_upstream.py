"""The way from the cluster gateway to the API server: the real credential, and patience."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

from kubecase.clusters.connection import Authorization, tls_context
from kubecase.clusters.credentials import Credentials
from kubecase.core.errors import ClusterUnavailable
from kubecase.gateways.policy import Allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPatience:
    """Seconds that are waited for a connection, for an answer to begin, and for more of it."""

    connect: float = 10.0
    first_byte: float = 30.0
    idle: float = 30.0


class Unanswered(Exception):
    """The API server gave no answer that can be handed on; the sentence says why."""


class ClusterUpstream:
    """Asks one API server with the real credential. Follows no redirect, keeps no cookie.

    Use as an asynchronous context manager. Raises ClusterUnavailable for a credential that cannot
    be used.
    """

    def __init__(self, credentials: Credentials, patience: ClusterPatience) -> None:
        self._credentials = credentials
        self._patience = patience
        self._authorization = Authorization(credentials)
        self._prefix = urlsplit(credentials.server).path.rstrip("/")
        self._origin = URL(credentials.server).origin()
        self._tls = tls_context(credentials) if credentials.server.startswith("https:") else None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=True if self._tls is None else self._tls, limit=0, keepalive_timeout=30
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._patience.connect),
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
            headers={"User-Agent": "kubecase-gateway"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def ask(self, allowed: Allowed, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to `allowed`, of which only the head has been read; raises Unanswered.

        A credential that is refused is renewed once where that is possible.
        """
        header = await self._authorized()
        response = await self._once(allowed, body, header)
        if response.status == 401 and self._authorization.renewable:
            response.close()
            response = await self._once(allowed, body, await self._authorized(refused=header))
        try:
            if response.status == 401:
                raise Unanswered("the cluster refuses kubecase's own credential")
            if response.status < 200 or 300 <= response.status < 400:
                raise Unanswered(f"the cluster answers with status {response.status}")
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise Unanswered("the cluster's answer is compressed, which was not asked for")
            yield response
        finally:
            # What was read to its end has given its connection back already.
            response.close()

    async def _authorized(self, *, refused: str | None = None) -> str | None:
        try:
            return await self._authorization.value(refused=refused)
        except ClusterUnavailable as error:
            raise Unanswered("kubecase's own credential cannot be had") from error

    async def _once(
        self, allowed: Allowed, body: bytes, authorization: str | None
    ) -> aiohttp.ClientResponse:
        assert self._session is not None  # noqa: S101  (set for as long as it is entered)
        headers = {"Accept": allowed.accept, "Accept-Encoding": "identity"}
        if authorization is not None:
            headers["Authorization"] = authorization
        if allowed.content_type is not None:
            headers["Content-Type"] = allowed.content_type
        query = urlencode(allowed.query)
        path = f"{self._prefix}{allowed.path}" + (f"?{query}" if query else "")
        url = URL(f"{self._origin}{path}", encoded=True)
        try:
            async with asyncio.timeout(self._patience.first_byte):
                return await self._session.request(
                    allowed.method, url, headers=headers, data=body or None,
                    allow_redirects=False, server_hostname=self._credentials.tls_server_name,
                    proxy=self._credentials.proxy,
                )  # fmt: skip
        except TimeoutError as error:
            says = f"the cluster did not begin to answer within {self._patience.first_byte:g} s"
            raise Unanswered(says) from error
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
            raise Unanswered("the certificate of the cluster is not accepted") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unanswered(f"the cluster cannot be reached ({type(error).__name__})") from error

    async def more(self, response: aiohttp.ClientResponse, *, wait: float | None = None) -> bytes:
        """The next piece of the answer, empty at its end; raises Unanswered.

        `wait` is the time that it may take to come, `ClusterPatience.idle` by default.
        """
        seconds = self._patience.idle if wait is None else wait
        try:
            async with asyncio.timeout(seconds):
                return await response.content.readany()
        except TimeoutError as error:
            raise Unanswered(f"the cluster was silent for {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered("the cluster broke off its answer") from error
