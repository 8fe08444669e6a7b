"""The conclusion of an investigation, whoever drew it, and the schema it must satisfy.

The machine form is the one of docs/formats.md section 3: the built-in investigator writes it to
`context/findings.json`, an agent may leave it in `output/report.json`. What comes from an agent is
checked field by field; nothing of it is trusted to have the right type or size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubecase.core.categories import CATEGORIES

MAX_HYPOTHESES = 5
MAX_TEXT = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """The object whose change, repair or creation ends the incident.

    A missing object is named as if it existed. Cluster-scoped objects have an empty namespace;
    what lies outside the cluster has kind `External` and its host as name.
    """

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A verbatim quote and where it stands.

    `source` is `log:<namespace/pod/container[/previous]>`, `event:<reason>`, `alert`, or
    `object:<Kind>/<namespace>/<name>`. `verified` says whether the quote stands in what was really
    answered; None where that was not looked at.
    """

    source: str
    quote: str
    verified: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One possible cause. `category` is of the closed list, `confidence` from 0 to 1."""

    category: str
    root_cause: str
    culprit: Culprit | None
    confidence: float
    evidence: tuple[Evidence, ...] = ()
    next_steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Hypotheses best first, at most five, and a summary of two to five sentences."""

    summary: str
    hypotheses: tuple[Hypothesis, ...] = ()

    @property
    def best(self) -> Hypothesis | None:
        """The first hypothesis, if there is any."""
        return self.hypotheses[0] if self.hypotheses else None


def report_as_json(report: Report) -> dict[str, Any]:
    """`report` in its machine form, ready for `json.dumps`."""
    return {
        "summary": report.summary,
        "hypotheses": [
            {
                "category": each.category,
                "root_cause": each.root_cause,
                "culprit": None if each.culprit is None else {
                    "kind": each.culprit.kind,
                    "namespace": each.culprit.namespace,
                    "name": each.culprit.name,
                },
                "confidence": round(each.confidence, 3),
                "evidence": [_evidence_as_json(e) for e in each.evidence],
                "next_steps": list(each.next_steps),
            }
            for each in report.hypotheses
        ],
    }  # fmt: skip


def _evidence_as_json(each: Evidence) -> dict[str, Any]:
    told: dict[str, Any] = {"source": each.source, "quote": each.quote}
    return told if each.verified is None else {**told, "verified": each.verified}


def report_from_json(value: Any) -> tuple[Report | None, tuple[str, ...]]:
    """The report in `value` (parsed JSON from an agent) and what is wrong with it.

    With any finding the report is `None`. Texts over 4000 characters are cut, hypotheses beyond
    the fifth left out; unknown keys are ignored.
    """
    findings: list[str] = []
    if not isinstance(value, Mapping):
        return None, ("the report is not a JSON object",)
    summary = _text(value.get("summary"), "summary", findings)
    raw = value.get("hypotheses")
    if not isinstance(raw, list):
        findings.append("hypotheses is not a list")
        raw = []
    hypotheses = [
        _hypothesis(each, f"hypotheses[{n}]", findings)
        for n, each in enumerate(raw[:MAX_HYPOTHESES])
    ]
    if findings:
        return None, tuple(findings)
    return Report(summary=summary, hypotheses=tuple(h for h in hypotheses if h)), ()


def _hypothesis(value: Any, where: str, findings: list[str]) -> Hypothesis | None:
    if not isinstance(value, Mapping):
        findings.append(f"{where} is not an object")
        return None
    category = _text(value.get("category"), f"{where}.category", findings)
    if category and category not in CATEGORIES:
        findings.append(f"{where}.category {category[:60]!r} is not in the list")
    confidence = value.get("confidence")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float):
        findings.append(f"{where}.confidence is not a number")
        confidence = 0.0
    elif not 0 <= confidence <= 1:
        findings.append(f"{where}.confidence is not between 0 and 1")
    evidence = value.get("evidence", [])
    if not isinstance(evidence, list):
        findings.append(f"{where}.evidence is not a list")
        evidence = []
    steps = value.get("next_steps", [])
    return Hypothesis(
        category=category,
        root_cause=_text(value.get("root_cause"), f"{where}.root_cause", findings),
        culprit=_culprit(value.get("culprit"), where, findings),
        confidence=float(confidence),
        evidence=tuple(_evidence(e, where, findings) for e in evidence[:20]),
        next_steps=tuple(s[:MAX_TEXT] for s in steps[:10] if isinstance(s, str))
        if isinstance(steps, list)
        else (),
    )


def _culprit(value: Any, where: str, findings: list[str]) -> Culprit | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        findings.append(f"{where}.culprit is neither null nor an object")
        return None
    return Culprit(
        kind=_text(value.get("kind"), f"{where}.culprit.kind", findings),
        namespace=str(value.get("namespace") or "")[:253],
        name=_text(value.get("name"), f"{where}.culprit.name", findings),
    )


def _evidence(value: Any, where: str, findings: list[str]) -> Evidence:
    if not isinstance(value, Mapping):
        findings.append(f"{where}.evidence has an entry that is not an object")
        return Evidence(source="", quote="")
    return Evidence(
        source=_text(value.get("source"), f"{where}.evidence.source", findings),
        quote=_text(value.get("quote"), f"{where}.evidence.quote", findings),
    )


def _text(value: Any, where: str, findings: list[str]) -> str:
    if not isinstance(value, str) or not value.strip():
        findings.append(f"{where} is not a text")
        return ""
    return value[:MAX_TEXT]
