"""What to run next: made to fit where the evidence stands, and whether the cluster answers."""

import re
from dataclasses import replace

from kubecase.core.model import Gap
from kubecase.core.report import Hypothesis, Report
from kubecase.diagnosis.facts import Facts

_PREVIOUS = re.compile(r"kubectl(?: -n (\S+))? logs (\S+) -c (\S+) --previous")
_SILENT = re.compile(r"(?:the cluster )?(?:cannot be reached|gives no answer|no answer within)")
_TRY_FIRST = ("kubectl config view --minify", "kubectl get --raw /readyz --request-timeout=5s")
_MOST = 4


def fitting(facts: Facts, each: Hypothesis) -> Hypothesis:
    """`each` with the log of the present run where that of the run before has nothing to add."""
    sources = {evidence.source for evidence in each.evidence}
    steps = (_fitting(facts, step, sources) for step in each.next_steps)
    return replace(each, next_steps=tuple(dict.fromkeys(steps)))


def _fitting(facts: Facts, step: str, sources: set[str]) -> str:
    matched = _PREVIOUS.fullmatch(step)
    if matched is None:
        return step
    key = f"{matched[1] or ''}/{matched[2]}/{matched[3]}"
    before = f"{key}/previous"
    is_told_now = f"log:{key}" in sources and f"log:{before}" not in sources
    if is_told_now or before in facts.absent_logs:
        return step.removesuffix("--previous") + "--tail=50"
    return step


def silence(facts: Facts) -> Gap | None:
    """The gap that says that the cluster gave no answer at all, if that is how it was."""
    if facts.things or facts.event_count:
        return None
    return next((gap for gap in facts.gaps if _SILENT.match(gap.why)), None)


def despite_silence(made: Report, gap: Gap) -> Report:
    """`made` for a cluster that gave no answer: that is said first and looked into first."""
    best, *others = made.hypotheses
    steps = (*_TRY_FIRST, *best.next_steps)[:_MOST]
    best = replace(best, next_steps=steps)
    return Report(summary=f"{_said(gap)} {made.summary}", hypotheses=(best, *others))


def _said(gap: Gap) -> str:
    why = " ".join(gap.why.split()).rstrip(".")[:200].removeprefix("the cluster ")
    return f"The cluster gave {why}." if why.startswith("no ") else f"The cluster {why}."
