"""The fake API server itself, spoken to by real kubectls and by raw requests."""

import http.client
import json
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fakes.kube_api import FakeCluster, recorded
from fakes.kubectls import WHY_NOT, kubectls, objects_for_top

KUBECTLS = kubectls()
needs_kubectl = pytest.mark.skipif(not KUBECTLS, reason=WHY_NOT)
SECRET = {
    "apiVersion": "v1", "kind": "Secret",
    "metadata": {"name": "db", "namespace": "shop"}, "data": {"password": "aHVudGVyMg=="},
}  # fmt: skip
LOG = "shop/busy/app"
READS = {
    "get pods -n shop": "RESTARTS",
    "get pods -A -o wide": "busy",
    "get pod busy -n shop -o jsonpath={.status.phase}": "Running",
    "get pods -A --chunk-size=1 -o name": "pod/busy",
    "get deploy,rs,svc -n shop": "deployment.apps/crashloop",
    "get events -n shop": "BackOff",
    "get secret db -n shop -o yaml": "aHVudGVyMg==",
    "get --raw /readyz?verbose": "ok",
    "describe pod busy -n shop": "Running",
    "logs busy -n shop --tail=1": "second",
    "api-resources": "deployments",
    "api-versions": "metrics.k8s.io/v1beta1",
    "version": "v1.32.4",
    "top pods busy -n shop": "250m",
    "top nodes": "512Mi",
    "auth can-i get pods": "yes",
    "auth can-i --list": "pods",
    "wait --for=condition=Ready pod/busy -n shop --timeout=10s": "condition met",
}
SINCE = {
    "explain pod": (29, "served by a fake"),
    "explain pod.spec": (29, "What is wanted."),
    "explain deployment": (29, "served by a fake"),
    "auth whoami": (28, "reader"),
}


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    more = [*objects_for_top(), SECRET]
    logs = {LOG: "first\nsecond\n"}
    with FakeCluster(recorded("crashloop"), objects=more, logs=logs) as fake:
        yield fake


@pytest.fixture
def config(cluster: FakeCluster, tmp_path: Path) -> Path:
    return cluster.kubeconfig(tmp_path / "kubeconfig")


def minor(program: str) -> int:
    done = subprocess.run([program, "version", "--client"], capture_output=True, text=True)
    return int(done.stdout.split("v1.")[1].split(".")[0])


def kubectl(config: Path, line: str, program: str = "kubectl") -> subprocess.CompletedProcess[str]:
    command = [program, "--kubeconfig", str(config), *line.split(" ")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def started(config: Path, line: str) -> subprocess.Popen[str]:
    command = ["kubectl", "--kubeconfig", str(config), *line.split(" ")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def address(cluster: FakeCluster) -> tuple[str, int]:
    return "127.0.0.1", int(cluster.url.rpartition(":")[2])


def status_of(cluster: FakeCluster, method: str, target: str, extra: str = "") -> int:
    """The status of a request that is sent byte by byte as given."""
    with socket.create_connection(address(cluster), timeout=10) as plug:
        head = f"{method} {target} HTTP/1.1\r\nHost: fake\r\nConnection: close\r\n{extra}\r\n"
        plug.sendall(head.encode())
        return int(plug.makefile("rb").readline().split()[1])


def pod(ready: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "slow", "namespace": "shop", "uid": "slow-1"},
        "spec": {"containers": [{"name": "app", "image": "shop/app:1"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }  # fmt: skip


def deployment(ready: int) -> dict[str, Any]:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), ready)
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "slow", "namespace": "shop", "generation": 1},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "slow"}}},
        "status": {"observedGeneration": 1, "readyReplicas": ready, **counts},
    }  # fmt: skip


@needs_kubectl
@pytest.mark.parametrize("program", KUBECTLS)
def test_each_kubectl_reads_it_as_a_cluster(
    program: str, cluster: FakeCluster, config: Path
) -> None:
    """What a kubectl of any version reads from a cluster, it reads from the fake one."""
    version, wrong = minor(program), []
    reads = READS | {line: says for line, (since, says) in SINCE.items() if version >= since}
    for line, says in reads.items():
        done = kubectl(config, line, program)
        if done.returncode != 0 or says not in done.stdout:
            wrong.append(f"{line}: {done.returncode} {done.stdout[:200]} {done.stderr[-300:]}")
    assert not wrong, "\n".join(wrong)
    assert set(cluster.reached) == {"secret"}


@needs_kubectl
def test_a_self_review_is_decided_also_in_protobuf(cluster: FakeCluster, config: Path) -> None:
    """`auth can-i` is told what the fake decides, and what it asked about is kept."""
    answers = {
        line: kubectl(config, f"auth can-i {line}").stdout.split()[0]
        for line in ("list pods", "get secrets", "delete pods", "get pods --subresource=exec")
    }
    cluster.may = lambda asked: asked["verb"] == "delete"

    assert answers == {
        "list pods": "yes", "get secrets": "no", "delete pods": "no",
        "get pods --subresource=exec": "no",
    }  # fmt: skip
    assert kubectl(config, "auth can-i delete pods").stdout == "yes\n"
    assert {"verb": "get", "resource": "secrets"}.items() <= cluster.reviews[1].items()


@needs_kubectl
def test_waiting_ends_with_the_change_that_is_waited_for(
    cluster: FakeCluster, config: Path
) -> None:
    """`wait` and `rollout status` go on until the object is as asked."""
    cluster.objects += [pod("False"), deployment(0)]
    for line, kind, new in (
        ("wait --for=condition=Ready pod/slow -n shop --timeout=30s", "Pod", pod("True")),
        ("rollout status deployment/slow -n shop --timeout=30s", "Deployment", deployment(1)),
    ):
        with started(config, line) as waiting:
            cluster.await_watches(kind)
            cluster.emit("MODIFIED", new)
            out, err = waiting.communicate(timeout=60)
        assert waiting.returncode == 0, out + err


@needs_kubectl
def test_a_watch_prints_rows_and_a_followed_log_its_lines(
    cluster: FakeCluster, config: Path
) -> None:
    """`get --watch` shows a pod as it appears, `logs -f` a line as it is written, to its end."""
    with started(config, "get pods -n shop --watch --request-timeout=5s") as watching:
        cluster.await_watches("Pod")
        cluster.emit("ADDED", pod("True"))
        assert watching.stdout is not None
        assert any(each.startswith("slow") for each in watching.stdout)
        watching.terminate()
    with started(config, "logs -f busy -n shop --tail=1") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "second\n"
        cluster.add_log(LOG, "third\n")
        assert following.stdout.readline() == "third\n"
        cluster.end_log(LOG)
        assert following.wait(30) == 0


def streamed(cluster: FakeCluster, target: str) -> list[dict[str, Any]]:
    connection = http.client.HTTPConnection(*address(cluster), timeout=20)
    connection.request("GET", target)
    lines = connection.getresponse().read().splitlines()
    connection.close()
    return [json.loads(each) for each in lines]


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ("watch=1", ["ADDED"]),
        ("watch", ["ADDED"]),
        ("watch=no&watch=0", ["ADDED"]),
        ("watch=true&resourceVersion=1", []),
        ("watch=true&sendInitialEvents=true&resourceVersion=1", ["ADDED", "BOOKMARK"]),
    ],
)
def test_a_watch_begins_as_asked(cluster: FakeCluster, query: str, types: list[str]) -> None:
    """What is there comes first unless a version is given, and a bookmark ends it if asked."""
    at = "/api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Dbusy&timeoutSeconds=1&"
    events = streamed(cluster, at + query)

    assert [each["type"] for each in events] == types
    if "BOOKMARK" in types:
        notes = events[-1]["object"]["metadata"]["annotations"]
        assert notes == {"k8s.io/initial-events-end": "true"}


def test_a_change_after_the_list_is_not_lost(cluster: FakeCluster) -> None:
    """A watch from the version of a list tells what happened between the two."""
    cluster.emit("ADDED", pod("True"))

    events = streamed(cluster, "/api/v1/pods?watch=1&resourceVersion=1&timeoutSeconds=1")

    assert [each["object"]["metadata"]["name"] for each in events] == ["slow"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/v1/namespaces/shop%2Fpods", 200),
        ("/api/v1/namespaces/shop/pods/busy%2Flog", 200),
        ("/api/v1/namespaces/shop/pods/", 200),
        ("http://fake/api/v1/namespaces/shop/pods", 200),
        ("/api/v1/watch/namespaces/shop/pods?timeoutSeconds=1", 200),
        ("/apis/apps/v1/watch/deployments?timeoutSeconds=1", 200),
        ("/api/v1/namespaces/shop/pods/../pods", 404),
        ("/api/v1/namespaces/shop/pods/%2e%2e/pods", 404),
        ("//api/v1/pods", 404),
        ("/api/v1//pods", 404),
        ("/api/v1/./pods", 404),
        ("/api/v1/namespaces/shop%252Fpods", 404),
        ("/api/v1/PODS", 404),
        ("/api/v1/pods%zz", 400),
        ("/api/v1/pods?limit=x", 400),
        ("/api/v1/namespaces/shop/serviceaccounts/default/token", 405),
    ],
)
def test_a_path_is_routed_decoded_and_not_cleaned(
    cluster: FakeCluster, target: str, status: int
) -> None:
    """As a real API server: %2F makes segments, and nothing odd is tidied away."""
    assert status_of(cluster, "GET", target) == status


UPGRADE = "connection: Upgrade\r\nupgrade: websocket\r\n"
NAMED = "/api/v1/namespaces/shop"


@pytest.mark.parametrize(
    ("method", "target", "extra", "doors"),
    [
        ("GET", f"{NAMED}/secrets", "", ["secret"]),
        ("GET", f"{NAMED}/secrets/db", "", ["secret"]),
        ("GET", "/api/v1/secrets", "", ["secret"]),
        ("GET", "/api/v1/watch/secrets?timeoutSeconds=1", "", ["secret"]),
        ("GET", "/api/v1/watch/namespaces/shop/secrets/db?timeoutSeconds=1", "", ["secret"]),
        ("GET", "/api/v1/namespaces/shop%2F%73ecrets", "", ["secret"]),
        ("GET", "/api/v1/pods/../secrets", "", ["secret"]),
        ("GET", f"{NAMED}/pods/busy/exec?command=id", UPGRADE, ["upgrade", "exec"]),
        ("POST", f"{NAMED}/pods/busy/attach", "Upgrade: SPDY/3.1\r\n",
         ["upgrade", "exec", "write"]),
        ("GET", f"{NAMED}/pods/busy%2Fportforward", UPGRADE, ["upgrade", "exec"]),
        ("GET", "/api/v1/pods", UPGRADE, ["upgrade"]),
        ("GET", f"{NAMED}/services/api:80/proxy/admin", "", ["proxy"]),
        ("GET", "/api/v1/nodes/node-1/proxy/pods", "", ["proxy"]),
        ("GET", "/api/v1/proxy/nodes/node-1", "", ["proxy"]),
        ("POST", f"{NAMED}/serviceaccounts/default/token", "", ["token", "write"]),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "", ["review"]),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", "", ["review"]),
        ("POST", f"{NAMED}/pods/selfsubjectreviews", "", ["write"]),
        ("DELETE", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "", ["review"]),
        ("POST", f"{NAMED}/pods", "", ["write"]),
        ("PATCH", f"{NAMED}/pods/busy/ephemeralcontainers?dryRun=All", "", ["write"]),
        ("PUT", "/apis/apps/v1/namespaces/shop/deployments/crashloop/scale", "", ["write"]),
        ("BREW", f"{NAMED}/pods/busy", "", ["write"]),
        ("GET", "/metrics", "", ["debug"]),
        ("GET", "/debug/pprof/", "", ["debug"]),
        ("GET", "/logs/", "", ["debug"]),
        ("GET", "/configz", "", ["debug"]),
        ("GET", f"{NAMED}/pods/exec", "", []),
        ("GET", f"{NAMED}/pods/exec/log", "", []),
        ("GET", "/api/v1/namespaces/secrets/pods", "", []),
        ("GET", f"{NAMED}/configmaps/proxy", "", []),
        ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "", []),
    ],
)  # fmt: skip
def test_a_forbidden_door_is_told_of(
    cluster: FakeCluster, method: str, target: str, extra: str, doors: list[str]
) -> None:
    """Whoever writes, runs, proxies, upgrades or reads a Secret is seen, and nobody else."""
    cluster.answer("nothing fits this", 500)

    status = status_of(cluster, method, target, extra)

    assert sorted(cluster.reached) == sorted(doors)
    assert (status == 101) == ("upgrade" in doors)


def test_a_door_is_told_of_also_where_the_answer_is_scripted(cluster: FakeCluster) -> None:
    """An answer that a test has put before the server hides nobody who comes to a door."""
    cluster.answer("secrets", 403, "forbidden")

    assert status_of(cluster, "GET", "/api/v1/secrets") == 403
    assert cluster.reached == ["secret"]


def test_a_connection_serves_many_requests_and_bodies_of_any_form(cluster: FakeCluster) -> None:
    """A kept connection stays in step after chunked bodies, HEAD and unknown methods."""
    connection = http.client.HTTPConnection(*address(cluster), timeout=10)
    seen = []
    for method, body in (("POST", iter([b"a", b"bc"])), ("HEAD", None), ("BREW", b"x"),
                         ("GET", None)):  # fmt: skip
        connection.request(method, "/api/v1/pods", body, encode_chunked=True)
        answer = connection.getresponse()
        answer.read()
        seen.append(answer.status)
    connection.close()

    assert seen == [200, 405, 405, 200]


def test_fifty_watches_at_once_are_all_told(cluster: FakeCluster) -> None:
    """Fifty clients that watch at the same time each get a change, and each stream ends."""
    target = "/api/v1/pods?watch=1&resourceVersion=1&timeoutSeconds=2"
    with ThreadPoolExecutor(50) as pool:
        watches = [pool.submit(streamed, cluster, target) for _ in range(50)]
        cluster.await_watches("Pod", 50)
        cluster.emit("ADDED", pod("True"))
        told = [each.result() for each in watches]

    assert all(len(events) == 1 for events in told)


def test_a_watch_that_its_client_left_is_over(cluster: FakeCluster) -> None:
    """A client that goes away leaves no stream behind."""
    before = threading.active_count()
    plug = socket.create_connection(address(cluster), timeout=10)
    plug.sendall(b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: fake\r\n\r\n")
    cluster.await_watches("Pod")
    (serving,) = [each for each in threading.enumerate()[before:] if each.is_alive()]
    assert select.select([plug], [], [], 10)[0]

    plug.close()
    serving.join(10)

    assert not serving.is_alive()
