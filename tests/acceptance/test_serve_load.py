"""`kubecase serve` under load and failure: what was acknowledged is on record, once."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from .conftest import Home
from .serving import serving, settings, wait_for

CLIENTS, BURSTS, ALERTS = 20, 15, 5
MANY = {"max_queued": 100_000, "storm": 0, "at_once": 1, "queue_max_age": "off"}
QUICK = {"requests_per_second": 100_000, "burst": 100_000}


def alert(name: str) -> dict[str, Any]:
    """One fault of an object of its own."""
    return {
        "cluster": "dev", "namespace": "shop", "resource": f"Deployment/{name}",
        "reason": "CrashLoop", "message": "it exited 1", "severity": "critical",
    }  # fmt: skip


@dataclass
class Clients:
    """Twenty senders; what is acknowledged is kept, the rest is kept by its sender."""

    url: str
    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, number: int) -> None:
        """All bursts of one client."""
        with httpx2.Client(timeout=30) as client:
            for burst in range(BURSTS):
                names = [f"app-x{number}y{burst}z{each}q" for each in range(ALERTS)]
                self.send_burst(client, names)

    def send_burst(self, client: httpx2.Client, names: list[str]) -> None:
        try:
            body = [alert(name) for name in names]
            taken = client.post(f"{self.url}/api/v1/faults", json=body).status_code == 202
        except httpx2.HTTPError:
            taken = False
        with self.lock:
            (self.acknowledged if taken else self.refused).update(names)


def recorded(data: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the record."""
    with closing(sqlite3.connect(data / "kubecase.db")) as connection:
        return connection.execute(query).fetchall()


def opened(data: Path) -> dict[str, int]:
    """How often an incident was opened for each object, by its name."""
    count = "SELECT resource, count(*) FROM decision WHERE decision = 'opened' GROUP BY resource"
    return {name.rpartition("/")[2]: number for name, number in recorded(data, count)}


def test_what_was_acknowledged_survives_a_kill_under_load(home: Home) -> None:
    """Twenty clients hand in 1500 faults while the service is killed: each acknowledged one is on
    record exactly once after the restart, and what is sent again opens nothing twice.
    """
    agent = home.agent("sleep 600")
    settings(
        home,
        agent_runtime={
            "agent": "command", "agent_command": str(agent), "when_supervisor_dies": "die_with_me",
        },
        limits=MANY,
        web={"listen": "127.0.0.1:0", **QUICK},
    )  # fmt: skip
    with serving(home) as service, ThreadPoolExecutor(CLIENTS) as pool:
        clients = Clients(service.url)
        sent = [pool.submit(clients.send, number) for number in range(CLIENTS)]
        wait_for(lambda: len(clients.acknowledged) > 300)
        service.process.kill()
        for each in sent:
            each.result()

    assert clients.refused, "the service was killed after all had been sent"
    # Before anything is sent again, which would hide a loss.
    assert clients.acknowledged <= set(opened(home.data))
    with serving(home) as service:
        again = Clients(service.url)
        with httpx2.Client(timeout=30) as client:
            every = sorted(clients.acknowledged | clients.refused)
            for start in range(0, len(every), 100):
                again.send_burst(client, every[start : start + 100])
        service.process.kill()
        service.ended()

    found = opened(home.data)
    assert again.refused == set()
    assert set(found) == set(every)
    assert set(found.values()) == {1}
    ((incidents,),) = recorded(home.data, "SELECT count(*) FROM incident")
    assert incidents == CLIENTS * BURSTS * ALERTS
    wait_for(lambda: home.processes_below() == [])
