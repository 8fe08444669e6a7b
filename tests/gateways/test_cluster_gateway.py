"""The cluster gateway before a cluster that misbehaves, and within its limits."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.kube_api import Authority, FakeCluster, recorded
from fakes.kube_rig import GatewayRig
from kubecase.gateways.audit import verify
from kubecase.gateways.cluster_call import ClusterLimits
from kubecase.gateways.policy import Bounds

PODS = "/api/v1/namespaces/shop/pods"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(Path(tmp_path_factory.mktemp("authority")))


@pytest.fixture
def cluster(authority: Authority) -> Iterator[FakeCluster]:
    with FakeCluster(recorded("crashloop"), token="real", authority=authority) as fake:
        yield fake


def rig_for(cluster: FakeCluster, directory: Path, **more: Any) -> GatewayRig:
    return GatewayRig(cluster.kubeconfig(directory / "real"), directory / "rig", **more)


def said(body: bytes) -> str:
    value = json.loads(body)
    assert value["kind"] == "Status"
    return str(value["message"])


def test_an_answer_that_cannot_be_redacted_is_not_shown(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    """What is no JSON, or nested without end, is kept back with the reason: it fails closed."""
    cluster.answer("podtemplates", 200, body=b'{"password": "hunter2', headers={})
    cluster.answer("limitranges", 200, body=b"[" * 100_000, headers={})
    cluster.answer("endpoints$", 200, body=b"hunter2", headers={"Content-Type": "text/plain"})
    with rig_for(cluster, tmp_path) as rig:
        for plural in ("podtemplates", "limitranges", "endpoints"):
            answer = rig.raw("GET", f"/api/v1/namespaces/shop/{plural}")
            assert answer.status == 502
            assert "its answer is not shown" in said(answer.body)
            assert b"hunter2" not in answer.body


def test_an_answer_that_is_too_large_says_how_to_ask_for_less(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    """A list over the cap is no answer, but advice."""
    limits = ClusterLimits(object_bytes=2000)
    with rig_for(cluster, tmp_path, limits=limits) as rig:
        answer = rig.raw("GET", PODS)
        assert answer.status == 502
        assert "ask for less" in said(answer.body)


@pytest.mark.parametrize(
    ("status", "expected"), [(403, 403), (404, 404), (429, 429), (500, 500), (503, 503)]
)
def test_what_the_cluster_refuses_is_handed_on_redacted(
    cluster: FakeCluster, tmp_path: Path, status: int, expected: int
) -> None:
    """An error of the API server arrives as its own, without a secret that stands in it."""
    message = 'pods "x" is forbidden: password=correct-horse-battery'
    cluster.answer("/pods", status, message, headers={"Retry-After": "7"})
    with rig_for(cluster, tmp_path) as rig:
        answer = rig.raw("GET", PODS)
        assert answer.status == expected
        assert "is forbidden" in said(answer.body)
        assert b"correct-horse" not in answer.body
        assert b"Retry-After: 7" in answer.headers


def test_a_credential_that_the_cluster_refuses_is_not_the_callers(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    """A 401 of the cluster is told as ours, so that nobody is asked for a password."""
    cluster.token = "another"
    with rig_for(cluster, tmp_path) as rig:
        cluster.token = "yet another"
        answer = rig.raw("GET", PODS)
        assert answer.status == 502
        assert "refuses kubecase's own credential" in said(answer.body)


def test_redirects_and_compression_are_not_followed(cluster: FakeCluster, tmp_path: Path) -> None:
    """An answer that leads elsewhere, or that cannot be read as it is, is none."""
    cluster.answer("/pods", 302, headers={"Location": "https://example.com/"})
    cluster.answer("/services", 200, body=b"{}", headers={"Content-Encoding": "gzip"})
    with rig_for(cluster, tmp_path) as rig:
        assert "status 302" in said(rig.raw("GET", PODS).body)
        compressed = rig.raw("GET", "/api/v1/namespaces/shop/services")
        assert "compressed" in said(compressed.body)


def test_a_cluster_that_is_gone_is_told_of(authority: Authority, tmp_path: Path) -> None:
    """Without a server there is a Status with the reason, and the gateway goes on."""
    with FakeCluster(recorded("crashloop"), token="real", authority=authority) as cluster:
        real = cluster.kubeconfig(tmp_path / "real")
    with GatewayRig(real, tmp_path / "rig") as rig:
        answer = rig.raw("GET", PODS)
        assert answer.status == 502
        assert "cannot be reached" in said(answer.body)


def test_a_token_file_is_read_again_after_a_refusal(cluster: FakeCluster, tmp_path: Path) -> None:
    """A service account's token that was renewed on disk is used at once."""
    token = tmp_path / "token"
    token.write_text("real\n")
    real = cluster.kubeconfig(tmp_path / "real", tokenFile=str(token))
    with GatewayRig(real, tmp_path / "rig") as rig:
        assert rig.raw("GET", PODS).status == 200
        cluster.token = "renewed"
        token.write_text("renewed\n")
        assert rig.raw("GET", PODS).status == 200


def test_a_plugins_credential_is_asked_for_again(cluster: FakeCluster, tmp_path: Path) -> None:
    """An exec plugin is run for the token, and once more when that is refused."""
    program, source = tmp_path / "plugin", tmp_path / "now"
    program.write_text(
        "#!/bin/sh\nprintf '"
        '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1",'
        '"status":{"token":"%s"}}\' "$(cat ' + str(source) + ')"\n'
    )
    program.chmod(0o755)
    source.write_text("real")
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)}
    real = cluster.kubeconfig(tmp_path / "real", exec=plugin)
    with GatewayRig(real, tmp_path / "rig") as rig:
        assert rig.raw("GET", PODS).status == 200
        cluster.token = "renewed"
        source.write_text("renewed")
        assert rig.raw("GET", PODS).status == 200


def test_the_requests_of_a_run_are_bounded(cluster: FakeCluster, tmp_path: Path) -> None:
    """After its last request a run is told so, and nothing more reaches the cluster."""
    with rig_for(cluster, tmp_path, limits=ClusterLimits(requests=2)) as rig:
        assert [rig.raw("GET", PODS).status for _ in range(3)] == [200, 200, 403]
        assert "are used up" in said(rig.raw("GET", PODS).body)
        assert len(cluster.requests) == 2


def test_the_bytes_of_a_run_are_bounded(cluster: FakeCluster, tmp_path: Path) -> None:
    """A run that was given its bytes is given no more."""
    with rig_for(cluster, tmp_path, limits=ClusterLimits(total_bytes=1000)) as rig:
        assert rig.raw("GET", PODS).status == 200
        assert "bytes of this investigation are used up" in said(rig.raw("GET", PODS).body)


def test_streams_are_bounded_in_number_and_time(cluster: FakeCluster, tmp_path: Path) -> None:
    """One watch too many is refused; a log that is followed ends with a word about why."""
    limits = ClusterLimits(streams=1, follow_seconds=0.3, bounds=Bounds(watch_seconds=20))
    pod = next(e["metadata"]["name"] for e in cluster.objects if e["kind"] == "Pod")
    with rig_for(cluster, tmp_path, limits=limits) as rig:
        followed = rig.raw("GET", f"{PODS}/{pod}/log?container=app&follow=true&tailLines=1")
        assert b"ended after 0.3 s" in followed.body
        with rig.connect() as watching:
            head = f"GET {PODS}?watch=1 HTTP/1.1\r\nHost: x\r\n"
            token = f"Authorization: Bearer {rig.config.token}\r\n\r\n"
            watching.sendall((head + token).encode())
            assert watching.recv(4096)
            refused = rig.raw("GET", f"{PODS}?watch=1")
            assert "1 streams are open already" in said(refused.body)


def test_a_watch_that_breaks_off_ends_with_an_error_event(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    """Garbage in a watch is not handed on; the watcher is told by an event that it ended."""
    cluster.answer("watch=true", 200, body=b'{"type":"ADDED","object":{"kind":"Pod"}}\n{"broken\n')
    with rig_for(cluster, tmp_path) as rig:
        answer = rig.raw("GET", f"{PODS}?watch=1")
        assert b"ADDED" not in answer.body or b"broken" not in answer.body
        assert b'"type": "ERROR"' in answer.body
        assert b"kubecase: ended" in answer.body


def test_what_holds_anything_is_masked_whole(cluster: FakeCluster, tmp_path: Path) -> None:
    """Binary data of ConfigMaps, and the releases that Helm keeps in them, are not shown."""
    cluster.objects.append({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "release", "namespace": "shop", "labels": {"owner": "helm"},
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration":
                    '{"kind":"ConfigMap","binaryData":{"blob":"AAAA/everything"}}',
            },
        },
        "data": {"release": "H4sIAAAAAAAA/everything"}, "binaryData": {"blob": "AAAA/everything"},
    })  # fmt: skip
    with rig_for(cluster, tmp_path) as rig:
        for path in ("configmaps", "configmaps/release", "configmaps?watch=1&timeoutSeconds=1"):
            answer = rig.raw("GET", f"/api/v1/namespaces/shop/{path}")
            assert answer.status == 200
            assert b"release" in answer.body
            assert b"everything" not in answer.body, path


def test_extra_resources_are_read_and_never_secrets(cluster: FakeCluster, tmp_path: Path) -> None:
    """An operator adds a resource of their own; Secrets are refused even then."""
    with rig_for(cluster, tmp_path, extra=["widgets.shop.io"]) as rig:
        path = "/apis/shop.io/v1/namespaces/shop/widgets"
        assert rig.raw("GET", path).status == 404  # let through; the fake has none
    with pytest.raises(ValueError, match="Secrets"):
        rig_for(cluster, tmp_path, extra=["secrets.shop.io"])


def test_a_changed_byte_of_the_record_is_found(cluster: FakeCluster, tmp_path: Path) -> None:
    """Whoever changes a byte of the record is found out, with the first line that is wrong."""
    with rig_for(cluster, tmp_path) as rig:
        for _ in range(3):
            rig.raw("GET", PODS)
        data = bytearray(rig.record.read_bytes())
        second = data.index(b"\n") + 40
        data[second] ^= 1
        rig.record.write_bytes(data)
        found = verify(rig.record)
        assert not found.holds
        assert found.bad_line == 2


def test_without_a_record_nothing_more_is_answered(cluster: FakeCluster, tmp_path: Path) -> None:
    """When the record cannot be written any more, the gateway closes."""
    with rig_for(cluster, tmp_path) as rig:
        assert rig.raw("GET", PODS).status == 200
        # The file that the gateway writes to becomes one that takes nothing: /dev/full.
        full, target = os.open("/dev/full", os.O_WRONLY), rig.record.resolve()
        for number in os.listdir("/proc/self/fd"):
            if os.path.realpath(f"/proc/self/fd/{number}") == str(target):
                os.dup2(full, int(number))
        os.close(full)
        rig.raw("GET", PODS)
        assert "can keep no record" in said(rig.raw("GET", PODS).body)


def test_many_callers_are_served_at_once(cluster: FakeCluster, tmp_path: Path) -> None:
    """A slow answer holds up nobody else."""
    cluster.hang("/services")
    with rig_for(cluster, tmp_path) as rig:
        slow = threading.Thread(
            target=lambda: rig.raw("GET", "/api/v1/namespaces/shop/services"), daemon=True
        )
        slow.start()
        begun = time.monotonic()
        assert rig.raw("GET", PODS).status == 200
        assert time.monotonic() - begun < 10


def test_requests_under_way_are_bounded(cluster: FakeCluster, tmp_path: Path) -> None:
    """Whoever asks for more at once than may be is told to wait, as a client understands it."""
    cluster.hang("/services")
    limits = ClusterLimits(at_once=1)
    with rig_for(cluster, tmp_path, limits=limits) as rig, rig.connect() as waiting:
        head = "GET /api/v1/namespaces/shop/services HTTP/1.1\r\nHost: x\r\n"
        waiting.sendall(f"{head}Authorization: Bearer {rig.config.token}\r\n\r\n".encode())
        while not cluster.requests:
            threading.Event().wait(0.01)
        answer = rig.raw("GET", PODS)
    assert answer.status == 429
    assert "under way already" in said(answer.body)


def test_strangers_use_up_nothing_of_a_run(cluster: FakeCluster, tmp_path: Path) -> None:
    """Requests without the credential cost the run no request, and fill no record."""
    limits = ClusterLimits(requests=2, strangers=3)
    with rig_for(cluster, tmp_path, limits=limits) as rig:
        assert {rig.raw("GET", PODS, ("-",)).status for _ in range(8)} == {401}
        assert [rig.raw("GET", PODS).status for _ in range(2)] == [200, 200]
        assert rig.counts.requests == 2
        assert len([line for line in rig.lines if line["rule"] == "credential"]) == 3


def test_denials_beyond_a_bound_are_counted_and_not_written(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    """A flood of denied requests does not fill the disk, and the record says where it stopped."""
    with rig_for(cluster, tmp_path, limits=ClusterLimits(requests=100, denials=3)) as rig:
        for _ in range(6):
            rig.raw("DELETE", PODS)
        assert rig.raw("GET", PODS).status == 200
        lines = [line for line in rig.lines if line["kind"] == "cluster"]
    assert [line["decision"] for line in lines] == ["denied", "denied", "denied", "allowed"]
    assert "not put on record" in lines[2]["note"]
    assert rig.counts.denied == 6
