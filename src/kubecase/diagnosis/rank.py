"""Orders findings: merges what is said twice, puts causes before what follows from them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kubecase.diagnosis.facts import Key, kept
from kubecase.diagnosis.finding import Finding
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.scope import Scope
from kubecase.diagnosis.values import moment, text

LEAST = 0.3
"""Below this confidence a hypothesis does not count as naming a fault."""

_OVER = 0.25
_CHRONIC = 0.5
_CONSEQUENCE = 0.5
_MOST = 0.97

_SYMPTOMS = frozenset(
    {
        "dependency.unavailable",
        "dependency.timeout",
        "dependency.saturated",
        "app.crash",
        "app.unresponsive",
        "probe.readiness_misconfigured",
        "probe.liveness_misconfigured",
        "probe.startup_too_slow",
        "network.load_balancer",
    }
)
"""What a program shows when something that it depends on is broken."""

_FOLLOWS: Mapping[str, tuple[str, ...]] = {
    "node.not_ready": (
        "probe.",
        "scheduling.",
        "dependency.",
        "lifecycle.stuck_terminating",
        "app.unresponsive",
        "network.service_",
        "storage.attach_failed",
    ),
    "node.runtime_failure": ("node.not_ready", "probe.", "network.cni_failure"),
    "node.disk_pressure": ("resources.ephemeral_storage", "scheduling.", "node.not_ready"),
    "node.memory_pressure": ("resources.oom_killed", "scheduling.", "node.not_ready", "app.crash"),
    "node.pid_pressure": ("scheduling.", "resources.process_limits", "app.crash"),
    "node.maintenance": ("node.not_ready", "scheduling.node_unschedulable", "dependency."),
    "network.dns_failure": (
        "dependency.",
        "app.crash",
        "network.service_missing",
        "probe.",
        "controlplane.api_unavailable",
    ),
    "network.policy_blocked": (
        "dependency.",
        "app.crash",
        "probe.",
        "network.dns_failure",
        "network.service_port",
    ),
    "network.mesh_policy": ("dependency.", "app.crash", "probe.", "rbac."),
    "network.service_missing": ("dependency.", "app.crash", "probe."),
    "network.service_port": (
        "dependency.unavailable",
        "dependency.timeout",
        "app.crash",
        "probe.readiness",
    ),
    "network.service_selector": ("dependency.", "app.crash", "probe.readiness", "network.ingress"),
    "workload.scaled_to_zero": ("dependency.", "app.crash", "probe.", "network."),
    "network.cni_failure": ("node.not_ready", "probe."),
    "tls.cert_not_issued": ("config.missing_secret", "network.ingress", "tls.cert_expired"),
    "tls.": ("dependency.", "app.crash", "probe.", "config.invalid_value"),
    "storage.class_missing": ("scheduling.", "storage.pvc_", "storage.provision"),
    "storage.": (
        "scheduling.",
        "app.crash",
        "config.security_context",
        "dependency.",
        "probe.",
        "node.disk_pressure",
    ),
    "scheduling.preempted": ("scheduling.insufficient_resources", "node.maintenance"),
    "resources.oom_killed": (
        "app.",
        "probe.",
        "node.memory_pressure",
        "network.cni_failure",
        "node.runtime_failure",
        "config.bad_command",
    ),
    "resources.cpu_throttled": ("probe.", "app.unresponsive", "dependency.timeout"),
    "resources.process_limits": ("app.", "probe.", "dependency."),
    "resources.ephemeral_storage": ("app.crash", "node.disk_pressure"),
    "app.heap_exhausted": ("probe.", "app.crash", "app.native_crash", "app.unresponsive"),
    "app.port_conflict": ("app.crash", "probe."),
    "lifecycle.hook_failed": ("app.crash", "probe."),
    "config.": ("app.crash", "probe.", "app.unresponsive"),
    "rbac.": ("app.crash", "probe.", "dependency.auth_failed"),
    "dependency.": ("app.crash", "probe.", "app.unresponsive"),
    "image.arch_mismatch": ("app.crash", "config.bad_command"),
    "image.": ("workload.rollout", "workload.job_deadline"),
    "admission.": ("controlplane.", "workload."),
    "quota.": ("controlplane.", "workload.", "scheduling."),
    "hpa.": ("controlplane.api_unavailable",),
    "controlplane.component_down": ("scheduling.", "controlplane.api_unavailable"),
    "controlplane.api_unavailable": ("dependency.", "app.crash", "rbac.", "probe."),
}
"""Categories, by full name or begin, and those that only follow from them in the same place."""


@dataclass(frozen=True)
class Ranked:
    """A finding with the confidence that it has here."""

    finding: Finding
    confidence: float


def ranked(graph: Graph, scope: Scope, findings: Iterable[Finding]) -> tuple[Ranked, ...]:
    """The findings, best first, each cause once."""
    weighed = [Ranked(f, _weigh(graph, scope, f)) for f in _merged(graph, findings)]
    settled = [Ranked(r.finding, r.confidence * _consequence(scope, r, weighed)) for r in weighed]
    return tuple(sorted(settled, key=lambda r: -r.confidence))


def _merged(graph: Graph, findings: Iterable[Finding]) -> Iterable[Finding]:
    """One finding for each category and culprit; replicas of one controller are one."""
    found: dict[tuple[str, Key | None], Finding] = {}
    for each in findings:
        mark = (each.category, graph.root(each.blamed) if each.blamed else None)
        before = found.get(mark)
        if before is None:
            found[mark] = each
            continue
        best, other = (each, before) if each.strength > before.strength else (before, each)
        found[mark] = replace(
            best,
            about=tuple(dict.fromkeys((*best.about, *other.about))),
            lasting=best.lasting or other.lasting,
            evidence=kept(*best.evidence, *other.evidence)[:6],
        )
    return found.values()


def _weigh(graph: Graph, scope: Scope, finding: Finding) -> float:
    score = finding.strength * scope.weight(*finding.about, finding.blamed)
    pods = [graph.pod_by_key[key] for key in finding.about if key in graph.pod_by_key]
    if not finding.lasting and pods and all(is_over(graph, pod) for pod in pods):
        score *= _OVER
    elif pods and all(_is_chronic(pod) for pod in pods) and not scope.is_about(*finding.about):
        score *= _CHRONIC
    return min(score * _named(scope, finding), _MOST)


def _named(scope: Scope, finding: Finding) -> float:
    """A little more for what the trigger itself says."""
    said = " ".join(scope.facts.trigger_text.split())
    quoted = any(
        len(e.quote) > 20 and " ".join(e.quote.split())[:80] in said for e in finding.evidence
    )
    return 1.03 if quoted else 1.0


def is_over(graph: Graph, pod: Pod) -> bool:
    """Whether the pod is well, or its job was done by another one."""
    if pod.is_sound:
        return True
    for key in (graph.root_of(pod), *graph.owners(pod.thing.key)):
        thing = graph.facts.by_key.get(key)
        if thing is None:
            continue
        if thing.kind == "Job" and text(thing.condition("Complete"), "status") == "True":
            return True
        done = (
            moment(thing.raw, "status", "lastSuccessfulTime") if thing.kind == "CronJob" else None
        )
        ended = max(
            (e.finished for c in pod.containers for e in c.endings if e.finished), default=None
        )
        if done is not None and ended is not None and done > ended:
            return True
    return False


def _is_chronic(pod: Pod) -> bool:
    return any(c.restarts > 400 for c in pod.containers) or any(
        e.count > 5000 for e in pod.events()
    )


def _consequence(scope: Scope, symptom: Ranked, all_: list[Ranked]) -> float:
    """How much less a finding counts because another one explains it."""
    for cause in all_:
        if (
            cause is symptom
            or cause.confidence < 0.45
            or cause.finding.category == symptom.finding.category
        ):
            continue
        # A cause that is far less certain than what it would explain explains nothing.
        if cause.confidence < 0.7 * symptom.confidence:
            continue
        if _explains(scope, cause.finding, symptom.finding):
            return _CONSEQUENCE
    return 1.0


def _explains(scope: Scope, cause: Finding, symptom: Finding) -> bool:
    touching = bool(set(cause.about) & set(symptom.about))
    if (
        touching
        and _follows(cause.category, symptom.category)
        and not (_follows(symptom.category, cause.category) and symptom.strength > cause.strength)
    ):
        return True
    if symptom.category not in _SYMPTOMS or cause.category in _SYMPTOMS:
        return False
    upstream = frozenset().union(*(scope.upstream(key) for key in symptom.about))
    return bool(upstream & {*cause.about, cause.blamed})


def _follows(cause: str, symptom: str) -> bool:
    group = cause.partition(".")[0] + "."
    begins = (*_FOLLOWS.get(cause, ()), *_FOLLOWS.get(group, ()))
    return symptom.startswith(begins) if begins else False
