"""Nodes: taints, what they can hold, what is left."""

from collections.abc import Iterator
from dataclasses import dataclass

from kubecase.diagnosis.facts import Thing
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.values import dig, mapping, maps, quantity, text

CONTROL_PLANE = frozenset(
    {"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}
)


@dataclass(frozen=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str
    effect: str
    added: str

    @property
    def words(self) -> str:
        """As kubectl prints it."""
        return f"{self.key}{'=' + self.value if self.value else ''}:{self.effect}"


@dataclass(frozen=True)
class Room:
    """What a node has for pods: cores, bytes, and how many pods."""

    cpu: float
    memory: float
    pods: float

    @property
    def words(self) -> str:
        """For a sentence: `2 CPU and 15.6 GiB memory`."""
        return f"{self.cpu:.3g} CPU and {self.memory / 2**30:.3g} GiB memory"


def taints(node: Thing) -> Iterator[Taint]:
    """The taints of a node."""
    for each in maps(node.raw, "spec", "taints"):
        yield Taint(
            text(each, "key"), text(each, "value"), text(each, "effect"), text(each, "timeAdded")
        )


def is_control_plane(node: Thing) -> bool:
    """Whether a node is reserved for the control plane."""
    return any(taint.key in CONTROL_PLANE for taint in taints(node))


def is_ready(node: Thing) -> bool:
    """Whether a node says that it is ready."""
    return text(node.condition("Ready"), "status") == "True"


def is_cordoned(node: Thing) -> bool:
    """Whether nothing may be placed on a node."""
    return dig(node.raw, "spec", "unschedulable") is True


def requests(pod: Pod) -> Room:
    """What a pod asks for."""
    cpu = memory = 0.0
    for container in pod.containers:
        if container.init:
            continue
        asked = mapping(container.spec, "resources", "requests")
        cpu += quantity(asked, "cpu") or 0.0
        memory += quantity(asked, "memory") or 0.0
    return Room(cpu, memory, 1)


def capacity(graph: Graph, node: Thing, *, allocatable: bool = False) -> Room:
    """What is free on a node, or with `allocatable` what it could hold if it were empty."""
    room = mapping(node.raw, "status", "allocatable")
    cpu, memory = quantity(room, "cpu") or 0.0, quantity(room, "memory") or 0.0
    count = quantity(room, "pods") or 110.0
    if not allocatable:
        for pod in graph.pods:
            if pod.node == node.name and pod.phase not in {"Succeeded", "Failed"}:
                asked = requests(pod)
                cpu, memory, count = cpu - asked.cpu, memory - asked.memory, count - 1
    return Room(max(cpu, 0.0), max(memory, 0.0), max(count, 0.0))


def shortage(pod: Pod, room: Room) -> str | None:
    """What a pod would lack in this room, `None` if it fits."""
    asked = requests(pod)
    if asked.cpu > room.cpu:
        return "cpu"
    if asked.memory > room.memory:
        return "memory"
    return "pods" if room.pods < 1 else None
