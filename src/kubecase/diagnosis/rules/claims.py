"""PersistentVolumeClaims that are not there, not provisioned or not bound."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, Thing, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods, word
from kubecase.diagnosis.graph import Graph, names
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.unscheduled import verdict_of
from kubecase.diagnosis.values import quantity, text, texts

_CLASS = re.compile(
    r"storageclass(?:\.storage\.k8s\.io)? \"([^\"]{1,253})\" not found", re.IGNORECASE
)


_NO_CLAIM = re.compile(r"persistentvolumeclaims? \"([^\"]{1,253})\" not found", re.IGNORECASE)


_UNBOUND = re.compile(
    r"no persistent volumes available|volume .{0,120}already bound|cannot bind|"
    r"requested .{0,80}(?:mode|size|storage)",
    re.IGNORECASE,
)


def _users(graph: Graph, claim: Key) -> tuple[Key, ...]:
    about: list[Key] = [claim]
    for pod in graph.pods:
        if pod.thing.namespace == claim[1] and claim[2] in pod.claims:
            about += near_pods(graph, pod)
    return tuple(about)


def _needed_by(graph: Graph, claim: Key) -> str:
    pods = [key for key in _users(graph, claim) if key[0] == "Pod"]
    return f"; pod {pods[0][2]} waits for it" if pods else ""


def pending(graph: Graph, claim: Thing) -> Iterator[Finding]:
    """Why a claim is not bound."""
    wanted = text(claim.raw, "spec", "storageClassName")
    events = graph.facts.events_of(
        claim.key, "ProvisioningFailed", "FailedBinding", "ExternalProvisioning"
    )
    said = " ".join(e.message for e in events)
    classes = graph.facts.of_kind("StorageClass")
    matched = _CLASS.search(said)
    quotes = [e.quote() for e in events[:2]]
    # With an empty class a claim asks for a volume that somebody made by hand.
    absent = wanted and classes and wanted not in {c.name for c in classes}
    by_hand = any(
        text(v.raw, "spec", "storageClassName") == wanted
        for v in graph.facts.of_kind("PersistentVolume")
    )
    if matched or (absent and not by_hand):
        yield _class(graph, claim, matched.group(1) if matched else wanted, quotes)
    elif any(e.reason == "ProvisioningFailed" for e in events) and not _UNBOUND.search(said):
        yield _provision(graph, claim, events[0].message, quotes)
    elif text(claim.raw, "status", "phase") == "Lost":
        yield _claim(graph, claim, "storage.pvc_unbound", "has lost its volume", *quotes)
    elif any(e.reason == "ExternalProvisioning" for e in events):
        yield from _no_provisioner(graph, claim, said, quotes)
    elif (
        any(e.reason == "FailedBinding" for e in events)
        or _UNBOUND.search(said)
        or (not events and by_hand)
    ):
        yield _unbound(graph, claim, said, quotes)


def _claim(
    graph: Graph,
    claim: Thing,
    category: str,
    what: str,
    *proof: Evidence | None,
    strength: float = 0.95,
) -> Finding:
    return found(
        category,
        f"{claim.title} {what}{_needed_by(graph, claim.key)}.",
        blamed=claim.key,
        strength=strength,
        about=_users(graph, claim.key),
        evidence=[*proof, claim.quote("status", "phase")],
        lasting=True,
        steps=(describe_claim(claim.key), "kubectl get storageclass", "kubectl get pv"),
    )


def describe_claim(claim: Key) -> str:
    """The command that shows a claim with its events."""
    return f"{kubectl('describe', claim[1])} pvc {word(claim[2])}"


def _class(graph: Graph, claim: Thing, name: str, quotes: list[Evidence]) -> Finding:
    exist = names(graph.facts.of_kind("StorageClass"))
    others = f" (there are: {exist})" if exist else ""
    return _claim(
        graph,
        claim,
        "storage.class_missing",
        (
            f"names storage class (StorageClass) {name}, which does not exist{others}, so "
            "it is never provisioned"
        ),
        *quotes,
        claim.quote("spec", "storageClassName"),
        strength=0.96,
    )


def _provision(graph: Graph, claim: Thing, said: str, quotes: list[Evidence]) -> Finding:
    name = text(claim.raw, "spec", "storageClassName")
    if "no volume plugin matched" in said or ("not found" in said and "provisioner" in said):
        return _claim(
            graph,
            claim,
            "storage.class_missing",
            f"has storage class {name}, whose provisioner does not exist: {said[:200]}",
            *quotes,
            strength=0.85,
        )
    return _claim(
        graph,
        claim,
        "storage.provision_failed",
        f"is not provisioned, the provisioner of storage class {name} fails: {said[:300]}",
        *quotes,
        strength=0.95,
    )


def _no_provisioner(
    graph: Graph, claim: Thing, said: str, quotes: list[Evidence]
) -> Iterator[Finding]:
    name = text(claim.raw, "spec", "storageClassName")
    age = graph.facts.age(claim.created_at)
    if age is not None and age < 120:
        return
    yield _claim(
        graph,
        claim,
        "storage.class_missing",
        (
            f"waits for the external provisioner of storage class {name}, which does not "
            f"act: {said[:200]}"
        ),
        *quotes,
        strength=0.6,
    )


def _unbound(graph: Graph, claim: Thing, said: str, quotes: list[Evidence]) -> Finding:
    why, proof = _mismatch(graph, claim)
    told = f" ({said[:160]})" if said else ""
    return _claim(
        graph,
        claim,
        "storage.pvc_unbound",
        f"finds no PersistentVolume to bind to{told}{why}",
        *quotes,
        *proof,
        strength=0.94,
    )


def _mismatch(graph: Graph, claim: Thing) -> tuple[str, list[Evidence | None]]:
    """Why no volume fits, from the one that comes nearest."""
    modes = set(texts(claim.raw, "spec", "accessModes"))
    size = quantity(claim.raw, "spec", "resources", "requests", "storage") or 0.0
    wanted = text(claim.raw, "spec", "storageClassName")
    for volume in sorted(
        graph.facts.of_kind("PersistentVolume"),
        key=lambda v: (
            text(v.raw, "spec", "storageClassName") != wanted,
            text(v.raw, "status", "phase") != "Available",
        ),
    ):
        has = set(texts(volume.raw, "spec", "accessModes"))
        room = quantity(volume.raw, "spec", "capacity", "storage") or 0.0
        phase = text(volume.raw, "status", "phase")
        bound = text(volume.raw, "spec", "claimRef", "name")
        if phase in {"Released", "Bound"} or (bound and bound != claim.name):
            why, proof = (
                f"is {phase or 'reserved'} for claim {bound}",
                volume.quote("spec", "claimRef", "name"),
            )
        elif text(volume.raw, "spec", "storageClassName") != wanted:
            why = (
                "has storage class "
                f"{text(volume.raw, 'spec', 'storageClassName') or '(none)'} instead of "
                f"{wanted or '(none)'}"
            )
            proof = volume.quote("spec", "storageClassName")
        elif not modes <= has:
            why = (
                f"offers access mode {', '.join(sorted(has))}, the claim wants "
                f"{', '.join(sorted(modes))}"
            )
            proof = volume.quote("spec", "accessModes")
        elif room < size:
            want = text(claim.raw, "spec", "resources", "requests", "storage")
            why = f"has {text(volume.raw, 'spec', 'capacity', 'storage')}, the claim wants {want}"
            proof = volume.quote("spec", "capacity", "storage")
        else:
            why, proof = (
                "does not match its selector or volume mode",
                volume.quote("status", "phase"),
            )
        return f"; volume {volume.name} {why}", [proof]
    return "; there is no PersistentVolume at all for it", []


def absent_claim(graph: Graph, pod: Pod) -> Iterator[Finding]:
    """The claims that a pod mounts and that do not exist."""
    verdict = verdict_of(pod) if pod.is_unscheduled else None
    told = _NO_CLAIM.search(verdict.said) if verdict else None
    event = next(
        (e for e in pod.events("FailedMount", "FailedAttachVolume") if _NO_CLAIM.search(e.message)),
        None,
    )
    for name in pod.claims:
        key = ("PersistentVolumeClaim", pod.thing.namespace, name)
        if key in graph.facts.by_key:
            continue
        if (
            not (told and told.group(1) == name)
            and event is None
            and not graph.facts.of_kind("PersistentVolumeClaim")
        ):
            continue
        root = graph.root_of(pod)
        near = graph.near(*key)
        similar = f" (similar: {near.name})" if near else ""
        yield found(
            "storage.pvc_missing",
            f"{title(root)}: pod {pod.thing.name} mounts PersistentVolumeClaim {name}, "
            "which does not exist (not "
            f"found) in namespace {pod.thing.namespace}{similar}.",
            blamed=key,
            strength=0.94 if told or event else 0.7,
            about=near_pods(graph, pod),
            evidence=[
                verdict.quote if verdict and told else None,
                event.quote() if event else None,
                pod.thing.states("persistentVolumeClaim.claimName", name),
            ],
            steps=(f"{kubectl('get', pod.thing.namespace)} pvc", get(root)),
        )
