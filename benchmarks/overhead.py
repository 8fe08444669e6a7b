"""From an accepted fault to the agent's first instruction, against a bare Popen of that agent."""

import json
import statistics
import subprocess
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import anyio

from kubecase.agents.command import CommandAgent
from kubecase.agents.options import AgentSettings
from kubecase.app import wiring
from kubecase.app.settings import load
from kubecase.channels.sources.file import load_intake
from kubecase.clusters import RecordedCollector
from kubecase.core.model import Incident, IncidentId
from kubecase.core.ports import Silence

RUNS = 30
AGENT = """#!/bin/sh
date +%s%N >"$TMPDIR/first"
"""
FAULT = {"namespace": "shop", "resource": "Pod/api-0", "reason": "CrashLoop", "message": "exited 1"}


async def ours(folder: Path, agent: Path) -> list[float]:
    loaded = load(
        {"store.data_dir": folder / "data", "agent_runtime.workspace_root": folder / "ws"},
        {"PATH": "/usr/bin:/bin"},
        None,
        folder,
    )
    intake = load_intake(json.dumps(FAULT).encode(), now=datetime.now(UTC), cluster_default="bench")
    choice = wiring.Choice(
        name="command",
        agent=CommandAgent.configured(AgentSettings(argv=(str(agent),))),
        why="measured",
    )
    taken = []
    async with wiring.opened_store(loaded.settings, Silence()) as store:
        investigator = wiring.investigator(
            loaded.settings,
            choice=choice,
            store=store,
            collector=RecordedCollector(recorded()),
            observer=Silence(),
        )
        for _ in range(RUNS):
            incident = Incident(
                id=IncidentId(str(uuid.uuid4())),
                fault=intake.faults[0].fault,
                opened_at=datetime.now(UTC),
            )
            begun = time.time_ns()
            concluded = await investigator.investigate(incident, anyio.Event())
            workspace = concluded.investigation.workspace
            assert workspace is not None
            taken.append((int((workspace / ".tmp" / "first").read_text()) - begun) / 1e6)
    return taken


def recorded():
    from kubecase.app.recordings import recording_named

    intake = load_intake(
        str(recording_named("crashloop")), now=datetime.now(UTC), cluster_default="bench"
    )
    collection = intake.faults[0].collection
    assert collection is not None
    return collection


def bare(folder: Path, agent: Path) -> list[float]:
    taken = []
    for _ in range(RUNS):
        begun = time.time_ns()
        process = subprocess.Popen([agent], env={"PATH": "/usr/bin:/bin", "TMPDIR": str(folder)})
        process.wait()
        taken.append((int((folder / "first").read_text()) - begun) / 1e6)
    return taken


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kubecase-bench-") as name:
        folder = Path(name)
        agent = folder / "agent"
        agent.write_text(AGENT)
        agent.chmod(0o700)
        baseline = bare(folder, agent)
        measured = anyio.run(ours, folder, agent)
    base, middle = statistics.median(baseline), statistics.median(measured)
    for name, values in (("bare Popen", baseline), ("investigation", measured)):
        print(
            f"{name:<15} min {min(values):6.1f}  median {statistics.median(values):6.1f}"
            f"  max {max(values):6.1f} ms, {RUNS} runs"
        )
    print(f"added           median {middle - base:.1f} ms, ratio {middle / base:.1f}")
    print("(a recorded crash loop: facts collected, diagnosed and written, each run on record)")


if __name__ == "__main__":
    main()
