"""What tests of the service build investigations from, in this process and in ones to be killed."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fakes.incidents import a_fault
from kubecase.agents.command import CommandAgent
from kubecase.core.model import (
    Collection,
    Exit,
    Fault,
    Incident,
    IncidentId,
    Limits,
    Verdict,
)
from kubecase.core.ports import Agent, Observer
from kubecase.core.redact import Redactor
from kubecase.runtime import ProcessRuntime
from kubecase.service import Investigator
from kubecase.store import Store
from kubecase.workspace import CleanupPolicy

REPORT = "# Kubernetes Incident Triage Report\\n" + "The api exits 1 since a table is missing. " * 4
LEAVES_REPORT = f"cat >/dev/null; printf '{REPORT}' >output/investigation.md"
WAITS = f"{LEAVES_REPORT}; while ! [ -e go ]; do sleep 0.02; done; exit"
"""An agent that leaves its report at once and then waits for the file `go`; its code follows."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Heard:
    """An observer that remembers."""

    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def record(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    def named(self, name: str) -> list[dict[str, object]]:
        return [fields for event, fields in self.events if event == name]


@dataclass
class Collects:
    """A collector that finds nothing."""

    async def collect(self, fault: Fault) -> Collection:
        return Collection(collected_at=now(), trigger=None)


@dataclass(frozen=True, kw_only=True)
class Shell(CommandAgent):
    """An agent that is a shell script, and whose verdict may be given with it."""

    claim: Verdict = field(default_factory=lambda: Verdict(report=None))
    called: str = "command"

    @property
    def name(self) -> str:
        return self.called

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        return self.claim


def shell(script: str, **more: Any) -> Shell:
    return Shell(argv=("/bin/sh", "-c", script), **more)


def an_incident(number: int = 1) -> Incident:
    return Incident(
        id=IncidentId(str(uuid.UUID(int=number, version=4))), fault=a_fault(), opened_at=now()
    )


def investigator(
    root: Path, store: Store, agent: Agent | None, observer: Observer, **changes: Any
) -> Investigator:
    whole = Investigator(
        agent=agent,
        runtime=ProcessRuntime(policy="survive"),
        store=store,
        collector=Collects(),
        observer=observer,
        redactor=Redactor(),
        workspaces=root / "workspaces",
        data=root / "data",
        limits=Limits(wall_clock=30, grace=1, idle=None, output_bytes=1 << 20, disk_bytes=1 << 26),
        skills=None,
        path="/usr/local/bin:/usr/bin:/bin",
        clock=now,
        cleanup=CleanupPolicy.KEEP_ALWAYS,
    )
    return replace(whole, **changes)
