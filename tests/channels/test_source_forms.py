"""Every form that a fault arrives in, and what is read from it."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kubecase.channels.sources import (
    FaultInput,
    FileSource,
    Form,
    faults_in,
    load_intake,
    recognise,
)
from kubecase.channels.sources.intake import Arrival
from kubecase.core.errors import FaultRejected
from kubecase.core.model import Resource
from kubecase.core.severity import Severity

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples" / "faults"
INPUTS = sorted((ROOT / "tests" / "data" / "inputs").glob("*.json"))
NOW = datetime(2026, 1, 2, 4, 0, 0, tzinfo=UTC)
SEEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def one(value: Any) -> FaultInput:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    intake = faults_in(raw, Arrival(now=NOW, cluster_default="local"))
    assert len(intake.faults) == 1
    return intake.faults[0]


def example(name: str) -> tuple[str, FaultInput]:
    intake = load_intake(EXAMPLES / name, now=NOW, cluster_default="local")
    return intake.form, intake.faults[0]


OWN = {"namespace": "shop", "resource": "Pod/api-0", "reason": "CrashLoop"}


@pytest.mark.parametrize(
    ("name", "form", "kind", "place", "reason"),
    [
        ("crash-loop.json", "kubecase fault", "Pod", "shop", "CrashLoop"),
        ("pod-crash-mcp.json", "fault of a Kubernetes MCP server", "Pod", "shop", "PodCrash"),
        ("node-unhealthy-event.json", "core/v1 Event", "Node", None, "NodeNotReady"),
        (
            "job-failure-event-v1.json",
            "events.k8s.io/v1 Event",
            "Job",
            "shop",
            "BackoffLimitExceeded",
        ),
        (
            "deployment-failure-alertmanager.json",
            "Alertmanager notification",
            "Deployment",
            "shop",
            "KubeDeploymentReplicasMismatch",
        ),
        ("service-alert.json", "alert", "Service", "maps", "ServiceNoEndpoints"),
        (
            "claim-cloudevent.json",
            "CloudEvent around kubecase fault",
            "PersistentVolumeClaim",
            "shop",
            "ProvisioningFailed",
        ),
        ("triage-case.json", "triage case", "Pod", "shop", "BackOff"),
    ],
)
def test_each_form_is_recognised_and_says_what_it_is_about(
    name: str, form: str, kind: str, place: str | None, reason: str
) -> None:
    """A payload in any form is named and gives resource, reason and time (req 1.1, 5.10)."""
    found_form, found = example(name)

    assert found_form == form
    assert (found.fault.resource.kind, found.fault.resource.namespace) == (kind, place)
    assert found.fault.reason == reason
    assert found.fault.seen_at.replace(microsecond=0) == SEEN
    assert recognise((EXAMPLES / name).read_bytes()).value in form


def test_every_example_is_covered() -> None:
    """No example lies in the folder that is not taken."""
    for path in EXAMPLES.glob("*.json*"):
        assert load_intake(path, now=NOW, cluster_default="local").faults, path.name


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_each_fault_kind_in_each_severity_is_mapped(path: Path) -> None:
    """The five fault kinds of the MCP server keep kind, severity, id and payload (req 19.1)."""
    given = json.loads(path.read_bytes())

    fault = one(path.read_bytes()).fault

    assert fault.reason == given["faultType"]
    assert fault.severity == given["severity"]
    assert fault.fingerprint == given["faultId"]
    assert fault.message == given["context"]
    assert fault.cluster == "dev"
    assert fault.resource.namespace == given["resource"].get("namespace")
    assert fault.raw == path.read_bytes()


def test_all_five_kinds_are_there() -> None:
    """The test data holds each kind in each severity (req 19.1)."""
    assert len(INPUTS) == 15


def test_a_fault_of_our_own_keeps_every_field() -> None:
    """What an operator writes is what the fault says, and the raw bytes are kept (req 1.1)."""
    raw = json.dumps(
        {
            **OWN,
            "cluster": "dev",
            "message": "exited 1",
            "severity": "P2",
            "timestamp": "2026-01-02T04:04:05+01:00",
            "fingerprint": "f-1",
            "labels": {"team": "orders"},
            "id": "2b9febb6-c9e9-4266-934c-0775fcc336f8",
            "unknown": {"kept": True},
        }
    ).encode()

    found = one(raw)

    assert found.incident_id == "2b9febb6-c9e9-4266-934c-0775fcc336f8"
    assert found.collection is None
    fault = found.fault
    assert fault.resource == Resource(kind="Pod", name="api-0", namespace="shop")
    assert (fault.cluster, fault.reason, fault.message) == ("dev", "CrashLoop", "exited 1")
    assert (fault.severity, fault.severity_word) == (Severity.CRITICAL, "P2")
    assert (fault.seen_at, fault.fingerprint) == (SEEN, "f-1")
    assert fault.labels == {"team": "orders"}
    assert fault.raw == raw


def test_what_is_left_out_is_filled_in() -> None:
    """Without cluster, time and fingerprint the default, now and a computed one stand."""
    found = one(OWN)

    assert (found.fault.cluster, found.fault.seen_at) == ("local", NOW)
    assert len(found.fault.fingerprint) == 16
    assert found.fault.severity is Severity.WARNING
    assert found.notes == ()
    assert found.fault.fingerprint == one({**OWN, "message": "again"}).fault.fingerprint
    assert found.fault.fingerprint != one({**OWN, "reason": "OOM"}).fault.fingerprint


@pytest.mark.parametrize("word", ["pod", "po", "pods", "Pod", "POD"])
def test_short_names_of_kinds_are_understood(word: str) -> None:
    """`po/api-0` names the same object as `Pod/api-0`."""
    assert one({**OWN, "resource": f"{word}/api-0"}).fault.resource.kind == "Pod"


def test_a_kind_that_nobody_knows_is_kept() -> None:
    """A custom resource is a resource too."""
    found = one(
        {**OWN, "resource": {"kind": "Rollout", "name": "a", "apiVersion": "argoproj.io/v1"}}
    )

    assert found.fault.resource.kind == "Rollout"
    assert found.fault.resource.api_version == "argoproj.io/v1"


def test_a_node_needs_no_namespace_and_gets_none() -> None:
    """Cluster-scoped kinds have no namespace, whatever the payload says (req 5.4)."""
    assert one({"resource": "Node/n1", "reason": "NotReady"}).fault.resource.namespace is None
    assert one({**OWN, "resource": "node/n1"}).fault.resource.namespace is None


def test_an_unknown_severity_counts_as_warning_and_is_noted() -> None:
    """The word is kept, its meaning assumed, and a person told."""
    found = one({**OWN, "severity": "apocalyptic"})

    assert found.fault.severity is Severity.WARNING
    assert found.fault.severity_word == "apocalyptic"
    assert found.notes == ("unknown severity 'apocalyptic' counts as warning",)


def schema() -> dict[str, Any]:
    text = resources.files("kubecase.channels.sources").joinpath("fault.schema.json").read_text()
    return json.loads(text)  # type: ignore[no-any-return]


def test_the_schema_accepts_what_is_taken() -> None:
    """The published JSON Schema holds for the examples in our own form."""
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(json.loads((EXAMPLES / "crash-loop.json").read_text()), schema())
    jsonschema.validate(
        json.loads((EXAMPLES / "claim-cloudevent.json").read_text())["data"], schema()
    )
    for line in (EXAMPLES / "several.jsonl").read_text().splitlines():
        jsonschema.validate(json.loads(line), schema())


@pytest.mark.parametrize(
    "change",
    [
        {"resource": None}, {"resource": 7}, {"resource": {}}, {"resource": {"kind": "Pod"}},
        {"resource": {"kind": "Pod", "name": 4}}, {"resource": "api-0"}, {"resource": "Pod/"},
        {"reason": 1}, {"namespace": []}, {"severity": 3}, {"timestamp": 12},
        {"labels": []}, {"labels": {"a": 1}}, {"id": "no uuid"}, {"id": 5}, {"cluster": {}},
        {"id": "2B9FEBB6-C9E9-4266-934C-0775FCC336F8"}, {"fingerprint": 1},
    ],
    ids=str,
)  # fmt: skip
def test_schema_and_mapper_refuse_the_same(change: dict[str, Any]) -> None:
    """A field of the wrong type is refused by the schema and by us (req 16.1 for the id)."""
    value = {**OWN, **change}

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema())
    with pytest.raises(FaultRejected) as refused:
        one(value)
    assert next(iter(change)) in str(refused.value)


EXCERPTS = [
    {"container": "api", "previous": True, "hasPanic": True, "sample": "panic: x\n", "error": ""},
    {"container": "proxy", "previous": False, "sample": "", "error": "container not found"},
]
MCP = {
    "faultType": "CrashLoop",
    "faultId": "9f3c0d1e2b4a5968",
    "severity": "critical",
    "resource": {"kind": "Pod", "name": "api-0", "namespace": "shop"},
    "timestamp": "2026-01-02T03:04:05Z",
}


@pytest.mark.parametrize("pack", [json.dumps, lambda value: value], ids=["text", "list"])
def test_log_excerpts_of_an_mcp_fault_become_logs(pack: Callable[[Any], Any]) -> None:
    """Excerpts in `context` are logs, and what the server could not read is a gap (req 5.3)."""
    found = one({**MCP, "context": pack(EXCERPTS)})

    assert found.collection is not None
    assert found.collection.logs == {"shop/api-0/api/previous": "panic: x\n"}
    assert [gap.why for gap in found.collection.gaps] == ["container not found"]
    assert "with a panic" in found.fault.message


@pytest.mark.parametrize("context", ["exited 1", "[not json", "[1, 2]", "[]"])
def test_a_sentence_in_the_context_is_the_message(context: str) -> None:
    """Whatever else the context says is kept as the message (req 5.3)."""
    found = one({**MCP, "context": context})

    assert found.fault.message == context
    assert found.collection is None


def test_a_log_notification_around_an_mcp_fault_is_opened() -> None:
    """The whole notification is taken as well as its data."""
    inner = {"level": "warning", "logger": "kubernetes/faults", "data": MCP}
    outer = {"jsonrpc": "2.0", "method": "notifications/message", "params": inner}

    assert one(inner).fault.fingerprint == MCP["faultId"]
    assert one(outer).fault.fingerprint == MCP["faultId"]


def event(**change: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "shop", "creationTimestamp": "2026-01-02T03:00:00Z"},
        "involvedObject": {
            "kind": "Pod", "name": "api-0", "namespace": "shop", "uid": "u1",
            "fieldPath": "spec.containers{app}",
        },
        "reason": "BackOff",
        "message": "Back-off",
        "type": "Warning",
        "firstTimestamp": None,
        "lastTimestamp": None,
        **change,
    }  # fmt: skip


def test_events_of_both_shapes_say_when_they_last_happened() -> None:
    """The scheduler's eventTime and series count, and so do the kubelet's timestamps."""
    of_scheduler = event(
        eventTime="2026-01-02T03:01:00.5Z", series={"lastObservedTime": "2026-01-02T03:04:05Z"}
    )

    assert one(of_scheduler).fault.seen_at == SEEN
    assert one(event(lastTimestamp="2026-01-02T03:04:05Z")).fault.seen_at == SEEN
    assert one(event()).fault.seen_at == datetime(2026, 1, 2, 3, 0, tzinfo=UTC)


def test_repeats_of_an_event_share_a_fingerprint() -> None:
    """Uid, reason and fieldPath decide; message, time and the event's own name do not."""
    first = one(event()).fault.fingerprint

    again = event(message="another", metadata={"name": "f", "namespace": "shop"}, count=7)
    assert one(again).fault.fingerprint == first
    assert one(event(reason="Failed")).fault.fingerprint != first
    other = {**event()["involvedObject"], "fieldPath": "spec.initContainers{app}"}
    assert one(event(involvedObject=other)).fault.fingerprint != first


def test_a_normal_event_is_information() -> None:
    """An Event of type Normal counts as info, without a remark."""
    found = one(event(type="Normal"))

    assert found.fault.severity is Severity.INFO
    assert found.notes == ()


def alert(**labels: str) -> dict[str, Any]:
    return {"status": "firing", "labels": {"alertname": "A", **labels}, "annotations": {}}


@pytest.mark.parametrize(
    ("labels", "kind", "name"),
    [
        ({"pod": "p", "deployment": "d"}, "Pod", "p"),
        ({"deployment": "d", "job": "kube-state-metrics"}, "Deployment", "d"),
        ({"statefulset": "s"}, "StatefulSet", "s"),
        ({"daemonset": "s"}, "DaemonSet", "s"),
        ({"job": "nightly"}, "Job", "nightly"),
        ({"job_name": "nightly", "job": "kube-state-metrics"}, "Job", "nightly"),
        ({"node": "n1", "job": "kubelet"}, "Node", "n1"),
        ({"service": "tiles", "job": "tiles"}, "Service", "tiles"),
        ({"persistentvolumeclaim": "c", "node": "n1"}, "PersistentVolumeClaim", "c"),
        ({"exported_pod": "real", "pod": "exporter"}, "Pod", "real"),
        ({}, "Namespace", "shop"),
    ],
)  # fmt: skip
def test_labels_of_an_alert_name_the_object(labels: dict[str, str], kind: str, name: str) -> None:
    """The most specific label wins, and the scrape job's own label never does."""
    resource = one(alert(namespace="shop", **labels)).fault.resource

    assert (resource.kind, resource.name) == (kind, name)
    assert (resource.namespace is None) == (kind in {"Node", "Namespace"})


def test_every_firing_alert_is_a_fault_and_resolved_ones_are_left_out() -> None:
    """One incident per alert after grouping, with its own raw payload."""
    alerts = [
        {**alert(namespace="shop", pod="a"), "fingerprint": "1"},
        {**alert(namespace="shop", pod="b"), "fingerprint": "2", "status": "resolved"},
        {**alert(namespace="shop", pod="c"), "fingerprint": "3"},
        alert(),
    ]
    payload = json.dumps({"version": "4", "alerts": alerts}).encode()

    intake = faults_in(payload, Arrival(now=NOW, cluster_default="local"))

    assert [each.fault.fingerprint for each in intake.faults] == ["1", "3"]
    assert json.loads(intake.faults[1].fault.raw) == alerts[2]
    assert "1 resolved left out" in intake.notes
    assert any("alert 3 of 3 left out" in note for note in intake.notes)


def test_a_notification_with_nothing_firing_holds_no_fault() -> None:
    """Resolved alerts alone are no error and no incident."""
    gone = {**alert(namespace="shop", pod="b"), "status": "resolved"}
    payload = json.dumps({"version": "4", "alerts": [gone]}).encode()

    intake = faults_in(payload, Arrival(now=NOW, cluster_default="local"))

    assert intake.faults == ()
    assert intake.notes == ("1 resolved left out",)


def test_a_cloudevent_may_carry_its_data_as_text_or_base64() -> None:
    """`data` as an object, as JSON text and as base64 give the same fault."""
    envelope = {"specversion": "1.0", "id": "1", "source": "/x", "type": "t"}
    packed = base64.b64encode(json.dumps(OWN).encode()).decode()
    faults = [
        one({**envelope, **carried}).fault
        for carried in ({"data": OWN}, {"data": json.dumps(OWN)}, {"data_base64": packed})
    ]

    assert len({fault.fingerprint for fault in faults}) == 1


def test_a_triage_case_brings_its_facts_and_hides_its_answer() -> None:
    """Collected facts come along; what the case expects is nowhere in what is passed on."""
    case = json.loads((EXAMPLES / "triage-case.json").read_text())
    case["expected"] = {"category": "config.missing_env", "root_cause": "SPOILER"}

    found = one(case)

    assert found.collection is not None
    assert found.collection.collected_at == datetime(2026, 1, 2, 3, 10, tzinfo=UTC)
    assert found.collection.trigger == case["inputs"]["event"]
    assert list(found.collection.logs) == ["shop/api-0/api/previous"]
    assert len(found.collection.objects) == 1
    assert "SPOILER" not in repr(found) + found.fault.raw.decode()
    assert one(case["inputs"]).fault.fingerprint == found.fault.fingerprint


def test_several_faults_come_in_the_order_sent() -> None:
    """JSON Lines and lists hold several faults; each line is the raw payload of its fault."""
    data = (EXAMPLES / "several.jsonl").read_bytes()
    lines = data.splitlines()

    of_lines = faults_in(data, Arrival(now=NOW, cluster_default="local"))
    listed = b"[" + b",".join(lines) + b"]"
    of_list = faults_in(listed, Arrival(now=NOW, cluster_default="local"))

    assert [each.fault.raw for each in of_lines.faults] == lines
    assert [each.fault.reason for each in of_lines.faults] == [
        "CrashLoop", "NodeUnhealthy", "DeploymentFailure",
    ]  # fmt: skip
    assert [each.fault.fingerprint for each in of_list.faults] == [
        each.fault.fingerprint for each in of_lines.faults
    ]


def test_a_pod_from_kubectl_is_an_incident_of_its_own() -> None:
    """`kubectl get pod -o json` is taken: its own status says what is wrong."""
    pod = json.loads((EXAMPLES / "triage-case.json").read_text())["inputs"]["objects"][0]

    found = one(pod)

    assert found.fault.reason == "CrashLoopBackOff"
    assert found.collection is not None
    assert found.collection.objects == (pod,)


@pytest.mark.anyio
async def test_the_file_source_ends_when_the_file_does() -> None:
    """A file is a source like any other, exhausted after its last fault."""
    source = FileSource(EXAMPLES / "several.jsonl", clock=lambda: NOW, cluster_default="local")

    reasons = [fault.reason async for fault in source.faults()]

    assert source.name == "file"
    assert reasons == ["CrashLoop", "NodeUnhealthy", "DeploymentFailure"]


def test_every_form_has_words_for_people() -> None:
    """No form is shown by its name in the program."""
    assert all(form.value != form.name for form in Form)
