"""Checks what an agent quotes against what was really told to it, or to kubecase."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from kubecase.core.quotes import checked, quotes_of, verified
from kubecase.gateways.told import told_by
from kubecase.service.case import Case

MOST_BYTES = 64 * 1024 * 1024


def check_evidence(case: Case, data: Path) -> None:
    """Mark the evidence of the agent's machine form, and note what is in no recorded answer.

    Sources are the context that the agent was given and the answers on record: of the cluster and
    of the tools. Where neither is left nothing is marked.
    """
    report = case.agent_json
    if report is None or report is case.findings:
        return
    quotes = quotes_of(report)
    record = data / "audit" / f"{case.attempt.key}.jsonl"
    texts = list(_bounded(chain(_given(case), told_by(record, data / "answers"))))
    if not quotes or not texts:
        return
    found = verified(quotes, texts)
    case.agent_json = checked(report, found)
    missing = len(quotes) - sum(quote in found for quote in quotes)
    if missing:
        case.notes.append(
            f"{missing} of {len(quotes)} quotes of the agent stand in no recorded answer and are "
            "marked as not verified"
        )


def _given(case: Case) -> Iterator[bytes]:
    for name, content in (case.context or {}).items():
        if name.startswith("context/"):
            yield content


def _bounded(contents: Iterator[bytes]) -> Iterator[str]:
    room = MOST_BYTES
    for content in contents:
        room -= len(content)
        if room < 0:
            return
        yield content.decode("utf-8", "replace")
