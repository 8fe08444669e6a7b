"""Controllers and autoscalers that do what they were told, which is not what is wanted."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.backends import callers
from kubecase.diagnosis.facts import Key, Thing
from kubecase.diagnosis.finding import Finding, describe, found, get, kubectl
from kubecase.diagnosis.graph import Graph, matches
from kubecase.diagnosis.values import dig, mapping, maps, number, text, texts

_ZERO = re.compile(r"[Ss]caled down .{0,200}\bto 0\b")
_NOT_EVICTED = re.compile(
    r"violate the pod's disruption budget|disruption budget|cannot evict pod", re.IGNORECASE
)
_CRON = frozenset(
    {
        "JobAlreadyActive",
        "MissSchedule",
        "TooManyMissedTimes",
        "UnparseableSchedule",
        "UnknownTimeZone",
        "InvalidSchedule",
        "FailedNeedsStart",
    }
)


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for controllers, budgets, jobs and their schedules."""
    for thing in graph.facts.of_kind("Deployment", "StatefulSet"):
        yield from _zero(graph, thing)
    for thing in graph.facts.of_kind("Deployment", "StatefulSet", "DaemonSet"):
        yield from _rollout(graph, thing)
    for job in graph.facts.of_kind("Job"):
        yield from _deadline(graph, job)
    for cron in graph.facts.of_kind("CronJob"):
        yield from _cron(graph, cron)
    yield from _budget(graph)
    for thing in graph.facts.things:
        yield from _terminating(graph, thing)


def _finding(
    graph: Graph,
    thing: Thing,
    category: str,
    what: str,
    strength: float,
    *proof: Evidence | None,
    about: tuple[Key, ...] = (),
    steps: tuple[str, ...] = (),
) -> Finding:
    return found(
        category,
        f"{thing.title} {what}.",
        blamed=thing.key,
        strength=strength,
        about=(thing.key, *about),
        evidence=proof,
        steps=(*steps, get(thing.key)),
        lasting=True,
    )


def _zero(graph: Graph, thing: Thing) -> Iterator[Finding]:
    """Nothing runs because nothing is wanted, and something needs it."""
    if number(thing.raw, "spec", "replicas") != 0:
        return
    services = [s for s in graph.facts.of_kind("Service") if thing in graph.selected_workloads(s)]
    scaled = graph.facts.events_of(thing.key, "ScalingReplicaSet", "SuccessfulDelete")
    events = [event for event in scaled if _ZERO.search(event.message)]
    behind = f", so Service {services[0].name} has no endpoints" if services else ""
    when = f" since {events[0].last:%Y-%m-%dT%H:%MZ}" if events and events[0].last else ""
    yield _finding(
        graph,
        thing,
        "workload.scaled_to_zero",
        f"is scaled to 0 replicas{when}{behind}",
        _need(graph, services),
        thing.states("spec.replicas", 0),
        *(e.quote() for e in events[:1]),
        graph.facts.trigger_quote(),
        about=tuple(s.key for s in services),
        steps=(describe(thing.key),),
    )


def _need(graph: Graph, services: list[Thing]) -> float:
    """How sure it is that somebody needs what has no replicas."""
    asked = (backend.service for _, _, backend in callers(graph, "refused", "timeout"))
    if any(service in services for service in asked if service is not None):
        return 0.92
    if text(graph.facts.trigger, "type") == "Normal":
        return 0.25
    return 0.9 if graph.facts.trigger else 0.6 if services else 0.2


def _rollout(graph: Graph, thing: Thing) -> Iterator[Finding]:
    spec = thing.raw.get("spec")
    strategy = "strategy" if thing.kind == "Deployment" else "updateStrategy"
    rolling = mapping(spec, strategy, "rollingUpdate")
    partition, type_ = number(rolling, "partition") or 0, text(spec, strategy, "type")
    proof, what = None, ""
    if dig(spec, "paused") is True:
        what = "is paused (spec.paused is true), so its new revision is not rolled out"
        proof = thing.states("spec.paused", True)
    elif partition > 0 and _is_behind(thing):
        what = (
            f"has partition {partition} of {number(spec, 'replicas') or 1} replicas in its update "
            "strategy, which holds pods below that ordinal back at the old revision"
        )
        proof = thing.states(f"spec.{strategy}.rollingUpdate.partition", partition)
    elif type_ == "OnDelete" and _is_behind(thing):
        what = "has update strategy OnDelete, so its pods keep the old revision until deleted"
        proof = thing.states(f"spec.{strategy}.type", "OnDelete")
    elif {text(rolling, "maxSurge"), text(rolling, "maxUnavailable")} <= {"0", "0%"}:
        what = "has maxSurge 0 and maxUnavailable 0, so that no pod can ever be replaced"
        proof = thing.quote("spec", strategy, "rollingUpdate", "maxUnavailable")
    if what:
        yield _finding(
            graph,
            thing,
            "workload.rollout_misconfigured",
            what,
            0.91,
            proof,
            thing.quote("status", "updateRevision"),
            graph.facts.trigger_quote(),
        )


def _is_behind(thing: Thing) -> bool:
    status = thing.raw.get("status")
    if thing.kind == "DaemonSet":
        done, wanted = (
            number(status, "updatedNumberScheduled") or 0,
            number(status, "desiredNumberScheduled") or 0,
        )
        return done < wanted
    current, update = text(status, "currentRevision"), text(status, "updateRevision")
    if current and update and current != update:
        return True
    return (number(status, "updatedReplicas") or 0) < (
        number(thing.raw, "spec", "replicas") or 0
    ) and not (current and update)


def _deadline(graph: Graph, job: Thing) -> Iterator[Finding]:
    failed = job.condition("Failed")
    events = graph.facts.events_of(job.key, "DeadlineExceeded")
    if text(failed, "reason") != "DeadlineExceeded" and not events:
        return
    limit = number(job.raw, "spec", "activeDeadlineSeconds")
    root = graph.root(job.key)
    yield found(
        "workload.job_deadline",
        f"{job.title} was stopped because it was active longer than its deadline "
        "(DeadlineExceeded, "
        f"activeDeadlineSeconds {limit}).",
        blamed=job.key,
        strength=0.9,
        about=(job.key, root),
        evidence=[
            *(e.quote() for e in events[:1]),
            job.states("reason", "DeadlineExceeded") if failed else None,
            job.quote("spec", "activeDeadlineSeconds"),
        ],
        steps=(get(job.key),),
        lasting=True,
    )


def _cron(graph: Graph, cron: Thing) -> Iterator[Finding]:
    """A schedule after which nothing is started."""
    active = maps(cron.raw, "status", "active")
    jobs = tuple(("Job", cron.namespace, text(each, "name")) for each in active)
    policy = text(cron.raw, "spec", "concurrencyPolicy")
    proof: tuple[Evidence | None, ...] = ()
    events = graph.facts.events_of(cron.key, *_CRON)
    if dig(cron.raw, "spec", "suspend") is True:
        what = "does not run, it is suspended (spec.suspend is true)"
        proof = (cron.states("spec.suspend", True), cron.quote("status", "lastScheduleTime"))
    elif events and events[0].reason == "JobAlreadyActive":
        name = jobs[0][2] if jobs else "before"
        what = f"starts no new Job: concurrencyPolicy {policy}, and Job {name} is still active"
        proof = (events[0].quote(), cron.quote("spec", "concurrencyPolicy"))
    elif events:
        what = f"does not start new Jobs ({events[0].reason}): {events[0].message[:200]}"
        proof = (events[0].quote(), cron.quote("spec", "schedule"))
    elif policy == "Forbid" and jobs and (hours := _hours_active(graph, jobs[0])) > 6:
        what = f"starts no new Job: concurrencyPolicy Forbid, Job {jobs[0][2]} runs {hours:.0f} h"
        proof = (cron.states("spec.concurrencyPolicy", "Forbid"),)
    else:
        return
    yield _finding(
        graph,
        cron,
        "workload.cron_not_running",
        what,
        0.93,
        *proof,
        about=jobs,
        steps=(f"{kubectl('get', cron.namespace)} cronjobs,jobs",),
    )


def _hours_active(graph: Graph, job: Key) -> float:
    thing = graph.facts.by_key.get(job)
    age = graph.facts.age(thing.created_at) if thing else None
    return 0.0 if age is None else age / 3600


def _budget(graph: Graph) -> Iterator[Finding]:
    """A budget that stops an eviction which somebody wants."""
    for budget in graph.facts.of_kind("PodDisruptionBudget"):
        if number(budget.raw, "status", "disruptionsAllowed") != 0:
            continue
        pods = [
            p
            for p in graph.pods
            if p.thing.namespace == budget.namespace
            and matches(dig(budget.raw, "spec", "selector"), p.labels)
        ]
        events = [e for e in graph.facts.events if _NOT_EVICTED.search(e.message)]
        mine = [
            e
            for e in events
            if e.about in {p.thing.key for p in pods} | {budget.key} or budget.name in e.message
        ] or [e for e in events if e.about[0] == "Node"]
        told = re.search(r"disruption|\bPDB\b|drain|evict", graph.facts.trigger_text, re.IGNORECASE)
        if not mine and not told:
            continue
        least, most = (
            text(budget.raw, "spec", "minAvailable"),
            text(budget.raw, "spec", "maxUnavailable"),
        )
        rule_ = f"minAvailable {least}" if least else f"maxUnavailable {most}"
        healthy = number(budget.raw, "status", "currentHealthy")
        yield found(
            "workload.pdb_blocked",
            f"{budget.title} allows no disruption ({rule_}, {healthy} healthy pods, "
            "disruptionsAllowed 0), so pods cannot be "
            "evicted and the drain does not end.",
            blamed=budget.key,
            strength=0.93,
            lasting=True,
            about=(
                budget.key,
                *(p.thing.key for p in pods),
                *(e.about for e in mine),
                *(("Node", "", p.node) for p in pods if p.node),
            ),
            evidence=[
                *(e.quote() for e in mine[:1]),
                budget.states("status.disruptionsAllowed", 0),
                budget.quote("spec", "minAvailable") or budget.quote("spec", "maxUnavailable"),
            ],
            steps=(f"{kubectl('get', budget.namespace)} poddisruptionbudget",),
        )


def _terminating(graph: Graph, thing: Thing) -> Iterator[Finding]:
    """What is being deleted and does not go."""
    age = graph.facts.age(thing.deleted_at)
    finalizers = [
        name
        for name in (
            *texts(thing.raw, "metadata", "finalizers"),
            *texts(thing.raw, "spec", "finalizers"),
        )
        if name != "kubernetes"
    ]
    if thing.kind == "Namespace" and text(thing.raw, "status", "phase") == "Terminating":
        yield from _namespace(graph, thing)
    elif age is not None and age > 600 and finalizers:
        yield _finding(
            graph,
            thing,
            "lifecycle.stuck_terminating",
            f"is being deleted since {age / 60:.0f} minutes, but keeps finalizer {finalizers[0]}, "
            "which no controller removes",
            0.92,
            thing.quote("metadata", "deletionTimestamp"),
            Evidence(source=thing.source, quote=finalizers[0]),
            about=(("Namespace", "", thing.namespace),) if thing.namespace else (),
        )
    elif thing.kind == "Pod" and age is not None:
        grace = number(thing.raw, "metadata", "deletionGracePeriodSeconds") or 30
        if age > grace + 600:
            yield _finding(
                graph,
                thing,
                "lifecycle.stuck_terminating",
                f"is Terminating since {age / 60:.0f} minutes, its grace period was {grace} s",
                0.7,
                thing.quote("metadata", "deletionTimestamp"),
                about=(graph.root(thing.key),),
            )


def _namespace(graph: Graph, thing: Thing) -> Iterator[Finding]:
    """A namespace that waits for what is left in it."""
    for type_ in ("NamespaceFinalizersRemaining", "NamespaceContentRemaining"):
        said = text(thing.condition(type_), "message")
        if text(thing.condition(type_), "status") == "True":
            yield _finding(
                graph,
                thing,
                "lifecycle.stuck_terminating",
                f"cannot be deleted, it is stuck Terminating: {said[:240]}",
                0.88,
                thing.states("message", said) if said else None,
                thing.states("status.phase", "Terminating"),
                steps=("kubectl api-resources --verbs=list --namespaced -o name",),
            )
            return
