"""Pods and containers as the rules see them: what was asked for, what it is doing, how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Facts, Happening, Thing
from kubecase.diagnosis.logs import Log, Signal
from kubecase.diagnosis.values import mapping, maps, moment, number, pairs, text

_RECENT = 3600.0


@dataclass(frozen=True)
class Ending:
    """How a run of a container ended; `path` is where the pod says so."""

    path: str
    reason: str
    code: int | None
    message: str
    started: datetime | None
    finished: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long the run took."""
        if self.started is None or self.finished is None:
            return None
        return (self.finished - self.started).total_seconds()


@dataclass(frozen=True)
class Container:
    """One container of a pod: its specification and its status together."""

    pod: "Pod"
    name: str
    init: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]

    @property
    def image(self) -> str:
        """The image asked for."""
        return text(self.spec, "image")

    @property
    def waiting(self) -> str:
        """The reason it waits for, empty if it does not wait."""
        return text(self.status, "state", "waiting", "reason")

    @property
    def waiting_message(self) -> str:
        """What the kubelet says to that."""
        return text(self.status, "state", "waiting", "message")

    @property
    def ready(self) -> bool:
        """Whether it counts as ready."""
        return self.status.get("ready") is True

    @property
    def restarts(self) -> int:
        """How often it was restarted."""
        return number(self.status, "restartCount") or 0

    @property
    def running_since(self) -> datetime | None:
        """When the present run began."""
        return moment(self.status, "state", "running", "startedAt")

    @cached_property
    def endings(self) -> tuple[Ending, ...]:
        """Its known ends, the latest first."""
        found = []
        for state in ("state", "lastState"):
            ended = mapping(self.status, state, "terminated")
            if ended:
                found.append(
                    Ending(
                        path=f"{state}.terminated",
                        reason=text(ended, "reason"),
                        code=number(ended, "exitCode"),
                        message=text(ended, "message"),
                        started=moment(ended, "startedAt"),
                        finished=moment(ended, "finishedAt"),
                    )
                )
        return tuple(found)

    @property
    def ending(self) -> Ending | None:
        """Its latest end."""
        return self.endings[0] if self.endings else None

    @property
    def is_failing(self) -> bool:
        """Whether it crash-loops, ended badly, or ended badly within the last hour."""
        if self.waiting in {"CrashLoopBackOff", "RunContainerError", "CreateContainerError"}:
            return True
        ended = self.ending
        if ended is None or (self.init and ended.code == 0):
            return False
        if ended.path == "state.terminated":
            return ended.code != 0 or (not self.init and self.pod.restart_policy == "Always")
        age = self.pod.facts.age(ended.finished)
        return not self.ready or (ended.code != 0 and (age is None or age < _RECENT))

    @property
    def logs(self) -> tuple[Log, ...]:
        """Its logs, that of the present run first."""
        return self.pod.facts.logs_of(self.pod.thing.namespace, self.pod.thing.name, self.name)

    @cached_property
    def cause(self) -> Signal | None:
        """The log line that says why, of the run that failed rather than of a young one."""
        found = [log.cause for log in self.logs if log.cause is not None]
        return max(found, key=lambda s: (s.weight, s.log.previous), default=None)

    def signals(self, *kinds: str) -> tuple[Signal, ...]:
        """The log lines of these kinds, those of the present run first."""
        return tuple(s for log in self.logs for s in log.signals if s.kind in kinds)

    @property
    def env(self) -> Mapping[str, str]:
        """Variables with a value written in the specification."""
        return {text(e, "name"): text(e, "value") for e in maps(self.spec, "env") if "value" in e}

    def limit(self, resource: str) -> str:
        """The limit of `resource` as written, empty if there is none."""
        return text(self.spec, "resources", "limits", resource)

    @property
    def ports(self) -> tuple[Mapping[str, Any], ...]:
        """The ports it declares."""
        return maps(self.spec, "ports")

    def events(self, *reasons: str) -> tuple[Happening, ...]:
        """The pod's events about this container."""
        found = self.pod.events(*reasons)
        return tuple(e for e in found if not e.container or e.container == self.name)

    def state_quote(self) -> Evidence | None:
        """What the status says about its present trouble."""
        if self.waiting:
            return self.pod.thing.states("state.waiting.reason", self.waiting)
        ended = self.ending
        if ended is None:
            return None
        if ended.reason:
            return self.pod.thing.states(f"{ended.path}.reason", ended.reason)
        return self.pod.thing.states(f"{ended.path}.exitCode", ended.code)


@dataclass(frozen=True)
class Pod:
    """A pod and what is known about its containers."""

    thing: Thing
    facts: Facts

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """Init containers first, then the others, in the order of the specification."""
        status = {}
        for group in ("initContainerStatuses", "containerStatuses"):
            for each in maps(self.thing.raw, "status", group):
                status[text(each, "name")] = each
        found = []
        for group, init in (("initContainers", True), ("containers", False)):
            for spec in maps(self.thing.raw, "spec", group):
                name = text(spec, "name")
                found.append(Container(self, name, init, spec, status.get(name, {})))
        return tuple(found)

    @property
    def phase(self) -> str:
        """Its phase."""
        return text(self.thing.raw, "status", "phase")

    @property
    def reason(self) -> str:
        """The reason in its status, `Evicted` for instance."""
        return text(self.thing.raw, "status", "reason")

    @property
    def message(self) -> str:
        """The message in its status."""
        return text(self.thing.raw, "status", "message")

    @property
    def node(self) -> str:
        """The node it is bound to, empty if it is not."""
        return text(self.thing.raw, "spec", "nodeName")

    @property
    def restart_policy(self) -> str:
        """Its restart policy."""
        return text(self.thing.raw, "spec", "restartPolicy") or "Always"

    @property
    def is_ready(self) -> bool:
        """Whether it is ready."""
        return text(self.thing.condition("Ready"), "status") == "True"

    @property
    def is_done(self) -> bool:
        """Whether it ended well."""
        return self.phase == "Succeeded"

    @property
    def is_unscheduled(self) -> bool:
        """Whether no node has been found for it."""
        if self.phase not in {"Pending", ""}:
            return False
        scheduled = text(self.thing.condition("PodScheduled"), "status")
        return scheduled == "False" or (not self.node and scheduled != "True")

    @cached_property
    def is_sound(self) -> bool:
        """Whether nothing about it is in trouble now."""
        if self.is_done:
            return True
        if not self.is_ready or self.phase == "Failed" or self.thing.deleted_at is not None:
            return False
        return not any(c.is_failing for c in self.containers)

    def events(self, *reasons: str) -> tuple[Happening, ...]:
        """Its events, of these reasons if any are named, latest first."""
        return self.facts.events_of(self.thing.key, *reasons)

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.thing.labels

    @property
    def volumes(self) -> tuple[Mapping[str, Any], ...]:
        """Its volumes."""
        return maps(self.thing.raw, "spec", "volumes")

    def volume(self, name: str) -> Mapping[str, Any]:
        """Its volume of this name, empty if there is none."""
        return next((v for v in self.volumes if text(v, "name") == name), {})

    @property
    def claims(self) -> tuple[str, ...]:
        """The names of the PersistentVolumeClaims that it mounts."""
        names = []
        for each in self.volumes:
            name = text(each, "persistentVolumeClaim", "claimName")
            if not name and mapping(each, "ephemeral"):
                name = f"{self.thing.name}-{text(each, 'name')}"
            if name:
                names.append(name)
        return tuple(names)

    @property
    def service_account(self) -> str:
        """The account it runs as."""
        return text(self.thing.raw, "spec", "serviceAccountName") or "default"

    @property
    def node_selector(self) -> Mapping[str, str]:
        """Its node selector."""
        return pairs(self.thing.raw, "spec", "nodeSelector")
