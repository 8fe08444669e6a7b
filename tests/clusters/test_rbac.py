"""The token of the read-only ServiceAccount: what is sent for it, and what is kept of it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx2
import pytest

from fakes.kube_api import FakeCluster
from kubecase.clusters import Credentials, from_kubeconfig
from kubecase.clusters.mint import MAX_ANSWER, Minted, OnePost, mint
from kubecase.core.errors import ClusterUnavailable

PATH = "/api/v1/namespaces/kubecase/serviceaccounts/kubecase-reader/token"
STATUS = {"token": "token-of-the-reader", "expirationTimestamp": "2026-01-03T03:04:05Z"}
GIVEN = json.dumps({"kind": "TokenRequest", "status": STATUS}).encode()


def minted(credentials: Credentials) -> Minted:
    async def ask() -> Minted:
        return await mint(credentials, namespace="kubecase", account="kubecase-reader", seconds=600)

    return anyio.run(ask)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PATH),
        ("DELETE", PATH),
        ("POST", PATH + "?dryRun=All"),
        ("POST", "/api/v1/namespaces/kubecase/pods"),
        ("POST", PATH.replace("kubecase-reader", "default")),
    ],
)
def test_nothing_but_the_one_post_leaves(method: str, path: str) -> None:
    """The way on which a token is asked for lets no other request to the cluster (req 13.1)."""
    with FakeCluster() as cluster:

        async def send() -> None:
            transport = OnePost(httpx2.AsyncHTTPTransport(), PATH)
            async with httpx2.AsyncClient(base_url=cluster.url, transport=transport) as http:
                await http.request(method, path)

        with pytest.raises(ClusterUnavailable, match="only one token is asked for"):
            anyio.run(send)

    assert cluster.requests == []


def test_a_second_token_is_not_asked_for() -> None:
    """One command makes one token: the same request a second time does not leave."""
    with FakeCluster() as cluster:
        cluster.answer("/token$", 201, body=GIVEN)

        async def send() -> None:
            transport = OnePost(httpx2.AsyncHTTPTransport(), PATH)
            async with httpx2.AsyncClient(base_url=cluster.url, transport=transport) as http:
                await http.post(PATH)
                await http.post(PATH)

        with pytest.raises(ClusterUnavailable, match="only one token is asked for"):
            anyio.run(send)

    assert cluster.requests == [("POST", PATH)]


def test_the_log_in_at_the_proxy_stays_with_the_operator(tmp_path: Path) -> None:
    """A name and password in the operator's proxy address are not in the new file (req 13.4)."""
    with FakeCluster() as proxy:
        proxy.answer("/token$", 201, body=GIVEN)
        real = from_kubeconfig(proxy.kubeconfig(tmp_path / "real"))
        address = proxy.url.replace("://", "://operator:hunter2@")
        made = minted(replace(real, proxy=address))

    told = json.loads(made.content)["clusters"][0]["cluster"]
    assert told["proxy-url"] == proxy.url
    assert b"hunter2" not in made.content


def test_of_a_long_answer_only_the_beginning_is_read(tmp_path: Path) -> None:
    """A cluster cannot fill our memory: no more is read than a token takes."""
    with FakeCluster() as cluster:
        cluster.answer("/token$", 201, body=GIVEN + b" " * MAX_ANSWER + b"no JSON")
        made = minted(from_kubeconfig(cluster.kubeconfig(tmp_path / "real")))

    assert made.expires == datetime(2026, 1, 3, 3, 4, 5, tzinfo=UTC)
