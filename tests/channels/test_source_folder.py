"""Folders of recorded objects, events and logs."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kubecase.channels.sources import FaultInput, load_intake
from kubecase.channels.sources import recorded_files as limits
from kubecase.core.errors import FaultRejected
from kubecase.core.model import Collection

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CASES = Path(__file__).parent.parent / "data" / "k8s-failures"


def case(name: str) -> FaultInput:
    (found,) = load_intake(CASES / name, now=NOW, cluster_default="local").faults
    return found


def recorded(found: FaultInput) -> Collection:
    assert found.collection is not None
    return found.collection


# What the incident of each recording is about: kind, start of the name, reason.
ABOUT: dict[str, tuple[str, str, str]] = {
    "bad-command": ("Pod", "bad-command-", "Failed"),
    "crashloop": ("Pod", "crashloop-", "BackOff"),
    "cronjob-failing": ("Job", "nightly-report-", "BackoffLimitExceeded"),
    "csi-attach": ("Pod", "csi-attach-", "FailedAttachVolume"),
    "dns-config": ("Pod", "dns-config-", "DNSConfigForming"),
    "ephemeral-evicted": ("Pod", "spool-writer", "Evicted"),
    "healthy": ("Deployment", "web", "NothingReported"),
    "hpa-no-metrics": ("HorizontalPodAutoscaler", "hpa-no-metrics", "FailedGetResourceMetric"),
    "image-invalid-name": ("Pod", "image-invalid-name-", "InspectFailed"),
    "image-not-found": ("Pod", "image-not-found-", "Failed"),
    "image-rate-limited": ("Pod", "image-rate-limited-", "Failed"),
    "image-registry-dns": ("Pod", "image-registry-dns-", "Failed"),
    "image-registry-unavailable": ("Pod", "image-registry-unavailable-", "Failed"),
    "image-unauthorized": ("Pod", "image-unauthorized-", "Failed"),
    "init-crash": ("Pod", "init-crash-", "BackOff"),
    "job-backoff": ("Job", "job-backoff", "BackoffLimitExceeded"),
    "job-deadline": ("Job", "job-deadline", "DeadlineExceeded"),
    "liveness-failing": ("Pod", "liveness-failing-", "BackOff"),
    "liveness-timeout": ("Pod", "liveness-timeout-", "BackOff"),
    "missing-configmap": ("Pod", "missing-configmap-", "Failed"),
    "missing-secret-key": ("Pod", "missing-secret-key-", "Failed"),
    "mount-hostpath-type": ("Pod", "mount-hostpath-type-", "FailedMount"),
    "mount-missing-secret": ("Pod", "mount-missing-secret-", "FailedMount"),
    "node-lost": ("Pod", "node-lost-", "NodeNotReady"),
    "oomkilled": ("Pod", "oomkilled-", "BackOff"),
    "podsecurity-denied": ("ReplicaSet", "podsecurity-denied-", "FailedCreate"),
    "poststart-hook": ("Pod", "poststart-hook-", "FailedPostStartHook"),
    "preempted": ("Pod", "preempted-", "FailedScheduling"),
    "quota-exceeded": ("ReplicaSet", "quota-exceeded-", "FailedCreate"),
    "readiness-failing": ("Pod", "readiness-failing-", "Unhealthy"),
    "readiness-refused": ("Pod", "readiness-refused-", "Unhealthy"),
    "rollout-stuck": ("Pod", "rollout-stuck-69c656d94f-", "Failed"),
    "sandbox-cni-exhausted": ("Pod", "sandbox-cni-exhausted-", "FailedCreatePodSandBox"),
    "sandbox-create-failed": ("Pod", "readiness-failing-", "FailedCreatePodSandBox"),
    "service-no-endpoints": ("Service", "checkout", "ServiceWithoutPods"),
    "startup-failing": ("Pod", "startup-failing-", "BackOff"),
    "unschedulable-memory": ("Pod", "unschedulable-memory-", "FailedScheduling"),
    "unschedulable-pvc": ("PersistentVolumeClaim", "orders-data", "ProvisioningFailed"),
    "unschedulable-selector": ("Pod", "unschedulable-selector-", "FailedScheduling"),
    "webhook-down": ("ReplicaSet", "webhook-down-", "FailedCreate"),
}


def test_every_recorded_failure_is_in_the_table() -> None:
    """The forty recorded failures are all read."""
    folders = {path.name for path in CASES.iterdir() if path.is_dir()} - {"event-streams"}

    assert folders == set(ABOUT)
    assert len(ABOUT) == 40


@pytest.mark.parametrize("name", ABOUT)
def test_each_recorded_failure_becomes_the_incident_it_is_about(name: str) -> None:
    """A recording opens for what its events, or its objects, complain about most."""
    kind, start, reason = ABOUT[name]

    found = case(name)

    assert found.fault.resource.kind == kind
    assert found.fault.resource.name.startswith(start)
    assert found.fault.reason == reason
    assert recorded(found).origin == f"recorded folder {name}"


@pytest.mark.parametrize("name", ABOUT)
def test_each_recording_is_collected_whole(name: str) -> None:
    """Every object and event of the files is in the Collection; no kubectl error is a log."""
    found = recorded(case(name))

    files = [json.loads(path.read_text()) for path in (CASES / name).glob("*.json")]
    events = sum(len(each["items"]) for each in files if each.get("kind") == "List")
    assert len(found.events) == events
    assert len(found.objects) >= len({_name(each) for each in files if "items" not in each})
    assert all(each.get("kind") for each in found.objects)
    texts = "".join(found.logs.values())
    assert "[kubectl logs failed]" not in texts
    assert "unable to retrieve container logs" not in texts
    of_containers = len(list((CASES / name).glob("logs-*.txt")))
    assert len(found.logs) + len(found.gaps) == of_containers
    assert found.collected_at.year == 2026


def _name(each: dict[str, Any]) -> tuple[str, str]:
    return each.get("kind", "Node"), each["metadata"]["name"]


def test_logs_belong_to_their_pod() -> None:
    """`logs-2-export-current.txt` is of the pod in `pod-2.json`, and an error is a gap."""
    found = recorded(case("job-backoff"))

    assert set(found.logs) == {
        "shop/job-backoff-74zgb/export",
        "shop/job-backoff-7fmpz/export",
        "shop/job-backoff-ck96g/export",
    }
    assert "KeyError: currency" in found.logs["shop/job-backoff-7fmpz/export"]
    gap = next(gap for gap in found.gaps if gap.what.endswith("job-backoff-7fmpz/export/previous"))
    assert "previous terminated container" in gap.why


def test_a_log_that_could_not_be_retrieved_is_absent() -> None:
    """The runtime's "unable to retrieve" is an absence with its reason, for init containers too."""
    found = recorded(case("init-crash"))

    pod = case("init-crash").fault.resource.name
    assert "deadlock detected" in found.logs[f"shop/{pod}/migrate"]
    assert f"shop/{pod}/migrate/previous" not in found.logs
    gap = next(gap for gap in found.gaps if gap.what.endswith("migrate/previous"))
    assert gap.why.startswith("unable to retrieve container logs")


def test_what_was_recorded_nearest_the_top_counts() -> None:
    """Of one pod recorded in several phases the one in the folder itself is taken."""
    found = recorded(case("crashloop"))

    pods = [each for each in found.objects if each["kind"] == "Pod"]
    assert pods == [json.loads((CASES / "crashloop" / "pod.json").read_text())]


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "api-0", "namespace": "shop"},
    "spec": {"containers": [{"name": "app"}]},
    "status": {"startTime": "2026-01-02T03:04:05Z", "phase": "Running"},
}
FAULT = {"namespace": "shop", "resource": "Pod/api-0", "reason": "CrashLoop"}


def test_a_stream_of_a_watch_is_read_to_its_last_state(tmp_path: Path) -> None:
    """Every object of a recorded watch counts once, as last seen; DELETED is only its age."""
    event = {
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "shop"},
        "involvedObject": {"kind": "Pod", "name": "api-0", "namespace": "shop"},
        "type": "Warning",
        "reason": "BackOff",
        "lastTimestamp": "2026-01-02T03:04:05Z",
    }
    lines = [
        {"type": "ADDED", "object": {**event, "count": 1}},
        {"type": "BOOKMARK", "object": {"kind": "Event", "metadata": {"resourceVersion": "7"}}},
        {"type": "MODIFIED", "object": {**event, "count": 9}},
        {"type": "DELETED", "object": {**event, "count": 1}},
        {"type": "ERROR", "object": {"kind": "Status", "code": 410}},
    ]
    (tmp_path / "watch.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))

    (found,) = load_intake(tmp_path, now=NOW, cluster_default="local").faults

    assert [each["count"] for each in recorded(found).events] == [9]
    assert found.fault.reason == "BackOff"


def test_a_fault_beside_a_recording_says_what_it_is_about(tmp_path: Path) -> None:
    """With a fault of its own in the folder, the recording is what is known about that fault."""
    (tmp_path / "pod.json").write_text(json.dumps(POD))
    (tmp_path / "fault.json").write_text(json.dumps(FAULT))
    (tmp_path / "logs-app-previous.txt").write_text("boom\n")

    (found,) = load_intake(tmp_path, now=NOW, cluster_default="local").faults

    assert found.fault.reason == "CrashLoop"
    assert recorded(found).objects == (POD,)
    assert recorded(found).logs == {"shop/api-0/app/previous": "boom\n"}
    assert recorded(found).collected_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_folder_of_faults_is_several(tmp_path: Path) -> None:
    """Files that are faults each give one, in the order of their names."""
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps({**FAULT, "reason": name}))

    intake = load_intake(tmp_path, now=NOW, cluster_default="local")

    assert [each.fault.reason for each in intake.faults] == ["a", "b"]


def test_values_of_a_recorded_secret_are_left_out(tmp_path: Path) -> None:
    """Of a Secret only the keys are taken in, also from its annotations (req 16.6)."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "shop", "annotations": {"last": "CANARY"}},
        "data": {"password": "CANARY"},
        "stringData": {"token": "CANARY"},
    }
    (tmp_path / "pod.json").write_text(json.dumps(POD))
    (tmp_path / "secret.json").write_text(json.dumps(secret))

    (found,) = load_intake(tmp_path, now=NOW, cluster_default="local").faults

    assert "CANARY" not in repr(found) + found.fault.raw.decode()
    kept = next(each for each in recorded(found).objects if each["kind"] == "Secret")
    assert list(kept["data"]) == ["password"]


def test_links_and_special_files_are_not_followed(tmp_path: Path) -> None:
    """Neither a link nor a pipe in the folder is opened, each is noted (req 16.3)."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "pod-9.json").write_text(json.dumps({**POD, "metadata": {"name": "SECRET"}}))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "pod.json").write_text(json.dumps(POD))
    (folder / "pod-9.json").symlink_to(outside / "pod-9.json")
    (folder / "more").symlink_to(outside)
    os.mkfifo(folder / "events.json")

    intake = load_intake(folder, now=NOW, cluster_default="local")

    assert "SECRET" not in repr(intake)
    assert sum("not a regular file" in note for note in intake.notes) == 3


def test_a_broken_file_is_a_gap_and_the_rest_is_read(tmp_path: Path) -> None:
    """One bad file does not cost the recording."""
    (tmp_path / "pod.json").write_text(json.dumps(POD))
    (tmp_path / "bomb.json").write_text("[" * 100_000)
    (tmp_path / "half.json").write_text('{"kind": "Po')
    (tmp_path / "other.json").write_text('{"hello": "world"}')
    (tmp_path / "logs-app-current.txt").write_bytes(b"a\xff\x00b\n")
    (tmp_path / "notes.txt").write_text("not looked at")

    (found,) = load_intake(tmp_path, now=NOW, cluster_default="local").faults

    gaps = {gap.what: gap.why for gap in recorded(found).gaps}
    assert set(gaps) == {"file bomb.json", "file half.json", "file other.json"}
    assert recorded(found).logs["shop/api-0/app"] == "a\ufffd\ufffdb\n"


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    """Of a log over the limit the last part is taken, and that is noted."""
    (tmp_path / "pod.json").write_text(json.dumps(POD))
    text = "old\n" + "x" * limits.MAX_LOG + "\nthe end\n"
    (tmp_path / "logs-app-current.txt").write_text(text)

    intake = load_intake(tmp_path, now=NOW, cluster_default="local")

    log = recorded(intake.faults[0]).logs["shop/api-0/app"]
    assert len(log) == limits.MAX_LOG
    assert log.endswith("the end\n")
    assert any("the last" in note for note in intake.notes)


def test_a_folder_without_end_is_refused(tmp_path: Path) -> None:
    """Too many entries, too many bytes, or too deep: said, not read."""
    many = tmp_path / "many"
    many.mkdir()
    for number in range(limits.MAX_ENTRIES + 1):
        (many / str(number)).touch()
    with pytest.raises(FaultRejected, match="more than 2000 entries"):
        load_intake(many, now=NOW, cluster_default="local")

    large = tmp_path / "large"
    large.mkdir()
    for number in range(9):
        with (large / f"{number}.json").open("wb") as file:
            file.truncate(8 * 1024 * 1024)
    with pytest.raises(FaultRejected, match="more than 67108864 bytes"):
        load_intake(large, now=NOW, cluster_default="local")

    deep = tmp_path / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    (deep / "pod.json").write_text(json.dumps(POD))
    with pytest.raises(FaultRejected, match="holds no fault"):
        load_intake(tmp_path / "a", now=NOW, cluster_default="local")


def test_an_empty_folder_says_what_belongs_in_it(tmp_path: Path) -> None:
    """Nothing to read is one clear error that shows the forms."""
    with pytest.raises(FaultRejected, match="holds no fault") as refused:
        load_intake(tmp_path, now=NOW, cluster_default="local")

    assert "folder of recorded objects" in (refused.value.hint or "")
