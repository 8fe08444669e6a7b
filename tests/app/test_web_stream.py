"""What happens to an incident is told as it happens, once, and from where one left off."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from fakes.event_stream import Told, all_told, told
from fakes.incidents import an_incident
from fakes.web_rig import FAULT, WebRig, a_web
from kubecase.app.web.following import Position
from kubecase.core.model import Investigation, Status

pytestmark = pytest.mark.anyio


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[WebRig]:
    async with a_web(tmp_path) as rig:
        yield rig


async def moved(web: WebRig, attempt: Investigation, *steps: Status) -> Investigation:
    for step in steps:
        attempt = await web.store.move(attempt, step)
    return attempt


def steps(events: list[Told]) -> list[tuple[str, str]]:
    """Kind and the word that matters of each event."""
    return [
        (each.kind, each.data.get("to") or each.data.get("state") or each.data.get("decision"))
        for each in events
    ]


async def test_steps_are_told_as_they_are_made(web: WebRig) -> None:
    """The decision, the states and every transition come in order, and then the end."""
    incident = (await web.post("/api/v1/faults", dict(FAULT))).json()["accepted"][0]["incident_id"]
    url = f"/api/v1/incidents/{incident}/events"
    seen: list[Told] = []

    async with web.client.stream("GET", url, timeout=60) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        stream = told(response)
        seen += [await anext(stream), await anext(stream)]
        attempt = await web.store.begin_attempt(incident, "builtin")
        attempt = await moved(web, attempt, Status.STARTING)
        while seen[-1].kind != "transition":
            seen.append(await anext(stream))
        await moved(web, attempt, Status.RUNNING, Status.SUCCESS)
        seen += [each async for each in stream]

    assert [each for each in steps(seen) if each[0] != "state"] == [
        ("decision", "opened"),
        ("transition", "starting"), ("transition", "running"), ("transition", "success"),
        ("end", "done"),
    ]  # fmt: skip
    states = [word for kind, word in steps(seen) if kind == "state"]
    assert states[0] == "queued"
    assert states[-1] == "done"


async def test_a_stream_goes_on_exactly_after_the_last_event(tmp_path: Path) -> None:
    """Whoever comes back with any id is told the rest, the same and once, also after a restart."""
    async with a_web(tmp_path) as web:
        answer = await web.post("/api/v1/faults", dict(FAULT))
        incident = answer.json()["accepted"][0]["incident_id"]
        url = f"/api/v1/incidents/{incident}/events"
        for agent in ("scripted", "builtin"):
            attempt = await web.store.begin_attempt(incident, agent)
            await moved(web, attempt, Status.STARTING, Status.RUNNING, Status.SUCCESS)
        whole = await all_told(web.client, url)

    async with a_web(tmp_path) as web:
        for place, event in enumerate(whole[:-1]):
            assert await all_told(web.client, url, after=event.id) == whole[place + 1 :]
        assert await all_told(web.client, url, after=whole[-1].id) == []
        assert (await web.store.desk.wait_again(incident)) is True
        more = await all_told(web.client, url, after=whole[-1].id, most=1)

    assert [each.data["number"] for each in whole if each.kind == "transition"] == [1, 2, 3] * 2
    assert len({each.id for each in whole}) == len(whole)
    assert steps(more) == [("state", "queued")]


async def test_two_attempts_at_once_are_each_told_whole(web: WebRig) -> None:
    """With several agents on one incident no step is lost or told twice over a reconnect."""
    incident = an_incident()
    url = f"/api/v1/incidents/{incident.id}/events"
    first = await web.store.begin(incident, agent="builtin")
    second = await web.store.begin_attempt(incident.id, "builtin")
    seen: list[Told] = []
    for attempt in (first, second):
        await moved(web, attempt, Status.STARTING)
    seen += await all_told(web.client, url, most=2)
    second = await web.store.status(incident.id, 2)
    first = await web.store.status(incident.id, 1)
    second = await moved(web, second, Status.RUNNING)
    seen += await all_told(web.client, url, after=seen[-1].id, most=2)
    await moved(web, first, Status.RUNNING, Status.SUCCESS)
    await moved(web, second, Status.SUCCESS)
    seen += await all_told(web.client, url, after=seen[-1].id)

    for number in (1, 2):
        own = [each.data for each in seen if each.data.get("attempt") == number]
        assert [each["to"] for each in own] == ["starting", "running", "success"]
        assert [each["number"] for each in own] == [1, 2, 3]
    assert seen[-1].kind == "end"


@pytest.mark.parametrize("id", ["x", "1", "d1", "d1;s;1:;", "d1;s;1:1", "d-1;s;;", "d1;s;;e;", "é"])
async def test_an_id_that_is_none_of_ours_is_refused(web: WebRig, id: str) -> None:
    """Last-Event-ID is checked like everything that comes in."""
    incident = an_incident()
    await web.store.begin(incident, agent="builtin")

    answer = await web.get(
        f"/api/v1/incidents/{incident.id}/events", headers={"Last-Event-ID": id.encode()}
    )

    assert answer.status_code == 400
    assert [each["pointer"] for each in answer.json()["errors"]] == ["header.Last-Event-ID"]


def test_a_position_survives_being_written() -> None:
    """What is written is read back the same."""
    position = Position(decision=7, state="active", attempts={2: 5, 11: 1}, ended=True)

    assert Position.parse(str(position)) == position
    assert Position.parse(str(Position())) == Position()


async def test_streams_end_when_the_service_stops(tmp_path: Path) -> None:
    """A stop does not wait for those who follow: they come back to the next service."""
    incident = an_incident()
    ended = anyio.Event()
    async with anyio.create_task_group() as group:
        async with a_web(tmp_path) as web:
            await web.store.begin(incident, agent="builtin")
            begun = anyio.Event()

            async def follow() -> None:
                url = f"{web.url}/api/v1/incidents/{incident.id}/events"
                import httpx2

                async with (
                    httpx2.AsyncClient(timeout=60) as client,
                    client.stream("GET", url) as response,
                ):
                    async for _ in told(response):
                        begun.set()
                ended.set()

            group.start_soon(follow)
            with anyio.fail_after(20):
                await begun.wait()
        with anyio.fail_after(4):
            await ended.wait()


async def test_only_so_many_streams_are_open(tmp_path: Path) -> None:
    """One too many is told to come again, and a stream that was closed makes room."""
    incident = an_incident()
    async with a_web(tmp_path, max_streams="1") as web:
        await web.store.begin(incident, agent="builtin")
        url = f"/api/v1/incidents/{incident.id}/events"
        async with web.client.stream("GET", url) as response:
            stream = told(response)
            assert await anext(stream)
            refused = await web.get(url)
        with anyio.fail_after(20):
            while (again := await all_or_status(web, url)) == 503:
                await anyio.sleep(0.05)

    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    assert again == 200


async def all_or_status(web: WebRig, url: str) -> int:
    """The status of a stream that is closed at once."""
    async with web.client.stream("GET", url) as response:
        return response.status_code
