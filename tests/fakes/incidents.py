"""Incidents for tests: one fault in all severities, what was collected, what was found."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from kubecase.core.model import Collection, Fault, Gap, Incident, Resource, parse_incident_id
from kubecase.core.report import Culprit, Evidence, Hypothesis, Report
from kubecase.core.severity import severity_of

ID = parse_incident_id("0b8e4f5e-1111-4222-8333-444455556666")
SEEN = datetime(2026, 3, 4, 11, 29, 18, tzinfo=UTC)
POD = "signer-6zl45p727k-jqglx"
MESSAGE = 'MountVolume.SetUp failed for volume "keys" : secret "signer-keys" not found'

FINDINGS = Report(
    summary=f"Pod {POD} cannot start: the Secret signer-keys does not exist. Nothing has run yet.",
    hypotheses=(
        Hypothesis(
            category="config.missing_secret",
            root_cause="Secret signing/signer-keys does not exist, so the pod cannot start.",
            culprit=Culprit(kind="Secret", namespace="signing", name="signer-keys"),
            confidence=0.92,
            evidence=(Evidence(source="event:FailedMount", quote=MESSAGE),),
            next_steps=("kubectl -n signing get secret signer-keys",),
        ),
        Hypothesis(
            category="config.missing_key",
            root_cause="The Secret exists under another name.",
            culprit=None,
            confidence=0.31,
        ),
    ),
)


def after(seconds: float) -> datetime:
    """`seconds` after the fault was seen."""
    return SEEN + timedelta(seconds=seconds)


def a_fault(word: str = "critical", **changes: Any) -> Fault:
    """A pod that lacks a Secret, reported with the severity `word`."""
    values: dict[str, Any] = {
        "fingerprint": "9f3c0d1e2b4a5968",
        "cluster": "dev",
        "resource": Resource(
            kind="Pod", name=POD, namespace="signing", api_version="v1", uid="8bb09fe8"
        ),
        "reason": "FailedMount",
        "message": MESSAGE,
        "severity": severity_of(word)[0],
        "severity_word": word,
        "seen_at": SEEN,
        "raw": json.dumps({"reason": "FailedMount", "message": MESSAGE, "unknown": [1]}).encode(),
    }
    return Fault(**{**values, **changes})


def an_incident(word: str = "critical", **changes: Any) -> Incident:
    """What was opened for `a_fault`."""
    return Incident(id=ID, fault=a_fault(word, **changes), opened_at=after(0.4))


def a_collection(**changes: Any) -> Collection:
    """What was collected for it: the pod, its owners, one event, one log, one gap."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "signer-6zl45p727k", "uid": "a"}
    above = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "signer", "uid": "b"}
    objects = (
        {"kind": "Node", "metadata": {"name": "worker-3", "uid": "n"}},
        {
            "kind": "Pod",
            "metadata": {
                "name": POD, "namespace": "signing", "ownerReferences": [owner],
                "managedFields": [{"manager": "kubelet"}],
            },
            "spec": {"nodeName": "worker-3"},
        },
        {
            "kind": "ReplicaSet",
            "metadata": {
                "name": "signer-6zl45p727k", "namespace": "signing", "ownerReferences": [above],
            },
        },
        {"kind": "Deployment", "metadata": {"name": "signer", "namespace": "signing"}},
    )  # fmt: skip
    event = {
        "reason": "FailedMount", "message": MESSAGE, "lastTimestamp": "2026-03-04T11:29:18Z",
        "involvedObject": {"kind": "Pod", "name": POD},
    }  # fmt: skip
    values: dict[str, Any] = {
        "collected_at": after(1.2),
        "trigger": event,
        "objects": objects,
        "events": (event,),
        "logs": {f"signing/{POD}/signer": "starting\nwaiting for /keys\n"},
        "gaps": (Gap(what=f"previous log of signing/{POD}/signer", why="it never ran"),),
        "origin": "a recorded incident",
    }
    return Collection(**{**values, **changes})
