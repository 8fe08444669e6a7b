"""Stopping an investigation that any process may have started."""

import time
from dataclasses import dataclass
from typing import Any

import anyio

from kubecase.app import plugins
from kubecase.app.orphans import recover
from kubecase.app.settings import Settings
from kubecase.core.lifecycle import is_final
from kubecase.core.model import IncidentId, Status
from kubecase.core.ports import Silence
from kubecase.runtime.registry import RuntimeOptions
from kubecase.store import CancelOutcome, Store, owner_is_alive

POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """What was found and done. `gone` is true when no process of the attempt is alive."""

    incident_id: IncidentId
    found: CancelOutcome
    status: Status
    gone: bool

    @property
    def stopped(self) -> bool:
        """Whether it was stopped by this request or an earlier one."""
        return self.found is not CancelOutcome.ALREADY_FINAL and self.status is Status.CANCELLED

    def in_words(self) -> str:
        """One sentence for people."""
        if self.found is CancelOutcome.ALREADY_FINAL:
            return f"{self.incident_id} had ended already: {self.status}"
        if not is_final(self.status):
            return f"{self.incident_id} was told to stop and has not ended yet: {self.status}"
        gone = "gone" if self.gone else "not gone"
        return f"{self.incident_id} ended: {self.status}; its process is {gone}"

    def as_json(self) -> dict[str, Any]:
        """The outcome for machines."""
        return {
            "incident_id": self.incident_id,
            "found": self.found,
            "status": self.status,
            "gone": self.gone,
        }


async def cancel_incident(
    store: Store, settings: Settings, name: str, wait_seconds: float
) -> Cancelled:
    """Record the request, tell the shim, and wait for the end that its own process records.

    The row comes first: whoever works the incident sees it before the next step, whether or not
    the shim could be told.
    """
    incident_id = await store.resolve(name)
    found = await store.request_cancel(incident_id)
    status = await store.status(incident_id)
    if found is CancelOutcome.ALREADY_FINAL:
        return Cancelled(incident_id=incident_id, found=found, status=status.status, gone=True)
    if owner_is_alive((await store.attempt(incident_id)).owner) is False:
        return await _conclude_orphan(store, settings, incident_id, found, wait_seconds)
    gone = False
    deadline = time.monotonic() + wait_seconds
    while True:
        run_dir = settings.store.data_dir / "runs" / status.key
        gone = await plugins.runtime("process", RuntimeOptions()).stop(
            run_dir, wait_seconds=max(0.0, min(deadline - time.monotonic(), wait_seconds))
        )
        status = await store.status(incident_id)
        if is_final(status.status) or time.monotonic() >= deadline:
            break
        await anyio.sleep(POLL_SECONDS)
    return Cancelled(incident_id=incident_id, found=found, status=status.status, gone=gone)


async def _conclude_orphan(
    store: Store,
    settings: Settings,
    incident_id: IncidentId,
    found: CancelOutcome,
    wait_seconds: float,
) -> Cancelled:
    """Nobody else will bring it to its end: its kubecase is dead."""
    with anyio.move_on_after(wait_seconds):
        # The request is on record by now, and is heeded by whoever takes over.
        await recover(settings, store, Silence(), anyio.Event(), [incident_id])
    status = await store.status(incident_id)
    gone = status.exit is None or status.exit.clean
    return Cancelled(
        incident_id=incident_id,
        found=found,
        status=status.status,
        gone=gone and is_final(status.status),
    )
