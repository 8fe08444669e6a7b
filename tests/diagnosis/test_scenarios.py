"""The rules, each proved by a small cluster of its own, with neighbours that mean nothing."""

import pytest

from kubecase.core.report import Culprit, Report
from kubecase.diagnosis import diagnose

from . import scenarios_alike, scenarios_cluster, scenarios_more, scenarios_pods
from .corpus import misplaced
from .recordings import collection
from .renaming import renamed
from .scenarios import SCENARIOS, Scenario

assert scenarios_alike
assert scenarios_more
assert scenarios_pods
assert scenarios_cluster

BY_NAME = {each.name: each for each in SCENARIOS}


def best_of(report: Report) -> tuple[str, float]:
    """Category and confidence of the first hypothesis."""
    assert report.best
    return report.best.category, report.best.confidence


def told(report: Report) -> str:
    """The ranking, for a failing test."""
    return "\n".join(f"{h.confidence:.2f} {h.category}: {h.root_cause}" for h in report.hypotheses)


def words(culprit: Culprit | None) -> str:
    """A culprit as the table writes it."""
    return f"{culprit.kind}/{culprit.namespace}/{culprit.name}" if culprit else ""


@pytest.mark.parametrize("name", BY_NAME)
def test_each_scenario_is_named_with_its_culprit(name: str) -> None:
    """Every fault of the table gets its category and its culprit, and verbatim quotes."""
    case: Scenario = BY_NAME[name]
    inputs = case.cluster().inputs()

    report = diagnose(collection(inputs))

    category, confidence = best_of(report)
    assert category == case.category, told(report)
    assert report.best
    assert words(report.best.culprit) == case.culprit, told(report)
    assert confidence <= 0.3 if category.startswith("unknown.") else confidence >= 0.5
    assert misplaced(inputs, report) == []
    assert 1 <= len(report.hypotheses) <= 5
    if not category.startswith("none."):
        assert report.best.next_steps
        assert all(step.startswith("kubectl ") for step in report.best.next_steps)


@pytest.mark.parametrize("name", BY_NAME)
def test_no_scenario_hangs_on_a_name(name: str) -> None:
    """With every name, namespace and id replaced, the same category is found."""
    case = BY_NAME[name]
    inputs = renamed(case.cluster().inputs())

    report = diagnose(collection(inputs))

    assert best_of(report)[0] == case.category, told(report)
    assert misplaced(inputs, report) == []
