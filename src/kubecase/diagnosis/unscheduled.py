"""Pods without a node: what the scheduler said about them, and which nodes it could have taken."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, Thing, title
from kubecase.diagnosis.finding import Finding, found, get, near_pods
from kubecase.diagnosis.graph import Graph, matches
from kubecase.diagnosis.nodes import is_control_plane
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.values import dig, maps, text


@dataclass(frozen=True)
class Verdict:
    """What the scheduler said about a pod, without what it adds about preemption."""

    pod: Pod
    said: str
    quote: Evidence
    items: tuple[tuple[int, str], ...]

    def count(self, *words: str) -> int:
        """On how many nodes one of these reasons was given."""
        return sum(n for n, reason in self.items if any(w in reason for w in words))


def verdict_of(pod: Pod) -> Verdict | None:
    """The scheduler's latest word on a pod."""
    events = pod.events("FailedScheduling")
    said = text(pod.thing.condition("PodScheduled"), "message")
    if events:
        said, quote = events[0].message, events[0].quote()
    elif said:
        quote = pod.thing.states("message", said)
    else:
        return None
    head = re.split(r"\.? (?:no new claims|preemption:)", said, maxsplit=1)[0]
    body = head.partition("nodes are available: ")[2] or head
    return Verdict(pod, said, quote, tuple(_items(body)))


def _items(body: str) -> Iterator[tuple[int, str]]:
    for part in re.split(r", (?=\d{1,5} )", body[:4000]):
        matched = re.match(r"(\d{1,5}) (.+)", part)
        yield (int(matched.group(1)), matched.group(2)) if matched else (0, part)


def unscheduled(
    graph: Graph,
    verdict: Verdict,
    category: str,
    what: str,
    strength: float,
    *proof: Evidence | None,
    blamed: Key | None = None,
    steps: tuple[str, ...] = (),
) -> Finding:
    """A finding about a pod that has no node; its controller is blamed unless another is named."""
    pod = verdict.pod
    root = graph.root_of(pod)
    return found(
        category,
        f"{title(root)}: pod {pod.thing.name} cannot be scheduled: {what}.",
        blamed=blamed or root,
        strength=strength,
        about=near_pods(graph, pod),
        evidence=[verdict.quote, *proof],
        steps=(*steps, get(root)),
    )


def workers(graph: Graph) -> list[Thing]:
    """The nodes that are not reserved for the control plane."""
    return [node for node in graph.facts.of_kind("Node") if not is_control_plane(node)]


def tolerates(pod: Pod, key: str, value: str, effect: str) -> bool:
    """Whether a pod tolerates a taint."""
    for each in maps(pod.thing.raw, "spec", "tolerations"):
        if text(each, "effect") not in {"", effect} and effect:
            continue
        if text(each, "operator") == "Exists" and text(each, "key") in {"", key}:
            return True
        if text(each, "key") == key and text(each, "value") == value:
            return True
    return False


def matching(graph: Graph, pod: Pod) -> list[Thing]:
    """The nodes that the pod's node selector and required node affinity take."""
    terms = maps(
        pod.thing.raw,
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    )
    return [
        node
        for node in graph.facts.of_kind("Node")
        if pod.node_selector.items() <= node.labels.items()
        and (not terms or any(matches(term, node.labels) for term in terms))
    ]


def has_selector(pod: Pod) -> bool:
    """Whether a pod asks for certain nodes."""
    return bool(pod.node_selector or dig(pod.thing.raw, "spec", "affinity", "nodeAffinity"))
