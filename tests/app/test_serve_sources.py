"""The sources of the service: one that fails is tried again, and takes nothing from the others."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.incidents import a_fault
from kubecase.app.serve_sources import Sources, Wanted
from kubecase.channels.sources.directory import DirectorySource
from kubecase.channels.sources.polling import conditions_of
from kubecase.channels.sources.reconnecting import BackOff
from kubecase.core.errors import KubecaseError
from kubecase.core.intake import Rules
from kubecase.core.model import Fault
from kubecase.core.ports import Silence
from kubecase.core.ports import Source as Protocol
from kubecase.service.intake import Intake
from kubecase.store import Owner, Store

pytestmark = pytest.mark.anyio

EVENT = {
    "kind": "Event",
    "apiVersion": "v1",
    "type": "Warning",
    "reason": "BackOff",
    "message": "Back-off restarting failed container",
    "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "api"},
}


@dataclass
class Heard:
    """An observer that remembers what it is told."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def record(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))


@dataclass
class Fails:
    """A source that raises `errors`, one each time it is begun, and after them gives a fault."""

    errors: Iterator[Exception]
    name: str = "fails"

    async def faults(self) -> AsyncIterator[Fault]:
        for error in self.errors:
            raise error
        yield a_fault(reason="OOMKilled", occurrences=2)
        await anyio.sleep_forever()


async def taken_in(store: Store, heard: Heard, source: Protocol) -> None:
    """Run `source` until its first fault has opened an incident."""
    begun = anyio.Event()
    intake = Intake(
        desk=store.desk, rules=lambda _: Rules(second_sign=0), observer=Silence(),
        begin=lambda *_: begun.set(),
    )  # fmt: skip
    sources = Sources(
        intake=intake, observer=heard, back_off=lambda: BackOff(first=0.01, longest=0.05)
    )
    wanted = Wanted(name="one", cluster="dev", options=None, make=lambda: source, tells=("one",))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(sources._keep, wanted, anyio.CancelScope())
            await begun.wait()
            group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), KubecaseError("no credential yet")], ids=["bug", "operator"]
)
async def test_a_source_that_fails_is_tried_again(tmp_path: Path, error: Exception) -> None:
    """Neither a bug in a source nor a fault of its settings ends it, or the service."""
    heard = Heard()
    async with Store.open(tmp_path / "kubecase.db", owner=Owner.current()) as store:
        await taken_in(store, heard, Fails(iter([error, error])))

    states = [fields["state"] for event, fields in heard.events if event == "source_state"]
    assert states == ["failed", "removed", "failed", "removed"]


async def test_a_directory_that_cannot_be_used_is_an_error_of_the_operator(tmp_path: Path) -> None:
    """A file that cannot be moved away, or a directory that is gone, names path and remedy."""
    path = tmp_path / "in"
    source = DirectorySource(
        path, clock=lambda: datetime.now(UTC), cluster_default="dev", observer=Silence()
    )
    (path / "taken" / "a.json" / "full").mkdir(parents=True)
    (path / "a.json").write_text(json.dumps(EVENT))
    with anyio.fail_after(30), pytest.raises(KubecaseError, match="cannot take files") as found:
        async for _ in source.faults():
            pass

    assert "sources.<name>.path" in (found.value.hint or "")


def test_a_node_that_fails_again_is_another_sign() -> None:
    """A Node that was ready in between has another key, and the same one while it lasts."""

    def sign(since: str) -> Any:
        condition = {"type": "Ready", "status": "False", "lastTransitionTime": since}
        node = {"kind": "Node", "metadata": {"name": "n"}, "status": {"conditions": [condition]}}
        (found,) = conditions_of(node, datetime.now(UTC))
        return found

    first = sign("2026-01-01T10:00:00Z")
    assert first.key == sign("2026-01-01T10:00:00Z").key
    assert first.key != sign("2026-01-01T12:00:00Z").key
    assert replace(first, message="still").key == first.key


async def test_the_reason_of_a_refusal_is_written_through_no_link(tmp_path: Path) -> None:
    """A link that waits where the reason goes is replaced, and what it points at stays as it is."""
    target = tmp_path / "precious"
    target.write_text("kept")
    drop = tmp_path / "drop"
    (drop / "refused").mkdir(parents=True)
    reason = drop / "refused" / "a.json.why.txt"
    reason.symlink_to(target)
    (drop / "a.json").write_text("{")
    (drop / "b.json").write_text(json.dumps(EVENT))
    source = DirectorySource(
        drop, clock=lambda: datetime.now(UTC), cluster_default="dev", observer=Silence()
    )

    with anyio.fail_after(30):
        await anext(source.faults())

    assert target.read_text() == "kept"
    assert not reason.is_symlink()
    assert reason.read_text().strip()
