"""Alerts of Prometheus: Alertmanager's notification (version 4), and a single alert."""

import json
from collections.abc import Mapping
from typing import Any

from kubecase.channels.sources.intake import (
    MAX_NAME,
    Arrival,
    FaultInput,
    fingerprint_of,
    labels_of,
    mapping_of,
    message_from,
    moment_of,
    named,
    rejected,
    severity_from,
    text_of,
)
from kubecase.core.errors import FaultRejected
from kubecase.core.model import Fault, Resource

MAX_ALERTS = 1000

_NAMING: tuple[tuple[str, str], ...] = (
    ("pod", "Pod"),
    ("deployment", "Deployment"),
    ("statefulset", "StatefulSet"),
    ("daemonset", "DaemonSet"),
    ("replicaset", "ReplicaSet"),
    ("cronjob", "CronJob"),
    ("job_name", "Job"),
    ("horizontalpodautoscaler", "HorizontalPodAutoscaler"),
    ("persistentvolumeclaim", "PersistentVolumeClaim"),
    ("poddisruptionbudget", "PodDisruptionBudget"),
    ("ingress", "Ingress"),
    ("node", "Node"),
    ("persistentvolume", "PersistentVolume"),
    ("service", "Service"),
    # Last: Prometheus calls the scrape configuration `job` as well, and then another label names
    # the object.
    ("job", "Job"),
)


def faults_from_alertmanager(
    value: Mapping[str, Any], raw: bytes, arrival: Arrival
) -> tuple[tuple[FaultInput, ...], tuple[str, ...]]:
    """The firing alerts of one notification in the order sent, and what was left out.

    Resolved alerts are left out, and so is an alert that names no object, each with a note.
    Raises FaultRejected for another version, or if nothing but unusable alerts is left.
    """
    if value.get("version") not in (None, "4"):
        raise rejected(f"Alertmanager version {ascii(value['version'])[:20]} is not 4")
    alerts = value["alerts"]
    if len(alerts) > MAX_ALERTS:
        raise rejected(f"more than {MAX_ALERTS} alerts")
    firing = [each for each in alerts if not is_resolved(mapping_of(each))]
    notes = [f"{len(alerts) - len(firing)} resolved left out"] if len(firing) < len(alerts) else []
    common = mapping_of(value.get("commonLabels"))
    found: list[FaultInput] = []
    refused: FaultRejected | None = None
    for number, each in enumerate(firing, start=1):
        alert = {**mapping_of(each)}
        alert["labels"] = {**common, **mapping_of(alert.get("labels"))}
        own = raw if len(alerts) == 1 else json.dumps(each, ensure_ascii=False).encode()
        try:
            found.append(fault_from_alert(alert, own, arrival))
        except FaultRejected as error:
            refused = error
            notes.append(f"alert {number} of {len(firing)} left out: {error}")
    if refused is not None and not found:
        raise refused
    return tuple(found), tuple(notes)


def is_resolved(alert: Mapping[str, Any]) -> bool:
    """Whether `alert` says that it is over."""
    return alert.get("status") == "resolved"


def fault_from_alert(alert: Mapping[str, Any], raw: bytes, arrival: Arrival) -> FaultInput:
    """The fault that `alert` reports; its labels name the object.

    Raises FaultRejected if they name none, or lack the namespace of one that has one.
    """
    notes: list[str] = []
    labels = labels_of(alert.get("labels"))
    annotations = labels_of(alert.get("annotations"))
    cluster = text_of(labels.get("cluster"))[:MAX_NAME] or arrival.cluster_default
    resource = _resource(labels)
    texts = [text_of(annotations.get(key)) for key in ("summary", "description", "message")]
    message = ": ".join(dict.fromkeys(each for each in texts if each))
    reason = named(text_of(labels.get("alertname")) or ("Alert" if message else ""), "alertname")
    severity, word = severity_from(labels.get("severity"), notes)
    seen_at = moment_of(alert.get("startsAt"))
    if seen_at is None:
        notes.append("no usable startsAt: counts as seen now")
    return FaultInput(
        fault=Fault(
            fingerprint=fingerprint_of(alert.get("fingerprint"), cluster, resource, reason),
            cluster=cluster,
            resource=resource,
            reason=reason,
            message=message_from(message, notes),
            severity=severity,
            severity_word=word,
            seen_at=seen_at or arrival.now,
            raw=raw,
            source=arrival.source,
            labels=labels,
        ),
        notes=tuple(notes),
    )


def _resource(labels: Mapping[str, str]) -> Resource:
    def label(name: str) -> str:
        # A scrape that does not honour labels moves those of the object out of the way.
        return text_of(labels.get(f"exported_{name}")) or text_of(labels.get(name))

    namespace = label("namespace")
    for name, kind in _NAMING:
        if not label(name):
            continue
        if kind in {"Node", "PersistentVolume"}:
            return Resource(kind=kind, name=named(label(name), f"label {name}"), namespace=None)
        if namespace:
            return Resource(
                kind=kind,
                name=named(label(name), f"label {name}"),
                namespace=named(namespace, "label namespace"),
            )
    if namespace:
        return Resource(kind="Namespace", name=named(namespace, "label namespace"), namespace=None)
    raise rejected("no label of the alert names an object (namespace, pod, deployment, node, ...)")
