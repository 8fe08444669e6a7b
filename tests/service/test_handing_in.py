"""Handing incidents in to the queue: a queue that cannot be reached ends nothing."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.incidents import ID, a_fault
from kubecase.core.errors import StoreUnavailable
from kubecase.core.intake import Accepted, Decision
from kubecase.core.model import IncidentId
from kubecase.core.ports import Handler
from kubecase.service.dispatch import Dispatcher, Left, Limits
from kubecase.store import Owner, Store

pytestmark = pytest.mark.anyio


@dataclass
class Away:
    """A queue in a database that is away."""

    stopped: anyio.Event = field(default_factory=anyio.Event)
    asked: deque[IncidentId] = field(default_factory=deque)

    async def enqueue(self, incident: IncidentId, *, cluster: str, priority: int) -> bool:
        self.asked.append(incident)
        raise StoreUnavailable("cannot reach the queue")

    async def cancel_queued(self, incident: IncidentId) -> bool:
        return False

    async def register(self, cluster: str, limit: int) -> None:
        return None

    async def run(self, handler: Handler) -> None:
        await self.stopped.wait()

    async def stop(self) -> None:
        self.stopped.set()

    async def stats(self) -> Mapping[str, int]:
        return {}


@dataclass
class Heard:
    """An observer that can be waited for."""

    error: anyio.Event = field(default_factory=anyio.Event)

    def record(self, event: str, /, **fields: Any) -> None:
        if event == "error" and fields["error_type"] == "store":
            self.error.set()


async def test_a_queue_that_is_away_does_not_end_the_service(tmp_path: Path) -> None:
    """A new incident that cannot be handed in is told, and waits on record for the next sweep."""
    queue, heard, stop = Away(), Heard(), anyio.Event()

    async def nothing(*_: Any) -> Any:
        return Left.NOTHING

    def made(*_: Any) -> Any:
        raise AssertionError("nothing was given out")

    async with Store.open(tmp_path / "kubecase.db", owner=Owner.current()) as store:
        dispatcher = Dispatcher(
            store=store, queue=queue, observer=heard, clock=lambda: datetime.now(UTC),
            limits=lambda _: Limits(), made=made, give_up=nothing, left=nothing,
        )  # fmt: skip
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(dispatcher.run, {}, stop)
                await anyio.wait_all_tasks_blocked()
                dispatcher.begin(
                    Accepted(decision=Decision.OPENED, reason="new", incident_id=ID), a_fault()
                )
                await heard.error.wait()
                assert list(queue.asked) == [ID]
                stop.set()
