"""What an incident is opened for when nobody says it: conditions, phases, and cases without one."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kubecase.channels.sources import FaultInput, load_intake
from kubecase.clusters import trigger_of
from kubecase.core.severity import Severity

NOW = datetime(2026, 1, 2, 4, tzinfo=UTC)
EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "faults"
TRIAGE = sorted((Path(__file__).parent.parent / "data" / "triage-cases").rglob("p0*.json"))


def taken(value: Any) -> FaultInput:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    (found,) = load_intake(raw, now=NOW, cluster_default="local").faults
    return found


def an(kind: str, **status: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "x", "namespace": "shop"}, "status": status}


def condition(kind: str, value: str, reason: str) -> dict[str, Any]:
    return {"type": kind, "status": value, "reason": reason, "message": f"said: {reason}"}


def terminated(code: int) -> dict[str, Any]:
    return {"name": "app", "state": {"terminated": {"exitCode": code, "reason": "OOMKilled"}}}


@pytest.mark.parametrize(
    ("each", "reason"),
    [
        (an("Node", conditions=[condition("Ready", "Unknown", "StatusUnknown")]), "StatusUnknown"),
        (an("Node", conditions=[condition("DiskPressure", "True", "HasDisk")]), "HasDisk"),
        (an("Deployment", conditions=[condition("Progressing", "False", "Deadline")]), "Deadline"),
        (an("Job", conditions=[condition("Failed", "True", "BackoffLimit")]), "BackoffLimit"),
        (an("PersistentVolumeClaim", phase="Pending"), "ClaimPending"),
        (an("Pod", phase="Failed", reason="Evicted", message="low"), "Evicted"),
        (an("Pod", phase="Pending", conditions=[condition("PodScheduled", "False", "No")]), "No"),
        (an("Pod", containerStatuses=[terminated(137)]), "OOMKilled"),
        (an("Deployment", conditions=[condition("Available", "True", "Fine")]), "NothingReported"),
    ],
)  # fmt: skip
def test_an_object_by_itself_says_what_is_wrong(each: dict[str, Any], reason: str) -> None:
    """Without a Warning event the object's own status gives the reason; a healthy one none."""
    fault = taken(each).fault

    assert fault.reason == reason
    assert fault.resource.kind == each["kind"]
    assert (fault.severity is Severity.INFO) == (reason == "NothingReported")
    assert json.loads(fault.raw) == each


def test_of_several_objects_the_sickest_counts() -> None:
    """In a List the failed pod is the incident, not its waiting neighbour or their node."""
    waiting = {"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "m"}}}
    sick = {
        **an("Pod", phase="Failed", reason="Evicted"),
        "metadata": {"name": "b", "namespace": "n"},
    }
    listed = {"kind": "List", "items": [an("Pod", containerStatuses=[waiting]), sick, an("Node")]}

    assert taken(listed).fault.resource.name == "b"


@pytest.mark.parametrize("path", TRIAGE, ids=lambda path: path.stem)
def test_each_public_triage_case_is_read(path: Path) -> None:
    """The fault, the facts and the time of every public case come in as the case has them."""
    inputs = json.loads(path.read_bytes())["inputs"]

    found = taken(path.read_bytes())

    assert found.collection is not None
    assert found.collection.trigger == inputs["event"]
    assert len(found.collection.objects) == len(inputs["objects"])
    assert len(found.collection.events) == len(inputs["events"])
    assert dict(found.collection.logs) == inputs["logs"]
    assert found.collection.collected_at == datetime.fromisoformat(inputs["collected_at"])
    assert json.loads(found.fault.raw) == inputs["event"]


def test_the_public_cases_are_there() -> None:
    """Twelve public cases, one of them started by an alert."""
    assert len(TRIAGE) == 12


def test_a_case_without_event_is_judged_by_its_objects() -> None:
    """A case that names no event is about what its objects and events complain of."""
    case = json.loads((EXAMPLES / "triage-case.json").read_text())
    del case["inputs"]["event"]
    case["inputs"]["logs"]["shop/api-0/api"] = 7

    found = taken(case)

    assert found.fault.reason == "CrashLoopBackOff"
    assert found.collection is not None
    assert found.collection.collected_at == datetime(2026, 1, 2, 3, 10, tzinfo=UTC)
    assert [gap.what for gap in found.collection.gaps] == ["log shop/api-0/api"]


@pytest.mark.parametrize("name", ["node-unhealthy-event.json", "service-alert.json"])
def test_an_event_or_alert_is_its_own_trigger(name: str) -> None:
    """What started the incident reaches the diagnosis as it came."""
    raw = (EXAMPLES / name).read_bytes()

    assert trigger_of(taken(raw).fault) == json.loads(raw)


def test_the_one_alert_of_a_notification_is_its_trigger() -> None:
    """A notification with a single alert reaches the diagnosis as that alert."""
    payload = json.loads((EXAMPLES / "deployment-failure-alertmanager.json").read_text())
    payload["alerts"] = payload["alerts"][:1]

    trigger = trigger_of(taken(payload).fault)

    assert trigger == {"kind": "Alert", **payload["alerts"][0]}
