"""Makes a kubeconfig from a ServiceAccount, on the operator's behalf and with their credential.

The one request of kubecase that is no reading: a POST to the TokenRequest API of one account. It
goes through a transport of its own that lets nothing else through.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import anyio
import httpx2
from lightkube.core.exceptions import ConfigError

from kubecase.clusters.client import auth_of
from kubecase.clusters.connection import tls_context
from kubecase.clusters.credentials import Credentials
from kubecase.clusters.kinds import is_name
from kubecase.clusters.plugin import PluginAuth
from kubecase.clusters.untrusted import Unreadable, decode, parse_json
from kubecase.core.errors import ClusterUnavailable

SECONDS = 15.0
MAX_ANSWER = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """A kubeconfig that holds the ServiceAccount's token and nothing of the operator's."""

    content: bytes = field(repr=False)
    expires: datetime


class OnePost(httpx2.AsyncBaseTransport):
    """Lets one POST to `path` through to `inner`, and nothing else ever."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, path: str) -> None:
        self._inner = inner
        self._path = path
        self._used = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass it on once; a second time only after a 401, for a renewed credential."""
        path = request.url.raw_path.decode("ascii", "replace")
        if request.method != "POST" or path != self._path or self._used:
            raise ClusterUnavailable("refused: only one token is asked for, and nothing else")
        response = await self._inner.handle_async_request(request)
        self._used = response.status_code != 401
        return response

    async def aclose(self) -> None:
        """Close what lies below."""
        await self._inner.aclose()


async def mint(credentials: Credentials, *, namespace: str, account: str, seconds: int) -> Minted:
    """A kubeconfig for `account` in `namespace`, good for about `seconds`.

    Raises ClusterUnavailable with what is wrong and how to put it right.
    """
    for name in (namespace, account):
        if not is_name(name):
            raise ClusterUnavailable(
                f"{name[:80]!a} is no Kubernetes name",
                hint="Correct --service-account and --namespace.",
            )
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds},
    }
    status, data = await _post(credentials, path, json.dumps(body).encode())
    if status not in {200, 201}:
        raise _refused(status, data, namespace, account)
    try:
        found = parse_json(decode(data)[0])["status"]
        token, expires = str(found["token"]), datetime.fromisoformat(found["expirationTimestamp"])
    except (Unreadable, KeyError, TypeError, ValueError):
        raise ClusterUnavailable(
            "the cluster's answer to the TokenRequest holds no token"
        ) from None
    if not token.isascii() or not token.isprintable():
        raise ClusterUnavailable("the cluster's answer to the TokenRequest holds no token")
    content = json.dumps(_kubeconfig(credentials, namespace, account, token), indent=2)
    return Minted(content=content.encode() + b"\n", expires=expires)


async def _post(credentials: Credentials, path: str, body: bytes) -> tuple[int, bytes]:
    prefix = urlsplit(credentials.server).path.rstrip("/")
    auth = auth_of(credentials)
    transport = httpx2.AsyncHTTPTransport(verify=tls_context(credentials), proxy=credentials.proxy)
    name = credentials.tls_server_name
    async with httpx2.AsyncClient(
        base_url=credentials.server, auth=auth, transport=OnePost(transport, prefix + path),
        timeout=SECONDS, follow_redirects=False, trust_env=False,
    ) as http:  # fmt: skip
        try:
            with anyio.fail_after(SECONDS):
                if isinstance(auth, PluginAuth):
                    await auth.renew()
                async with http.stream(
                    "POST", path, content=body,
                    headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
                    extensions={"sni_hostname": name} if name else {},
                ) as answer:  # fmt: skip
                    return answer.status_code, await _start_of(answer)
        except (TimeoutError, httpx2.HTTPError, ConfigError) as error:
            raise ClusterUnavailable(
                f"the cluster of context {credentials.context} cannot be asked: "
                f"{type(error).__name__}",
                hint="Check the kubeconfig, its context and the way to the server.",
            ) from error


async def _start_of(answer: httpx2.Response) -> bytes:
    """As much as a token may take: raw, so that nothing is unpacked to more than was sent."""
    data = bytearray()
    async for chunk in answer.aiter_raw():
        data += chunk
        if len(data) > MAX_ANSWER:
            break
    return bytes(data[:MAX_ANSWER])


def _refused(status: int, data: bytes, namespace: str, account: str) -> ClusterUnavailable:
    try:
        says = str(parse_json(decode(data)[0]).get("message"))[:300]
    except (Unreadable, AttributeError):
        says = "no reason given"
    hint = "Check the kubeconfig and its context."
    if status == 404:
        hint = "Make it first: `kubecase rbac | kubectl apply -f -`."
    if status == 403:
        hint = (
            "The credential has to be allowed to create serviceaccounts/token; use an "
            "administrator's with --kubeconfig."
        )
    return ClusterUnavailable(
        f"no token for the ServiceAccount {namespace}/{account}: {status}: {says}", hint=hint
    )


def _kubeconfig(
    credentials: Credentials, namespace: str, account: str, token: str
) -> Mapping[str, Any]:
    """Server and authority of the operator's kubeconfig, and the account's token."""
    cluster = credentials.config.cluster
    told: dict[str, Any] = {"server": credentials.server}
    if cluster.certificate_auth_data:
        told["certificate-authority-data"] = cluster.certificate_auth_data
    elif cluster.certificate_auth:
        file = Path(credentials.config.abs_file(cluster.certificate_auth))
        told["certificate-authority-data"] = base64.b64encode(file.read_bytes()).decode()
    if cluster.insecure:
        told["insecure-skip-tls-verify"] = True
    if credentials.tls_server_name:
        told["tls-server-name"] = credentials.tls_server_name
    if credentials.proxy:
        told["proxy-url"] = _without_password(credentials.proxy)
    name = credentials.context
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": told}],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": account}}],
    }


def _without_password(proxy: str) -> str:
    """The proxy's address alone: whoever is to use it has a log-in of their own, or needs none."""
    parts = urlsplit(proxy)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
