"""Investigations whose kubecase was killed: found, told of, taken over and brought to their end."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from kubecase.app import plugins, wiring
from kubecase.app.boundary import printable
from kubecase.app.settings import Settings
from kubecase.core.errors import KubecaseError
from kubecase.core.model import IncidentId
from kubecase.core.ports import Observer, Stop
from kubecase.runtime.registry import RuntimeOptions
from kubecase.service import Concluded
from kubecase.service.report import agent_result
from kubecase.store import Attempt, Store


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """What became of one attempt that was taken over. `error` is why it could not be."""

    attempt: Attempt
    concluded: Concluded | None
    error: KubecaseError | None = None

    def in_words(self) -> str:
        """One line for people."""
        name = f"{self.attempt.investigation.incident_id} attempt {self._number}"
        if self.error is not None:
            return f"{name} could not be taken over: {self.error}"
        if self.concluded is None:
            return f"{name} was taken over by another process"
        done = self.concluded.investigation
        why = f" ({done.reason})" if done.reason else ""
        return f"{name} ended: {done.status}{why}" + (f": {done.error}" if done.error else "")

    def as_json(self) -> dict[str, Any]:
        """The outcome for machines: the AgentResult, where there is one."""
        investigation = self.concluded.investigation if self.concluded else None
        reports = self.concluded.reports if self.concluded else {}
        return {
            "incident_id": self.attempt.investigation.incident_id,
            "attempt": self._number,
            "taken_over": self.concluded is not None,
            "error": None if self.error is None else str(self.error),
            "result": None if investigation is None else agent_result(investigation),
            "reports": {kind: str(path) for kind, path in reports.items()},
        }

    @property
    def _number(self) -> int:
        return self.attempt.investigation.attempt


async def recover(
    settings: Settings,
    store: Store,
    observer: Observer,
    stop: Stop,
    incidents: Sequence[IncidentId] = (),
) -> list[Recovered]:
    """Take over every orphan (of `incidents` only, if any are named), all at once, and follow each
    to its end. What cannot be taken over is told and hinders no other.
    """
    recovery = wiring.recovery(settings, store, observer)
    done: list[Recovered] = []

    async def one(orphan: Attempt) -> None:
        try:
            concluded = await recovery.conclude(orphan, stop)
        except KubecaseError as error:
            done.append(Recovered(attempt=orphan, concluded=None, error=error))
        else:
            done.append(Recovered(attempt=orphan, concluded=concluded))

    async with anyio.create_task_group() as together:
        for orphan in await recovery.orphans(incidents):
            together.start_soon(one, orphan)
    return done


async def tidy(settings: Settings, store: Store, observer: Observer) -> None:
    """Before new work: conclude orphans that have ended, and say which ones still run.

    Nobody waits here for an agent of somebody else's.
    """
    orphans = await store.orphans()
    if not orphans:
        return
    runtime = plugins.runtime("process", RuntimeOptions())
    running = {
        each.investigation.incident_id for each in orphans
        if runtime.is_running(run_dir(settings, each))
    }  # fmt: skip
    ended = [
        each.investigation.incident_id
        for each in orphans
        if each.investigation.incident_id not in running
    ]
    if ended:
        for recovered in await recover(settings, store, observer, anyio.Event(), ended):
            print(f"kubecase: {printable(recovered.in_words())}", file=sys.stderr)
    if running:
        print(
            f"kubecase: {len(running)} investigations go on whose kubecase was killed; "
            "`kubecase recover` takes them over",
            file=sys.stderr,
        )


async def remove_stray_containers(settings: Settings, store: Store) -> tuple[str, ...]:
    """Remove containers of ours that no unfinished attempt has; their names.

    A container can outlive kubecase and shim if the machine's engine is one of its own. Nothing is
    asked where no image is configured.
    """
    if settings.container.image is None:
        return ()
    from kubecase.app.containment import container_options
    from kubecase.runtime.container import ContainerLayer

    unfinished = [each.investigation.key for each in await store.owners_of_unfinished()]
    layer = ContainerLayer(container=container_options(settings))
    runs = settings.store.data_dir / "runs"
    return await anyio.to_thread.run_sync(layer.reconcile, runs, unfinished)


def run_dir(settings: Settings, attempt: Attempt) -> Path:
    """Where the shim of `attempt` keeps its records."""
    return settings.store.data_dir / "runs" / attempt.investigation.key
