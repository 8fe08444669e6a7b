"""Components of the control plane that are down, or an API server that does not keep up."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods, word
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.logs import words_of
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.values import listing, number, text

_COMPONENTS = (
    "kube-scheduler",
    "kube-controller-manager",
    "kube-proxy",
    "cloud-controller-manager",
)
_API = ("kube-apiserver", "etcd")
_API_DOWN = re.compile(
    r"etcdserver: |slow fdatasync|the server has received too many requests|apiserver not ready|"
    r"connection refused[^\n]{0,40}:6443|:6443[^\n]{0,80}(?:refused|timeout)|"
    r"etcd[^\n]{0,60}(?:leader|timed out|unavailable)|"
    r"the server is currently unable to handle the request|"
    r"the server was unable to return a response|"
    r"client rate limiter|Too many requests, please try again",
    re.IGNORECASE,
)


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for the control plane."""
    for pod in graph.pods:
        component = component_of(pod)
        if component and not pod.is_sound:
            yield _down(graph, pod, component)
    yield from _api(graph)
    yield from _scheduler(graph)
    yield from _no_replica_sets(graph)


def component_of(pod: Pod) -> str:
    """The component of the control plane that a pod runs, empty for all others."""
    named = pod.labels.get("component") or pod.labels.get("k8s-app") or ""
    for name in (*_COMPONENTS, *_API):
        if pod.thing.namespace == "kube-system" and (
            named == name or pod.thing.name.startswith(name + "-")
        ):
            return name
    return ""


def _waiting(graph: Graph) -> list[Pod]:
    """Pods that nobody has tried to place."""
    return [
        p
        for p in graph.pods
        if p.phase == "Pending"
        and not p.node
        and not text(p.thing.condition("PodScheduled"), "status")
        and not p.events("FailedScheduling", "Scheduled")
        and not listing(p.thing.raw, "spec", "schedulingGates")
        and (graph.facts.age(p.thing.created_at) or 0) > 60
    ]


def _victims(graph: Graph, component: str) -> Iterator[Key]:
    if component == "kube-scheduler":
        for pod in _waiting(graph):
            yield from near_pods(graph, pod)
    elif component == "kube-controller-manager":
        for thing in graph.workloads:
            if not graph.pods_of(thing.key):
                yield thing.key
    else:
        for service in graph.facts.of_kind("Service"):
            yield service.key


def _down(graph: Graph, pod: Pod, component: str) -> Finding:
    broken = next((c for c in pod.containers if not c.ready), None)
    cause = broken.cause if broken else None
    why = f": {words_of(cause.line)[:220]}" if cause else ""
    api = component in _API
    root = graph.root_of(pod)
    victims = tuple(_victims(graph, component))
    return found(
        "controlplane.api_unavailable" if api else "controlplane.component_down",
        (
            f"{component} of the control plane is down ({title(pod.thing.key)} is not "
            f"running as it should){why}."
        ),
        blamed=root,
        strength=0.96 if not api else 0.93,
        about=(pod.thing.key, root, *victims),
        lasting=True,
        evidence=[
            cause.quote() if cause else None,
            broken.state_quote() if broken else None,
            *(
                graph.facts.by_key[v].quote("status", "phase")
                for v in victims[:1]
                if v in graph.facts.by_key
            ),
            *(e.quote() for e in pod.events("BackOff", "Failed", "Unhealthy")[:1]),
        ],
        steps=(
            f"{kubectl('get', pod.thing.namespace)} pods",
            f"{kubectl('logs', pod.thing.namespace)} {word(pod.thing.name)} --previous",
        ),
    )


def _api(graph: Graph) -> Iterator[Finding]:
    """Complaints about etcd or the API server, from several sides or from themselves."""
    quotes: list[Evidence] = []
    about: list[Key] = []
    for container in graph.containers:
        for signal in container.signals("etcd")[-1:]:
            quotes.append(signal.quote())
            about += near_pods(graph, container.pod)
    for event in graph.facts.events:
        if (
            event.warning
            and _API_DOWN.search(event.message)
            and event.reason != "FailedGetResourceMetric"
            and "webhook" not in event.message
            and "metrics" not in event.message
        ):
            quotes.append(event.quote())
            about.append(event.about)
    said = graph.facts.trigger_quote()
    if (
        said is not None
        and re.search(
            r"etcd|api ?server|\bKubeAPI|Kube-?API", graph.facts.trigger_text, re.IGNORECASE
        )
        and (quotes or re.search(r"KubeAPI|etcd", graph.facts.trigger_text))
    ):
        quotes.append(said)
    if not quotes:
        return
    servers = [p for p in graph.pods if component_of(p) in _API]
    etcd = [p for p in servers if component_of(p) == "etcd"]
    blamed = graph.root_of((etcd or servers)[0]) if servers else ("External", "", "kube-apiserver")
    yield found(
        "controlplane.api_unavailable",
        f"The API server or etcd is unavailable or overloaded: {quotes[0].quote[:240]}.",
        blamed=blamed,
        strength=0.9 if len(quotes) > 1 or servers else 0.7,
        about=(*about, *(p.thing.key for p in servers)),
        evidence=quotes,
        steps=("kubectl get --raw /readyz?verbose", "kubectl -n kube-system get pods"),
        lasting=True,
    )


def _scheduler(graph: Graph) -> Iterator[Finding]:
    waiting = _waiting(graph)
    if not waiting or any(
        component_of(p) == "kube-scheduler" and not p.is_sound for p in graph.pods
    ):
        return
    pod = waiting[0]
    name = text(pod.thing.raw, "spec", "schedulerName") or "default-scheduler"
    root = graph.root_of(pod)
    custom = name != "default-scheduler"
    what = (
        f"scheduler {name}, which it asks for, is not running or does not exist"
        if custom
        else "the scheduler (kube-scheduler) is down"
    )
    yield found(
        "controlplane.component_down",
        (
            f"{title(root)}: pod {pod.thing.name} is Pending and no scheduler has looked at "
            f"it (no condition, no event): {what}."
        ),
        blamed=root if custom else ("Pod", "kube-system", "kube-scheduler"),
        strength=0.8,
        about=tuple(k for p in waiting for k in near_pods(graph, p)),
        evidence=[
            pod.thing.states("status.phase", "Pending"),
            pod.thing.quote("spec", "schedulerName"),
        ],
        steps=("kubectl -n kube-system get pods", get(pod.thing.key)),
        lasting=True,
    )


def _no_replica_sets(graph: Graph) -> Iterator[Finding]:
    """Deployments that the controller manager has not noticed."""
    for thing in graph.facts.of_kind("Deployment"):
        seen, now = (
            number(thing.raw, "status", "observedGeneration"),
            number(thing.raw, "metadata", "generation"),
        )
        age = graph.facts.age(thing.created_at)
        if (
            now is None
            or (seen or 0) >= now
            or age is None
            or age < 120
            or graph.revisions(thing.key)
            or graph.pods_of(thing.key)
        ):
            continue
        yield found(
            "controlplane.component_down",
            f"{thing.title} has no ReplicaSet and no status of this generation: the "
            "controller manager "
            "(kube-controller-manager) does not act.",
            blamed=("Pod", "kube-system", "kube-controller-manager"),
            strength=0.7,
            about=(thing.key,),
            evidence=[thing.states("metadata.generation", now)],
            steps=("kubectl -n kube-system get pods",),
            lasting=True,
        )
