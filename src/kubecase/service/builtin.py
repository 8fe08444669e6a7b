"""The built-in investigator: no model, no key, no process.

Its findings stand in every report, whichever agent was asked; asked as the agent itself, its
findings are the report.
"""

from kubecase.core.model import Collection
from kubecase.core.report import Hypothesis, Report

NAME = "builtin"


def report_text(findings: Report, collection: Collection) -> str:
    """The findings as the Markdown of `output/investigation.md`, with what could not be had."""
    parts = ["# Kubernetes Incident Triage Report", "", "## 0. Executive Triage Card", ""]
    parts += [_inert(findings.summary), "", "## 3. Root Cause Analysis", ""]
    for number, each in enumerate(findings.hypotheses, start=1):
        parts += _hypothesis(number, each)
    if not findings.hypotheses:
        parts += ["No fault was found in what could be collected.", ""]
    parts += ["## 5. Proof of Work", "", f"- Looked at: {_inert(collection.origin)}"]
    seen = f"{len(collection.objects)} objects, {len(collection.events)} events"
    parts += [f"- {seen}, {len(collection.logs)} logs"]
    parts += [
        f"- Could not be had: {_inert(gap.what)}: {_inert(gap.why)}" for gap in collection.gaps
    ]
    return "\n".join(parts) + "\n"


def _hypothesis(number: int, each: Hypothesis) -> list[str]:
    word = "High" if each.confidence >= 0.75 else "Medium" if each.confidence >= 0.4 else "Low"
    culprit = each.culprit
    lines = [f"### H{number}: {_inert(each.root_cause)}", ""]
    lines += [f"- Category: `{each.category}`", f"- Confidence: {word} ({each.confidence:.0%})"]
    if culprit is not None:
        place = f"{culprit.namespace}/" if culprit.namespace else ""
        lines += [f"- Culprit: {_inert(f'{culprit.kind} {place}{culprit.name}')}"]
    lines += ["", "Evidence:", ""]
    lines += [f"- `{_code(e.source)}`: `{_code(e.quote)}`" for e in each.evidence]
    if each.next_steps:
        lines += ["", "Next, all read-only:", ""]
        lines += [f"- `{_code(step)}`" for step in each.next_steps]
    return [*lines, ""]


def _inert(text: str) -> str:
    """`text` on one line, with what Markdown and HTML would act on made plain."""
    plain = " ".join(text.split())
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>#|!@" else c for c in plain)


def _code(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")
