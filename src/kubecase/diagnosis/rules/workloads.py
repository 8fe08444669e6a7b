"""Controllers and autoscalers that do what they were told, which is not what is wanted."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, Thing
from kubecase.diagnosis.finding import Finding, describe, found, get, kubectl
from kubecase.diagnosis.graph import Graph, matches
from kubecase.diagnosis.values import dig, listing, maps, number, text

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
    events = [
        e
        for e in graph.facts.events_of(
            thing.key, "ScalingReplicaSet", "SuccessfulDelete", "KEDAScaleTargetDeactivated"
        )
        if _ZERO.search(e.message) or "Deactivated" in e.reason
    ]
    behind = f", so Service {services[0].name} has no endpoints" if services else ""
    when = f" since {events[0].last:%Y-%m-%dT%H:%MZ}" if events and events[0].last else ""
    yield _finding(
        graph,
        thing,
        "workload.scaled_to_zero",
        f"is scaled to 0 replicas{when}{behind}",
        0.9,
        thing.states("spec.replicas", 0),
        *(e.quote() for e in events[:1]),
        graph.facts.trigger_quote(),
        about=tuple(s.key for s in services),
        steps=(describe(thing.key),),
    )


def _rollout(graph: Graph, thing: Thing) -> Iterator[Finding]:
    spec = thing.raw.get("spec")
    if dig(spec, "paused") is True:
        waiting = text(thing.condition("Progressing"), "reason") == "DeploymentPaused"
        yield _finding(
            graph,
            thing,
            "workload.rollout_misconfigured",
            "is paused (spec.paused is true), so its new revision is not rolled out",
            0.9,
            thing.states("spec.paused", True),
            thing.states("reason", "DeploymentPaused") if waiting else None,
        )
        return
    strategy = "updateStrategy" if thing.kind != "Deployment" else "strategy"
    behind = _is_behind(thing)
    partition = number(spec, strategy, "rollingUpdate", "partition") or 0
    wanted = number(spec, "replicas") or 1
    if partition > 0 and behind:
        yield _finding(
            graph,
            thing,
            "workload.rollout_misconfigured",
            f"has partition {partition} of {wanted} replicas in its update strategy, "
            "which holds pods below that "
            "ordinal back at the old revision",
            0.92,
            thing.states(f"spec.{strategy}.rollingUpdate.partition", partition),
            thing.quote("status", "updateRevision"),
        )
    elif text(spec, strategy, "type") == "OnDelete" and behind:
        yield _finding(
            graph,
            thing,
            "workload.rollout_misconfigured",
            (
                "has update strategy OnDelete, so its pods keep the old revision until "
                "somebody deletes them"
            ),
            0.92,
            thing.states(f"spec.{strategy}.type", "OnDelete"),
            thing.quote("status", "updateRevision"),
        )
    else:
        surge, unavailable = (
            text(spec, strategy, "rollingUpdate", f) for f in ("maxSurge", "maxUnavailable")
        )
        if surge in {"0", "0%"} and unavailable in {"0", "0%"}:
            yield _finding(
                graph,
                thing,
                "workload.rollout_misconfigured",
                "has maxSurge 0 and maxUnavailable 0, so that no pod can ever be replaced",
                0.85,
                thing.states(f"spec.{strategy}.rollingUpdate.maxUnavailable", unavailable),
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
    if dig(cron.raw, "spec", "suspend") is True:
        yield _finding(
            graph,
            cron,
            "workload.cron_not_running",
            "does not run, it is suspended (spec.suspend is true)",
            0.92,
            cron.states("spec.suspend", True),
            cron.quote("status", "lastScheduleTime"),
        )
        return
    for event in graph.facts.events_of(cron.key, *_CRON):
        active = ", ".join(text(a, "name") for a in maps(cron.raw, "status", "active"))
        policy = text(cron.raw, "spec", "concurrencyPolicy")
        why = (
            f"concurrencyPolicy {policy} and Job {active or 'before'} is still active"
            if event.reason == "JobAlreadyActive"
            else event.message[:200]
        )
        yield _finding(
            graph,
            cron,
            "workload.cron_not_running",
            f"does not start new Jobs ({event.reason}): {why}",
            0.93,
            event.quote(),
            cron.quote("spec", "concurrencyPolicy")
            if event.reason == "JobAlreadyActive"
            else cron.quote("spec", "schedule"),
            about=tuple(
                ("Job", cron.namespace, text(a, "name")) for a in maps(cron.raw, "status", "active")
            ),
            steps=(f"{kubectl('get', cron.namespace)} cronjobs,jobs",),
        )
        return
    active = maps(cron.raw, "status", "active")
    if active and text(cron.raw, "spec", "concurrencyPolicy") == "Forbid":
        job = graph.facts.thing("Job", cron.namespace, text(active[0], "name"))
        age = graph.facts.age(job.created_at) if job else None
        if job is not None and age is not None and age > 6 * 3600:
            yield _finding(
                graph,
                cron,
                "workload.cron_not_running",
                (
                    f"starts no new Job: concurrencyPolicy Forbid, and Job {job.name} is "
                    f"active since {age / 3600:.0f} hours"
                ),
                0.85,
                cron.states("spec.concurrencyPolicy", "Forbid"),
                job.quote("status", "startTime"),
                about=(job.key,),
            )


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
    deleted = thing.deleted_at
    age = graph.facts.age(deleted)
    conditions = (
        {text(c, "type"): c for c in maps(thing.raw, "status", "conditions")}
        if thing.kind == "Namespace"
        else {}
    )
    stuck = [
        c
        for t, c in conditions.items()
        if t in {"NamespaceContentRemaining", "NamespaceFinalizersRemaining"}
        and text(c, "status") == "True"
    ]
    finalizers = [f for f in listing(thing.raw, "metadata", "finalizers") if isinstance(f, str)]
    finalizers += [
        f
        for f in listing(thing.raw, "spec", "finalizers")
        if isinstance(f, str) and f != "kubernetes"
    ]
    if thing.kind == "Namespace" and text(thing.raw, "status", "phase") == "Terminating" and stuck:
        said = text(stuck[-1], "message")
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
    elif age is not None and age > 600 and finalizers and finalizers != ["kubernetes"]:
        yield _finding(
            graph,
            thing,
            "lifecycle.stuck_terminating",
            f"is being deleted since {age / 60:.0f} minutes, but keeps finalizer "
            f"{finalizers[0]}, which no controller "
            "removes",
            0.92,
            thing.quote("metadata", "deletionTimestamp"),
            Evidence(source=thing.source, quote=finalizers[0]),
            about=(("Namespace", "", thing.namespace),) if thing.namespace else (),
        )
    elif thing.kind == "Pod" and age is not None and age > 600:
        grace = number(thing.raw, "metadata", "deletionGracePeriodSeconds") or 30
        if age > grace + 300:
            yield _finding(
                graph,
                thing,
                "lifecycle.stuck_terminating",
                (
                    f"is Terminating since {age / 60:.0f} minutes, longer than its grace "
                    f"period of {grace} s"
                ),
                0.7,
                thing.quote("metadata", "deletionTimestamp"),
                about=(graph.root(thing.key),),
            )
