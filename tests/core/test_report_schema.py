"""The machine form of a conclusion: what is taken from an agent, and what is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.incidents import FINDINGS
from kubecase.core.categories import CATEGORIES
from kubecase.core.report import MAX_HYPOTHESES, MAX_TEXT, Report, report_as_json, report_from_json

GOOD = report_as_json(FINDINGS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["summary", "hypotheses", "category", "culprit", "kind", "evidence", "x"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def changed(path: str, value: Any) -> Any:
    """A good report with the value at `path` replaced, or removed if it is ... ."""
    report = copy.deepcopy(GOOD)
    *way, last = path.split(".")
    at: Any = report
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return report


def test_a_report_survives_its_machine_form() -> None:
    """What is written can be read back equal, and is plain JSON."""
    assert report_from_json(json.loads(json.dumps(GOOD))) == (FINDINGS, ())


def test_a_report_without_hypotheses_is_a_report() -> None:
    """Healthy inputs need no hypothesis."""
    report, findings = report_from_json({"summary": "Nothing is wrong.", "hypotheses": []})

    assert report == Report(summary="Nothing is wrong.")
    assert report.best is None
    assert findings == ()


@pytest.mark.parametrize(
    ("path", "value", "finding"),
    [
        ("summary", ..., "summary is not a text"),
        ("summary", "  ", "summary is not a text"),
        ("summary", 3, "summary is not a text"),
        ("hypotheses", ..., "hypotheses is not a list"),
        ("hypotheses", {}, "hypotheses is not a list"),
        ("hypotheses.0.category", "made.up", "is not in the list"),
        ("hypotheses.0.category", None, "category is not a text"),
        ("hypotheses.0.root_cause", ["x"], "root_cause is not a text"),
        ("hypotheses.0.confidence", "high", "confidence is not a number"),
        ("hypotheses.0.confidence", True, "confidence is not a number"),
        ("hypotheses.0.confidence", 1.01, "confidence is not between 0 and 1"),
        ("hypotheses.0.confidence", -1, "confidence is not between 0 and 1"),
        ("hypotheses.0.confidence", float("nan"), "confidence is not between 0 and 1"),
        ("hypotheses.0.confidence", float("inf"), "confidence is not between 0 and 1"),
        ("hypotheses.0.culprit", "Deployment/x", "culprit is neither null nor an object"),
        ("hypotheses.0.culprit.kind", ..., "culprit.kind is not a text"),
        ("hypotheses.0.culprit.name", 7, "culprit.name is not a text"),
        ("hypotheses.0.evidence", "x", "evidence is not a list"),
        ("hypotheses.0.evidence", ["x"], "entry that is not an object"),
        ("hypotheses.0.evidence.0.quote", ..., "evidence.quote is not a text"),
    ],
)
def test_each_flaw_is_named(path: str, value: Any, finding: str) -> None:
    """A report with a flaw is not taken, and the agent can be told which flaw."""
    report, findings = report_from_json(changed(path, value))

    assert report is None
    assert any(finding in each for each in findings)


@pytest.mark.parametrize("value", [None, [], "x", 3, True, [GOOD]])
def test_what_is_no_object_is_no_report(value: Any) -> None:
    """Only a JSON object can be a report."""
    assert report_from_json(value) == (None, ("the report is not a JSON object",))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hypotheses.0.culprit", None), ("hypotheses.0.culprit.namespace", None),
        ("hypotheses.0.evidence", ...), ("hypotheses.0.next_steps", ...),
        ("hypotheses.0.next_steps", "not a list"), ("hypotheses.0.next_steps", [1, None, "x"]),
        ("hypotheses.0.confidence", 1), ("unknown", {"a": 1}),
    ],
)  # fmt: skip
def test_small_omissions_are_forgiven(path: str, value: Any) -> None:
    """What is optional may be missing, and unknown keys are ignored."""
    report, findings = report_from_json(changed(path, value))

    assert findings == ()
    assert report is not None


def test_sizes_are_bounded() -> None:
    """Texts over 4000 characters are cut, hypotheses beyond the fifth left out."""
    one = {**GOOD["hypotheses"][0], "root_cause": "x" * 10_000, "next_steps": ["y" * 9000] * 99}
    one["evidence"] = [{"source": "s" * 9000, "quote": "q" * 9000}] * 99
    report, _ = report_from_json({"summary": "z" * 10_000, "hypotheses": [one] * 9})

    assert report is not None
    assert len(report.summary) == MAX_TEXT
    assert len(report.hypotheses) == MAX_HYPOTHESES
    first = report.hypotheses[0]
    assert len(first.root_cause) == MAX_TEXT
    assert (len(first.evidence), len(first.next_steps)) == (20, 10)
    assert len(first.evidence[0].quote) == len(first.next_steps[0]) == MAX_TEXT


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_no_json_makes_reading_fail(value: Any) -> None:
    """Whatever an agent leaves, reading it gives a report or findings, never both or neither."""
    report, findings = report_from_json(value)

    assert (report is None) is bool(findings)


def test_the_categories_are_the_closed_list() -> None:
    """The categories are those that the recorded cases are judged by, each with its meaning."""
    data = Path(__file__).parent.parent / "data" / "triage-cases" / "categories.json"
    listed = json.loads(data.read_text())["categories"]

    assert dict(CATEGORIES) == listed
    assert all(CATEGORIES.values())
