"""`kubecase gc --dry-run` over many workspaces, against a bare scandir and stat of the same root.

python benchmarks/retention.py [WORKSPACES]
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from kubecase.channels.sources.file import load_intake
from kubecase.core.model import Incident, IncidentId, Status
from kubecase.store import Owner, Store
from kubecase.workspace import Workspace

KUBECASE = Path(sys.executable).with_name("kubecase")
COUNT = 100_000
FEW = 1_000


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder), "AGENT_RUNTIME_MIN_FREE_SPACE": "off"}


def data_of(folder: Path) -> Path:
    return folder / ".local/share/kubecase"


async def first(folder: Path) -> None:
    """One ended investigation, as the store writes it."""
    fault = b'{"namespace": "n", "resource": "Pod/p", "reason": "R", "message": "m"}'
    intake = load_intake(fault, now=datetime.now(UTC), cluster_default="bench")
    async with Store.open(data_of(folder) / "kubecase.db", owner=Owner.current()) as store:
        incident = Incident(
            id=IncidentId(str(uuid.uuid4())),
            fault=intake.faults[0].fault,
            opened_at=datetime.now(UTC),
        )
        attempt = await store.begin(incident, agent="builtin")
        attempt = await store.move(attempt, Status.STARTING)
        attempt = await store.move(attempt, Status.RUNNING)
        await store.move(attempt, Status.SUCCESS)
    Workspace.create(data_of(folder) / "workspaces", incident.id, 1)


def prepare(folder: Path, count: int) -> None:
    """Workspaces, and their rows: those of one real investigation, multiplied."""
    anyio.run(first, folder)
    ids = [str(uuid.uuid4()) for _ in range(count - 1)]
    ended = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    with sqlite3.connect(data_of(folder) / "kubecase.db") as record:
        for table, key in (("fault", "id"), ("incident", "id"), ("investigation", "incident_id")):
            columns = [row[1] for row in record.execute(f"PRAGMA table_info({table})")]
            (row,) = record.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()
            values = dict(zip(columns, row, strict=True))
            if "ended_at" in values:
                values["ended_at"] = str(ended)
            marks = ", ".join("?" for _ in columns)
            record.executemany(
                f"INSERT INTO {table} VALUES ({marks})",
                (
                    list((values | changed(table, key, number, each)).values())
                    for number, each in enumerate(ids, start=2)
                ),
            )
    root = data_of(folder) / "workspaces"
    for each in ids:
        (root / f"incident-{each}").mkdir(mode=0o700)


def changed(table: str, key: str, number: int, incident: str) -> dict[str, object]:
    if table == "fault":
        return {key: number, "fingerprint": incident}
    if table == "incident":
        return {key: incident, "fault_id": number, "fingerprint": incident}
    return {key: incident, "workspace": None}


def bare(root: Path) -> float:
    begun = time.monotonic()
    with os.scandir(root) as entries:
        for entry in entries:
            entry.stat(follow_symlinks=False)
    return time.monotonic() - begun


def gc(folder: Path, *words: str, **settings: str) -> tuple[float, int]:
    """Seconds, and the largest resident size in KiB."""
    reader, writer = os.pipe()
    begun = time.monotonic()
    process = subprocess.Popen(
        [KUBECASE, "gc", *words], env=environment(folder) | settings,
        stdout=subprocess.DEVNULL, stderr=writer,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.monotonic() - begun
    os.close(writer)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"gc failed: {os.read(reader, 10_000).decode()}")
    os.close(reader)
    return taken, usage.ru_maxrss


def measured(count: int) -> tuple[float, float, int, float]:
    with tempfile.TemporaryDirectory(prefix="kubecase-bench-") as name:
        folder = Path(name).resolve()
        prepare(folder, count)
        root = data_of(folder) / "workspaces"
        baseline = min(bare(root) for _ in range(3))
        taken, peak = gc(folder, "--dry-run")
        all_due, _ = gc(folder, "--dry-run", AGENT_RUNTIME_RETENTION_HOURS="0.001")
        return baseline, taken, peak, all_due


def main(count: int) -> None:
    if count > COUNT:
        raise SystemExit(f"at most {COUNT} workspaces")
    _, start, small_peak, _ = measured(FEW)
    baseline, taken, peak, all_due = measured(count)
    print(f"workspaces                      {count}")
    print(f"scandir and stat                {baseline:8.2f} s  {count / baseline:10.0f} entries/s")
    print(f"gc --dry-run                    {taken:8.2f} s  {count / taken:10.0f} entries/s")
    print(f"  ratio to scandir and stat     {taken / baseline:8.1f}")
    print(f"  ratio to gc of {FEW:<10}     {taken / start:8.1f}")
    print(f"gc --dry-run, all of them due   {all_due:8.2f} s  ratio {all_due / baseline:8.1f}")
    print(f"peak memory                     {peak / 1024:8.1f} MiB")
    print(f"  growth from {FEW:<10}        {(peak - small_peak) / 1024:8.1f} MiB")


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if word.isdigit()]
    main(int(given[0]) if given else COUNT)
