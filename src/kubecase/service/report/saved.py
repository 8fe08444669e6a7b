"""The best conclusion that is on record, as a value again. What is on record is redacted."""

from collections.abc import Mapping
from typing import Any

from kubecase.core.model import Investigation, Status
from kubecase.core.report import Culprit, Hypothesis, Report
from kubecase.store import SavedReport

BUILTIN = "builtin"


def best_report(
    saved: SavedReport, investigation: Investigation
) -> tuple[Report | None, str | None]:
    """The agent's conclusion, else the built-in investigator's, and whose it is.

    An agent that did not come to its end, and whose conclusion could only be read from its text,
    comes last: that may break off in the middle of a sentence.
    """
    sources = [(saved.report, investigation.agent), (saved.findings, BUILTIN)]
    broken_off = investigation.status is not Status.SUCCESS and (saved.report or {}).get(
        "extracted"
    )
    for source, by in reversed(sources) if broken_off else sources:
        report = _report(source)
        if report is not None and report.hypotheses:
            return report, by
    return next(
        ((report, by) for source, by in sources if (report := _report(source)) is not None),
        (None, None),
    )


def _report(value: Mapping[str, Any] | None) -> Report | None:
    """Less strict than what an agent's own report is held to: this was checked when it came."""
    if not isinstance(value, Mapping):
        return None
    hypotheses = value.get("hypotheses")
    found = [_hypothesis(each) for each in hypotheses[:5]] if isinstance(hypotheses, list) else []
    return Report(
        summary=str(value.get("summary") or ""),
        hypotheses=tuple(each for each in found if each is not None),
    )


def _hypothesis(value: Any) -> Hypothesis | None:
    if not isinstance(value, Mapping) or not value.get("root_cause"):
        return None
    steps = value.get("next_steps")
    confidence = value.get("confidence")
    return Hypothesis(
        category=str(value.get("category") or ""),
        root_cause=str(value["root_cause"]),
        culprit=_culprit(value.get("culprit")),
        confidence=float(confidence) if isinstance(confidence, int | float) else 0.0,
        next_steps=tuple(str(each) for each in steps[:10]) if isinstance(steps, list) else (),
    )


def _culprit(value: Any) -> Culprit | None:
    if not isinstance(value, Mapping) or not value.get("name"):
        return None
    return Culprit(
        kind=str(value.get("kind") or ""),
        namespace=str(value.get("namespace") or ""),
        name=str(value["name"]),
    )
