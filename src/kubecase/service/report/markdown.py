"""The final report as Markdown. Untrusted words are escaped or fenced, so that none is markup."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubecase.service.report.words import (
    artifact_words,
    confidence_words,
    culprit_words,
    headline,
    run_rows,
)

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&!#$@{}]|(?<=\w):(?=//)|(?<=www)\.|(?<=WWW)\.)")
_RUNS = {"`": re.compile(r"`+"), "~": re.compile(r"~+")}


def as_markdown(document: Mapping[str, Any]) -> str:
    """The report in `document` (see `view`) as CommonMark with tables left out."""
    return "\n".join(_lines(document)).rstrip() + "\n"


def inert(text: object) -> str:
    """`text` on one line, with everything escaped that Markdown or its dialects act on."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def code(text: object) -> str:
    """`text` as inline code that no run of backticks in it can end."""
    line = " ".join(str(text).split()) or " "
    ticks = "`" * (_longest(line, "`") + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def block(text: str, language: str = "text") -> str:
    """`text` as a fenced block that nothing in it can end."""
    tildes = "~" * max(3, _longest(text, "~") + 1)
    return f"{tildes}{language}\n{text.rstrip()}\n{tildes}"


def _longest(text: str, sign: str) -> int:
    return max((len(run) for run in _RUNS[sign].findall(text)), default=0)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield from _head(document)
    yield from _opinions(document)
    yield from _what_happened(document)
    yield from _agent(document)
    yield from _findings(document)
    yield from _facts(document)
    yield from _run(document)
    if document["log_tail"].strip():
        yield "## End of the agent's log\n"
        yield block(document["log_tail"]) + "\n"


def _head(document: Mapping[str, Any]) -> Iterator[str]:
    outcome, incident, cause = document["outcome"], document["incident"], document["cause"]
    yield f"# {inert(headline(document))}\n"
    reason = f" ({outcome['reason']})" if outcome["reason"] else ""
    yield f"**{outcome['status']}{reason}**: {inert(outcome['words'])}"
    if outcome["error"]:
        yield f"\n> {inert(outcome['error'])}"
    if outcome["partial"]:
        yield "\nWhat the agent left is **partial**: it did not come to a proper end."
    yield ""
    yield f"- Resource: {code(incident['resource'])}"
    yield f"- Cluster: {code(incident['cluster'])}"
    yield f"- Namespace: {code(incident['namespace'] or 'none: cluster-scoped')}"
    yield f"- Severity: {incident['severity']}"
    yield f"- Incident: {code(incident['id'])}, attempt {document['result']['attempt']}"
    yield f"- Duration: {outcome['duration']}\n"
    if cause:
        yield f"## Best known cause, by {inert(cause['by'])}\n"
        yield from _hypothesis(cause)


def _hypothesis(hypothesis: Mapping[str, Any]) -> Iterator[str]:
    yield f"{inert(hypothesis['root_cause'])}\n"
    yield f"- Confidence: {confidence_words(hypothesis['confidence'])}"
    if hypothesis["category"]:
        yield f"- Category: {code(hypothesis['category'])}"
    if hypothesis["culprit"]:
        yield f"- Culprit: {code(culprit_words(hypothesis['culprit']))}"
    for evidence in hypothesis["evidence"]:
        mark = " (not verified)" if evidence.get("verified") is False else ""
        yield f"- Evidence{mark}, {inert(evidence['source'])}: {code(evidence['quote'])}"
    yield ""
    if hypothesis["next_steps"]:
        yield "Next steps, for a human:\n"
        yield from (f"1. {inert(step)}" for step in hypothesis["next_steps"])
        yield ""


def _opinions(document: Mapping[str, Any]) -> Iterator[str]:
    for opinion in document["opinions"]:
        yield f"## Another opinion, by the agent {inert(opinion['agent'])}\n"
        reason = f" ({opinion['reason']})" if opinion["reason"] else ""
        yield f"**{opinion['status']}{reason}**: {inert(opinion['agreement']['words'])}\n"
        if opinion["error"]:
            yield f"> {inert(opinion['error'])}\n"
        if opinion["summary"]:
            yield f"{inert(opinion['summary'])}\n"
        if opinion["cause"]:
            yield from _hypothesis(opinion["cause"])
        if opinion["report"]:
            yield f"Its own report: {code(opinion['report'])}\n"


def _what_happened(document: Mapping[str, Any]) -> Iterator[str]:
    incident = document["incident"]
    yield "## What happened\n"
    yield f"{inert(incident['reason'])}:\n"
    yield block(incident["message"] or "(no message)")
    if incident["message_cut"]:
        yield f"\n{incident['message_cut']} more characters were left out."
    yield "\nTimeline:\n"
    for step in document["timeline"]:
        yield f"- {step['at']} (+{step['after']}): {inert(step['what'])}"
    yield ""


def _agent(document: Mapping[str, Any]) -> Iterator[str]:
    text = document["agent_report"]
    if not text:
        return
    partial = " (partial)" if document["outcome"]["partial"] else ""
    yield f"## The agent's report{partial}\n"
    yield "As the agent wrote it, not checked by anyone:\n"
    yield block(text, "markdown")
    if document["agent_report_cut"]:
        yield f"\n{document['agent_report_cut']} more characters were left out."
    yield ""


def _findings(document: Mapping[str, Any]) -> Iterator[str]:
    findings = document["findings"]
    yield "## What the built-in rules found\n"
    yield f"{inert(findings['summary'])}\n"
    for number, hypothesis in enumerate(findings["hypotheses"], 1):
        if number == 1 and document["cause"]["by"] == "the built-in rules":
            yield "Their first hypothesis is the cause above.\n"
            continue
        yield f"### Hypothesis {number}\n"
        yield from _hypothesis(hypothesis)


def _facts(document: Mapping[str, Any]) -> Iterator[str]:
    collected = document["collected"]
    yield "## What was collected\n"
    yield f"- From: {inert(collected['origin'] or 'nowhere')}"
    yield f"- Objects: {collected['objects']}, events: {collected['events']}"
    for log in collected["logs"]:
        yield f"- Log {code(log['name'])}: {log['bytes']} bytes"
    for gap in collected["gaps"]:
        yield f"- Not to be had: {inert(gap['what'])}: {inert(gap['why'])}"
    yield ""


def _run(document: Mapping[str, Any]) -> Iterator[str]:
    run, result = document["run"], document["result"]
    yield "## How the run went\n"
    yield from (f"- {name}: {inert(value)}" for name, value in run_rows(document))
    yield from (f"- Not defended against: {inert(note)}" for note in run["isolation_notes"])
    yield from (f"- Note: {inert(note)}" for note in document["notes"])
    yield from (f"- Artifact {code(a['path'])}: {artifact_words(a)}" for a in result["artifacts"])
    yield from (f"- Rejected {code(r['path'])}: {inert(r['why'])}" for r in result["rejected"])
    yield ""
