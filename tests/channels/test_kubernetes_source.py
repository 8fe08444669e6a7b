"""A watched cluster: every trouble comes out, whatever the connection does, and nothing stale."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.kube_api import FakeCluster
from fakes.kube_streams import EventStream, recorded_stream
from kubecase.channels.sources.kubernetes import KubernetesSource, Pace
from kubecase.channels.sources.reconnecting import BackOff
from kubecase.clusters import from_kubeconfig
from kubecase.clusters.client import ClusterClient
from kubecase.core.intake import Decision, Rules
from kubecase.core.model import Fault
from kubecase.store import Owner, Store

pytestmark = pytest.mark.anyio

QUICK = Pace(watch=30, idle=5, relist=300, poll=0.5, least=0.0)


@dataclass
class Heard:
    """An observer that remembers states and reasons."""

    states: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def record(self, event: str, /, **fields: Any) -> None:
        if event == "source_state":
            self.states.append(fields)
        if event == "source_reconnecting":
            self.reasons[fields["reason"]] += 1


def now() -> datetime:
    return datetime.now(UTC)


def source(path: Path, heard: Heard, **changes: Any) -> KubernetesSource:
    credentials = from_kubeconfig(path)
    return KubernetesSource(
        cluster="dev",
        connect=lambda: ClusterClient(credentials),
        observer=heard,
        clock=now,
        pace=changes.pop("pace", QUICK),
        back_off=lambda: BackOff(first=0.01, longest=0.05),
        **changes,
    )


@asynccontextmanager
async def taken(each: KubernetesSource, take: Callable[[Fault], Any]) -> AsyncIterator[None]:
    """Whatever `each` yields is given to `take` while this is entered."""

    async def run() -> None:
        async for fault in each.faults():
            await take(fault)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    with anyio.fail_after(seconds):
        while not holds():
            await anyio.sleep(0.02)


@pytest.mark.parametrize(
    "trouble",
    [{}, {"close_after": 37}, {"close_after": 29, "gone": 4, "error": 5}],
    ids=["smooth", "closes", "closes and both kinds of 410"],
)
async def test_a_storm_of_26_workloads_opens_as_many_incidents(
    tmp_path: Path, trouble: dict[str, int]
) -> None:
    """The recorded stream opens 24 to 28 incidents, none for stale events, none twice after a
    restart; the crash loop is one incident that is counted.
    """
    opened: list[tuple[str, str]] = []
    consumed = 0

    async with Store.open(tmp_path / "kubecase.db", owner=Owner.current()) as store:

        async def take(fault: Fault) -> None:
            nonlocal consumed
            (found,) = await store.desk.take_in([fault], lambda _: Rules(second_sign=0.0))
            if found.decision is Decision.OPENED:
                opened.append((str(fault.resource), fault.reason))
            consumed += 1

        with EventStream(recorded_stream("many-failures"), **trouble) as cluster:
            path = cluster.kubeconfig(tmp_path / "kubeconfig")
            cluster.released = 40
            for _ in range(2):
                each, consumed = source(path, Heard()), 0
                async with taken(each, take):
                    while cluster.released < len(cluster.history):
                        await until(lambda: cluster.served >= cluster.released - 3)
                        cluster.release(120)
                    await until(lambda: cluster.served >= len(cluster.history) - 3)
                    await until(lambda: 0 < each.count <= consumed)  # noqa: B023 - awaited here
        waiting = await store.desk.to_be_worked()
        stories = [(await store.desk.course(one.id)).decisions for one in waiting]

    assert 24 <= len(opened) <= 28, opened
    assert len(waiting) == len(opened)
    assert len({resource for resource, _ in opened}) == len(opened)
    counts = {story[0]["resource"]: len(story) for story in stories}
    assert counts["Pod/crashloop-6b89888bf6-mgcnz"] >= 2
    assert not [name for name, _ in opened if name.endswith(("dpcrg", "74ph9", "cns8w"))]


async def test_a_failure_of_the_network_is_one_incident(tmp_path: Path) -> None:
    """A pod whose sandbox fails anew with each attempt, in a new event object with a new message
    every time, is one trouble.
    """
    faults: list[Fault] = []

    async def take(fault: Fault) -> None:
        faults.append(fault)

    with EventStream(recorded_stream("sandbox-cni-exhausted")) as cluster:
        path = cluster.kubeconfig(tmp_path / "kubeconfig")
        async with taken(source(path, Heard()), take):
            await until(lambda: cluster.served >= len(cluster.history) and bool(faults))

    assert len({fault.fingerprint for fault in faults if fault.reason.startswith("Failed")}) >= 1
    by_pod = {(str(f.resource), f.reason): f.fingerprint for f in faults}
    assert len(set(by_pod.values())) == len(by_pod)


async def test_what_is_listed_again_is_no_news(tmp_path: Path) -> None:
    """A watch that ends after every line, and a new list each time, tell of each trouble once for
    each time that it was counted.
    """
    seen: Counter[tuple[str, int]] = Counter()

    async def take(fault: Fault) -> None:
        seen[json.loads(fault.raw)["metadata"]["name"], fault.occurrences] += 1

    with EventStream(recorded_stream("many-failures")[:200], close_after=1, gone=2) as cluster:
        path = cluster.kubeconfig(tmp_path / "kubeconfig")
        heard = Heard()
        async with taken(source(path, heard), take):
            await until(lambda: cluster.lists >= 5)

    assert heard.reasons["expired"] >= 2
    assert seen
    assert max(seen.values()) == 1


@pytest.mark.parametrize(
    ("status", "headers", "state", "reason"),
    [
        (401, {}, "failed", "refused"),
        (403, {}, "failed", "refused"),
        (429, {"Retry-After": "1"}, "degraded", "throttled"),
        (500, {}, "degraded", "error"),
    ],
)
async def test_a_refusal_is_told_and_tried_again(
    tmp_path: Path, status: int, headers: dict[str, str], state: str, reason: str
) -> None:
    """Each refusal has its state and reason, a Retry-After is heeded, and nothing spins."""
    heard, waited = Heard(), list[float]()

    async def pause(seconds: float) -> None:
        waited.append(seconds)
        await anyio.sleep(0.01)

    with FakeCluster() as cluster:
        cluster.answer("/api/v1/events", status, "no", headers=headers)
        path = cluster.kubeconfig(tmp_path / "kubeconfig")

        async def take(fault: Fault) -> None:
            raise AssertionError("there is nothing to take")

        async with taken(source(path, heard, pause=pause), take):
            await until(lambda: heard.reasons[reason] >= 2)

    told = [each for each in heard.states if each["source"] == "kubernetes:watch"]
    assert state in {each["state"] for each in told}
    if status == 429:
        assert max(waited) >= 1.0


@pytest.mark.parametrize("body", [b"not json", b'{"items": 1}', b"[" * 5000, b"\xff" * 100])
async def test_garbage_is_an_error_and_no_end(tmp_path: Path, body: bytes) -> None:
    """An answer that makes no sense is told of, and the next one may be better."""
    heard = Heard()

    async def take(fault: Fault) -> None:
        raise AssertionError("there is nothing to take")

    with FakeCluster() as cluster:
        cluster.answer("/api/v1/events", 200, body=body)
        path = cluster.kubeconfig(tmp_path / "kubeconfig")
        async with taken(source(path, heard), take):
            await until(lambda: heard.reasons["error"] >= 2)


async def test_a_connection_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    """A half-open connection does not hold the source for ever."""
    heard = Heard()

    async def take(fault: Fault) -> None:
        raise AssertionError("there is nothing to take")

    with EventStream([]) as cluster:
        path = cluster.kubeconfig(tmp_path / "kubeconfig")
        pace = Pace(watch=60, idle=0.2, poll=60, least=0.0)
        async with taken(source(path, heard, pace=pace), take):
            await until(lambda: cluster.lists >= 3)


async def test_objects_without_events_are_seen_by_looking(tmp_path: Path) -> None:
    """An OOM kill and a Node that is not ready have no Warning event; the poll finds both, once."""
    faults: list[Fault] = []

    async def take(fault: Fault) -> None:
        faults.append(fault)

    pod = {
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "api-6b89888bf6-mgcnz", "namespace": "shop", "uid": str(uuid.uuid4()),
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": "api-6b89888bf6", "controller": True, "uid": "x"}
            ],
        },
        "status": {"containerStatuses": [
            {"name": "api", "restartCount": 2,
             "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
        ]},
    }  # fmt: skip
    node = {
        "kind": "Node", "apiVersion": "v1", "metadata": {"name": "node-1", "uid": "n"},
        "status": {"conditions": [
            {"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting."}
        ]},
    }  # fmt: skip
    with FakeCluster(objects=[pod, node]) as cluster:
        path = cluster.kubeconfig(tmp_path / "kubeconfig")
        pace = Pace(watch=30, idle=5, poll=0.05, least=0.0)
        async with taken(source(path, Heard(), pace=pace), take):
            await until(lambda: cluster.paths.count("/api/v1/nodes") >= 3)

    assert [(str(f.resource), f.reason) for f in faults] == [
        ("Pod/api-6b89888bf6-mgcnz", "OOMKilled"), ("Node/node-1", "NodeNotReady"),
    ]  # fmt: skip
    assert str(faults[0].owner) == "ReplicaSet/api-6b89888bf6"
