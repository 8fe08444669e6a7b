"""The client: reads, and can do nothing else."""

import gzip
import json
import os
import re
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.kube_api import Authority, FakeCluster, kubeconfig_for, recorded
from kubecase.clusters import from_kubeconfig, in_cluster
from kubecase.clusters.client import MAX_ANSWER, ApiFailure, ClusterClient, ReadOnly
from kubecase.clusters.credentials import Credentials
from kubecase.clusters.kinds import KINDS, is_name, kind_of, may_be_read, path_of
from kubecase.core.errors import ClusterUnavailable

pytestmark = pytest.mark.anyio
POD = kind_of("Pod")
assert POD is not None


def pod(name: str = "api-0") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    spec = {"containers": [{"name": "app"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@asynccontextmanager
async def client_of(
    cluster: FakeCluster, directory: Path, seconds: float = 5.0, **user: Any
) -> AsyncIterator[ClusterClient]:
    credentials = from_kubeconfig(cluster.kubeconfig(directory / "kubeconfig", **user))
    async with ClusterClient(credentials, request_seconds=seconds) as client:
        await client.sign_in()
        yield client


async def test_objects_lists_and_logs_can_be_read(tmp_path: Path) -> None:
    """An object, a list with a selector, and a log come back as the cluster has them."""
    with FakeCluster(recorded("crashloop")) as cluster:
        async with client_of(cluster, tmp_path) as client:
            found, more = await client.all_of(POD, "shop", limit=5, labels="app=crashloop")
            name = found[0]["metadata"]["name"]
            one = await client.get(POD, name, "shop")
            log = await client.log("shop", name, "app", previous=False, lines=2, size=4096)

    assert one["kind"] == found[0]["kind"] == "Pod"
    assert not more
    assert len(log.splitlines()) == 2
    assert {method for method, _ in cluster.requests} == {"GET"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "get"])
async def test_no_other_method_leaves_the_program(method: str) -> None:
    """Whatever asks for it, only GET passes the transport (read-only by construction)."""
    with FakeCluster(objects=[pod()]) as cluster:
        transport = ReadOnly(httpx2.AsyncHTTPTransport())
        url = f"{cluster.url}/api/v1/namespaces/shop/pods/api-0"
        async with httpx2.AsyncClient(transport=transport) as http:
            request = http.build_request("GET", url)
            request.method = method
            with pytest.raises(ApiFailure, match="only reads"):
                await http.send(request)

    assert cluster.requests == []


FORBIDDEN = [
    "/api/v1/secrets", "/api/v1/namespaces/shop/secrets", "/api/v1/namespaces/shop/secrets/s",
    "/api/v1/watch/namespaces/shop/secrets", "/api/v1/namespaces/shop%2Fsecrets",
    "/api/v1/namespaces/shop/%73ecrets", "/api/v1/namespaces/shop/pods/a/exec",
    "/api/v1/namespaces/shop/pods/a/attach", "/api/v1/namespaces/shop/pods/a/portforward",
    "/api/v1/namespaces/shop/pods/a/proxy/x", "/api/v1/namespaces/shop/services/a:80/proxy/",
    "/api/v1/nodes/n/proxy/pods", "/api/v1/namespaces/shop/serviceaccounts/a/token",
    "/api/v1/namespaces/shop/pods/a%2Fexec", "/api/v1/namespaces/shop/pods/../secrets",
    "/api/v1//secrets", "/metrics", "/", "/api/v1/namespaces/shop/pods/a/log/b", "/logs/x",
    "/api/v1/namespaces/shop/configmaps/a/log", "/apis/rbac.authorization.k8s.io/v1/roles",
]  # fmt: skip


@pytest.mark.parametrize("path", FORBIDDEN)
async def test_secrets_and_ways_into_a_workload_are_refused(path: str) -> None:
    """No path to a Secret, a shell, a proxy or a token leaves the program, however written."""
    assert not may_be_read(path)
    with FakeCluster() as cluster:
        async with httpx2.AsyncClient(transport=ReadOnly(httpx2.AsyncHTTPTransport())) as http:
            with pytest.raises(ApiFailure):
                await http.get(f"{cluster.url}{path}")

    assert cluster.requests == []


def test_every_path_that_is_made_may_be_read() -> None:
    """Builder and guard agree on every kind, and Secret is none of them."""
    for kind in KINDS:
        assert may_be_read(path_of(kind, namespace="shop"))
        assert may_be_read(path_of(kind, namespace="secrets", name="secrets"))
    assert kind_of("Secret") is None


@given(name=st.text(max_size=30) | st.sampled_from(["../x", "a/b", "a%2fb", "a?b", "A", "..", ""]))
def test_a_name_is_one_segment_of_a_path_or_refused(name: str) -> None:
    """No text makes a path with more segments than were meant, or one with special characters."""
    if is_name(name):
        path = path_of(POD, namespace="shop", name=name)
        assert re.fullmatch(r"/api/v1/namespaces/shop/pods/[a-z0-9.-]+", path)
    else:
        with pytest.raises(ValueError, match="no Kubernetes name"):
            path_of(POD, namespace="shop", name=name)


async def test_a_server_below_a_path_is_reached(tmp_path: Path) -> None:
    """A cluster behind a proxy with a path of its own works, and is guarded the same."""
    with FakeCluster() as cluster:
        cluster.answer(r"^/k8s/clusters/c-1/api/v1/", 200, body=json.dumps(pod()).encode())
        document = kubeconfig_for({"server": f"{cluster.url}/k8s/clusters/c-1"}, {"token": "t"})
        (tmp_path / "k").write_text(json.dumps(document))
        async with ClusterClient(from_kubeconfig(tmp_path / "k")) as client:
            found = await client.get(POD, "api-0", "shop")

    assert found["metadata"]["name"] == "api-0"


async def test_tls_with_the_right_authority_is_trusted(
    tmp_path: Path, authority: Authority
) -> None:
    """With the authority of the kubeconfig the server is accepted and gets our token."""
    with FakeCluster(objects=[pod()], authority=authority, token="t0ken") as cluster:
        async with client_of(cluster, tmp_path) as client:
            assert await client.get(POD, "api-0", "shop")


async def test_tls_with_another_authority_is_refused(tmp_path: Path, authority: Authority) -> None:
    """A server that the kubeconfig's authority did not sign gets neither request nor token."""
    other = tmp_path / "other"
    other.mkdir()
    with FakeCluster(objects=[pod()], authority=authority, token="t") as cluster:
        document = kubeconfig_for(
            {"server": cluster.url, "certificate-authority": str(Authority.make(other).ca)},
            {"token": "t"},
        )
        (tmp_path / "k").write_text(json.dumps(document))
        async with ClusterClient(from_kubeconfig(tmp_path / "k")) as client:
            with pytest.raises(ApiFailure, match="certificate is not accepted"):
                await client.get(POD, "api-0", "shop")

    assert cluster.requests == []


async def test_the_server_name_of_the_kubeconfig_is_checked(
    tmp_path: Path, authority: Authority
) -> None:
    """`tls-server-name` says which name the certificate must have."""
    with FakeCluster(objects=[pod()], authority=authority) as cluster:
        for name, accepted in (("fake.cluster", True), ("other.cluster", False)):
            section = {"server": cluster.url, "certificate-authority": str(authority.ca)}
            document = kubeconfig_for({**section, "tls-server-name": name}, {"token": "t"})
            (tmp_path / "k").write_text(json.dumps(document))
            async with ClusterClient(from_kubeconfig(tmp_path / "k")) as client:
                if accepted:
                    assert await client.get(POD, "api-0", "shop")
                else:
                    with pytest.raises(ApiFailure, match="certificate is not accepted"):
                        await client.get(POD, "api-0", "shop")


async def test_inside_a_pod_a_new_token_is_picked_up(tmp_path: Path, authority: Authority) -> None:
    """When the mounted token changes, the next refusal makes us read it again."""
    for name, text in (("token", "old"), ("namespace", "ops")):
        (tmp_path / name).write_text(text)
    (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
    with FakeCluster(objects=[pod()], authority=authority, token="old") as cluster:
        port = cluster.url.rpartition(":")[2]
        async with ClusterClient(in_cluster("127.0.0.1", port, directory=tmp_path)) as client:
            assert await client.get(POD, "api-0", "shop")
            cluster.token = "new"
            (tmp_path / "token").write_text("new")

            assert await client.get(POD, "api-0", "shop")


def plugin(directory: Path, body: str) -> dict[str, Any]:
    program = directory / "get-token"
    program.write_text(f"#!{sys.executable} -IS\nimport json, os, sys, time\n{body}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    env = [{"name": "PROFILE", "value": "ops"}]
    version = "client.authentication.k8s.io/v1"
    return {"apiVersion": version, "command": str(program), "args": ["a b"], "env": env}


TELL = "print(json.dumps({'status': {'token': TOKEN}}))\n"


async def test_a_credential_plugin_gives_the_token_and_sees_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin runs once, with an environment of its own, and its token is sent (req 5.6)."""
    monkeypatch.setenv("CANARY_SECRET", "x")
    record = tmp_path / "record"
    seen = "json.dumps([sys.argv, dict(os.environ)]) + chr(10)"
    body = f"TOKEN = 'from-plugin'\nopen({str(record)!r}, 'a').write({seen})\n"
    with FakeCluster(objects=[pod()], token="from-plugin") as cluster:
        async with client_of(cluster, tmp_path, exec=plugin(tmp_path, body + TELL)) as client:
            await client.get(POD, "api-0", "shop")
            await client.get(POD, "api-0", "shop")

    (line,) = record.read_text().splitlines()
    arguments, environment = json.loads(line)
    assert arguments[1:] == ["a b"]
    assert environment["PROFILE"] == "ops"
    assert set(environment) - {"LC_CTYPE"} == {"PATH", "HOME", "KUBERNETES_EXEC_INFO", "PROFILE"}


async def test_a_credential_plugin_is_asked_again_when_its_token_expires(tmp_path: Path) -> None:
    """After a 401 the plugin is asked once more, and the request repeated."""
    state = tmp_path / "state"
    state.write_text("first")
    body = f"TOKEN = open({str(state)!r}).read()\n"
    with FakeCluster(objects=[pod()], token="first") as cluster:
        async with client_of(cluster, tmp_path, exec=plugin(tmp_path, body + TELL)) as client:
            await client.get(POD, "api-0", "shop")
            cluster.token = "second"
            state.write_text("second")

            assert await client.get(POD, "api-0", "shop")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit(7)", "exited with code 7"),
        ("print('CANARY')", "printed no token"),
        ("print('[' * 100000)", "printed no token"),
        ("print(json.dumps({'status': {'token': 'a\\nb'}}))", "printed no token"),
    ],
)
async def test_a_credential_plugin_that_fails_is_named(
    tmp_path: Path, body: str, words: str
) -> None:
    """What went wrong with a plugin is said, without what it printed."""
    refusal = pytest.raises(ClusterUnavailable, match="the plugin get-token")
    with FakeCluster() as cluster, refusal as refused:
        async with client_of(cluster, tmp_path, exec=plugin(tmp_path, body)):
            pass

    assert words in str(refused.value)
    assert "CANARY" not in str(refused.value)


async def test_a_credential_plugin_that_is_missing_is_named(tmp_path: Path) -> None:
    """A plugin that is not installed is one clear error."""
    gone = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "/nowhere/get-token"}
    with FakeCluster() as cluster, pytest.raises(ClusterUnavailable, match="cannot be started"):
        async with client_of(cluster, tmp_path, exec=gone):
            pass


async def test_certificates_that_cannot_be_used_are_one_clear_error(tmp_path: Path) -> None:
    """A key file that is missing is an operator's error, not a bug."""
    document = kubeconfig_for(
        {"server": "https://127.0.0.1:1"},
        {"client-certificate": "absent.crt", "client-key": "absent.key"},
    )
    (tmp_path / "k").write_text(json.dumps(document))

    with pytest.raises(ClusterUnavailable, match="cannot use the credentials of context fake"):
        ClusterClient(from_kubeconfig(tmp_path / "k"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 403, "message": "pods is forbidden"}, "403: pods is forbidden"),
        ({"status": 500, "body": b"<html>oops"}, "500: no reason given"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, "302"),
        ({"status": 200, "body": b"not json"}, "cannot be read"),
        ({"status": 200, "body": b"[]"}, "not an object"),
        ({"status": 200, "body": b"[" * 100_000}, "64 deep"),
        ({"status": 200, "body": b'{"items": 7}'}, "not a list"),
        ({"status": 200, "body": b" " * (MAX_ANSWER + 1)}, "larger than"),
        (
            {
                "status": 200,
                "body": gzip.compress(b" " * 100_000_000, 1),
                "headers": {"Content-Encoding": "gzip"},
            },
            "encoded",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_whatever_a_server_answers_is_a_failure_in_words(
    tmp_path: Path, answer: dict[str, Any], words: str
) -> None:
    """Refusals, redirects, garbage, bombs and floods end in one short reason."""
    with FakeCluster() as cluster:
        cluster.answer("/pods", **answer)
        async with client_of(cluster, tmp_path) as client:
            with pytest.raises(ApiFailure) as failed:
                await client.all_of(POD, "shop", limit=5)

    assert words in str(failed.value)
    assert len(str(failed.value)) < 400


async def test_a_server_that_hangs_or_is_gone_is_given_up(tmp_path: Path) -> None:
    """No answer and no listener are told apart, and neither takes longer than the limit."""
    with FakeCluster() as cluster:
        cluster.hang()
        async with client_of(cluster, tmp_path, seconds=0.3) as client:
            began = time.monotonic()
            with pytest.raises(ApiFailure, match=r"no answer within 0\.3 s") as failed:
                await client.get(POD, "api-0", "shop")
    assert failed.value.unreachable
    assert time.monotonic() - began < 3
    async with ClusterClient(from_kubeconfig(tmp_path / "kubeconfig")) as client:
        with pytest.raises(ApiFailure, match="cannot be reached") as failed:
            await client.get(POD, "api-0", "shop")
    assert failed.value.unreachable


async def test_a_proxy_of_the_environment_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the kubeconfig says where a credential goes, not a variable of the environment."""
    with FakeCluster() as proxy, FakeCluster(objects=[pod()], token="t") as cluster:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with client_of(cluster, tmp_path) as client:
            assert await client.get(POD, "api-0", "shop")

    assert proxy.requests == []


async def test_of_a_long_log_the_end_is_kept(tmp_path: Path) -> None:
    """The last lines count: a log is cut at its beginning, by lines and by bytes."""
    text = "".join(f"line {n} {'x' * 100}\n" for n in range(5000))
    with FakeCluster(objects=[pod()], logs={"shop/api-0/app": text}) as cluster:
        async with client_of(cluster, tmp_path) as client:
            log = await client.log("shop", "api-0", "app", previous=False, lines=500, size=10_000)

    assert len(log) == 10_000
    assert log.endswith(text[-100:])


def test_a_credential_is_in_no_representation(tmp_path: Path) -> None:
    """Credentials can be logged without telling the token (req 16.6)."""
    document = kubeconfig_for({"server": "https://127.0.0.1:1"}, {"token": "CANARY"})
    (tmp_path / "k").write_text(json.dumps(document))
    os.chmod(tmp_path / "k", 0o600)

    found = from_kubeconfig(tmp_path / "k")

    assert isinstance(found, Credentials)
    assert "CANARY" not in repr(found)
