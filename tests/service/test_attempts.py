"""Failures that may pass are tried again: bounded, with a pause, each in a workspace of its own."""

from pathlib import Path

import anyio
import pytest

from kubecase.core.model import IncidentState, Investigation, Reason, Status, Verdict
from kubecase.service import Attempts
from kubecase.store import Store
from service.workshop import LEAVES_REPORT, Heard, Shell, an_incident, investigator, shell

pytestmark = pytest.mark.anyio

OVERLOADED = Verdict(report=None, failure="overloaded", reason=Reason.QUOTA, transient=True)
FORBIDDEN = Verdict(report=None, failure="not allowed", reason=Reason.AUTH)


def attempts(
    tmp_path: Path, store: Store, heard: Heard, agent: Shell, **changes: float | bool
) -> Attempts:
    retries, delay = int(changes.pop("retries", 2)), float(changes.pop("delay", 0.01))
    made = investigator(tmp_path, store, agent, heard, **changes)
    return Attempts(chain=(made,), observer=heard, retries=retries, delay=delay)


async def on_record(store: Store) -> list[Investigation]:
    return [each.investigation for each in (await store.story(an_incident().id)).attempts]


async def test_an_agent_that_fails_twice_and_then_works_has_three_attempts(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """Two failures that may pass are followed by a success, each with its directory (req 21.7)."""
    count = tmp_path / "count"
    script = f"echo >>{count}; [ $(wc -l <{count}) -lt 3 ] && exit 10; {LEAVES_REPORT}"
    work = attempts(tmp_path, store, heard, shell(script), exit_classes=True)

    concluded = await work.work(an_incident(), anyio.Event())

    assert concluded.investigation.status is Status.SUCCESS
    done = await on_record(store)
    assert [each.reason for each in done] == [Reason.QUOTA, Reason.QUOTA, None]
    names = [each.workspace.name for each in done if each.workspace]
    base = f"incident-{an_incident().id}"
    assert names == [base, f"{base}-attempt-2", f"{base}-attempt-3"]
    assert [e["left"] for e in heard.named("retrying")] == [1, 0]
    assert (await store.story(an_incident().id)).incident.state is IncidentState.DONE


async def test_the_number_of_attempts_is_bounded(
    tmp_path: Path, store: Store, heard: Heard
) -> None:
    """What never passes is given up after the retries that the settings allow (req 21.7)."""
    work = attempts(tmp_path, store, heard, shell("exit 1", claim=OVERLOADED), retries=1)

    concluded = await work.work(an_incident(), anyio.Event())

    assert concluded.investigation.reason is Reason.QUOTA
    assert len(await on_record(store)) == 2
    assert (await store.story(an_incident().id)).incident.state is IncidentState.DONE


@pytest.mark.parametrize("agent", [shell("exit 3"), shell("exit 1", claim=FORBIDDEN)])
async def test_what_does_not_pass_is_not_tried_again(
    tmp_path: Path, store: Store, heard: Heard, agent: Shell
) -> None:
    """A failure that another attempt would meet again ends the incident at once (req 21.7)."""
    await attempts(tmp_path, store, heard, agent).work(an_incident(), anyio.Event())

    assert len(await on_record(store)) == 1
    assert heard.named("retrying") == []


async def test_a_request_to_stop_ends_the_pause(tmp_path: Path, store: Store, heard: Heard) -> None:
    """Nobody waits for a retry that is not wanted any more, and the incident is done."""
    stop = anyio.Event()

    class StopsAtRetry(Heard):
        def record(self, event: str, /, **fields: object) -> None:
            super().record(event, **fields)
            if event == "retrying":
                stop.set()

    observer = StopsAtRetry()
    made = investigator(tmp_path, store, shell("exit 1", claim=OVERLOADED), observer)
    work = Attempts(chain=(made,), observer=observer, retries=5, delay=60)

    with anyio.fail_after(20):
        await work.work(an_incident(), stop)

    assert len(await on_record(store)) == 1
    assert (await store.story(an_incident().id)).incident.state is IncidentState.DONE
