"""An object named by hand, `pod/api-0`, as a fault to investigate."""

import hashlib
import json
from datetime import datetime

from kubecase.clusters.kinds import Kind, is_name, kind_of
from kubecase.core.errors import FaultRejected
from kubecase.core.model import Fault, Resource
from kubecase.core.severity import Severity

REASON = "Requested"


def parse_target(text: str) -> tuple[Kind, str] | None:
    """The kind and name in `pod/api-0`, with kubectl's short names; `None` for anything else."""
    word, slash, name = text.partition("/")
    kind = kind_of(word)
    if not slash or kind is None or not is_name(name):
        return None
    return kind, name


def object_fault(target: str, *, namespace: str | None, cluster: str, now: datetime) -> Fault:
    """The fault that stands for the object `target`, such as `deploy/catalog`.

    Raises FaultRejected if `target` names no object.
    """
    found = parse_target(target)
    if found is None:
        raise FaultRejected(
            f"cannot take {target[:80]!a} as an object",
            hint="Write KIND/NAME, such as pod/api-0, deploy/catalog, sts/db, job/export, node/n1.",
        )
    kind, name = found
    return resource_fault(kind.kind, name, namespace, cluster=cluster, now=now)


def resource_fault(
    kind: str, name: str, namespace: str | None, *, cluster: str, now: datetime
) -> Fault:
    """The fault that stands for an object that someone wants to have looked at.

    Nothing has reported it: its reason is `Requested`. Without a namespace `default` is meant.
    """
    known = kind_of(kind)
    is_namespaced = known is None or known.namespaced
    place = (namespace or "default") if is_namespaced else None
    resource = Resource(
        kind=known.kind if known else kind,
        name=name,
        namespace=place,
        api_version=known.api_version if known else None,
    )
    message = f"{resource} was named by hand"
    parts = (cluster, place or "", resource.kind, name, REASON)
    raw = {"cluster": cluster, "namespace": place, "resource": str(resource), "reason": REASON}
    return Fault(
        fingerprint=hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16],
        cluster=cluster,
        resource=resource,
        reason=REASON,
        message=message,
        severity=Severity.WARNING,
        severity_word="",
        seen_at=now,
        raw=json.dumps({key: value for key, value in raw.items() if value is not None}).encode(),
        source="hand",
    )
