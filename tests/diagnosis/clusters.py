"""Builds small clusters for the tests of the rules: objects, events, logs and what set it off."""

from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 5, 5, 12, 0, tzinfo=UTC)
Json = dict[str, Any]


def ago(minutes: float) -> str:
    """The moment that many minutes before the collection, as the API writes it."""
    return (NOW - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def container(
    name: str = "app", image: str = "registry.example.org/shop/app:1", **more: Any
) -> Json:
    """A container's specification."""
    return {"name": name, "image": image, **more}


def running(
    since: float = 120, *, ready: bool = True, restarts: int = 0, last: Json | None = None
) -> Json:
    """The status of a container that runs."""
    return {
        "state": {"running": {"startedAt": ago(since)}},
        "lastState": {"terminated": last} if last else {},
        "ready": ready,
        "restartCount": restarts,
    }


def ended(
    code: int, reason: str = "Error", *, minutes: float = 2, ran: float = 0.1, message: str = ""
) -> Json:
    """How a run ended."""
    return {
        "exitCode": code,
        "reason": reason,
        "finishedAt": ago(minutes),
        "startedAt": ago(minutes + ran),
        **({"message": message} if message else {}),
    }


def looping(code: int, reason: str = "Error", *, restarts: int = 9, **how: Any) -> Json:
    """The status of a container in a crash loop."""
    return {
        "state": {
            "waiting": {
                "reason": "CrashLoopBackOff",
                "message": "back-off 5m0s restarting failed container",
            }
        },
        "lastState": {"terminated": ended(code, reason, **how)},
        "ready": False,
        "restartCount": restarts,
    }


def waiting(reason: str, message: str = "") -> Json:
    """The status of a container that has not started."""
    state = {"reason": reason, **({"message": message} if message else {})}
    return {"state": {"waiting": state}, "lastState": {}, "ready": False, "restartCount": 0}


class Cluster:
    """A cluster of three workers to which a test adds what it needs."""

    def __init__(self) -> None:
        self.objects: list[Json] = []
        self.events: list[Json] = []
        self.logs: dict[str, str] = {}
        self.trigger: Json = {}
        self._serial = 0
        self.node(
            "cp-1",
            taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}],
        )
        for n in (1, 2, 3):
            self.node(f"worker-{n}")

    def inputs(self) -> Json:
        """What was built, in the form of a triage case."""
        return {
            "collected_at": NOW.isoformat(),
            "event": self.trigger,
            "objects": self.objects,
            "events": self.events,
            "logs": self.logs,
        }

    def _uid(self) -> str:
        self._serial += 1
        return f"{self._serial:08d}-0000-4000-8000-000000000000"

    def add(
        self, kind: str, name: str, namespace: str = "shop", *, age: float = 6000, **body: Any
    ) -> Json:
        """Any object; `labels`, `annotations`, `owners` and `meta` go into its metadata."""
        meta: Json = {"name": name, "uid": self._uid(), "creationTimestamp": ago(age)}
        if namespace:
            meta["namespace"] = namespace
        for field in ("labels", "annotations"):
            if field in body:
                meta[field] = body.pop(field)
        owner = body.pop("owner", None)
        if owner:
            meta["ownerReferences"] = [
                {
                    "kind": owner["kind"],
                    "name": owner["metadata"]["name"],
                    "uid": owner["metadata"]["uid"],
                    "controller": True,
                }
            ]
        meta.update(body.pop("meta", {}))
        made = {"apiVersion": body.pop("api", "v1"), "kind": kind, "metadata": meta, **body}
        self.objects.append(made)
        return made

    def node(
        self,
        name: str,
        *,
        cpu: str = "4",
        ready: str = "True",
        message: str = "kubelet is posting ready status",
        taints: list[Json] | None = None,
        labels: Json | None = None,
        conditions: list[Json] | None = None,
        cordoned: bool = False,
        arch: str = "amd64",
        annotations: Json | None = None,
        allocatable: Json | None = None,
    ) -> Json:
        """A node; one of the same name is replaced."""
        self.objects = [
            o for o in self.objects if not (o["kind"] == "Node" and o["metadata"]["name"] == name)
        ]
        taints = list(taints or [])
        if cordoned:
            taints.append(
                {
                    "key": "node.kubernetes.io/unschedulable",
                    "effect": "NoSchedule",
                    "timeAdded": ago(30),
                }
            )
        reason = {"True": "KubeletReady", "False": "KubeletNotReady"}.get(
            ready, "NodeStatusUnknown"
        )
        return self.add(
            "Node",
            name,
            "",
            labels={"kubernetes.io/hostname": name, "kubernetes.io/arch": arch, **(labels or {})},
            annotations=annotations or {},
            spec={
                **({"taints": taints} if taints else {}),
                **({"unschedulable": True} if cordoned else {}),
            },
            status={
                "allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110", **(allocatable or {})},
                "conditions": [
                    {
                        "type": "Ready",
                        "status": ready,
                        "reason": reason,
                        "message": message,
                        "lastTransitionTime": ago(9),
                    },
                    *(conditions or []),
                ],
                "nodeInfo": {"architecture": arch, "operatingSystem": "linux"},
            },
        )

    def deployment(
        self,
        name: str = "api",
        namespace: str = "shop",
        *,
        spec: list[Json] | None = None,
        status: Json | list[Json] | None = None,
        pods: int = 1,
        replicas: int | None = None,
        labels: Json | None = None,
        kind: str = "Deployment",
        pod_spec: Json | None = None,
        pod_status: Json | None = None,
        node: str | None = "worker-1",
        age: float = 600,
        before: list[Json] | None = None,
        extra: Json | None = None,
        more_status: Json | None = None,
    ) -> Json:
        """A controller with its pods; `status` is that of each container, `before` a template."""
        labels = labels or {"app": name}
        containers = spec or [container()]
        wanted = pods if replicas is None else replicas
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": containers, **(pod_spec or {})},
        }
        owner = self.add(
            kind,
            name,
            namespace,
            api="batch/v1" if kind == "Job" else "apps/v1",
            age=age,
            labels=labels,
            meta={"generation": 1},
            spec={
                **({} if kind in {"DaemonSet", "Job"} else {"replicas": wanted}),
                "selector": {"matchLabels": labels},
                "template": template,
                **(extra or {}),
            },
            status={"observedGeneration": 1, "replicas": pods, **(more_status or {})},
        )
        if before is not None:
            self._replica_set(
                owner, "older00000", before, labels=labels, revision="1", age=5000, replicas=0
            )
        if kind == "Deployment":
            owner = self._replica_set(
                owner,
                "abc12de345",
                containers,
                labels=labels,
                revision="2",
                age=age,
                replicas=wanted,
            )
        for n in range(pods):
            end = str(n) if kind == "StatefulSet" else f"x{n}y2z"
            self.pod(
                f"{owner['metadata']['name']}-{end}",
                namespace,
                owner=owner,
                spec=containers,
                status=status,
                labels=labels,
                pod_spec=pod_spec,
                pod_status=pod_status,
                node=node,
                age=age,
            )
        return owner

    def _replica_set(
        self,
        owner: Json,
        hash_: str,
        containers: list[Json],
        *,
        labels: Json,
        revision: str,
        age: float,
        replicas: int,
    ) -> Json:
        return self.add(
            "ReplicaSet",
            f"{owner['metadata']['name']}-{hash_}",
            owner["metadata"]["namespace"],
            api="apps/v1",
            age=age,
            owner=owner,
            labels=labels,
            annotations={"deployment.kubernetes.io/revision": revision},
            spec={"replicas": replicas, "template": {"spec": {"containers": containers}}},
            status={},
        )

    def pod(
        self,
        name: str,
        namespace: str = "shop",
        *,
        owner: Json | None = None,
        spec: list[Json] | None = None,
        status: Json | list[Json] | None = None,
        labels: Json | None = None,
        pod_spec: Json | None = None,
        pod_status: Json | None = None,
        node: str | None = "worker-1",
        age: float = 600,
        meta: Json | None = None,
    ) -> Json:
        """A pod; without a status its containers run and are ready."""
        containers = spec or [container()]
        states = status if isinstance(status, list) else [status or running(age)] * len(containers)
        inits = (pod_spec or {}).get("initContainers") or []
        named = [
            {"name": c["name"], "image": c["image"], **s}
            for c, s in zip(inits + containers, states, strict=False)
        ]
        ready = all(s["ready"] for s in named[len(inits) :]) and len(named) == len(inits) + len(
            containers
        )
        conditions = [
            {
                "type": "Ready",
                "status": "True" if ready else "False",
                "lastTransitionTime": ago(age),
            },
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(age)},
        ]
        body = {
            "phase": "Running",
            "conditions": conditions,
            "startTime": ago(age),
            "initContainerStatuses": named[: len(inits)],
            "containerStatuses": named[len(inits) :],
        }
        if all(
            "waiting" in s["state"] and s["state"]["waiting"]["reason"] != "CrashLoopBackOff"
            for s in named
        ):
            body["phase"] = "Pending"
        body.update(pod_status or {})
        return self.add(
            "Pod",
            name,
            namespace,
            age=age,
            labels=labels or {"app": name},
            meta=meta or {},
            spec={
                "containers": containers,
                "restartPolicy": "Always",
                **(pod_spec or {}),
                **({"nodeName": node} if node else {}),
            },
            status=body,
            **({"owner": owner} if owner else {}),
        )

    def pending(self, message: str = "", *, reason: str = "Unschedulable") -> Json:
        """The status of a pod that has no node."""
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
        }
        return {
            "phase": "Pending",
            "containerStatuses": [],
            "conditions": [condition] if message else [],
        }

    def unscheduled(self, name: str, reasons: str, **more: Any) -> None:
        """A controller whose pod the scheduler refuses, and the event about it as the trigger."""
        message = (
            f"0/4 nodes are available: {reasons}. preemption: 0/4 nodes are available: 4 "
            "Preemption is not helpful."
        )
        self.deployment(name, node=None, pod_status=self.pending(message), **more)
        pod = self.pods_of(name)[0]
        self.event(pod, "FailedScheduling", message, scheduler=True, trigger=True)

    def pods_of(self, name: str, namespace: str = "shop") -> list[Json]:
        """The pods whose names begin with that of a controller."""
        return [
            o
            for o in self.objects
            if o["kind"] == "Pod"
            and o["metadata"]["namespace"] == namespace
            and o["metadata"]["name"].removeprefix(name + "-")[:10]
            in {"abc12de345", "x0y2z", "x1y2z", *"0123456789"}
        ]

    def event(
        self,
        about: Json,
        reason: str,
        message: str,
        *,
        warning: bool = True,
        count: int = 5,
        minutes: float = 1,
        container: str = "",
        scheduler: bool = False,
        trigger: bool = False,
        first: float | None = None,
    ) -> Json:
        """An event about an object, in the scheduler's shape or the kubelet's."""
        meta = about["metadata"]
        namespace = meta.get("namespace", "")
        made: Json = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name']}.{self._uid()[:8]}",
                "namespace": namespace or "default",
            },
            "involvedObject": {
                "kind": about["kind"],
                "name": meta["name"],
                "uid": meta["uid"],
                **({"namespace": namespace} if namespace else {}),
                **({"fieldPath": f"spec.containers{{{container}}}"} if container else {}),
            },
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
        }
        if scheduler:
            made |= {
                "source": {},
                "firstTimestamp": None,
                "lastTimestamp": None,
                "eventTime": ago(first or 30),
                "series": {"count": count, "lastObservedTime": ago(minutes)},
                "reportingComponent": "default-scheduler",
            }
        else:
            host = about.get("spec", {}).get("nodeName", "")
            made |= {
                "source": {"component": "kubelet", "host": host},
                "count": count,
                "firstTimestamp": ago(first or 30),
                "lastTimestamp": ago(minutes),
                "eventTime": None,
            }
        self.events.append(made)
        if trigger:
            self.trigger = made
        return made

    def back_off(self, name: str = "api", container: str = "app", namespace: str = "shop") -> Json:
        """The crash loop's event as the trigger."""
        pod = self.pods_of(name, namespace)[0]
        message = (
            f"Back-off restarting failed container {container} in pod "
            f"{pod['metadata']['name']}_{namespace}(uid)"
        )
        return self.event(pod, "BackOff", message, container=container, trigger=True)

    def log(
        self,
        name: str,
        body: str,
        *,
        container: str = "app",
        namespace: str = "shop",
        previous: bool = False,
    ) -> None:
        """The log of the first pod of a controller."""
        pod = self.pods_of(name, namespace)[0]["metadata"]["name"]
        self.logs[f"{namespace}/{pod}/{container}{'/previous' if previous else ''}"] = body

    def crash(self, body: str, code: int = 1, name: str = "api", **more: Any) -> None:
        """A crash loop whose last run left this log."""
        status = more.pop("status", None) or looping(code)
        self.deployment(name, status=status, **more)
        named = (more.get("spec") or [container()])[0]["name"]
        self.log(name, body, container=named, previous=True)
        self.back_off(name, named)

    def service(
        self,
        name: str,
        namespace: str = "shop",
        *,
        selector: Json | None = None,
        port: int = 80,
        target: Any = 8080,
        **spec: Any,
    ) -> Json:
        """A Service."""
        return self.add(
            "Service",
            name,
            namespace,
            spec={
                "selector": {"app": name} if selector is None else selector,
                "type": "ClusterIP",
                "clusterIP": "10.96.1.7",
                "ports": [{"name": "http", "port": port, "targetPort": target, "protocol": "TCP"}],
                **spec,
            },
            status={"loadBalancer": {}},
        )

    def alert(self, name: str, description: str, /, **labels: str) -> None:
        """An alert as the trigger."""
        self.trigger = {
            "kind": "Alert",
            "status": "firing",
            "startsAt": ago(20),
            "labels": {"alertname": name, "severity": "warning", "namespace": "shop", **labels},
            "annotations": {"description": description, "summary": name},
        }

    def noise(self) -> None:
        """Neighbours with old troubles of their own, and warnings without meaning."""
        status = looping(2, restarts=5012)
        owner = self.deployment(
            "old-crawler", status=status, spec=[container("crawler")], age=70000, node="worker-3"
        )
        pod = self.pods_of("old-crawler")[0]
        assert owner
        self.event(
            pod,
            "BackOff",
            "Back-off restarting failed container crawler in pod old-crawler",
            count=115820,
        )
        self.log(
            "old-crawler",
            "panic: index out of range [3] with length 2\n",
            container="crawler",
            previous=True,
        )
        self.deployment("tidy", spec=[container("tidy")], node="worker-2", age=9000)
        tidy = self.pods_of("tidy")[0]
        self.event(
            tidy, "Unhealthy", "Readiness probe failed: connection refused", count=1, minutes=50
        )
        self.event(
            tidy,
            "FailedMount",
            'MountVolume.SetUp failed for volume "x" : failed to sync configmap cache: '
            "timed out waiting for the condition",
            count=1,
            minutes=50,
        )
        self.log(
            "tidy",
            "WARN failed to export spans: connection refused\nINFO errors=0\n",
            container="tidy",
        )
