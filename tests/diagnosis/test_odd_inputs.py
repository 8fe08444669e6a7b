"""Whatever is collected, a report comes out, soon, and of the right form."""

import copy
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubecase.core.categories import CATEGORIES
from kubecase.core.model import Collection, Gap
from kubecase.core.report import report_as_json, report_from_json
from kubecase.diagnosis import diagnose

from .clusters import NOW
from .corpus import misplaced
from .recordings import RECORDED, collection, recorded_inputs
from .test_scenarios import BY_NAME

ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        3.5,
        "",
        " ",
        "x",
        "2026-05-05T11:00:00Z",
        "nonsense\x00",
        [],
        {},
        [None],
        [[]],
        {"": None},
        [{}],
        {"name": 7},
        "0001-01-01T00:00:00Z",
        "9" * 400,
        [1, "a", None],
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything below a value."""
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(deeper for key, child in children for deeper in places(child, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any, *, remove: bool) -> None:
    """Replaces or removes what stands at a path."""
    for step in path[:-1]:
        value = value[step]
    if remove:
        del value[path[-1]]
    else:
        value[path[-1]] = new


def assert_well_formed(made: Collection) -> None:
    """A report comes out that any reader of reports takes."""
    report = diagnose(made)
    read, findings = report_from_json(report_as_json(report))
    assert findings == ()
    assert read
    assert 1 <= len(report.hypotheses) <= 5
    assert all(h.category in CATEGORIES and 0 <= h.confidence <= 1 for h in report.hypotheses)
    order = [h.confidence for h in report.hypotheses]
    assert order == sorted(order, reverse=True)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_a_damaged_cluster_still_yields_a_report(data: st.DataObject) -> None:
    """Fields that are missing or of the wrong type never stop a diagnosis."""
    case = BY_NAME[data.draw(st.sampled_from(sorted(BY_NAME)))]
    inputs = copy.deepcopy(case.cluster().inputs())
    for _ in range(data.draw(st.integers(1, 8))):
        where = [
            p for p in places({k: inputs[k] for k in ("objects", "events", "event")}) if len(p) > 1
        ]
        path = data.draw(st.sampled_from(where))
        put(inputs, path, copy.deepcopy(data.draw(ODD)), remove=data.draw(st.booleans()))

    made = Collection(
        collected_at=NOW,
        trigger=inputs["event"],
        objects=tuple(inputs["objects"]),
        events=tuple(inputs["events"]),
        logs=inputs["logs"],
    )

    assert_well_formed(made)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "kind",
                    "metadata",
                    "name",
                    "namespace",
                    "spec",
                    "status",
                    "conditions",
                    "containers",
                    "type",
                    "x",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=80, deadline=None)
@given(
    objects=st.lists(JSON, max_size=6),
    events=st.lists(JSON, max_size=4),
    trigger=st.none() | st.dictionaries(st.text(max_size=9), JSON),
    logs=st.dictionaries(st.text(max_size=12), st.text(max_size=300), max_size=3),
)
def test_any_json_yields_a_report(
    objects: list[Any], events: list[Any], trigger: Any, logs: dict[str, str]
) -> None:
    """Whatever parsed JSON is handed in as a collection, a report comes out."""
    assert_well_formed(
        Collection(
            collected_at=NOW,
            trigger=trigger,
            objects=tuple(objects),
            events=tuple(events),
            logs=logs,
        )
    )


def test_nothing_at_all_yields_a_report() -> None:
    """An empty collection is no reason to fail, nor to claim a fault."""
    report = diagnose(Collection(collected_at=datetime(2026, 1, 1, tzinfo=UTC), trigger=None))

    assert report.best
    assert report.best.category in {"none.no_fault", "unknown.insufficient_evidence"}


def test_what_could_not_be_collected_is_said() -> None:
    """When no cause can be named, the report says what could not be had and why."""
    inputs = BY_NAME["a_crash_that_left_no_word"].cluster().inputs()
    made = collection(inputs)

    report = diagnose(
        Collection(
            collected_at=made.collected_at,
            trigger=made.trigger,
            objects=made.objects,
            events=made.events,
            gaps=(Gap(what="log of container app", why="the kubelet answered 500"),),
        )
    )

    assert "the kubelet answered 500" in report.summary


HUGE = {
    "one line": "x" * 5_000_000,
    "spaces": " " * 5_000_000 + "error",
    "nearly a stamp": "2026-01-01T00:00:00 " * 250_000,
    "slashes": "error " + "/a" * 2_500_000,
    "dots": "error lookup " + "a." * 2_500_000,
    "many errors": (
        "ERROR dial tcp 10.0.0.1:5432: connect: connection refused after 3 ms (attempt 1/3)\n"
    )
    * 60_000,
    "many words": (
        "error: could not connect to host= server= broker= failed to parse config setting "
        "missing required\n"
    )
    * 50_000,
    "quotes": 'error "' + '\\"' * 2_500_000,
    "exceptions": "java.lang.a.b.c.d.e.f.g" * 200_000 + "Exception",
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_log_costs_less_than_a_second(kind: str) -> None:
    """A log of five megabytes, whatever is in it, is read in well under a second."""
    inputs = BY_NAME["a_go_program_with_a_nil_pointer"].cluster().inputs()
    key = next(k for k in inputs["logs"] if "/api-" in k)
    inputs["logs"][key] = HUGE[kind]
    made = collection(inputs)

    began = time.process_time()
    report = diagnose(made)
    took = time.process_time() - began

    assert report.hypotheses
    assert took < 1.0
    assert misplaced(inputs, report) == []


def test_logs_that_were_not_had_count_as_absent() -> None:
    """What kubectl or a runtime says instead of a log is never read as the program's own words."""
    inputs = recorded_inputs(RECORDED / "crashloop")
    told = {key: body for key, body in inputs["logs"].items() if key.endswith("/previous")}
    assert all(body.startswith("unable to retrieve container logs") for body in told.values())

    report = diagnose(collection({**inputs, "logs": told}))

    assert "unable to retrieve" not in str(report_as_json(report))
