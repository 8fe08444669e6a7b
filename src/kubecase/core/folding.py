"""Which faults are one incident: a pod's are its workload's. Pure.

Names that controllers make are read backwards where no owner is known: the hash of a ReplicaSet,
the suffix of its pod, the number of a StatefulSet's pod or of a CronJob's Job.
"""

import re

from kubecase.core.model import Fault, Resource

# The alphabet of Kubernetes' own random suffixes: no vowels, no 0, 1 or 3.
_SUFFIX = r"[bcdfghjklmnpqrstvwxz2456789]{5}"
_OF_DEPLOYMENT = re.compile(rf"(?P<name>.+)-[bcdfghjklmnpqrstvwxz2456789]{{8,10}}-{_SUFFIX}")
_OF_JOB_OF_CRONJOB = re.compile(rf"(?P<name>.+)-\d{{8,10}}-{_SUFFIX}")
_OF_CONTROLLER = re.compile(rf"(?P<name>.+)-{_SUFFIX}")
_OF_STATEFULSET = re.compile(r"(?P<name>.+)-\d{1,4}")
_REPLICASET = re.compile(r"(?P<name>.+)-[bcdfghjklmnpqrstvwxz2456789]{8,10}")
_JOB_OF_CRONJOB = re.compile(r"(?P<name>.+)-\d{8,10}")

_WORKLOADS = frozenset(
    {
        "Pod", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob",
        "ReplicationController", "Workload",
    }
)  # fmt: skip
"""Kinds of which two of one name in one namespace are taken for one: a pod's name does not always
say which of them has made it."""

UNKNOWN_CONTROLLER = "Workload"
"""What a pod belongs to whose name says that it has a controller, and not which."""


def workload_of(resource: Resource, owner: Resource | None = None) -> Resource:
    """What `resource` belongs to, as far as `owner` or its name tells; itself if it is its own."""
    known = owner or resource
    name = known.name
    match known.kind:
        case "Pod":
            for pattern, kind in (
                (_OF_DEPLOYMENT, "Deployment"),
                (_OF_JOB_OF_CRONJOB, "CronJob"),
                (_OF_CONTROLLER, UNKNOWN_CONTROLLER),
                (_OF_STATEFULSET, "StatefulSet"),
            ):
                if found := pattern.fullmatch(name):
                    return _named(kind, found["name"], known)
        case "ReplicaSet":
            if found := _REPLICASET.fullmatch(name):
                return _named("Deployment", found["name"], known)
        case "Job":
            if found := _JOB_OF_CRONJOB.fullmatch(name):
                return _named("CronJob", found["name"], known)
    return known


def _named(kind: str, name: str, of: Resource) -> Resource:
    return Resource(kind=kind, name=name, namespace=of.namespace)


def fold_key(fault: Fault) -> str:
    """What two faults have in common that belong to one incident of a cluster.

    A fault that names no object of Kubernetes is its own by its fingerprint.
    """
    if not fault.resource.kind or not fault.resource.name:
        return fault.fingerprint
    found = workload_of(fault.resource, fault.owner)
    kind = "workload" if found.kind in _WORKLOADS else found.kind
    return f"{kind}/{found.namespace or ''}/{found.name}"
