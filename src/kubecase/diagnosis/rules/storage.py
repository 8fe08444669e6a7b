"""Volumes that cannot be reached, attached, mounted or written."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, Thing, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods, word
from kubecase.diagnosis.graph import Graph, names
from kubecase.diagnosis.logs import words_of
from kubecase.diagnosis.mounts import claims_of, mount_of
from kubecase.diagnosis.nodes import is_control_plane, is_cordoned
from kubecase.diagnosis.pods import Container, Pod
from kubecase.diagnosis.rules.claims import absent_claim, describe_claim, pending
from kubecase.diagnosis.unscheduled import verdict_of
from kubecase.diagnosis.values import dig, maps, text, texts

_NO_CLAIM = re.compile(r"persistentvolumeclaims? \"([^\"]{1,253})\" not found", re.IGNORECASE)
_CONFIG_VOLUME = re.compile(
    r"(?:configmap|secret) \"|non-existent (?:config|secret) key|not registered|failed to sync|"
    r"kube-root-ca",
    re.IGNORECASE,
)
_ATTACH = re.compile(
    r"Multi-Attach error|AttachVolume\.Attach failed|exceed max volume count|volume attachment",
    re.IGNORECASE,
)
_MOUNT = re.compile(
    r"MountVolume\.(?:SetUp|MountDevice|WaitForAttach|NewMounter|Mount)|MapVolume|"
    r"hostPath type check|"
    r"not found in the list of registered CSI drivers",
    re.IGNORECASE,
)
_HOLDER = re.compile(r"used by pod\(s\) ([^\n]{1,300})")


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for claims and volumes."""
    for claim in graph.facts.of_kind("PersistentVolumeClaim"):
        if text(claim.raw, "status", "phase") in {"Pending", "Lost"}:
            yield from pending(graph, claim)
    for pod in graph.pods:
        if pod.phase in {"Pending", ""} or not pod.is_sound:
            yield from absent_claim(graph, pod)
            yield from _volume_events(graph, pod)
            yield from _zone(graph, pod)
    for container in graph.containers:
        yield from _full(graph, container)
        yield from _denied(graph, container)
    yield from _filling(graph)


def _volume_events(graph: Graph, pod: Pod) -> Iterator[Finding]:
    for event in pod.events("FailedAttachVolume", "FailedMount", "FailedMapVolume"):
        said = event.message
        if _CONFIG_VOLUME.search(said) or _NO_CLAIM.search(said):
            continue
        if event.reason == "FailedAttachVolume" or _ATTACH.search(said):
            yield _attach(graph, pod, said, event.quote())
            return
        if _MOUNT.search(said):
            yield _mount(graph, pod, said, event.quote())
            return
    verdict = verdict_of(pod) if pod.is_unscheduled else None
    if verdict is not None and verdict.count("max volume count"):
        yield _attach(graph, pod, verdict.said, verdict.quote)


def _attach(graph: Graph, pod: Pod, said: str, quote: Evidence) -> Finding:
    root = graph.root_of(pod)
    holder = _holder(graph, pod, said)
    by = f"; it is still held by pod {holder.thing.name} on node {holder.node}" if holder else ""
    claim = next((c for c in pod.claims), "")
    return found(
        "storage.attach_failed",
        f"{title(root)}: the volume of pod {pod.thing.name}"
        f"{f' (claim {claim})' if claim else ''} cannot be attached "
        f"to node {pod.node or 'any'}: {said[:240]}{by}.",
        blamed=root,
        strength=0.93,
        about=near_pods(graph, pod),
        evidence=[quote, holder.thing.quote("spec", "nodeName") if holder else None],
        steps=(
            "kubectl get volumeattachment",
            f"{kubectl('get', pod.thing.namespace)} pods -o wide",
        ),
    )


def _holder(graph: Graph, pod: Pod, said: str) -> Pod | None:
    """Another pod that has the same claim on another node."""
    matched = _HOLDER.search(said)
    for other in graph.pods:
        if (
            other.thing.namespace != pod.thing.namespace
            or other.thing.key == pod.thing.key
            or not other.node
        ):
            continue
        if (matched and other.thing.name in matched.group(1)) or (
            set(other.claims) & set(pod.claims) and other.node != pod.node
        ):
            return other
    return None


def _mount(graph: Graph, pod: Pod, said: str, quote: Evidence) -> Finding:
    root = graph.root_of(pod)
    matched = re.search(r"for volume \"([^\"]{1,253})\"", said)
    volume = matched.group(1) if matched else "of the pod"
    why = said.partition(" : ")[2] or said
    return found(
        "storage.mount_failed",
        (
            f"{title(root)}: volume {volume} of pod {pod.thing.name} cannot be mounted on "
            f"node {pod.node}: {why[:300]}."
        ),
        blamed=root,
        strength=0.92,
        about=near_pods(graph, pod),
        evidence=[quote],
        steps=(
            f"{kubectl('describe', pod.thing.namespace)} pod {word(pod.thing.name)}",
            "kubectl get csidrivers",
            get(root),
        ),
    )


def _zone(graph: Graph, pod: Pod) -> Iterator[Finding]:
    verdict = verdict_of(pod) if pod.is_unscheduled else None
    if verdict is None or not verdict.count("volume node affinity"):
        return
    root = graph.root_of(pod)
    volume, claim = _volume_of(graph, pod)
    zones, hosts = _places(volume)
    fit = [
        n
        for n in graph.facts.of_kind("Node")
        if not is_control_plane(n)
        and (
            set(n.labels.values()) & zones
            or n.labels.get("kubernetes.io/hostname", n.name) in hosts
        )
    ]
    where = f"bound to {', '.join(sorted(zones | hosts))}" if zones | hosts else "bound elsewhere"
    why = (
        "no node is there"
        if not fit
        else f"node {fit[0].name} there is cordoned"
        if all(is_cordoned(n) for n in fit)
        else f"the nodes there ({names(fit)}) cannot take the pod"
    )
    yield found(
        "storage.zone_conflict",
        f"{title(root)}: pod {pod.thing.name} cannot be scheduled: its "
        f"volume{' ' + volume.name if volume else ''} is "
        f"{where} (volume node affinity conflict) and {why}.",
        blamed=_to_free(pod, fit, claim) or root,
        strength=0.94,
        about=near_pods(graph, pod),
        evidence=[
            verdict.quote,
            volume.quote(
                "spec", "nodeAffinity", "required", "nodeSelectorTerms", "matchExpressions", "key"
            )
            if volume
            else None,
            fit[0].states("spec.unschedulable", True) if fit and is_cordoned(fit[0]) else None,
        ],
        steps=("kubectl get pv -o yaml", "kubectl get nodes -L topology.kubernetes.io/zone"),
    )


def _to_free(pod: Pod, fit: list[Thing], claim: Key | None) -> Key | None:
    """What to change: the cordoned node, the pod that asks for another place, or the claim."""
    if fit and all(is_cordoned(node) for node in fit):
        return fit[0].key
    return None if pod.node_selector else claim


def _volume_of(graph: Graph, pod: Pod) -> tuple[Thing | None, Key | None]:
    for name in pod.claims:
        claim = graph.facts.thing("PersistentVolumeClaim", pod.thing.namespace, name)
        volume = graph.facts.thing(
            "PersistentVolume", "", text(claim.raw if claim else None, "spec", "volumeName")
        )
        if volume is not None and dig(volume.raw, "spec", "nodeAffinity"):
            return volume, claim.key if claim else None
    return None, None


def _places(volume: Thing | None) -> tuple[set[str], set[str]]:
    zones: set[str] = set()
    hosts: set[str] = set()
    for term in maps(
        volume.raw if volume else None, "spec", "nodeAffinity", "required", "nodeSelectorTerms"
    ):
        for each in maps(term, "matchExpressions"):
            (hosts if "hostname" in text(each, "key") else zones).update(texts(each, "values"))
    return zones, hosts


def _full(graph: Graph, container: Container) -> Iterator[Finding]:
    signals = container.signals("no_space")
    if not signals:
        return
    cause = signals[-1]
    mount = mount_of(container, cause.line)
    claims = claims_of(container)
    if (
        mount is None
        and len(claims) >= 1
        and not re.search(r" /(?:tmp|var/log|dev|run)\b", cause.line)
    ):
        mount = claims[0]
    root = graph.root_of(container.pod)
    about = near_pods(graph, container.pod)
    if mount is None or mount.kind != "persistentVolumeClaim":
        return
    key = ("PersistentVolumeClaim", container.pod.thing.namespace, mount.name)
    claim = graph.facts.by_key.get(key)
    size = text(claim.raw if claim else None, "status", "capacity", "storage") or text(
        claim.raw if claim else None, "spec", "resources", "requests", "storage"
    )
    yield found(
        "storage.volume_full",
        f"{title(key)}{f' ({size})' if size else ''}, mounted at {mount.path} by "
        f"{title(root)}, is full (no space left): "
        f"{words_of(cause.line)[:180]}.",
        blamed=key,
        strength=0.94,
        about=(*about, key),
        lasting=True,
        evidence=[
            cause.quote(),
            claim.quote("status", "capacity", "storage") if claim else None,
            container.state_quote(),
        ],
        steps=(f"{kubectl('get', key[1])} pvc {word(key[2])}", get(root)),
    )


def _filling(graph: Graph) -> Iterator[Finding]:
    """An alert that names a claim and says that it fills up."""
    labels = graph.facts.trigger_labels
    name = labels.get("persistentvolumeclaim", "")
    if not name or not re.search(r"fill|full|space|usage", graph.facts.trigger_text, re.IGNORECASE):
        return
    key = ("PersistentVolumeClaim", labels.get("namespace", ""), name)
    yield found(
        "storage.volume_full",
        f"{title(key)} is full or nearly full.",
        blamed=key,
        strength=0.85,
        about=(key,),
        evidence=[graph.facts.trigger_quote()],
        steps=(describe_claim(key),),
        lasting=True,
    )


def _denied(graph: Graph, container: Container) -> Iterator[Finding]:
    for cause in reversed(container.signals("denied", "not_permitted", "readonly_fs")):
        mount = mount_of(container, cause.line)
        if mount is None or mount.kind not in {"persistentVolumeClaim", "hostPath", "nfs", "csi"}:
            continue
        if container.pod.is_sound and not graph.facts.is_alert:
            continue
        root = graph.root_of(container.pod)
        user = text(container.spec, "securityContext", "runAsUser") or text(
            container.pod.thing.raw, "spec", "securityContext", "runAsUser"
        )
        group = text(container.pod.thing.raw, "spec", "securityContext", "fsGroup")
        who = f"user {user}" if user else "its user"
        without = "" if group else "; no fsGroup is set"
        yield found(
            "storage.permission_denied",
            f"{title(root)}: container {container.name} runs as {who} and may not write "
            f"the volume at {mount.path} "
            f"({mount.kind} {mount.name}): permission denied{without}.",
            blamed=root,
            strength=0.94,
            about=near_pods(graph, container.pod),
            evidence=[
                cause.quote(),
                container.pod.thing.states("securityContext.runAsUser", user) if user else None,
                container.state_quote(),
            ],
            steps=(
                (
                    f"{kubectl('get', root[1])} {root[0].lower()} {word(root[2])} -o "
                    f"jsonpath='{{..securityContext}}'"
                ),
            ),
        )
        return
