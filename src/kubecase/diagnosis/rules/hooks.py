"""Lifecycle hooks that fail."""

from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Happening, title
from kubecase.diagnosis.finding import Finding, found, get, near_pods
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.pods import Container
from kubecase.diagnosis.values import texts


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for every container whose hook fails."""
    for container in graph.containers:
        for event in container.events("FailedPostStartHook", "FailedPreStopHook")[:1]:
            yield _of_container(graph, container, event)


def _of_container(graph: Graph, container: Container, event: Happening) -> Finding:
    hook = "postStart" if "PostStart" in event.reason else "preStop"
    root = graph.root_of(container.pod)
    bare = event.message in {"PostStartHook failed", "PreStopHook failed"}
    said = "" if bare else f": {event.message[:160]}"
    killing = [e.quote() for e in container.events("Killing") if "Hook" in e.message][:1]
    command = texts(container.spec, "lifecycle", hook, "exec", "command")
    script = next((part for part in command if " " in part), None)
    doing = f" ({script[:120]})" if script else ""
    return found(
        "lifecycle.hook_failed",
        f"{title(root)}: the {hook} hook{doing} of container {container.name} fails{said}.",
        blamed=root,
        strength=0.94,
        about=near_pods(graph, container.pod),
        evidence=[
            event.quote(),
            Evidence(source=f"event:{event.reason}", quote=event.reason),
            *killing,
            container.pod.thing.states("command", script) if script else None,
        ],
        steps=(f"{get(root).rpartition(' ')[0]} jsonpath='{{..lifecycle}}'",),
        lasting=hook == "preStop",
    )
