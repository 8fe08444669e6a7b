"""How objects point at one another, how they are named, and JSON that is not trusted."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubecase.clusters import object_fault, parse_target, resource_fault, trigger_of
from kubecase.clusters.relations import (
    has_restarted,
    owners,
    references,
    selector_query,
    selects,
    sickness,
    trimmed,
)
from kubecase.clusters.untrusted import Unreadable, decode, escaped, parse_json, restored
from kubecase.core.errors import FaultRejected
from kubecase.core.severity import Severity

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("selector", "labels", "fits"),
    [
        ({}, {"a": "1"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchLabels": {"a": "1", "b": "2"}}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {"a": "1"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_a_selector_fits_as_in_a_cluster(
    selector: dict[str, Any], labels: dict[str, str], fits: bool
) -> None:
    """Labels and expressions select what the API server would select."""
    assert selects(selector, labels) is fits


def test_a_selector_becomes_a_query() -> None:
    """Every operator has its form in a query."""
    selector = {
        "matchLabels": {"a": "1"},
        "matchExpressions": [
            {"key": "b", "operator": "In", "values": ["x", "y"]},
            {"key": "c", "operator": "NotIn", "values": ["z"]},
            {"key": "d", "operator": "Exists"},
            {"key": "e", "operator": "DoesNotExist"},
        ],
    }

    assert selector_query(selector) == "a=1,b in (x,y),c notin (z),d,!e"
    assert selector_query({}) == ""


def test_the_controller_comes_first_among_the_owners() -> None:
    """Of several owners the controller is asked for first."""
    refs = [{"kind": "Node", "name": "n"}, {"kind": "ReplicaSet", "name": "r", "controller": True}]

    assert owners({"metadata": {"ownerReferences": refs}})[0] == ("ReplicaSet", "r")


def test_every_way_to_refer_to_a_configmap_is_seen() -> None:
    """Volumes, projected volumes, single keys and whole ConfigMaps count; Secrets never."""
    spec = {
        "volumes": [
            {"configMap": {"name": "a"}},
            {"projected": {"sources": [{"configMap": {"name": "b"}}, {"secret": {"name": "s"}}]}},
            {"secret": {"secretName": "s"}},
        ],
        "initContainers": [
            {"envFrom": [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]},
        ],
        "containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "d"}}}]}],
    }  # fmt: skip

    found = {name for kind, name in references(spec) if kind == "ConfigMap" and name}
    assert found == {"a", "b", "c", "d"}
    assert "s" not in {name for _, name in references(spec)}


def test_sick_pods_are_told_from_healthy_ones() -> None:
    """Waiting, failing and restarting containers count; a running pod does not."""
    running = {"status": {"phase": "Running", "containerStatuses": [{"restartCount": 0}]}}
    waiting = {
        "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]}
    }

    assert sickness(running) == 0
    assert sickness(waiting) > 0
    assert sickness({"status": {"phase": "Failed"}}) > 0


def test_an_earlier_run_is_known_by_restarts() -> None:
    """Only a container that has run before has a previous log to ask for."""
    pod = {"status": {"containerStatuses": [
        {"name": "a", "restartCount": 0}, {"name": "b", "restartCount": 2},
        {"name": "c", "restartCount": 0, "lastState": {"terminated": {"exitCode": 1}}},
    ]}}  # fmt: skip

    assert [has_restarted(pod, name) for name in "abcd"] == [False, True, True, False]


def test_what_may_hide_a_secret_is_left_out() -> None:
    """The last applied manifest and values of ConfigMaps never get further (req 16.6)."""
    last = "kubectl.kubernetes.io/last-applied-configuration"
    notes = {last: "CANARY", "b": "c"}
    found = trimmed(
        {
            "kind": "ConfigMap",
            "metadata": {"name": "a", "managedFields": [1], "annotations": notes},
            "data": {"key": "CANARY"},
            "binaryData": {"bin": "CANARY"},
        }
    )  # fmt: skip

    assert "CANARY" not in repr(found)
    assert found["metadata"] == {"name": "a", "annotations": {"b": "c"}}
    assert list(found["data"]) == ["key"]


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("pod/a", "Pod"), ("po/a", "Pod"), ("pods/a", "Pod"), ("deploy/a", "Deployment"),
        ("deployment/a", "Deployment"), ("sts/a", "StatefulSet"), ("ds/a", "DaemonSet"),
        ("job/a", "Job"), ("cj/a", "CronJob"), ("node/a", "Node"), ("no/a", "Node"),
        ("svc/a", "Service"), ("pvc/a", "PersistentVolumeClaim"), ("rs/a", "ReplicaSet"),
        ("hpa/a", "HorizontalPodAutoscaler"), ("ing/a", "Ingress"), ("Pod/a", "Pod"),
        ("pv/a", "PersistentVolume"), ("ns/a", "Namespace"), ("netpol/a", "NetworkPolicy"),
    ],
)  # fmt: skip
def test_an_object_can_be_named_as_in_kubectl(target: str, kind: str) -> None:
    """Names and short names of kinds are understood."""
    fault = object_fault(target, namespace=None, cluster="dev", now=NOW)

    assert (fault.resource.kind, fault.resource.name) == (kind, "a")
    assert fault.severity is Severity.WARNING
    assert (fault.resource.namespace is None) == (kind in {"Node", "PersistentVolume", "Namespace"})
    assert fault.resource.namespace in {None, "default"}
    assert json.loads(fault.raw)["resource"] == f"{kind}/a"


@pytest.mark.parametrize(
    "text", ["", "pod", "pod/", "/a", "secret/a", "pod/a/b", "pod/../b", "pod/A", "x/y", "pod/a b"]
)
def test_what_names_no_object_is_told(text: str) -> None:
    """Secrets, unknown kinds and impossible names are no objects to look at."""
    assert parse_target(text) is None
    with pytest.raises(FaultRejected, match="as an object"):
        object_fault(text, namespace=None, cluster="dev", now=NOW)


def test_the_same_object_has_the_same_fingerprint() -> None:
    """Asking twice about one object is one condition; another namespace is another."""
    first = resource_fault("Pod", "a", "shop", cluster="dev", now=NOW)

    again = object_fault("po/a", namespace="shop", cluster="dev", now=datetime.now(UTC))
    assert again.fingerprint == first.fingerprint
    other = resource_fault("Pod", "a", "ops", cluster="dev", now=NOW)
    assert other.fingerprint != first.fingerprint


def test_a_trigger_says_what_the_fault_says() -> None:
    """A fault that came as neither event nor alert is told to the diagnosis as an event."""
    fault = resource_fault("Node", "n1", None, cluster="dev", now=NOW)

    trigger = trigger_of(fault)

    assert trigger["involvedObject"] == {"kind": "Node", "name": "n1", "apiVersion": "v1"}
    assert trigger["reason"] == "Requested"


@given(data=st.binary(max_size=60))
def test_bytes_survive_being_read_as_text(data: bytes) -> None:
    """Every byte of a payload can be given back, and the text has no byte that is none."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return
    text, replaced = decode(data)

    assert restored(escaped(data)) == data
    assert len(text) == len(escaped(data))
    assert text.encode().decode() == text
    assert (replaced == 0) == ("\x00" not in data.decode("utf-8", "replace") and _is_utf8(data))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(value=JSON)
def test_what_is_parsed_can_be_stored(value: Any) -> None:
    """Parsing keeps every value but for characters that no file can hold."""
    text = json.dumps(value)
    parsed = parse_json(text)

    assert json.dumps(parsed, ensure_ascii=False).encode()
    if "\\u0000" not in text:
        assert parsed == value


@pytest.mark.parametrize(
    "text", ["", "{", "[1] [2]", "1e400", "-Infinity", "9" * 41, "[" * 65 + "]" * 65]
)
def test_what_is_not_one_sane_value_is_unreadable(text: str) -> None:
    """Broken, endless, doubled and bottomless JSON is refused in words."""
    with pytest.raises(Unreadable) as refused:
        parse_json(text)

    assert 0 < len(str(refused.value)) < 200
