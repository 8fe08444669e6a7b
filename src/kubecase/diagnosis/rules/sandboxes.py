"""Pods that a node cannot give a network or a sandbox."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Happening, Key, title
from kubecase.diagnosis.finding import Finding, found, kubectl, near_pods
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.rules.nodes import RUNTIME, node_finding

_CNI = re.compile(
    r"failed to set ?up (?:pod )?network|failed to setup network|networkPlugin|"
    r"assign an IP address|"
    r"no IP addresses available|no available IP|cni plugin not initialized|CNI|"
    r"NetworkPluginNotReady|plugin type=|"
    r"ipam|address range",
    re.IGNORECASE,
)


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for pods whose sandbox cannot be made: by the network, or by the runtime."""
    for pod in graph.pods:
        if pod.is_sound:
            continue
        for event in pod.events(
            "FailedCreatePodSandBox", "NetworkNotReady", "FailedKillPod", "Failed"
        ):
            said = event.message
            if "OOM-killed" in said or "memory limit too low" in said:
                break
            if _CNI.search(said) and event.reason != "Failed":
                yield _network(graph, pod, event)
                break
            if RUNTIME.search(said) and (event.reason != "Failed" or ".sock" in said):
                yield node_finding(
                    graph,
                    "node.runtime_failure",
                    pod.node or event.host,
                    f"cannot start pods, its container runtime fails: {_inner(said)}",
                    0.93,
                    event.quote(),
                    about=near_pods(graph, pod),
                )
                break


def _inner(said: str) -> str:
    """The end of a chain of errors, where the cause stands."""
    return said[-260:].partition(" ")[2] if len(said) > 300 else said


def _network(graph: Graph, pod: Pod, event: Happening) -> Finding:
    agent = _agent_on(graph, pod.node)
    behind = f"; its network agent {title(agent)} is not well" if agent else ""
    finding = node_finding(
        graph,
        "network.cni_failure",
        pod.node or event.host,
        (
            f"cannot set up the pod network (CNI) for {pod.thing.name}: "
            f"{_inner(event.message)}{behind}"
        ),
        0.94,
        event.quote(),
        about=near_pods(graph, pod),
    )
    if agent is None:
        return finding
    root = graph.root(agent)
    return found(
        finding.category,
        finding.sentence,
        blamed=root,
        strength=finding.strength,
        about=finding.about,
        evidence=(*finding.evidence, *_state_of(graph, agent)),
        steps=(*finding.steps, kubectl("get", agent[1]) + " pods -o wide"),
    )


def _agent_on(graph: Graph, node: str) -> Key | None:
    """The network agent of this node, if it is not well: a sick pod of a DaemonSet."""
    for pod in graph.pods:
        root = graph.root_of(pod)
        if (
            pod.node == node
            and root[0] == "DaemonSet"
            and not pod.is_sound
            and re.search(
                r"cni|calico|cilium|flannel|weave|antrea|network|aws-node|kube-router|ovn",
                root[2] + str(dict(pod.labels)),
                re.IGNORECASE,
            )
        ):
            return pod.thing.key
    return None


def _state_of(graph: Graph, key: Key) -> Iterator[Evidence]:
    pod = graph.pod_by_key[key]
    for container in pod.containers:
        if not container.ready and (quote := container.state_quote()) is not None:
            yield quote
