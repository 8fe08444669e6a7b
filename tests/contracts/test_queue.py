"""Every queue gives out each incident once, the urgent ones first, within the clusters' limits."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest

from fakes.postgres import Postgres, running_postgres
from kubecase.core.model import IncidentId
from kubecase.core.ports import Handler, Queue
from kubecase.store.queue import EmbeddedQueue, PostgresQueue

pytestmark = pytest.mark.anyio

Made = Callable[[int], Awaitable[Queue]]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    with running_postgres() as found:
        yield found


@pytest.fixture(params=["embedded", "postgres"])
def made(request: pytest.FixtureRequest) -> Iterator[Made]:
    """Makes a queue that gives out so many incidents at a time."""
    if request.param == "postgres":
        server = request.getfixturevalue("server")
        database = server.new_database()
        url = server.address(database)
        yield lambda at_once: PostgresQueue.connected(url, at_once=at_once)
        server.drop(database)
        return

    async def embedded(at_once: int) -> Queue:
        return EmbeddedQueue(at_once=at_once)

    yield embedded


def an_id(number: int) -> IncidentId:
    return IncidentId(str(uuid.UUID(int=number, version=4)))


@asynccontextmanager
async def running(queue: Queue, handler: Handler) -> AsyncIterator[None]:
    """`queue` gives out to `handler` while this is entered, and has ended when it is left."""
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(queue.run, handler)
            yield
            await queue.stop()


async def test_the_most_urgent_comes_first_over_all_clusters(made: Made) -> None:
    """What was handed in last and is critical is given out before what waits."""
    queue, order, done = await made(1), list[IncidentId](), anyio.Event()
    for cluster in ("a", "b"):
        await queue.register(cluster, 5)
    for number, (cluster, priority) in enumerate([("a", 0), ("b", 1), ("a", 2), ("b", 2)]):
        await queue.enqueue(an_id(number), cluster=cluster, priority=priority)

    async def work(incident: IncidentId) -> None:
        order.append(incident)
        if len(order) == 4:
            done.set()

    async with running(queue, work):
        await done.wait()

    assert order == [an_id(2), an_id(3), an_id(1), an_id(0)]


async def test_a_cluster_has_no_more_than_its_limit_at_a_time(made: Made) -> None:
    """Two of one cluster at once where that is allowed, never three, while another goes on."""
    queue, at_work, most = await made(10), {"a": 0, "b": 0}, {"a": 0, "b": 0}
    done, count = anyio.Event(), 0
    where = {}
    for cluster, limit in (("a", 2), ("b", 1)):
        await queue.register(cluster, limit)
        for number in range(6):
            incident = an_id(number + (100 if cluster == "b" else 0))
            where[incident] = cluster
            await queue.enqueue(incident, cluster=cluster, priority=1)

    async def work(incident: IncidentId) -> None:
        nonlocal count
        cluster = where[incident]
        at_work[cluster] += 1
        most[cluster] = max(most[cluster], at_work[cluster])
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        at_work[cluster] -= 1
        count += 1
        if count == 12:
            done.set()

    async with running(queue, work):
        await done.wait()

    assert most["a"] <= 2
    assert most["b"] == 1


async def test_no_more_than_so_many_are_worked_at_a_time_in_all(made: Made) -> None:
    """The limit of the process holds over all clusters."""
    queue, at_work, most, count = await made(2), 0, 0, 0
    done = anyio.Event()
    for number in range(8):
        await queue.register(f"c{number}", 1)
        await queue.enqueue(an_id(number), cluster=f"c{number}", priority=1)

    async def work(incident: IncidentId) -> None:
        nonlocal at_work, most, count
        at_work += 1
        most = max(most, at_work)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        at_work -= 1
        count += 1
        if count == 8:
            done.set()

    async with running(queue, work):
        await done.wait()

    assert most <= 2


async def test_what_is_queued_or_worked_is_not_taken_twice(made: Made) -> None:
    """A second hand-in says so, while it waits and while it is worked; after that it is new."""
    queue, started, go, done = await made(2), anyio.Event(), anyio.Event(), anyio.Event()
    await queue.register("a", 1)

    async def work(incident: IncidentId) -> None:
        started.set()
        await go.wait()
        done.set()

    assert await queue.enqueue(an_id(1), cluster="a", priority=1)
    assert not await queue.enqueue(an_id(1), cluster="a", priority=1)
    async with running(queue, work):
        await started.wait()
        assert not await queue.enqueue(an_id(1), cluster="a", priority=1)
        go.set()
        await done.wait()


async def test_what_waits_can_be_taken_out(made: Made) -> None:
    """A cancelled one is never given out; what is being worked cannot be taken out here."""
    queue, started, go, seen = await made(2), anyio.Event(), anyio.Event(), list[IncidentId]()
    await queue.register("a", 1)

    async def work(incident: IncidentId) -> None:
        seen.append(incident)
        started.set()
        await go.wait()

    await queue.enqueue(an_id(1), cluster="a", priority=2)
    await queue.enqueue(an_id(2), cluster="a", priority=1)
    async with running(queue, work):
        await started.wait()
        assert not await queue.cancel_queued(an_id(1))
        assert await queue.stats() == {"a": 1}
        assert await queue.cancel_queued(an_id(2))
        assert not await queue.cancel_queued(an_id(3))
        go.set()

    assert seen == [an_id(1)]


async def test_a_handler_may_want_it_again(made: Made) -> None:
    """What is given back comes again, and its cluster is free for others meanwhile."""
    queue, seen, done = await made(2), list[IncidentId](), anyio.Event()
    await queue.register("a", 1)
    await queue.enqueue(an_id(1), cluster="a", priority=2)
    await queue.enqueue(an_id(2), cluster="a", priority=1)

    async def work(incident: IncidentId) -> float | None:
        seen.append(incident)
        if len(seen) == 3:
            done.set()
        return 0.2 if seen == [an_id(1)] else None

    async with running(queue, work):
        await done.wait()

    assert seen == [an_id(1), an_id(2), an_id(1)]


async def test_a_cluster_may_come_later(made: Made) -> None:
    """A cluster that is registered while the queue runs is given out as well."""
    queue, done = await made(2), anyio.Event()
    await queue.enqueue(an_id(1), cluster="late", priority=1)

    async def work(incident: IncidentId) -> None:
        done.set()

    async with running(queue, work):
        await queue.register("late", 1)
        await queue.enqueue(an_id(2), cluster="late", priority=1)
        await done.wait()


async def test_stop_waits_for_what_was_given_out(made: Made) -> None:
    """Nothing new is given out after stop, and run returns when the last one is done with."""
    queue, started, go, seen = await made(2), anyio.Event(), anyio.Event(), list[IncidentId]()
    await queue.register("a", 1)
    await queue.enqueue(an_id(1), cluster="a", priority=2)
    await queue.enqueue(an_id(2), cluster="a", priority=1)
    ended: list[IncidentId] = []

    async def work(incident: IncidentId) -> None:
        seen.append(incident)
        started.set()
        await go.wait()
        ended.append(incident)

    async with running(queue, work):
        await started.wait()
        await queue.stop()
        go.set()

    assert (seen, ended) == ([an_id(1)], [an_id(1)])
