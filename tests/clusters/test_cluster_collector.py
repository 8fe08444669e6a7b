"""What is collected from a live cluster, and how a sick one is borne."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fakes.kube_api import DATA, Authority, FakeCluster, kubeconfig_for, recorded
from kubecase.channels.sources import load_intake
from kubecase.clusters import ClusterCollector, from_kubeconfig, object_fault
from kubecase.clusters.gathering import LOG_BYTES
from kubecase.core.model import Collection, Fault
from kubecase.diagnosis import diagnose

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 22, 13, 40, tzinfo=UTC)
CASES = sorted(path.name for path in DATA.iterdir() if path.is_dir())


async def collect(
    cluster: FakeCluster, fault: Fault, directory: Path, at: datetime = NOW, **bounds: float
) -> Collection:
    credentials = from_kubeconfig(cluster.kubeconfig(directory / "kubeconfig"))
    return await ClusterCollector(credentials, clock=lambda: at, **bounds).collect(fault)


def fault_for(target: str, namespace: str | None = "shop") -> Fault:
    return object_fault(target, namespace=namespace, cluster="fake", now=NOW)


def names(found: Collection, kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in found.objects if each["kind"] == kind}


def gaps(found: Collection) -> dict[str, str]:
    return {gap.what: gap.why for gap in found.gaps}


@pytest.mark.parametrize("name", CASES)
async def test_a_live_cluster_tells_what_a_recording_tells(name: str, tmp_path: Path) -> None:
    """From each recorded failure, served as a cluster, the diagnosis draws the same conclusion."""
    (given,) = load_intake(DATA / name, now=NOW, cluster_default="fake").faults
    known = given.collection
    assert known is not None

    with FakeCluster(recorded(name)) as cluster:
        found = await collect(cluster, given.fault, tmp_path, at=known.collected_at)

    assert {method for method, _ in cluster.requests} == {"GET"}
    assert not [path for path in cluster.paths if "/secrets" in path]
    assert len(cluster.requests) < 40
    expected, concluded = diagnose(known).best, diagnose(found).best
    assert (concluded and concluded.category) == (expected and expected.category)
    assert (concluded and concluded.culprit) == (expected and expected.culprit)


async def test_everything_around_a_pod_is_collected(tmp_path: Path) -> None:
    """Owners, siblings, events, logs of both runs and of init containers come along (req 5.3)."""
    pod = next(each for each in recorded("init-crash").objects if each["kind"] == "Pod")
    with FakeCluster(recorded("init-crash")) as cluster:
        found = await collect(cluster, fault_for(f"pod/{pod['metadata']['name']}"), tmp_path)

    key = f"shop/{pod['metadata']['name']}/migrate"
    assert names(found, "Deployment") == {"init-crash"}
    assert names(found, "ReplicaSet") == {"init-crash-9487fb5df"}
    assert "deadlock detected" in found.logs[key]
    assert gaps(found)[f"log {key}/previous"].startswith("unable to retrieve container logs")
    assert found.trigger is not None
    assert found.collected_at == NOW
    assert {event["reason"] for event in found.events} >= {"BackOff", "Scheduled"}


@pytest.mark.parametrize(
    ("target", "case", "namespace", "kinds"),
    [
        ("deploy/rollout-stuck", "rollout-stuck", "shop2", {"Deployment", "ReplicaSet", "Pod"}),
        ("svc/checkout", "service-no-endpoints", "shop2", {"Service", "Pod", "Deployment"}),
        ("cj/nightly-report", "cronjob-failing", "shop2", {"CronJob", "Job", "Pod"}),
        ("job/job-backoff", "job-backoff", "shop", {"Job", "Pod"}),
        ("node/node-1", "node-lost", None, {"Node", "Pod", "Deployment"}),
        ("pvc/orders-data", "unschedulable-pvc", "shop", {"PersistentVolumeClaim", "Pod"}),
        ("hpa/hpa-no-metrics", "hpa-no-metrics", "shop", {"HorizontalPodAutoscaler", "Pod"}),
        ("ns/shop-quota", "quota-exceeded", None, set()),
        (
            "rs/quota-exceeded-c7879987f",
            "quota-exceeded",
            "shop-quota",
            {"ReplicaSet", "Deployment", "ResourceQuota", "Pod"},
        ),
    ],
)
async def test_any_kind_can_be_asked_about(
    target: str, case: str, namespace: str | None, kinds: set[str], tmp_path: Path
) -> None:
    """`investigate KIND/NAME` collects the family of that object, upwards and downwards."""
    with FakeCluster(recorded(case)) as cluster:
        found = await collect(cluster, fault_for(target, namespace), tmp_path)

    assert kinds <= {each["kind"] for each in found.objects}


def an(kind: str, name: str, spec: Any = None, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", **more.pop("metadata", {})}
    version = "apps/v1" if kind in {"Deployment", "ReplicaSet", "StatefulSet"} else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec or {}, **more}


def a_pod(name: str = "api-0", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "app"}], "nodeName": "n1", **spec}
    return an("Pod", name, spec, metadata={"labels": labels or {"app": "api"}})


async def test_what_a_pod_refers_to_is_collected_without_values(tmp_path: Path) -> None:
    """ConfigMaps come with their keys only, claims with volume and class, Secrets not at all."""
    pod = a_pod(
        volumes=[
            {"configMap": {"name": "settings"}},
            {"secret": {"secretName": "keys"}},
            {"persistentVolumeClaim": {"claimName": "data"}},
        ],
        serviceAccountName="robot",
    )
    objects = [
        pod,
        an("ConfigMap", "settings", data={"url": "CANARY"}),
        an("Secret", "keys", data={"key": "CANARY"}),
        an("ServiceAccount", "robot"),
        an("PersistentVolumeClaim", "data", {"volumeName": "pv1", "storageClassName": "fast"}),
        {**an("PersistentVolume", "pv1"), "metadata": {"name": "pv1"}},
        {
            **an("StorageClass", "fast"),
            "apiVersion": "storage.k8s.io/v1",
            "metadata": {"name": "fast"},
        },
    ]
    with FakeCluster(objects=objects) as cluster:
        found = await collect(cluster, fault_for("pod/api-0"), tmp_path)

    kept = next(each for each in found.objects if each["kind"] == "ConfigMap")
    assert list(kept["data"]) == ["url"]
    assert "CANARY" not in repr(found)
    assert not [path for path in cluster.paths if "/secrets" in path]
    for kind in ("ServiceAccount", "PersistentVolumeClaim", "PersistentVolume", "StorageClass"):
        assert names(found, kind), kind


async def test_what_is_in_front_of_a_pod_is_collected(tmp_path: Path) -> None:
    """Services that select it with endpoints, Ingress and class, policies and autoscaler."""
    network = {"apiVersion": "networking.k8s.io/v1"}
    rule = {"http": {"paths": [{"backend": {"service": {"name": "api"}}}]}}
    objects = [
        a_pod(),
        an("Service", "api", {"selector": {"app": "api"}}),
        an("Service", "other", {"selector": {"app": "other"}}),
        {**an("EndpointSlice", "api-x"), "metadata": {
            "name": "api-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "api"},
        }},
        {**an("Ingress", "web", {"ingressClassName": "nginx", "rules": [rule]}), **network},
        {**an("IngressClass", "nginx"), **network, "metadata": {"name": "nginx"}},
        {**an("NetworkPolicy", "deny", {"podSelector": {}}), **network},
        {**an("NetworkPolicy", "far", {"podSelector": {"matchLabels": {"app": "x"}}}), **network},
    ]  # fmt: skip
    with FakeCluster(objects=objects) as cluster:
        found = await collect(cluster, fault_for("pod/api-0"), tmp_path)

    assert names(found, "Service") == {"api"}
    assert names(found, "EndpointSlice") == {"api-x"}
    assert names(found, "Ingress") == {"web"}
    assert names(found, "IngressClass") == {"nginx"}
    assert names(found, "NetworkPolicy") == {"deny"}


async def test_a_backend_that_a_log_names_is_looked_at(tmp_path: Path) -> None:
    """The Service, pods and logs of a named dependency come along, in other namespaces too."""
    sick = {"phase": "Running", "containerStatuses": [{"name": "app", "restartCount": 0, "state": {
        "waiting": {"reason": "CrashLoopBackOff"}}}]}  # fmt: skip
    database = a_pod("db-0", {"app": "db"})
    database["metadata"]["namespace"] = "data"
    service = an("Service", "db", {"selector": {"app": "db"}})
    service["metadata"]["namespace"] = "data"
    objects = [a_pod(), {**database, "status": sick}, service]
    logs = {
        "shop/api-0/app": "cannot reach db.data.svc.cluster.local:5432\n",
        "data/db-0/app": "disk full\n",
    }
    with FakeCluster(objects=objects, logs=logs) as cluster:
        found = await collect(cluster, fault_for("pod/api-0"), tmp_path)

    assert names(found, "Service") == {"db"}
    assert names(found, "Pod") == {"api-0", "db-0"}
    assert found.logs["data/db-0/app"] == "disk full\n"


async def test_the_family_of_a_pod_that_is_gone_is_found_by_its_name(tmp_path: Path) -> None:
    """A pod that was replaced still leads to its Deployment and to its successors."""
    with FakeCluster(recorded("crashloop")) as cluster:
        found = await collect(cluster, fault_for("pod/crashloop-6b89888bf6-gone1"), tmp_path)

    assert names(found, "Deployment") == {"crashloop"}
    assert len(names(found, "Pod")) == 1
    assert "Pod/shop/crashloop-6b89888bf6-gone1" in gaps(found)
    assert not [what for what in gaps(found) if what.startswith(("StatefulSet", "DaemonSet"))]


async def test_a_storm_of_pods_is_bounded(tmp_path: Path) -> None:
    """Of a hundred pods a few are kept, the sick ones first, and four of them with logs."""
    owner = an("Deployment", "api", {"selector": {"matchLabels": {"app": "api"}}})
    pods = [a_pod(f"api-{n}") for n in range(100)]
    for number in (40, 70):
        pods[number]["status"] = {"phase": "Failed"}
    logs = {f"shop/api-{n}/app": "x\n" for n in range(100)}
    with FakeCluster(objects=[owner, *pods], logs=logs) as cluster:
        found = await collect(cluster, fault_for("deploy/api"), tmp_path)

    assert {"api-40", "api-70"} <= names(found, "Pod")
    assert len(names(found, "Pod")) == 8
    assert len(found.logs) == 4
    assert cluster.most_at_once <= 4


async def test_of_a_flood_of_log_the_end_is_kept(tmp_path: Path) -> None:
    """A log is bounded in lines and bytes; its last line is there (req 5.3)."""
    text = "".join(f"{n} {'x' * 2000}\n" for n in range(3000)) + "the cause\n"
    with FakeCluster(objects=[a_pod()], logs={"shop/api-0/app": text}) as cluster:
        found = await collect(cluster, fault_for("pod/api-0"), tmp_path)

    log = found.logs["shop/api-0/app"]
    assert len(log) <= LOG_BYTES
    assert log.endswith("the cause\n")


async def test_what_is_forbidden_is_a_gap_with_its_reason(tmp_path: Path) -> None:
    """Without a permission the rest is collected, and the gap says what was refused (req 5.3)."""
    with FakeCluster(recorded("crashloop")) as cluster:
        cluster.answer("/log", 403, "pods/log is forbidden: no permission")
        cluster.answer("/nodes", 403, "nodes is forbidden")
        (given,) = load_intake(DATA / "crashloop", now=NOW, cluster_default="fake").faults
        found = await collect(cluster, given.fault, tmp_path)

    assert names(found, "Deployment") == {"crashloop"}
    assert found.logs == {}
    assert "403: pods/log is forbidden" in gaps(found)["log shop/crashloop-6b89888bf6-mgcnz/app"]
    assert gaps(found)["Node//node-1"] == "403: nodes is forbidden"


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_a_cluster_that_refuses_everything_gives_gaps(status: int, tmp_path: Path) -> None:
    """Any refusal is a gap, never an exception."""
    with FakeCluster() as cluster:
        cluster.answer("", status, "no")
        found = await collect(cluster, fault_for("pod/api-0"), tmp_path)

    assert found.objects == ()
    assert gaps(found)["Pod/shop/api-0"] == f"{status}: no"


async def test_a_cluster_that_hangs_is_given_up_within_the_bound(tmp_path: Path) -> None:
    """A silent cluster costs one request's limit, and the gap says so."""
    with FakeCluster() as cluster:
        cluster.hang()
        began = time.monotonic()
        found = await collect(cluster, fault_for("pod/api-0"), tmp_path, request_seconds=0.5)
        took = time.monotonic() - began

    assert took < 4
    assert gaps(found)["Pod/shop/api-0"] == "no answer within 0.5 s"
    assert gaps(found)["everything else"] == "the cluster gives no answer"
    assert len(cluster.requests) == 1


async def test_what_was_had_before_the_bound_is_kept(tmp_path: Path) -> None:
    """When logs hang, objects and events are there and the bound holds."""
    with FakeCluster(recorded("rollout-stuck")) as cluster:
        cluster.hang("/log")
        fault = fault_for("deploy/rollout-stuck", "shop2")
        began = time.monotonic()
        found = await collect(cluster, fault, tmp_path, seconds=2.0, request_seconds=30.0)
        took = time.monotonic() - began

    assert took < 5
    assert names(found, "Deployment") == {"rollout-stuck"}
    assert found.events
    assert gaps(found)["the rest"] == "not collected within 2 s"


async def test_a_cluster_that_is_gone_is_said_at_once(tmp_path: Path) -> None:
    """A refused connection is one gap and no exception."""
    with FakeCluster() as cluster:
        path = cluster.kubeconfig(tmp_path / "kubeconfig")
    began = time.monotonic()

    collector = ClusterCollector.from_kubeconfig(path, clock=lambda: NOW)
    found = await collector.collect(fault_for("pod/api-0"))

    assert time.monotonic() - began < 5
    assert "cannot be reached" in gaps(found)["Pod/shop/api-0"]


async def test_a_cluster_with_another_authority_is_a_gap(
    tmp_path: Path, authority: Authority
) -> None:
    """A certificate that is not accepted is said, and nothing is sent."""
    with FakeCluster(authority=authority) as cluster:
        document = kubeconfig_for({"server": cluster.url}, {"token": "t"})
        (tmp_path / "k").write_text(json.dumps(document))
        collector = ClusterCollector.from_kubeconfig(tmp_path / "k", clock=lambda: NOW)
        found = await collector.collect(fault_for("pod/api-0"))

    assert "certificate is not accepted" in gaps(found)["Pod/shop/api-0"]
    assert cluster.requests == []


async def test_a_plugin_without_a_token_is_a_gap(tmp_path: Path) -> None:
    """A credential plugin that fails leaves a report that says so."""
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/get-token"}
    with FakeCluster() as cluster:
        path = cluster.kubeconfig(tmp_path / "kubeconfig", exec=plugin)
        collector = ClusterCollector.from_kubeconfig(path, clock=lambda: NOW)
        found = await collector.collect(fault_for("pod/api-0"))

    assert "get-token cannot be started" in gaps(found)["everything"]
    assert "get-token" in collector.notes[0]


@pytest.mark.parametrize("name", ["../secrets", "a/b", "A B", "api-0?x", "x" * 300, "@/etc/passwd"])
async def test_a_hostile_name_never_becomes_a_path(name: str, tmp_path: Path) -> None:
    """What a fault calls its object is data: no request has it in its path (req 16.3)."""
    raw = json.dumps({"namespace": name, "resource": {"kind": "Pod", "name": name}, "reason": "x"})
    (given,) = load_intake(raw.encode(), now=NOW, cluster_default="fake").faults
    with FakeCluster() as cluster:
        found = await collect(cluster, given.fault, tmp_path)

    assert not [path for path in cluster.paths if "secrets" in path or "passwd" in path]
    assert all(path.startswith(("/api/v1/", "/apis/")) for path in cluster.paths)
    assert any("no Kubernetes name" in gap.why for gap in found.gaps)


async def test_a_kind_that_is_not_known_is_a_gap(tmp_path: Path) -> None:
    """For a custom resource the namespace's events are still there."""
    raw = {"namespace": "shop", "resource": "Rollout/api", "reason": "Degraded"}
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "shop"},
        "involvedObject": {"kind": "Rollout", "name": "api"}, "type": "Normal", "reason": "R",
    }  # fmt: skip
    (given,) = load_intake(json.dumps(raw).encode(), now=NOW, cluster_default="fake").faults
    with FakeCluster(events=[event]) as cluster:
        found = await collect(cluster, given.fault, tmp_path)

    assert gaps(found)["Rollout/shop/api"] == "kubecase does not read its kind"
    assert len(found.events) == 1


ODD: list[Any] = [None, 7, "x", [], {}, [[]], {"a": 1}, True]


@pytest.mark.parametrize("odd", ODD, ids=repr)
async def test_objects_of_any_shape_do_no_harm(odd: Any, tmp_path: Path) -> None:
    """A cluster whose objects have the wrong types everywhere is collected without an exception."""
    strange = {
        "metadata": {"name": "api-0", "namespace": "shop", "labels": odd, "ownerReferences": odd,
                     "annotations": odd, "creationTimestamp": odd},
        "spec": {"containers": odd, "initContainers": [odd], "volumes": [odd], "selector": odd,
                 "nodeName": odd, "rules": odd, "podSelector": odd, "scaleTargetRef": odd},
        "status": odd,
        "involvedObject": odd, "lastTimestamp": odd, "series": odd, "reason": odd, "message": odd,
    }  # fmt: skip
    body = json.dumps({**strange, "items": [strange, odd, {"metadata": odd, "spec": odd}]})
    with FakeCluster() as cluster:
        cluster.answer("", 200, body=body.encode())
        for target in (
            "pod/api-0",
            "svc/api-0",
            "deploy/api-0",
            "ing/api-0",
            "pv/api-0",
            "cj/api-0",
        ):
            found = await collect(cluster, fault_for(target), tmp_path)
            assert found.trigger is not None
            json.dumps([*found.objects, *found.events])
