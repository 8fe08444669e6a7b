"""The recorded failures, ready to be served, with the objects that were there and not recorded."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubecase.channels.sources import load_intake
from kubecase.core.model import Collection

DATA = Path(__file__).parent.parent / "data" / "k8s-failures"


def recorded(name: str | Path) -> Collection:
    """One of the recorded failures, or any recorded folder, ready to be served."""
    folder = DATA / name
    (found,) = load_intake(folder, now=datetime.now(UTC), cluster_default="fake").faults
    assert found.collection is not None
    known = found.collection
    unrecorded = (*_replica_sets(known), *_jobs(known))
    return replace(known, objects=(*known.objects, *unrecorded))


def _replica_sets(collection: Collection) -> Iterator[Mapping[str, Any]]:
    """The ReplicaSets that were there but were not recorded, as far as pods and events tell."""
    deployments = {
        each["metadata"]["name"]: each
        for each in collection.objects
        if each["kind"] == "Deployment"
    }
    sets: dict[str, str] = {}
    for pod in collection.objects:
        for owner in pod["metadata"].get("ownerReferences", ()):
            if owner["kind"] == "ReplicaSet":
                sets[owner["name"]] = owner["uid"]
    for event in collection.events:
        involved = event["involvedObject"]
        if involved["kind"] == "ReplicaSet":
            sets[involved["name"]] = involved["uid"]
    for name, uid in sets.items():
        deployment = deployments.get(name.rpartition("-")[0])
        if deployment is None:
            continue
        metadata, hash_ = deployment["metadata"], name.rpartition("-")[2]
        controller = {"apiVersion": "apps/v1", "kind": "Deployment", "controller": True}
        labels = {
            **deployment["spec"]["template"]["metadata"]["labels"],
            "pod-template-hash": hash_,
        }
        yield {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "uid": uid,
                "labels": labels,
                "ownerReferences": [
                    {**controller, "name": metadata["name"], "uid": metadata["uid"]}
                ],
            },
            "spec": {
                "replicas": deployment["spec"]["replicas"],
                "selector": {"matchLabels": labels},
                "template": deployment["spec"]["template"],
            },
            "status": {},
        }


def _jobs(collection: Collection) -> Iterator[Mapping[str, Any]]:
    """The Jobs of recorded CronJobs that were not recorded, as far as their pods tell."""
    for cronjob in collection.objects:
        if cronjob["kind"] != "CronJob":
            continue
        metadata = cronjob["metadata"]
        owner = {"kind": "CronJob", "controller": True, "name": metadata["name"]}
        found = {
            ref["name"]: (ref["uid"], pod["metadata"]["labels"])
            for pod in collection.objects
            for ref in pod["metadata"].get("ownerReferences", ())
            if ref["kind"] == "Job" and ref["name"].startswith(metadata["name"])
        }
        for name, (uid, labels) in found.items():
            selector = {key: value for key, value in labels.items() if key.endswith("job-name")}
            yield {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {
                    "name": name,
                    "namespace": metadata["namespace"],
                    "uid": uid,
                    "ownerReferences": [{**owner, "uid": metadata["uid"]}],
                },
                "spec": {
                    **cronjob["spec"]["jobTemplate"]["spec"],
                    "selector": {"matchLabels": selector},
                },
                "status": {},
            }
