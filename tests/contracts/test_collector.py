"""What every collector must keep: the suite of `core.ports.Collector`."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fakes.kube_api import FakeCluster, recorded
from kubecase.channels.sources import load_intake
from kubecase.clusters import (
    ClusterCollector,
    JoinedCollector,
    NothingCollector,
    RecordedCollector,
    resource_fault,
)
from kubecase.core.model import Collection, Fault, Gap
from kubecase.core.ports import Collector

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 22, 13, 40, tzinfo=UTC)
CASE = "crashloop"


def clock() -> datetime:
    return NOW


class Broken:
    """Makes collectors whose cluster or recording is in a given state."""

    def __init__(self, directory: Path, closing: ExitStack) -> None:
        self.directory = directory
        self.closing = closing

    def live(self, arrange: Callable[[FakeCluster], None] = lambda _: None) -> Collector:
        cluster = self.closing.enter_context(FakeCluster(recorded(CASE)))
        arrange(cluster)
        path = cluster.kubeconfig(self.directory / f"kubeconfig-{id(cluster)}")
        return ClusterCollector.from_kubeconfig(path, clock=clock)


def gone(make: Broken) -> Collector:
    with FakeCluster() as cluster:
        path = cluster.kubeconfig(make.directory / "gone")
    return ClusterCollector.from_kubeconfig(path, clock=clock)


EMPTY = Collection(collected_at=NOW, trigger=None, gaps=(Gap(what="all", why="none"),))
COLLECTORS: dict[str, Callable[[Broken], Collector]] = {
    "cluster": lambda make: make.live(),
    "cluster that refuses": lambda make: make.live(lambda c: c.answer("", 403, "no")),
    "cluster that fails": lambda make: make.live(lambda c: c.answer("", 500, body=b"<html>")),
    "cluster without logs": lambda make: make.live(lambda c: c.answer("/log", 500, "no")),
    "cluster that is gone": gone,
    "recording": lambda _: RecordedCollector(recorded(CASE)),
    "empty recording": lambda _: RecordedCollector(EMPTY),
    "cluster and recording": lambda make: JoinedCollector(make.live(), recorded(CASE)),
    "nothing": lambda _: NothingCollector(clock=clock),
}
HAS_FACTS = ("cluster", "cluster without logs", "recording", "cluster and recording")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Broken]:
    with ExitStack() as closing:
        yield Broken(tmp_path, closing)


def the_fault() -> Fault:
    pod = next(each for each in recorded(CASE).objects if each["kind"] == "Pod")
    return resource_fault("Pod", pod["metadata"]["name"], "shop", cluster="dev", now=NOW)


@pytest.mark.parametrize("name", COLLECTORS)
async def test_a_collection_always_comes(name: str, make: Broken) -> None:
    """Whatever state its source is in, a collector answers with a sound Collection."""
    found = await COLLECTORS[name](make).collect(the_fault())

    assert isinstance(found, Collection)
    assert found.collected_at.tzinfo is not None
    assert found.trigger is not None
    assert found.origin
    assert all(gap.what and gap.why for gap in found.gaps)
    assert found.objects or found.gaps
    json.dumps([found.trigger, *found.objects, *found.events, found.logs]).encode()


@pytest.mark.parametrize("name", HAS_FACTS)
async def test_what_is_known_is_in_the_collection(name: str, make: Broken) -> None:
    """Objects, events and logs are where the protocol says, in the API's own shape."""
    found = await COLLECTORS[name](make).collect(the_fault())

    assert {"Pod", "Deployment"} <= {each["kind"] for each in found.objects}
    assert all(each["metadata"]["name"] for each in found.objects)
    assert {each["kind"] for each in found.events} == {"Event"}
    for key in found.logs:
        namespace, pod, _container, *previous = key.split("/")
        assert namespace == "shop"
        assert pod == the_fault().resource.name
        assert previous in ([], ["previous"])
    assert found.logs or any(gap.what.startswith("log ") for gap in found.gaps)


@pytest.mark.parametrize("name", COLLECTORS)
async def test_a_collection_is_a_value(name: str, make: Broken) -> None:
    """Nobody can change what was collected, and collecting twice gives the same."""
    collector = COLLECTORS[name](make)
    first, again = await collector.collect(the_fault()), await collector.collect(the_fault())

    assert sorted(map(repr, first.objects)) == sorted(map(repr, again.objects))
    assert first.logs == again.logs
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.origin = "x"  # type: ignore[misc]


@pytest.mark.parametrize("name", COLLECTORS)
@pytest.mark.parametrize("hostile", ["../../etc/passwd", "a b\n{}", "x" * 900])
async def test_a_fault_of_any_name_is_collected(name: str, hostile: str, make: Broken) -> None:
    """What a fault calls its object never makes a collector raise."""
    raw = json.dumps(
        {"namespace": hostile, "resource": {"kind": hostile, "name": hostile}, "reason": "x"}
    )
    (given,) = load_intake(raw.encode(), now=NOW, cluster_default="dev").faults

    found = await COLLECTORS[name](make).collect(given.fault)

    assert found.trigger is not None


async def test_nothing_given_is_said() -> None:
    """Without cluster and recording, the one gap says just that."""
    found = await NothingCollector(clock=clock).collect(the_fault())

    assert [gap.why for gap in found.gaps] == ["no cluster and no recording was given"]


async def test_logs_that_came_with_a_fault_are_joined(make: Broken) -> None:
    """Excerpts that came with the fault fill what the cluster no longer has."""
    came = dataclasses.replace(EMPTY, logs={"shop/old/app": "panic\n"}, origin="excerpts")
    found = await JoinedCollector(make.live(), came).collect(the_fault())

    assert found.logs["shop/old/app"] == "panic\n"
    assert len(found.logs) > 1
    assert found.origin.endswith("; excerpts")
