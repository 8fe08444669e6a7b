"""Rounds of: start four agents, SIGKILL their kubecase at a random moment, have another take over.

For each round a witness looks for processes by a marker in their environment, and the agents
themselves leave a trace that tells whether one was started twice.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import anyio

from kubecase.agents.command import CommandAgent
from kubecase.app import wiring
from kubecase.app.settings import load
from kubecase.clusters.recorded import NothingCollector
from kubecase.core.lifecycle import is_final
from kubecase.core.model import Fault, Incident, IncidentId, Reason, Resource
from kubecase.core.severity import Severity

AGENTS = 4
KUBECASE = Path(sys.executable).with_name("kubecase")
REPORT = "# Kubernetes Incident Triage Report" + " The api exits 1 since a table is missing." * 4
SCRIPT = """
cat >/dev/null
mkdir output/artifacts/begun || touch output/artifacts/twice
sleep {seconds}
(setsid sleep 60 &)
echo '{report}' >output/investigation.md
exit {code}
"""


def settings(root: Path):
    values = {"store.data_dir": root / "data", "agent_runtime.workspace_root": root / "ws"}
    values |= {"agent_runtime.when_supervisor_dies": "survive"}
    return load(values, {"PATH": "/usr/bin:/bin", "HOME": str(root)}, None, root)


def fault(number: int) -> Fault:
    return Fault(
        fingerprint=f"round-{number}", cluster="bench", reason="CrashLoop", message="exited 1",
        resource=Resource(kind="Pod", name=f"api-{number}", namespace="shop"),
        severity=Severity.WARNING, severity_word="warning", seen_at=datetime.now(UTC), raw=b"{}",
    )  # fmt: skip


class Clock:
    """An observer that notes when attempts were taken over and agents re-attached."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seen: dict[str, list[float]] = {"taken_over": [], "agent_reattached": []}

    def record(self, event: str, /, **fields: object) -> None:
        if event in self.seen:
            self.seen[event].append((time.perf_counter() - self.began) * 1000)


async def supervise(root: Path, seed: int) -> None:
    """The process that will be killed: four investigations at once, on one record."""
    chance, loaded = random.Random(seed), settings(root).settings
    async with wiring.opened_store(loaded, Clock()) as store, anyio.create_task_group() as four:
        for number in range(AGENTS):
            code = number + 40
            script = SCRIPT.format(
                seconds=round(chance.uniform(0.0, 1.6), 2), report=REPORT, code=code
            )
            choice = wiring.Choice(
                name="command",
                agent=CommandAgent(argv=("/bin/sh", "-c", script)),
                why="",
                chosen=False,
            )
            made = wiring.investigator(
                loaded, choice=choice, store=store, observer=Clock(),
                collector=NothingCollector(clock=wiring.now),
            )  # fmt: skip
            incident = Incident(
                id=IncidentId(str(uuid.UUID(int=(seed << 8) + number, version=4))),
                fault=fault(number), opened_at=datetime.now(UTC),
            )  # fmt: skip
            four.start_soon(made.investigate, incident, anyio.Event())


async def recover(root: Path) -> None:
    """The process that comes after: takes over, follows, concludes; prints how long it took."""
    from kubecase.app.orphans import recover as take_over

    loaded = settings(root).settings
    async with wiring.opened_store(loaded, Clock()) as store:
        clock = Clock()
        done = await take_over(loaded, store, clock, anyio.Event())
    print(json.dumps({"errors": [str(each.error) for each in done if each.error], **clock.seen}))


async def outcome(root: Path) -> list[dict[str, object]]:
    loaded = settings(root).settings
    rows = []
    async with wiring.opened_store(loaded, Clock()) as store:
        for row in await store.list_investigations(limit=1000):
            found = await store.attempt(row.incident_id, row.attempt)
            rows.append({"investigation": found.investigation, "epoch": found.epoch})
    return rows


def judged(root: Path) -> dict[str, int]:
    """What came of one round, from the rows and from what the agents have left."""
    counts = {"attempts": 0, "known": 0, "never started": 0, "lost": 0, "twice": 0}
    for row in anyio.run(outcome, root):
        done, epoch = row["investigation"], row["epoch"]
        artifacts = root / "ws" / f"incident-{done.incident_id}" / "output" / "artifacts"
        begun = (artifacts / "begun").exists()
        expected = int(done.incident_id[-2:], 16) + 40
        known = done.exit is not None and done.exit.code == expected
        counts["attempts"] += 1
        counts["known"] += begun and known
        counts["never started"] += (
            not begun and is_final(done.status) and done.reason is Reason.LOST
        )
        counts["lost"] += begun and not known
        counts["twice"] += (artifacts / "twice").exists() or epoch > 2
        if not is_final(done.status):
            counts["lost"] += 1
    return counts


def left_over(root: Path) -> int:
    mark = f"INCIDENT_WORKSPACE={root}/".encode()
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found += mark in (entry / "environ").read_bytes()
            except OSError:
                continue
    return found


def listing(root: Path, over: threading.Event) -> None:
    """`kubecase list` in a loop beside everything, which must adopt nothing."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(root)}
    argv = [KUBECASE, "list", "--json", "--data-dir", str(root / "data")]
    while not over.is_set():
        subprocess.run(argv, env=environment, capture_output=True)
        over.wait(0.2)


def run_round(seed: int) -> tuple[dict[str, int], dict[str, list[float]]]:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="kubecase-round-") as name:
        root, over = Path(name), threading.Event()
        beside = threading.Thread(target=listing, args=(root, over))
        this = [sys.executable, __file__, "--root", name, "--seed", str(seed)]
        supervisor = subprocess.Popen([*this, "--role", "supervise"], stderr=subprocess.DEVNULL)
        beside.start()
        try:
            time.sleep(chance.uniform(0.8, 2.8))
            supervisor.send_signal(signal.SIGKILL)
            supervisor.wait()
            if not (root / "data" / "kubecase.db").exists():
                return dict.fromkeys(("attempts", "known", "never started", "lost", "twice"), 0), {}
            done = subprocess.run([*this, "--role", "recover"], capture_output=True, check=True)
        finally:
            over.set()
            beside.join()
        times = json.loads(done.stdout)
        errors = times.pop("errors")
        counts = judged(root)
        counts["lost"] += len(errors)
        for error in errors:
            print(f"round {seed}: {error}", file=sys.stderr)
        counts["left over"] = left_over(root)
    return counts, times


def main(rounds: int) -> None:
    total: dict[str, int] = {}
    times: dict[str, list[float]] = {"taken_over": [], "agent_reattached": []}
    for seed in range(rounds):
        counts, seen = run_round(seed)
        if counts.get("lost") or counts.get("twice") or counts.get("left over"):
            print(f"round {seed}: {counts}", flush=True)
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
        for name, values in seen.items():
            times[name] += values
    print(f"{'rounds':>8} {'attempts':>9} {'exit known':>11} {'never started':>14}"
          f" {'lost':>6} {'twice':>6} {'left over':>10}")  # fmt: skip
    print(f"{rounds:>8} {total['attempts']:>9} {total['known']:>11} {total['never started']:>14}"
          f" {total['lost']:>6} {total['twice']:>6} {total.get('left over', 0):>10}")  # fmt: skip
    for name, words in (("taken_over", "taken over"), ("agent_reattached", "re-attached")):
        values = times[name]
        if values:
            print(f"{words:<12} {len(values):>4} attempts, ms after the start of recovery: median "
                  f"{statistics.median(values):.0f}, max {max(values):.0f}")  # fmt: skip


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", "20")))
    options.add_argument("--role")
    options.add_argument("--root", type=Path)
    options.add_argument("--seed", type=int)
    given, _ = options.parse_known_args()
    if given.role == "supervise":
        anyio.run(supervise, given.root, given.seed)
    elif given.role == "recover":
        anyio.run(recover, given.root)
    else:
        main(given.rounds)
