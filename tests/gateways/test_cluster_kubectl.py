"""The real kubectl behind the cluster gateway, in every version that this machine has."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.kube_api import Authority, FakeCluster, recorded
from fakes.kube_rig import GatewayRig
from fakes.kubectls import WHY_NOT, kubectls, objects_for_top
from kubecase.gateways.audit import verify

KUBECTLS = kubectls()
pytestmark = pytest.mark.skipif(not KUBECTLS, reason=WHY_NOT)

READS = {
    "get pods -n shop": "crashloop-",
    "get pods -A -o wide": "crashloop-",
    "get pods -n shop -o yaml": "kind: List",
    "get deploy,rs,svc -n shop": "deployment.apps/crashloop",
    "get all -n shop": "pod/crashloop-",
    "get pod busy -n shop -o jsonpath={.status.phase}": "Running",
    "describe pod busy -n shop": "[redacted]",
    "describe deploy crashloop -n shop": "Replicas:",
    "logs {pod} -n shop --tail=2": "connection",
    "get events -n shop": "crashloop-",
    "top pods busy -n shop": "250m",
    "top nodes": "512Mi",
    "api-resources": "deployments",
    "api-versions": "apps/v1",
    "version": "v1.32.4",
    "cluster-info": "https://127.0.0.1:",
    "auth can-i get pods": "yes",
    "auth can-i --list": "pods",
    "rollout history deploy/crashloop -n shop": "REVISION",
    "wait --for=condition=Ready pod/busy -n shop --timeout=10s": "condition met",
}
LATER = {
    # Older ones read OpenAPI v2 as protobuf, which the fake server does not have.
    "explain pod.spec": (29, "What is wanted."),
    "events -n shop": (26, "BackOff"),
    "auth whoami": (28, "reader"),
}
WRITES = {
    "exec {pod} -n shop -- ls": "no connection is upgraded",
    "attach {pod} -n shop": "no connection is upgraded",
    "cp -n shop {pod}:/etc/passwd /nowhere/x": "no connection is upgraded",
    "port-forward -n shop {pod} 18080:80": "no connection is upgraded",
    "delete pod {pod} -n shop --dry-run=server": "is refused, also as a dry run",
    "delete pod {pod} -n shop --now": "is refused, also as a dry run",
    "get secrets -A": "Secrets are not readable in any form",
    "get secret db -n shop -o yaml": "Secrets are not readable in any form",
    "scale deploy/crashloop -n shop --replicas=3": "is refused, also as a dry run",
    "annotate pod {pod} -n shop a=b": "is refused, also as a dry run",
    "get --raw /api/v1/nodes/node-1/proxy/pods": "nodes/proxy/pods is refused",
    "get --raw /metrics": "this path is not served",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    authority = Authority.make(Path(tmp_path_factory.mktemp("authority")))
    more = objects_for_top()
    with FakeCluster(
        recorded("crashloop"), objects=more, token="real", authority=authority
    ) as fake:
        yield fake


@pytest.fixture(scope="module")
def rig(cluster: FakeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayRig]:
    directory = tmp_path_factory.mktemp("gateway")
    real = cluster.kubeconfig(directory / "real")
    with GatewayRig(real, directory / "rig", known=["real-value-of-the-case"]) as made:
        yield made


def minor(program: str) -> int:
    """The minor version of a kubectl."""
    done = subprocess.run([program, "version", "--client"], capture_output=True, text=True)
    return int(done.stdout.split("v1.")[1].split(".")[0])


def pod_of(cluster: FakeCluster) -> str:
    names = [e["metadata"]["name"] for e in cluster.objects if e["kind"] == "Pod"]
    return next(name for name in names if name.startswith("crashloop-"))


def words(line: str, cluster: FakeCluster) -> list[str]:
    return line.replace("{pod}", pod_of(cluster)).split(" ")


@pytest.mark.parametrize("program", KUBECTLS)
def test_reading_commands_work(program: str, cluster: FakeCluster, rig: GatewayRig) -> None:
    """Everything that an on-call engineer reads with kubectl is there, in each version."""
    reads, version, wrong = dict(READS), minor(program), []
    reads |= {line: says for line, (since, says) in LATER.items() if version >= since}
    for line, says in reads.items():
        done = rig.kubectl(*words(line, cluster), program=program)
        if done.returncode != 0 or says not in done.stdout:
            wrong.append(f"{line}: {done.returncode} {done.stdout[:200]} {done.stderr[-300:]}")
    assert not wrong, "\n".join(wrong)
    assert not cluster.reached


@pytest.mark.parametrize("program", KUBECTLS)
def test_everything_else_fails_with_our_words(
    program: str, cluster: FakeCluster, rig: GatewayRig
) -> None:
    """Writes, Secrets, commands and proxies fail, and kubectl says why (req 13.8)."""
    wrong, writes = [], dict(WRITES)
    if minor(program) < 27:  # it wants OpenAPI v2 first, which the fake server does not have
        del writes["delete pod {pod} -n shop --dry-run=server"]
    for line, says in writes.items():
        done = rig.kubectl(*words(line, cluster), program=program)
        if done.returncode == 0 or "kubecase" not in done.stderr or says not in done.stderr:
            wrong.append(f"{line}: {done.returncode} {done.stdout[:200]} {done.stderr[-300:]}")
    assert not wrong, "\n".join(wrong)
    assert not cluster.reached


def test_a_masked_value_is_told_of(rig: GatewayRig) -> None:
    """Whoever reads an object from which a password was taken is told so by kubectl itself."""
    done = rig.kubectl("get", "pod", "busy", "-n", "shop", "-o", "json")

    assert "correct-horse-battery" not in done.stdout
    assert "[redacted]" in done.stdout
    assert "Warning: kubecase: 1 value that looks secret was masked" in done.stderr


def test_a_watch_shows_a_change_as_it_comes(cluster: FakeCluster, rig: GatewayRig) -> None:
    """`get --watch` prints an object that appears while it watches, with its password masked."""
    new = {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "fresh", "namespace": "shop", "resourceVersion": "9"},
        "data": {"app.properties": "db.password=correct-horse-battery"},
    }  # fmt: skip

    def appear() -> None:
        cluster.await_watches("ConfigMap")
        cluster.emit("ADDED", new)

    watcher = subprocess.Popen(
        ["kubectl", "--kubeconfig", str(rig.path), "get", "configmaps", "-n", "shop", "--watch",
         "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    threading.Thread(target=appear, daemon=True).start()
    try:
        assert watcher.stdout is not None
        seen = ""
        while "db.password" not in seen:
            line = watcher.stdout.readline()
            assert line, seen
            seen += line
        assert "db.password=[redacted]" in seen
    finally:
        watcher.kill()
        watcher.communicate()


def test_a_log_is_followed_line_by_line(cluster: FakeCluster, rig: GatewayRig) -> None:
    """`logs -f` shows a line that is written later, without the token in it."""
    key = f"shop/{pod_of(cluster)}/app"
    reader = subprocess.Popen(
        ["kubectl", "--kubeconfig", str(rig.path), "logs", "-f", "--tail=1", pod_of(cluster),
         "-n", "shop"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline()
        cluster.add_log(key, "connecting with password=correct-horse-battery to db\n")
        assert reader.stdout.readline() == "connecting with password=[redacted] to db\n"
    finally:
        reader.kill()
        reader.communicate()


def test_every_request_is_on_a_record_that_holds(rig: GatewayRig) -> None:
    """What kubectl asked stands on record, allowed and denied, and the chain of it verifies."""
    rig.kubectl("get", "pods", "-n", "shop")
    rig.kubectl("get", "secrets", "-n", "shop")

    lines = [line for line in rig.lines if line["kind"] == "cluster"]
    assert {line["decision"] for line in lines} == {"allowed", "denied"}
    assert all(line["caller"] == "kubeconfig" for line in lines)
    kept = {path.name for path in (rig.directory / "answers").iterdir()}
    assert {line["answer"] for line in lines if line["status"] == 200} <= kept
    found = verify(rig.record)
    assert found.holds
    assert found.lines >= len(lines)
