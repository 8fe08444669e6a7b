"""The recorded failures and the public triage cases: what has to be found in them."""

import json
from typing import Any

import pytest

from kubecase.core.categories import CATEGORIES
from kubecase.core.report import Report, report_as_json
from kubecase.diagnosis import diagnose

from .corpus import SCORE, misplaced
from .recordings import DATA, RECORDED, TRIAGE, collection, recorded_inputs
from .renaming import renamed

EXPECTED: dict[str, dict[str, Any]] = json.loads(
    (DATA / "k8s-failures-categories.json").read_text()
)
CASES = {
    path.stem: json.loads(path.read_text()) for path in sorted((TRIAGE / "cases").glob("*.json"))
}


def accepted(name: str) -> set[str]:
    """The categories that are right for a recorded case."""
    return {EXPECTED[name]["category"], *EXPECTED[name].get("alternatives", ())}


def first(report: Report) -> str:
    """The category of the first hypothesis."""
    assert report.best
    return report.best.category


def test_every_recorded_case_has_its_category() -> None:
    """The table of categories speaks of every recorded case, in words of the closed list."""
    index = {each["name"] for each in json.loads((RECORDED / "index.json").read_text())}

    assert set(EXPECTED) == index
    assert {name for each in index for name in accepted(each)} <= set(CATEGORIES)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_failure_is_named(name: str) -> None:
    """What went wrong in a recorded cluster is called by its category, with real quotes."""
    inputs = recorded_inputs(RECORDED / name)

    report = diagnose(collection(inputs))

    assert first(report) in accepted(name), report.summary
    assert misplaced(inputs, report) == []
    assert report.best
    assert report.best.evidence


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_failure_is_named_whatever_things_are_called(name: str) -> None:
    """With every name, namespace and id replaced, a recorded failure keeps its category."""
    inputs = renamed(recorded_inputs(RECORDED / name))

    report = diagnose(collection(inputs))

    assert first(report) in accepted(name), report.summary
    assert misplaced(inputs, report) == []


@pytest.mark.parametrize("name", ["healthy", "dns-config"])
def test_a_healthy_recording_raises_no_alarm(name: str) -> None:
    """Where nothing is wrong, no fault has a confidence of 0.3 or more."""
    report = diagnose(collection(recorded_inputs(RECORDED / name)))

    faults = [h for h in report.hypotheses if not h.category.startswith(("none.", "unknown."))]
    assert [h for h in faults if h.confidence >= 0.3] == []


def scored(case: dict[str, Any], report: Report) -> dict[str, Any]:
    """What the scorer of the triage cases says about a report."""
    row: dict[str, Any] = SCORE.score_case(case, report_as_json(report), set(CATEGORIES), 0.3)
    return row


@pytest.mark.parametrize("name", CASES)
def test_a_triage_case_is_solved(name: str) -> None:
    """A triage case gets category and culprit, what must be said, nothing that must not."""
    case = CASES[name]

    row = scored(case, diagnose(collection(case["inputs"])))

    assert row["top1"], row["got"]
    assert row.get("culprit", True)
    assert row["mention"] == 1
    assert row["violations"] == []
    assert row["unreal"] == []
    assert row["evidence"] == row["evidence_located"] > 0
    assert not row["false_positive"]


@pytest.mark.parametrize("name", CASES)
def test_a_triage_case_is_solved_whatever_things_are_called(name: str) -> None:
    """With every name, namespace and id replaced, a triage case keeps its category."""
    case = CASES[name]

    report = diagnose(collection(renamed(case["inputs"])))

    assert first(report) == case["expected"]["category"], report.summary


@pytest.mark.parametrize("name", CASES)
def test_a_triage_case_is_solved_without_its_trigger(name: str) -> None:
    """When nothing says what an incident is about, the sick objects are found all the same."""
    case = CASES[name]

    report = diagnose(collection({**case["inputs"], "event": {}}))

    assert case["expected"]["category"] in [h.category for h in report.hypotheses[:3]]
