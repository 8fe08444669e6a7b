"""What has been gathered from a cluster so far, and the few ways to gather more."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import anyio

from kubecase.clusters.client import ApiFailure, ClusterClient
from kubecase.clusters.kinds import kind_of
from kubecase.clusters.relations import (
    at,
    containers,
    has_restarted,
    is_owned_by,
    owners,
    pod_spec,
    sickness,
    trimmed,
    word,
)
from kubecase.core.model import Gap

LOG_LINES = 500
LOG_BYTES = 256 * 1024
MAX_REQUESTS = 200
MAX_LEVELS = 4

_MAKERS: Mapping[str, tuple[str, ...]] = {
    "Pod": ("ReplicaSet", "StatefulSet", "DaemonSet", "Job"),
    "ReplicaSet": ("Deployment",),
    "Job": ("CronJob",),
}

Key = tuple[str, str, str]
"""Kind, namespace (empty for cluster-scoped kinds) and name."""


class Gathering:
    """Objects, events, logs and gaps in the making. Nothing in it ever raises for a failed request.

    Whoever gives up half-way finds here what was had until then.
    """

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._asked: dict[Key, anyio.Event] = {}
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._requests = 0
        self._has_answered = False
        self.objects: dict[Key, Mapping[str, Any]] = {}
        self.events: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.gaps: dict[str, str] = {}
        self.unreachable = False
        """Whether the cluster gave no answer at all: then nothing more is asked of it."""

    def gap_list(self) -> tuple[Gap, ...]:
        """The gaps, in the order they were met."""
        return tuple(Gap(what=what, why=why) for what, why in self.gaps.items())

    def of_kind(self, *kinds: str) -> list[Mapping[str, Any]]:
        """The gathered objects of these kinds."""
        return [each for (kind, _, _), each in self.objects.items() if kind in kinds]

    def keep(self, each: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take an object in, without what tells nothing, and return it as it was taken."""
        each = trimmed(each)
        metadata = at(each, "metadata")
        key = (word(each, "kind"), word(metadata, "namespace"), word(metadata, "name"))
        if key[0] == "Node":
            each["status"] = {name: v for name, v in at(each, "status").items() if name != "images"}
        return self.objects.setdefault(key, each)

    async def get(self, kind: str, name: str, namespace: str | None) -> Mapping[str, Any] | None:
        """The object, asked for once only; a gap and `None` if it cannot be had."""
        known = kind_of(kind)
        if not name or known is None:
            if name:
                self.gaps.setdefault(
                    f"{kind}/{namespace}/{name}", "kubecase does not read its kind"
                )
            return None
        key = (known.kind, (namespace or "") if known.namespaced else "", name)
        if key in self._asked:
            await self._asked[key].wait()
            return self.objects.get(key)
        self._asked[key] = anyio.Event()
        try:
            if key not in self.objects and self._may_ask("/".join(key)):
                found = await self._client.get(known, name, key[1] or None)
                self._has_answered = True
                self.objects.setdefault(key, self.keep(found))
        except ApiFailure as failure:
            self._failed("/".join(key), failure)
        finally:
            self._asked[key].set()
        return self.objects.get(key)

    async def all_of(
        self,
        kind: str,
        namespace: str | None,
        *,
        limit: int = 100,
        labels: str = "",
        fields: str = "",
    ) -> list[dict[str, Any]]:
        """Objects of `kind`, asked for once and not kept yet; a gap and none if not to be had.

        `labels` and `fields` are selectors as the API takes them.
        """
        known = kind_of(kind)
        if known is None:
            return []
        which = "".join(f" where {selector}" for selector in (labels, fields) if selector)
        what = f"{known.plural} of {namespace or 'the cluster'}{which}"
        if what in self._lists:
            return self._lists[what]
        if not self._may_ask(what):
            return []
        try:
            found, more = await self._client.all_of(
                known, namespace, limit=limit, labels=labels, fields=fields
            )
        except ApiFailure as failure:
            self._failed(what, failure)
            return []
        self._has_answered = True
        self._lists[what] = found
        if more:
            self.gaps[what] = f"only the first {limit} were read"
        return found

    async def climb(self, each: Mapping[str, Any] | None, levels: int = MAX_LEVELS) -> None:
        """Take in the owners of `each`, their owners, and so on."""
        if each is None or levels == 0:
            return
        for kind, name in owners(each)[:3]:
            if kind != "Node":
                namespace = word(each, "metadata", "namespace") or None
                owner = await self.get(kind, name, namespace)
                if owner is None:
                    await self.guess_owner(kind, name, namespace, levels - 1)
                await self.climb(owner, levels - 1)

    async def guess_owner(
        self, kind: str, name: str, namespace: str | None, levels: int = MAX_LEVELS
    ) -> None:
        """Take in what an object that cannot be had belonged to, by the first part of its name.

        Controllers name what they make after themselves. A wrong guess is no gap.
        """
        stem = name.rpartition("-")[0]
        for parent in _MAKERS.get(kind, ()) if stem else ():
            what = f"{parent}/{namespace or ''}/{stem}"
            is_new = what not in self.gaps
            owner = await self.get(parent, stem, namespace)
            if owner is not None:
                await self.climb(owner, levels)
                return
            if is_new and self.gaps.get(what, "").startswith("404"):
                del self.gaps[what]
        if kind == "Pod" and stem:
            await self.guess_owner("ReplicaSet", stem, namespace, levels)

    def sickest(
        self, pods: Iterable[Mapping[str, Any]], most: int, first: str = ""
    ) -> list[Mapping[str, Any]]:
        """Take in at most `most` of `pods`: the one called `first`, then those that look ill."""
        ordered = sorted(
            pods,
            key=lambda pod: (
                word(pod, "metadata", "name") == first,
                sickness(pod),
                word(pod, "metadata", "creationTimestamp"),
            ),
            reverse=True,
        )
        return [self.keep(pod) for pod in ordered[:most]]

    async def owned(
        self, kind: str, owner: Mapping[str, Any], most: int, labels: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Take in the newest objects of `kind` that belong to `owner`."""
        found = await self.all_of(kind, word(owner, "metadata", "namespace"), labels=labels)
        mine = [each for each in found if is_owned_by(each, owner)]
        mine.sort(key=lambda each: word(each, "metadata", "creationTimestamp"), reverse=True)
        return [self.keep(each) for each in mine[:most]]

    async def logs_of(self, pod: Mapping[str, Any]) -> None:
        """Take in the logs of every container of `pod`: of this run, and of the one before."""
        async with anyio.create_task_group() as group:
            for container in containers(pod_spec(pod)):
                if name := word(container, "name"):
                    group.start_soon(self._logs_of_container, pod, name)

    async def _logs_of_container(self, pod: Mapping[str, Any], container: str) -> None:
        namespace, name = word(pod, "metadata", "namespace"), word(pod, "metadata", "name")
        key = f"{namespace}/{name}/{container}"
        current = await self._log(key, namespace, name, container, previous=False)
        if not has_restarted(pod, container):
            return
        previous = await self._log(f"{key}/previous", namespace, name, container, previous=True)
        if previous and previous == current:
            # While it waits for its next start, both answers are the same last run.
            del self.logs[key]

    async def _log(
        self, key: str, namespace: str, pod: str, container: str, *, previous: bool
    ) -> str | None:
        if not self._may_ask(f"log {key}"):
            return None
        try:
            text = await self._client.log(
                namespace, pod, container, previous=previous, lines=LOG_LINES, size=LOG_BYTES
            )
        except ApiFailure as failure:
            self._failed(f"log {key}", failure)
            return None
        if text.startswith("unable to retrieve container logs"):
            self.gaps[f"log {key}"] = text.splitlines()[0][:300]
            return None
        self.logs[key] = text
        return text

    def _may_ask(self, what: str) -> bool:
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            self.gaps.setdefault("the rest", f"stopped after {MAX_REQUESTS} requests, at {what}")
            return False
        return not self.unreachable

    def _failed(self, what: str, failure: ApiFailure) -> None:
        self.gaps[what] = str(failure)
        if not failure.unreachable:
            self._has_answered = True
        elif not self._has_answered:
            self.unreachable = True
