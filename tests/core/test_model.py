"""Values that cannot be wrong."""

import dataclasses
import inspect
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubecase.core import briefing, model, report
from kubecase.core.errors import InvalidIncidentId, KubecaseError
from kubecase.core.model import (
    Cause,
    Command,
    Ended,
    Exit,
    Investigation,
    Reason,
    Resource,
    Status,
    parse_incident_id,
)

GOOD = "0b8e4f5e-1111-4222-8333-444455556666"
VALUES = [
    value
    for module in (model, report, briefing)
    for _, value in inspect.getmembers(module, dataclasses.is_dataclass)
    if isinstance(value, type) and value.__module__ == module.__name__
]


def test_a_canonical_uuid_is_an_incident_id() -> None:
    """The usual spelling of a UUID is taken as it is (req 3.1, 16.1)."""
    assert parse_incident_id(GOOD) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "../x", "..", "/", GOOD.upper(), "{" + GOOD + "}", "urn:uuid:" + GOOD, GOOD + "\n",
        " " + GOOD, GOOD.replace("-", ""), GOOD[:-1], GOOD + "0", GOOD + "\0", "\0" * 36,
        GOOD.replace("0", "٠"), GOOD[:-1] + "g", GOOD + "/..", "incident-" + GOOD,
    ],
)  # fmt: skip
def test_no_other_spelling_is_an_incident_id(text: str) -> None:
    """Anything that is not a canonical UUID is refused, since ids become paths (req 3.1, 16.1)."""
    with pytest.raises(InvalidIncidentId) as caught:
        parse_incident_id(text)

    assert caught.value.hint
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 120


@given(st.text(max_size=60))
def test_only_one_form_is_ever_an_incident_id(text: str) -> None:
    """Of all texts exactly those of the canonical form pass (req 16.1)."""
    canonical = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)
    try:
        assert parse_incident_id(text) == text
        assert canonical
    except InvalidIncidentId:
        assert not canonical


def test_there_are_exactly_seven_words_for_a_status() -> None:
    """The seven statuses are the seven words of the formats (req 1.3)."""
    assert [s.value for s in Status] == [
        "created", "starting", "running", "success", "failed", "timeout", "cancelled",
    ]  # fmt: skip


def test_the_reasons_for_a_failure_are_a_closed_list() -> None:
    """The twelve reasons are those of the formats."""
    assert {r.value for r in Reason} == {
        "start_error", "exit_code", "signal", "no_report", "stalled", "output_limit", "disk_limit",
        "budget", "quota", "auth", "lost", "internal",
    }  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda v: v.__name__)
def test_values_are_frozen_and_keyword_only(value: type) -> None:
    """No value can be changed after it was made, or made by position (req 1.1)."""
    fields = dataclasses.fields(value)

    assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert all(field.kw_only for field in fields)


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("code", [None, 0, 255])
@pytest.mark.parametrize("signal", [None, 9])
def test_an_exit_says_one_thing(cause: Cause, code: int | None, signal: int | None) -> None:
    """An exit has a code or a signal, and neither where nothing can be known (req 8.13)."""
    unknowable = cause in {Cause.START_ERROR, Cause.LOST}
    fits = (code is None and signal is None) if unknowable else (code is None) != (signal is None)

    if fits:
        Exit(cause=cause, code=code, signal=signal, seconds=1, clean=True)
    else:
        with pytest.raises(ValueError, match="of code and signal"):
            Exit(cause=cause, code=code, signal=signal, seconds=1, clean=True)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("reason", [None, *Reason])
def test_an_end_is_final_and_only_a_failure_has_a_reason(
    status: Status, reason: Reason | None
) -> None:
    """No end can be recorded that is none, that lacks its reason, or that has one too many."""
    final = status not in {Status.CREATED, Status.STARTING, Status.RUNNING}

    if final and (status is Status.FAILED) == (reason is not None):
        assert Ended(status=status, reason=reason, error=None).status is status
    else:
        with pytest.raises(ValueError, match=r"not an end|has a reason"):
            Ended(status=status, reason=reason, error=None)


def test_a_command_does_not_show_its_environment_or_prompt() -> None:
    """What may hold a key or a stranger's words is absent from the representation (req 15.7)."""
    command = Command(
        argv=("agent",), environment={"ANTHROPIC_API_KEY": "canary-1"}, cwd=Path("/"),
        stdin=b"canary-2", files={"a": b"canary-3"}, private_files={"b": b"canary-4"},
    )  # fmt: skip

    assert "canary" not in repr(command)
    assert "agent" in repr(command)


def test_a_resource_is_written_as_kind_and_name() -> None:
    """People read `Kind/name`."""
    assert str(Resource(kind="Pod", name="api-0", namespace="shop")) == "Pod/api-0"


def test_an_investigation_has_a_key_of_its_own() -> None:
    """Two attempts at one incident never share a run directory or a row."""
    keys = {
        Investigation(
            incident_id=parse_incident_id(GOOD), attempt=n, agent="x", status=Status.CREATED,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        ).key
        for n in (1, 2)
    }  # fmt: skip

    assert keys == {f"{GOOD}-1", f"{GOOD}-2"}


def test_an_error_carries_its_remedy() -> None:
    """What an operator can put right says how, and is one tree (req 12.1)."""
    error = KubecaseError("cannot do it", hint="Do that first.")

    assert (str(error), error.hint) == ("cannot do it", "Do that first.")
    assert issubclass(InvalidIncidentId, KubecaseError)
