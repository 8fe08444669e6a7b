"""What the state of an object says that no Warning event does. Pure.

A container that was OOM-killed, a rollout past its deadline, a Job that failed, a Node that is not
ready: each is a sign with a key that stays the same while it lasts and a count that grows when it
happens again.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubecase.channels.sources.intake import fingerprint_of, mapping_of, moment_of, text_of
from kubecase.core.model import Fault, Resource
from kubecase.core.severity import Severity

MESSAGE = 2000
RESTARTS = 3
"""From how many restarts on a container that keeps ending is a crash loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One thing that is wrong with an object; `part` is the container or the condition."""

    resource: Resource
    owner: Resource | None
    reason: str
    part: str
    message: str
    severity: Severity
    count: int
    since: datetime | None

    @property
    def key(self) -> str:
        """The same as long as it lasts; another one when it comes back after it had passed."""
        since = "" if self.since is None else self.since.isoformat()
        return f"{self.resource.uid or self.resource.name}\0{self.reason}\0{self.part}\0{since}"

    def as_fault(self, cluster: str, now: datetime) -> Fault:
        """The fault that it is."""
        value = {
            "apiVersion": "kubecase/v1",
            "kind": "Sign",
            "resource": {
                "kind": self.resource.kind,
                "namespace": self.resource.namespace,
                "name": self.resource.name,
                "uid": self.resource.uid,
            },
            "reason": self.reason,
            "part": self.part,
            "message": self.message,
            "count": self.count,
        }
        return Fault(
            fingerprint=fingerprint_of(None, cluster, self.resource, self.reason, self.part),
            cluster=cluster,
            resource=self.resource,
            reason=self.reason,
            message=self.message,
            severity=self.severity,
            severity_word=self.severity.value,
            seen_at=self.since or now,
            raw=json.dumps(value).encode("utf-8", "replace"),
            source=f"kubernetes:{cluster}",
            owner=self.owner,
            # It was there when somebody looked, which is the second sign of whatever led to it.
            occurrences=2,
        )


def conditions_of(each: Mapping[str, Any], now: datetime) -> Iterator[Sign]:
    """What is wrong with `each`, a Pod, Deployment, Job or Node as the API serves it."""
    match each.get("kind"):
        case "Pod":
            yield from _of_pod(each)
        case "Deployment":
            yield from _of_condition(
                each, "Progressing", "False", "ProgressDeadlineExceeded", Severity.WARNING
            )
        case "Job":
            yield from _of_condition(each, "Failed", "True", "JobFailed", Severity.WARNING)
        case "Node":
            yield from _of_node(each)


def _of_pod(pod: Mapping[str, Any]) -> Iterator[Sign]:
    status = mapping_of(pod.get("status"))
    for field in ("initContainerStatuses", "containerStatuses"):
        statuses = status.get(field)
        for container in statuses if isinstance(statuses, list) else ():
            yield from _of_container(pod, mapping_of(container))
    if text_of(status.get("reason")) == "Evicted":
        yield _sign(pod, "Evicted", "", text_of(status.get("message")), Severity.WARNING)


def _of_container(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[Sign]:
    name, restarts = text_of(container.get("name")), container.get("restartCount")
    count = restarts if isinstance(restarts, int) and restarts > 0 else 0
    for field in ("lastState", "state"):
        ended = mapping_of(mapping_of(container.get(field)).get("terminated"))
        if text_of(ended.get("reason")) == "OOMKilled":
            message = f"container {name} was OOM-killed, {count} restarts"
            yield _sign(
                pod, "OOMKilled", name, message, Severity.CRITICAL, count=count + 1,
                since=moment_of(ended.get("finishedAt")),
            )  # fmt: skip
            return
    waiting = text_of(mapping_of(mapping_of(container.get("state")).get("waiting")).get("reason"))
    if waiting == "CrashLoopBackOff" and count >= RESTARTS:
        last = mapping_of(mapping_of(container.get("lastState")).get("terminated"))
        code = last.get("exitCode")
        message = f"container {name} exited with {code}, {count} restarts"
        yield _sign(pod, "CrashLoop", name, message, Severity.CRITICAL, count=count)


def _of_condition(
    each: Mapping[str, Any], kind: str, status: str, reason: str, severity: Severity
) -> Iterator[Sign]:
    for condition in _conditions(each):
        if text_of(condition.get("type")) != kind or text_of(condition.get("status")) != status:
            continue
        said = text_of(condition.get("reason")) or reason
        if kind == "Progressing" and said != "ProgressDeadlineExceeded":
            continue
        since = moment_of(condition.get("lastTransitionTime"))
        yield _sign(each, said, kind, text_of(condition.get("message")), severity, since=since)


def _of_node(node: Mapping[str, Any]) -> Iterator[Sign]:
    for condition in _conditions(node):
        kind, status = text_of(condition.get("type")), text_of(condition.get("status"))
        message = text_of(condition.get("message"))
        since = moment_of(condition.get("lastTransitionTime"))
        if kind == "Ready" and status in {"False", "Unknown"}:
            yield _sign(node, "NodeNotReady", kind, message, Severity.CRITICAL, since=since)
        elif kind in {"MemoryPressure", "DiskPressure", "PIDPressure"} and status == "True":
            yield _sign(node, kind, kind, message, Severity.WARNING, since=since)


def _conditions(each: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    found = mapping_of(each.get("status")).get("conditions")
    for condition in found if isinstance(found, list) else ():
        yield mapping_of(condition)


def _sign(
    each: Mapping[str, Any],
    reason: str,
    part: str,
    message: str,
    severity: Severity,
    *,
    count: int = 1,
    since: datetime | None = None,
) -> Sign:
    metadata = mapping_of(each.get("metadata"))
    namespace = text_of(metadata.get("namespace")) or None
    return Sign(
        resource=Resource(
            kind=text_of(each.get("kind")),
            name=text_of(metadata.get("name"))[:253],
            namespace=namespace,
            uid=text_of(metadata.get("uid"))[:64] or None,
        ),
        owner=_owner(metadata, namespace),
        reason=reason[:200],
        part=part[:253],
        message=message[:MESSAGE],
        severity=severity,
        count=count,
        since=since,
    )


def _owner(metadata: Mapping[str, Any], namespace: str | None) -> Resource | None:
    """The controller that the object itself names."""
    owners = metadata.get("ownerReferences")
    for owner in owners if isinstance(owners, list) else ():
        known = mapping_of(owner)
        if known.get("controller") and text_of(known.get("kind")) and text_of(known.get("name")):
            return Resource(
                kind=text_of(known.get("kind"))[:100],
                name=text_of(known.get("name"))[:253],
                namespace=namespace,
            )
    return None
