"""Retention by hand: what is on record of each workspace, the decision, and the deletion."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubecase.app import wiring
from kubecase.app.settings import Settings
from kubecase.core.errors import IncidentUnknown, KubecaseError
from kubecase.core.ports import Silence
from kubecase.store import Store
from kubecase.workspace import (
    Candidate,
    CleanupPolicy,
    Decision,
    RootEntry,
    Workspace,
    expired,
    scan,
    shown,
)


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """One workspace with what was decided about it, and what came of that."""

    path: Path
    delete: bool
    why: str
    error: str | None = None

    def in_words(self, *, dry_run: bool) -> str:
        """One line for people."""
        if self.error is not None:
            return f"could not delete {shown(str(self.path))}: {self.error}"
        verb = ("would delete" if dry_run else "deleted") if self.delete else "keep"
        return f"{verb} {shown(str(self.path))}: {self.why}"

    def as_json(self) -> dict[str, Any]:
        """The decision for machines."""
        return {"path": str(self.path), "delete": self.delete, "why": self.why, "error": self.error}


async def collect_garbage(settings: Settings, dry_run: bool) -> list[Sorted]:
    """Decide about each entry below the root of workspaces, and delete what is due.

    With `dry_run` nothing is deleted. An error with one workspace is told and stops no other.
    """
    runtime = settings.agent_runtime
    root = runtime.workspace_root
    async with wiring.opened_store(settings, Silence()) as store:
        candidates = [await _candidate(store, entry) for entry in scan(root)]
    decisions = expired(
        candidates,
        now=wiring.now(),
        policy=CleanupPolicy(runtime.cleanup_policy),
        retention_seconds=runtime.workspace_retention_seconds,
    )
    return list(_carry_out(root, decisions, dry_run))


async def _candidate(store: Store, entry: RootEntry) -> Candidate:
    if entry.attempt_of is None:
        return Candidate(entry=entry, status=None, ended_at=None)
    incident_id, attempt = entry.attempt_of
    try:
        found = await store.status(incident_id, attempt)
    except IncidentUnknown:
        return Candidate(entry=entry, status=None, ended_at=None)
    return Candidate(entry=entry, status=found.status, ended_at=found.ended_at)


def _carry_out(root: Path, decisions: Iterator[Decision], dry_run: bool) -> Iterator[Sorted]:
    for decision in decisions:
        error = None
        if decision.delete and not dry_run and decision.entry.attempt_of is not None:
            try:
                Workspace.open(root, *decision.entry.attempt_of).delete()
            except KubecaseError as problem:
                error = str(problem)
        yield Sorted(
            path=root / decision.entry.name, delete=decision.delete, why=decision.why, error=error
        )
