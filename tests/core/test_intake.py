"""Which faults are worked, and which of them are one incident."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.incidents import a_fault
from kubecase.core.folding import fold_key, workload_of
from kubecase.core.intake import Rules, Silence, filtered, waits
from kubecase.core.model import Resource
from kubecase.core.severity import Severity

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def pod(name: str) -> Resource:
    return Resource(kind="Pod", name=name, namespace="shop")


@pytest.mark.parametrize(
    ("resource", "kind", "name"),
    [
        (pod("crashloop-6b89888bf6-mgcnz"), "Deployment", "crashloop"),
        (pod("db-0"), "StatefulSet", "db"),
        (pod("backup-29384756-x7k2p"), "CronJob", "backup"),
        (pod("agent-k8s2p"), "Workload", "agent"),
        (pod("lonely"), "Pod", "lonely"),
        (Resource(kind="ReplicaSet", name="api-6b89888bf6", namespace="shop"), "Deployment", "api"),
        (Resource(kind="Job", name="backup-29384756", namespace="shop"), "CronJob", "backup"),
        (Resource(kind="Job", name="migrate", namespace="shop"), "Job", "migrate"),
        (Resource(kind="Node", name="node-1", namespace=None), "Node", "node-1"),
    ],
)
def test_a_name_says_which_workload_it_belongs_to(resource: Resource, kind: str, name: str) -> None:
    """What controllers append to names is taken off; every other name is left as it is."""
    found = workload_of(resource)

    assert (found.kind, found.name) == (kind, name)


def test_a_known_owner_beats_the_name() -> None:
    """Where the source knows the controller, nothing is read from the pod's name."""
    owner = Resource(kind="Rollout", name="api", namespace="shop")

    assert workload_of(pod("db-0"), owner) == owner


def test_pods_of_one_workload_are_one_incident() -> None:
    """Two pods of a rollout, its ReplicaSet and its Deployment have one key; a namesake in another
    namespace has its own.
    """
    resources = [
        pod("api-6b89888bf6-mgcnz"), pod("api-6b89888bf6-xxcnz"), pod("api-7c9d5b8f4d-mgcnz"),
        Resource(kind="ReplicaSet", name="api-6b89888bf6", namespace="shop"),
        Resource(kind="Deployment", name="api", namespace="shop"),
    ]  # fmt: skip
    keys = {fold_key(replace(a_fault(), resource=each)) for each in resources}
    other = Resource(kind="Deployment", name="api", namespace="test")

    assert len(keys) == 1
    assert fold_key(replace(a_fault(), resource=other)) not in keys


@given(st.text(min_size=1, max_size=80))
def test_any_name_has_a_key(name: str) -> None:
    """No name breaks the folding, whatever stands in it."""
    assert fold_key(replace(a_fault(), resource=pod(name)))


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        (Rules(), None),
        (Rules(triage=False), "triage is off"),
        (Rules(namespaces=("prod-*",)), "not among those"),
        (Rules(namespaces=("sh*",)), None),
        (Rules(excluded_namespaces=("shop",)), "is excluded"),
        (Rules(labels={"team": "payments"}), "label team does not fit"),
        (Rules(silences=(Silence(reason="window", namespace="shop"),)), "silenced: window"),
        (Rules(silences=(Silence(reason="window", namespace="other"),)), None),
        (Rules(silences=(Silence(reason="past", ends=NOW - timedelta(hours=1)),)), None),
        (Rules(silences=(Silence(reason="later", begins=NOW + timedelta(hours=1)),)), None),
    ],
)
def test_rules_say_why_a_fault_is_not_worked(rules: Rules, why: str | None) -> None:
    """Each filter has its reason in words, and none filters what it does not mean."""
    fault = replace(a_fault(), resource=pod("api-0"), severity=Severity.CRITICAL)

    found = filtered(fault, rules, NOW)

    assert found is None if why is None else found is not None and why in found


def test_what_is_below_the_least_severity_is_not_worked() -> None:
    """An info fault is filtered by default, and let through where the rules say so."""
    fault = replace(a_fault(), severity=Severity.INFO)

    assert filtered(fault, Rules(), NOW) == "severity info is below warning"
    assert filtered(fault, Rules(min_severity=Severity.INFO), NOW) is None


def test_a_reason_that_flaps_waits_for_its_second_sign() -> None:
    """One failed probe is not enough, two are; a crash is enough at once."""
    assert waits(replace(a_fault(), reason="Unhealthy"))
    assert not waits(replace(a_fault(), reason="Unhealthy", occurrences=2))
    assert not waits(replace(a_fault(), reason="BackOff"))
