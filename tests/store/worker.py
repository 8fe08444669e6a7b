"""Processes of their own that work on a record.

`worker.py begin FILE NUMBER` is one, `worker.py crowd FILE COUNT` are many at once.
"""

import asyncio
import json
import os
import sys
import uuid
from datetime import UTC, datetime

from kubecase.core.errors import KubecaseError
from kubecase.core.model import Fault, Incident, Resource, Status, parse_incident_id
from kubecase.core.severity import Severity
from kubecase.store import Owner, Store


def an_incident(id: str, cluster: str = "dev") -> Incident:
    now = datetime.now(UTC)
    fault = Fault(
        fingerprint=uuid.uuid4().hex,
        cluster=cluster,
        resource=Resource(kind="Pod", name="api-0", namespace="shop"),
        reason="CrashLoop",
        message="exited 1",
        severity=Severity.WARNING,
        severity_word="warning",
        seen_at=now,
        raw=b"{}",
    )
    return Incident(id=parse_incident_id(id), fault=fault, opened_at=now)


async def begin(store: Store, number: int) -> None:
    """Begin one and wait to be killed."""
    begun = await store.begin(an_incident(str(uuid.UUID(int=number))), agent="worker")
    print(begun.incident_id, flush=True)
    await asyncio.Event().wait()


async def crowd(store: Store, number: int) -> None:
    """Own investigations through their lives, and a scramble with everybody for shared ones."""
    won: dict[str, int] = {"begun": 0, "moved": 0, "slots": 0}
    for n in range(4):
        own = await store.begin(
            an_incident(str(uuid.UUID(int=1000 + number * 10 + n))), agent=f"worker-{number}"
        )
        for step in (Status.STARTING, Status.RUNNING, Status.SUCCESS):
            own = await store.move(own, step)
        shared = parse_incident_id(str(uuid.UUID(int=n)))
        try:
            await store.begin(an_incident(shared), agent=f"worker-{number}")
            won["begun"] += 1
        except KubecaseError:
            pass
        while (one := await store.status(shared)).status is not Status.RUNNING:
            to = Status.STARTING if one.status is Status.CREATED else Status.RUNNING
            try:
                await store.move(one, to)
                won["moved"] += 1
            except KubecaseError:
                pass
    try:
        await store.begin(
            an_incident(str(uuid.UUID(int=5000 + number)), "one-seat"), agent="worker", slot=0
        )
        won["slots"] += 1
    except KubecaseError:
        pass
    os.write(1, json.dumps(won).encode() + b"\n")  # at once: lines of ten must not mix


async def work(task: str, file: str, number: int) -> None:
    async with Store.open(file, owner=Owner.current()) as store:
        await {"begin": begin, "crowd": crowd}[task](store, number)


def at_once(file: str, processes: int) -> int:
    """Let so many processes open and work on `file` at the same moment; how many failed.

    They are forked from here, before any thread exists, so that nine imports are saved.
    """
    closed, held = os.pipe()
    children = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            os.close(held)
            os.read(closed, 1)  # returns in all of them when the parent lets go
            asyncio.run(work("crowd", file, number))
            os._exit(0)
        children.append(child)
    os.close(held)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    _, wanted, record, count = sys.argv
    if wanted == "crowd":
        sys.exit(at_once(record, int(count)))
    asyncio.run(work(wanted, record, int(count)))
