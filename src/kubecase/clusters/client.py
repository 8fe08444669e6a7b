"""A client that can read a cluster and cannot do anything else.

Every request passes `ReadOnly`, below the HTTP library: methods other than GET, Secrets and the
subresources that reach into a workload are refused there, whoever asks. The one POST is that by
which a credential asks what it may do itself.
"""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import anyio
import httpx2
from lightkube.config.client_adapter import user_auth
from lightkube.core.exceptions import ConfigError

from kubecase.clusters.connection import tls_context
from kubecase.clusters.credentials import Credentials
from kubecase.clusters.kinds import KINDS, Kind, may_be_read, path_of
from kubecase.clusters.plugin import PluginAuth
from kubecase.clusters.untrusted import Unreadable, decode, parse_json
from kubecase.core.errors import ClusterUnavailable

MAX_ANSWER = 8 * 1024 * 1024
CONCURRENT = 4
REQUEST_SECONDS = 5.0
REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
"""Where a credential asks about itself; it changes nothing."""
_POD = next(each for each in KINDS if each.kind == "Pod")


class ApiFailure(Exception):
    """Something that the cluster did not give us, with the reason in words for people.

    `unreachable` is set when no answer came at all, so that asking for more is of no use.
    """

    def __init__(
        self,
        why: str,
        *,
        status: int | None = None,
        unreachable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(why)
        self.status = status
        self.retry_after = retry_after
        self.unreachable = unreachable


class ReadOnly(httpx2.AsyncBaseTransport):
    """Lets GET requests for the kinds of `kinds.KINDS` through to `inner`, and nothing else.

    `prefix` is the path that the server's address has by itself, if any.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, *, prefix: str = "") -> None:
        self._inner = inner
        self._prefix = prefix.rstrip("/")

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass `request` on, or raise ApiFailure before a byte of it has left."""
        path = request.url.raw_path.decode("ascii", "replace").partition("?")[0]
        if request.method == "POST" and path == self._prefix + REVIEW:
            return await self._inner.handle_async_request(request)
        if request.method != "GET" or "upgrade" in request.headers:
            raise ApiFailure(f"{request.method} is refused: this client only reads")
        if not path.startswith(self._prefix) or not may_be_read(path[len(self._prefix) :]):
            raise ApiFailure("the path is refused: this client does not read it")
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close what lies below."""
        await self._inner.aclose()


class ClusterClient:
    """Reads objects, lists and logs of one cluster; at most four requests at once.

    Use as an asynchronous context manager. Answers are bounded in size and parsed without trust.
    Every method raises ApiFailure for what it could not get.
    """

    def __init__(
        self, credentials: Credentials, *, request_seconds: float = REQUEST_SECONDS
    ) -> None:
        self._credentials = credentials
        self._seconds = request_seconds
        self._turns = anyio.Semaphore(CONCURRENT)
        self._auth = auth_of(credentials)
        self._http = _http_client(credentials, self._auth, request_seconds)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def sign_in(self) -> None:
        """Ask the credential plugin, if there is one, for the token of the requests to come.

        Raises ClusterUnavailable if it has none to give.
        """
        if isinstance(self._auth, PluginAuth):
            await self._auth.renew()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def get(self, kind: Kind, name: str, namespace: str | None) -> dict[str, Any]:
        """The object of `kind` called `name`."""
        found = await self._json(_path(kind, namespace=namespace, name=name), {})
        return {"apiVersion": kind.api_version, "kind": kind.kind, **found}

    async def all_of(
        self, kind: Kind, namespace: str | None, *, limit: int, labels: str = "", fields: str = ""
    ) -> tuple[list[dict[str, Any]], bool]:
        """The first `limit` objects of `kind` in `namespace` (`None`: all), and if there are more.

        `labels` and `fields` are selectors as the API takes them.
        """
        query = {"limit": str(limit), "labelSelector": labels, "fieldSelector": fields}
        query = {key: value for key, value in query.items() if value}
        found = await self._json(_path(kind, namespace=namespace), query)
        items = found.get("items")
        if not isinstance(items, list):
            raise ApiFailure("the answer is not a list")
        metadata = found.get("metadata")
        more = isinstance(metadata, dict) and bool(metadata.get("continue"))
        bare = {"apiVersion": kind.api_version, "kind": kind.kind}
        return [{**bare, **each} for each in items[:limit] if isinstance(each, dict)], more

    async def read(
        self, kind: Kind, namespace: str | None, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """One answer to a list of `kind`, whole."""
        return await self._json(_path(kind, namespace=namespace), query)

    @asynccontextmanager
    async def stream(
        self, kind: Kind, namespace: str | None, query: Mapping[str, str], *, idle: float
    ) -> AsyncIterator[httpx2.Response]:
        """An answer that goes on: a watch of `kind`. `idle` seconds of silence are too much."""
        name = self._credentials.tls_server_name
        timeout = httpx2.Timeout(self._seconds, read=idle)
        async with self._http.stream(
            "GET", _path(kind, namespace=namespace), params=dict(query), timeout=timeout,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            extensions={"sni_hostname": name} if name else {},
        ) as response:  # fmt: skip
            if response.status_code != 200:
                await _body(response)
            yield response

    async def log(
        self, namespace: str, pod: str, container: str, *, previous: bool, lines: int, size: int
    ) -> str:
        """The last `lines` lines of a container's log, at most the last `size` bytes of them."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(8 * size)}
        if previous:
            query["previous"] = "true"
        path = _path(_POD, namespace=namespace, name=pod, part="log")
        data = await self._bytes(path, query, accept="*/*")
        return decode(data[-size:])[0]

    async def may(self, attributes: Mapping[str, str]) -> bool:
        """Whether our own credential may do this; `attributes` as the API's ResourceAttributes."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": dict(attributes)},
        }
        found = await self._json(REVIEW, {}, body=json.dumps(review).encode())
        status = found.get("status")
        if not isinstance(status, dict) or not isinstance(status.get("allowed"), bool):
            raise ApiFailure("the answer to a review says neither yes nor no")
        return bool(status["allowed"])

    async def _json(
        self, path: str, query: Mapping[str, str], *, body: bytes | None = None
    ) -> dict[str, Any]:
        data = await self._bytes(path, query, accept="application/json", body=body)
        try:
            found = parse_json(decode(data)[0])
        except Unreadable as error:
            raise ApiFailure(f"the answer cannot be read: {error}") from None
        if not isinstance(found, dict):
            raise ApiFailure("the answer is not an object")
        return found

    async def _bytes(
        self, path: str, query: Mapping[str, str], *, accept: str, body: bytes | None = None
    ) -> bytes:
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        name = self._credentials.tls_server_name
        extensions = {"sni_hostname": name} if name else {}
        try:
            async with self._turns:
                # The library's own limit is per read: a server that drips would hold us for ever.
                with anyio.fail_after(self._seconds):
                    async with self._http.stream(
                        "GET" if body is None else "POST", path, params=dict(query),
                        headers=headers, content=body, extensions=extensions,
                    ) as response:  # fmt: skip
                        return await _body(response)
        except (TimeoutError, httpx2.TimeoutException):
            why = f"no answer within {self._seconds:g} s"
            raise ApiFailure(why, unreachable=True) from None
        except httpx2.TransportError as error:
            raise ApiFailure(_unreachable(error), unreachable=True) from None
        except ClusterUnavailable as error:
            raise ApiFailure(str(error), unreachable=True) from None
        except (httpx2.HTTPError, ConfigError) as error:
            raise ApiFailure(f"cannot be asked: {type(error).__name__}") from None


def _path(
    kind: Kind, *, namespace: str | None, name: str | None = None, part: str | None = None
) -> str:
    try:
        return path_of(kind, namespace=namespace, name=name, part=part)
    except ValueError as error:
        raise ApiFailure(str(error)) from None


async def _body(response: httpx2.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ApiFailure("the answer is encoded, which was not asked for")
    good = response.status_code in {200, 201}
    limit = MAX_ANSWER if good else 64 * 1024
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > limit:
            break
    if not good:
        raise ApiFailure(
            _refusal(response.status_code, bytes(data)),
            status=response.status_code,
            retry_after=_seconds_of(response.headers.get("retry-after")),
        )
    if len(data) > limit:
        raise ApiFailure(f"the answer is larger than {limit} bytes")
    return bytes(data)


def _seconds_of(header: str | None) -> float | None:
    """A Retry-After in seconds, at most an hour; None for any other form."""
    return min(float(header), 3600.0) if header and header.isascii() and header.isdigit() else None


def _refusal(status: int, data: bytes) -> str:
    """What a Status object says, or else the code alone; at most 300 characters."""
    try:
        message = parse_json(decode(data)[0]).get("message")
    except (Unreadable, AttributeError):
        message = None
    words = message if isinstance(message, str) and message else "no reason given"
    return f"{status}: {' '.join(words.split())[:300]}"


def _unreachable(error: httpx2.TransportError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not accepted: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return f"cannot be reached: {' '.join(str(error).split())[:200] or type(error).__name__}"


def _http_client(
    credentials: Credentials, auth: httpx2.Auth | None, seconds: float
) -> httpx2.AsyncClient:
    try:
        transport = httpx2.AsyncHTTPTransport(
            verify=tls_context(credentials), proxy=credentials.proxy
        )
    except ValueError as error:
        raise ClusterUnavailable(
            f"cannot use the credentials of context {credentials.context}: {type(error).__name__}",
            hint="Is its proxy-url an address?",
        ) from error
    return httpx2.AsyncClient(
        base_url=credentials.server,
        auth=auth,
        transport=ReadOnly(transport, prefix=urlsplit(credentials.server).path),
        timeout=seconds,
        follow_redirects=False,
        trust_env=False,
    )


def auth_of(credentials: Credentials) -> httpx2.Auth | None:
    """How requests are signed with it; None where a certificate does it, or nothing."""
    if credentials.plugin is not None:
        return PluginAuth(credentials.plugin, credentials.plugin_environment)
    return user_auth(credentials.config.user)
