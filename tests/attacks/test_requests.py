"""The read-only promise, tried: every request of the corpus, sent for real through the gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from attacks.corpus import LIMITS, corpus, outcome, table
from fakes.kube_api import Authority, FakeCluster, recorded
from fakes.kube_rig import GatewayRig

TOKEN = "real-credential-of-the-cluster"
ATTACKS = corpus()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    """A cluster with a crash loop, behind TLS and a token."""
    authority = Authority.make(Path(tmp_path_factory.mktemp("authority")))
    with FakeCluster(recorded("crashloop"), token=TOKEN, authority=authority) as fake:
        yield fake


@pytest.fixture(scope="module")
def rig(cluster: FakeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayRig]:
    """The gateway before it."""
    directory = tmp_path_factory.mktemp("gateway")
    real = cluster.kubeconfig(directory / "real")
    with GatewayRig(real, directory / "rig", limits=LIMITS) as made:
        yield made


def names_in(cluster: FakeCluster) -> dict[str, str]:
    """What the placeholders of the corpus stand for."""
    pod = next(each for each in cluster.objects if each["kind"] == "Pod")
    deployment = next(each for each in cluster.objects if each["kind"] == "Deployment")
    return {
        "namespace": pod["metadata"]["namespace"],
        "pod": pod["metadata"]["name"],
        "container": pod["spec"]["containers"][0]["name"],
        "deployment": deployment["metadata"]["name"],
        "node": pod["spec"]["nodeName"],
    }


def test_the_corpus_is_as_large_as_it_says() -> None:
    """At least 200 requests that must be denied and 80 that must pass are published."""
    denied = [each for each in ATTACKS if each.expect != "allow"]
    assert len(denied) >= 200
    assert len(ATTACKS) - len(denied) >= 80


@pytest.mark.parametrize("group", sorted({each.group for each in ATTACKS}))
def test_every_request_of_the_corpus_comes_out_as_written(
    group: str, cluster: FakeCluster, rig: GatewayRig
) -> None:
    """Each request is denied by its rule, or passes; what is denied never reaches the cluster."""
    names, wrong = names_in(cluster), []
    cluster.reached.clear()
    for attack in (each.at(names) for each in ATTACKS if each.group == group):
        before = len(cluster.requests)
        found = outcome(rig, attack)
        if found != attack.expect:
            wrong.append(f"{attack.name}: expected {attack.expect}, got {found}")
        if attack.expect != "allow" and len(cluster.requests) > before:
            wrong.append(f"{attack.name}: reached the cluster")
        if cluster.reached:
            wrong.append(f"{attack.name}: came to a door: {cluster.reached}")
            cluster.reached.clear()
    assert not wrong, "\n".join(wrong)


def test_the_documentation_holds_the_result() -> None:
    """The table in docs/gateways.md is that of this corpus; the test above proves its figures."""
    text = (Path(__file__).parents[2] / "docs/gateways.md").read_text()
    shown = text.split("<!-- result -->\n")[1].split("\n<!-- end -->")[0]

    assert shown == table(ATTACKS, [each.expect for each in ATTACKS])


def test_nothing_of_a_callers_own_reaches_the_cluster(
    cluster: FakeCluster, rig: GatewayRig
) -> None:
    """Of a request's headers the API server sees only those that the gateway made itself."""
    pod = names_in(cluster)["namespace"]
    before = len(cluster.headers)
    rig.raw(
        "GET",
        f"/api/v1/namespaces/{pod}/pods",
        ("Impersonate-User: system:admin", "X-Remote-User: root", "Cookie: a=b", "X-Odd: 1"),
    )
    (seen,) = cluster.headers[before:]
    assert {name.lower() for name in seen} == {
        "host", "accept", "accept-encoding", "authorization", "user-agent",
    }  # fmt: skip
    assert seen["Authorization"] == f"Bearer {TOKEN}"


def test_the_credential_of_the_cluster_is_in_no_file_of_the_gateway(rig: GatewayRig) -> None:
    """The real token stands neither in the record, nor in an answer, nor in the kubeconfig."""
    for path in ("/api", "/api/v1/pods", "/api/v1/secrets"):
        rig.raw("GET", path)
    files = [path for path in rig.directory.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
