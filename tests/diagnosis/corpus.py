"""Checks quotes with the scorer that ships with the triage cases, not with our own reading."""

import importlib.util
from types import ModuleType
from typing import Any

from kubecase.core.report import Report

from .recordings import TRIAGE


def scorer() -> ModuleType:
    """The scorer of the triage cases as a module."""
    spec = importlib.util.spec_from_file_location("triage_score", TRIAGE / "score.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCORE = scorer()


def misplaced(inputs: dict[str, Any], report: Report) -> list[str]:
    """The quotes of a report that are not in the inputs, or not where the report says."""
    corpus = SCORE.Corpus(inputs)
    return [
        f"{each.source}: {each.quote}"
        for hypothesis in report.hypotheses
        for each in hypothesis.evidence
        if not (corpus.real(each.quote) and corpus.located(each.source, each.quote))
    ]
