"""ConfigMaps, Secrets and keys that a pod asks for and that are not there."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.values import mapping, maps, text

_MISSING = re.compile(r"\b(configmap|secret) \"([^\"]{1,253})\" not found", re.IGNORECASE)
_KEY = re.compile(r"couldn't find key (\S{1,253}) in (ConfigMap|Secret) (\S{1,520})")
_VOLUME_KEY = re.compile(r"references non-existent (config|secret) key: (\S{1,253})")
_VOLUME = re.compile(r"for volume \"([^\"]{1,253})\"")
_HARMLESS = re.compile(r"kube-root-ca\.crt|not registered|failed to sync")
_KINDS = {"configmap": "ConfigMap", "secret": "Secret", "config": "ConfigMap"}


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for every pod that waits for an object or a key of it."""
    for pod in graph.pods:
        if pod.phase in {"Succeeded", "Failed"}:
            continue
        for said, quote in _complaints(pod):
            yield from _for_complaint(graph, pod, said, quote)


def _complaints(pod: Pod) -> Iterator[tuple[str, Evidence]]:
    for container in pod.containers:
        if container.waiting in {"CreateContainerConfigError", "CreateContainerError"}:
            said = container.waiting_message
            yield said, pod.thing.states("state.waiting.message", said)
    for event in pod.events("Failed", "FailedMount"):
        if not _HARMLESS.search(event.message):
            yield event.message, event.quote()


def _for_complaint(graph: Graph, pod: Pod, said: str, quote: Evidence) -> Iterator[Finding]:
    if matched := _MISSING.search(said):
        key = (_KINDS[matched.group(1).lower()], pod.thing.namespace, matched.group(2))
        yield _missing_object(graph, pod, key, quote)
    elif matched := _KEY.search(said):
        namespace, _, name = matched.group(3).rpartition("/")
        key = (matched.group(2), namespace or pod.thing.namespace, name)
        yield _missing_key(graph, pod, key, matched.group(1), quote)
    elif matched := _VOLUME_KEY.search(said):
        volume = _VOLUME.search(said)
        kind = _KINDS[matched.group(1)]
        named = _source_of(pod, volume.group(1) if volume else "", matched.group(2))
        if named is not None:
            yield _missing_key(graph, pod, named, matched.group(2), quote)
        else:
            yield _missing_key(graph, pod, (kind, pod.thing.namespace, ""), matched.group(2), quote)


def _source_of(pod: Pod, volume: str, wanted: str) -> Key | None:
    """The object behind a volume that has the item `wanted`."""
    spec = pod.volume(volume)
    for source in (spec, *maps(spec, "projected", "sources")):
        for kind, field, name in (
            ("ConfigMap", "configMap", "name"),
            ("Secret", "secret", "secretName"),
        ):
            ref = mapping(source, field)
            items = [text(each, "key") for each in maps(ref, "items")]
            if ref and (wanted in items or not items):
                return kind, pod.thing.namespace, text(ref, name) or text(ref, "name")
    return None


def _missing_object(graph: Graph, pod: Pod, key: Key, quote: Evidence) -> Finding:
    kind, namespace, name = key
    root = graph.root_of(pod)
    near = graph.near(kind, namespace, name)
    similar = f" ({near.name} does exist)" if near else ""
    return found(
        f"config.missing_{kind.lower()}",
        f"{title(root)} needs {kind} {name}, which does not exist in namespace {namespace}: "
        f"not found{similar}.",
        blamed=key,
        strength=0.95,
        about=near_pods(graph, pod),
        evidence=[
            quote,
            _waiting(pod),
            near.states("metadata.name", near.name) if near else None,
        ],
        steps=(f"{kubectl('get', namespace)} {kind.lower()}", get(root)),
    )


def _missing_key(graph: Graph, pod: Pod, key: Key, wanted: str, quote: Evidence) -> Finding:
    kind, namespace, name = key
    root = graph.root_of(pod)
    thing = graph.facts.by_key.get(key)
    keys = [
        *mapping(thing.raw if thing else None, "data"),
        *mapping(thing.raw if thing else None, "binaryData"),
    ]
    has = f"; it has the keys {', '.join(sorted(keys)[:8])}" if keys else ""
    return found(
        "config.missing_key",
        f"{title(root)} asks for key {wanted} of {kind} {namespace}/{name}, which "
        "exists but has no such "
        f"key (key not found){has}.",
        blamed=key if name else root,
        strength=0.95,
        about=near_pods(graph, pod),
        evidence=[quote, _waiting(pod)],
        steps=(
            f"{kubectl('describe', namespace)} {kind.lower()} {name or ''}".rstrip(),
            get(root),
        ),
    )


def _waiting(pod: Pod) -> Evidence | None:
    for container in pod.containers:
        if container.waiting and container.waiting != "PodInitializing":
            return container.state_quote()
    return None
