"""Turns what was found into a report, also when nothing was found."""

import re
from collections.abc import Iterable

from kubecase.core.model import Gap
from kubecase.core.report import Evidence, Hypothesis, Report
from kubecase.diagnosis.facts import Key, Thing, kept, title
from kubecase.diagnosis.finding import Finding, describe, kubectl, previous_log
from kubecase.diagnosis.graph import WORKLOADS, Graph
from kubecase.diagnosis.pods import Pod
from kubecase.diagnosis.rank import LEAST, Ranked, is_over
from kubecase.diagnosis.scope import Scope
from kubecase.diagnosis.steps import despite_silence, fitting, silence
from kubecase.diagnosis.values import number, text

_MOST = 5
_MISSING = 3
_WORTH_TELLING = 0.12
_ALWAYS_ON = re.compile(r"^(?:Watchdog|InfoInhibitor|DeadMansSwitch)$", re.IGNORECASE)


def report(graph: Graph, scope: Scope, found: Iterable[Ranked]) -> Report:
    """The report: causes best first, or why none is named, with steps that can be taken."""
    gap = silence(graph.facts)
    made = _report(graph, scope, found, is_silent=gap is not None)
    return despite_silence(made, gap) if gap is not None else made


def _report(graph: Graph, scope: Scope, found: Iterable[Ranked], *, is_silent: bool) -> Report:
    worth = [each for each in found if each.confidence >= _WORTH_TELLING]
    if _is_always_on(scope):
        return _nothing(
            scope, worth, "this alert fires by design all the time, to show that alerting works"
        )
    if worth and worth[0].confidence >= LEAST:
        best = worth[0]
        hypotheses = tuple(_hypothesis(graph, each) for each in worth[:_MOST])
        summary = _summary(scope, best.finding, hypotheses, is_silent=is_silent)
        return Report(summary=summary, hypotheses=hypotheses)
    sick = _sick(graph, scope)
    if not sick:
        return _nothing(scope, worth, _why_fine(graph, scope))
    return _unknown(graph, scope, worth, sick, is_silent=is_silent)


def _hypothesis(graph: Graph, each: Ranked) -> Hypothesis:
    finding = each.finding
    made = Hypothesis(
        category=finding.category,
        root_cause=finding.sentence,
        culprit=finding.culprit,
        confidence=round(each.confidence, 3),
        evidence=finding.evidence,
        next_steps=finding.steps[:4],
    )
    return fitting(graph.facts, made)


def _summary(
    scope: Scope, best: Finding, hypotheses: tuple[Hypothesis, ...], *, is_silent: bool
) -> str:
    sentences = []
    if scope.focus:
        sentences.append(f"This incident is about {title(scope.focus[0])}.")
    sentences.append(best.sentence)
    hit = sorted({key[2] for key in best.about if key[0] == "Pod"})
    if len(hit) > 1:
        sentences.append(
            f"It shows in {len(hit)} pods: {', '.join(hit[:3])}"
            f"{' and more' if len(hit) > 3 else ''}."
        )
    steps = hypotheses[0].next_steps
    if steps and not is_silent:
        sentences.append(f"Look next at: {steps[0]}.")
    elif not is_silent:
        sentences.append(f"Confidence {hypotheses[0].confidence:.0%}.")
    return " ".join(sentences)


def _is_always_on(scope: Scope) -> bool:
    name = scope.facts.trigger_labels.get("alertname", "")
    return bool(_ALWAYS_ON.match(name)) or scope.facts.trigger_labels.get("severity") == "none"


# --- nothing wrong


def _nothing(scope: Scope, worth: list[Ranked], why: str) -> Report:
    about = f" {title(scope.focus[0])}" if scope.focus else ""
    sentence = f"No fault:{about or ' nothing'} needs {'no ' if about else ''}repair; {why}."
    best = Hypothesis(
        category="none.no_fault",
        root_cause=sentence,
        culprit=None,
        confidence=0.85,
        evidence=_calm(scope),
        next_steps=(),
    )
    others = tuple(
        _hypothesis(scope.graph, Ranked(each.finding, min(each.confidence, 0.25)))
        for each in worth[: _MOST - 1]
        if each.finding.category != "none.no_fault"
    )
    summary = (
        f"{sentence} Nothing has to be done; it would be different if pods stayed not ready "
        "or restarts went on."
    )
    return Report(summary=summary, hypotheses=(best, *others))


def _calm(scope: Scope) -> tuple[Evidence, ...]:
    """Quotes that show that all is well."""
    quotes: list[Evidence | None] = [scope.facts.trigger_quote()]
    for key in scope.focus[:1]:
        quotes += [event.quote() for event in scope.facts.events_of(key)[:1]]
    for pod in scope.pods[:2]:
        if pod.is_ready:
            quotes.append(pod.thing.states("status.phase", pod.phase))
            quotes += [
                Evidence(source=pod.thing.source, quote="ready: true")
                for c in pod.containers
                if c.ready
            ][:1]
    return kept(*quotes)[:4]


def _why_fine(graph: Graph, scope: Scope) -> str:
    pods = scope.pods
    jobs = [graph.facts.by_key.get(graph.root_of(p)) for p in pods]
    if any(
        job and job.kind == "Job" and text(job.condition("Complete"), "status") == "True"
        for job in jobs
    ):
        return "the Job is complete, it was retried and has succeeded"
    restarted = [c for p in pods for c in p.containers if c.ending and c.ready and c.restarts]
    if restarted:
        since = restarted[0].running_since
        when = f" since {since:%Y-%m-%dT%H:%MZ}" if since else ""
        return (
            f"container {restarted[0].name} was restarted once upon a time and has been "
            f"running normally{when}, ready and healthy"
        )
    if pods:
        return (
            f"this is normal, {'all ' if len(pods) > 1 else ''}{len(pods)} of its pods are "
            "healthy (ready or done)"
        )
    return "what was collected is healthy and normal"


# --- nothing known


def _sick(graph: Graph, scope: Scope) -> list[Key]:
    """What is in trouble among what the incident is about."""
    sick = [p.thing.key for p in scope.pods if not is_over(graph, p) and not _is_young(p)]
    if scope.is_open:
        return sick
    for key in scope.focus:
        thing = graph.facts.by_key.get(key)
        if (thing is None and not graph.pods_of(graph.root(key))) or (
            thing is not None and _is_short(graph, thing)
        ):
            sick.append(key)
    return sick


def _is_young(pod: Pod) -> bool:
    """Whether a pod is still within a normal start."""
    age = pod.facts.age(pod.thing.created_at)
    return age is not None and age < 120 and not any(c.restarts or c.ending for c in pod.containers)


def _is_short(graph: Graph, thing: Thing) -> bool:
    if thing.kind not in WORKLOADS or thing.kind in {"Job", "CronJob"}:
        return thing.kind == "Job" and text(thing.condition("Failed"), "status") == "True"
    wanted = number(thing.raw, "spec", "replicas")
    ready = number(thing.raw, "status", "readyReplicas") or 0
    age = graph.facts.age(thing.created_at)
    starting = all(_is_young(p) or p.is_sound for p in graph.pods_of(thing.key)) and bool(
        graph.pods_of(thing.key)
    )
    return (
        wanted is not None and ready < wanted and not (starting or (age is not None and age < 120))
    )


def _unknown(
    graph: Graph, scope: Scope, worth: list[Ranked], sick: list[Key], *, is_silent: bool
) -> Report:
    missing, steps, quotes = _missing(graph, sick)
    about = f"No cause found for {title(sick[0])}: not enough evidence"
    made = Hypothesis(
        category="unknown.insufficient_evidence",
        root_cause=about,
        culprit=None,
        confidence=0.3,
        evidence=kept(*quotes, scope.facts.trigger_quote())[:5],
        next_steps=tuple(steps)[:4],
    )
    best = fitting(graph.facts, made)
    others = tuple(
        _hypothesis(graph, Ranked(each.finding, min(each.confidence, 0.25)))
        for each in worth[: _MOST - 1]
        if each.finding.category != best.category
    )
    if is_silent:
        return Report(summary=f"{about}.", hypotheses=(best, *others))
    facts = graph.facts
    objects, events = _counted(len(facts.things), "object"), _counted(facts.event_count, "event")
    looked = f"{objects}, {events} and {_counted(len(facts.logs), 'log')}"
    sentences = (f"{about} in {looked}.", *missing, f"Run next: {best.next_steps[0]}.")
    return Report(summary=" ".join(sentences), hypotheses=(best, *others))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _missing(graph: Graph, sick: list[Key]) -> tuple[list[str], list[str], list[Evidence | None]]:
    """What is not there, in at most three sentences; which commands would tell; what is there."""
    key = sick[0]
    missing: list[str] = []
    steps: list[str] = []
    quotes: list[Evidence | None] = []
    pod = graph.pod_by_key.get(key)
    if pod is not None:
        for container in pod.containers:
            if container.ready or (container.ending is None and not container.waiting):
                continue
            quotes.append(container.state_quote())
            ended = container.ending
            if ended is not None and ended.reason == "ContainerStatusUnknown":
                missing.append(
                    f"How container {container.name} really ended is not known "
                    f"(ContainerStatusUnknown, its exit code {ended.code} is a placeholder)."
                )
            elif ended is not None and ended.code == 137:
                missing.append(
                    f"What killed container {container.name} is not known (exit code 137, "
                    "SIGKILL, without OOMKilled or a probe)."
                )
            if not container.logs:
                missing.append(f"The log of container {container.name} is empty or missing.")
                steps.append(previous_log(pod, container.name))
        quotes += [e.quote() for e in pod.events()[:2] if e.warning]
    elif graph.facts.by_key.get(key) is None:
        missing.append(f"{title(key)} itself is gone or was not collected.")
    if not graph.facts.events_of(key):
        missing.append("There are no events about it (expired or not collected).")
    gaps = [_sentence(gap) for gap in graph.facts.gaps]
    # What is known about why a thing is missing says more than that it is.
    kept_back = missing[: _MISSING - len(gaps[:2])] + gaps
    steps.append(describe(key))
    steps.append(f"{kubectl('get', key[1])} events --sort-by=.lastTimestamp")
    said = kept_back or ["Nothing collected names a cause."]
    return list(dict.fromkeys(said))[:_MISSING], steps, quotes


def _sentence(gap: Gap) -> str:
    """A gap in a sentence of its own."""
    what, why = (" ".join(each.split()).rstrip(".") for each in (gap.what, gap.why))
    said = why if what == "everything else" else f"{what}: {why}"
    return f"{said[:1].upper()}{said[1:300]}."
