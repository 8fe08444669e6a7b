"""The real kubectls of this machine: the one on PATH, and other versions that lie beside it."""

import shutil
from pathlib import Path

WHY_NOT = "no kubectl on PATH: apt-get install kubernetes-client"


def kubectls() -> list[str]:
    """Paths of all of them, the one on PATH first; empty where there is none."""
    found = shutil.which("kubectl")
    if found is None:
        return []
    beside = Path(found).resolve().parent
    return [found, *map(str, sorted(beside.glob("kubectl.1.*")))]


def objects_for_top() -> list[dict[str, object]]:
    """A node, and metrics of it and of the pod of the recording `crashloop`."""
    usage = {"cpu": "250m", "memory": "512Mi"}
    moment = {"timestamp": "2026-11-22T13:34:20Z", "window": "30s"}
    return [
        {
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "node-1"}},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi"},
                       "capacity": {"cpu": "4", "memory": "8Gi"}},
        },
        {"apiVersion": "metrics.k8s.io/v1beta1", "kind": "NodeMetrics",
         "metadata": {"name": "node-1"}, **moment, "usage": usage},
        {"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
         "metadata": {"name": "busy", "namespace": "shop"}, **moment,
         "containers": [{"name": "app", "usage": usage}]},
        {"apiVersion": "v1", "kind": "Pod",
         "metadata": {"name": "busy", "namespace": "shop", "uid": "busy-1",
                      "creationTimestamp": "2026-11-22T13:00:00Z"},
         "spec": {"nodeName": "node-1", "containers": [
             {"name": "app", "image": "shop/app:1", "env": [
                 {"name": "DB_PASSWORD", "value": "correct-horse-battery"}]}]},
         "status": {"phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True"}]}},
    ]  # fmt: skip
