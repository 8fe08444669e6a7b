"""What a real agent process does is told over HTTP, event by event, from any point on."""

import json

import anyio
import httpx2
import pytest

from fakes.event_stream import Told, all_told
from fakes.web_rig import a_web

from .conftest import Home

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"

pytestmark = pytest.mark.anyio


async def test_an_agent_is_followed_over_http_and_resumed_at_every_event(home: Home) -> None:
    """Its events come while it runs, redacted; a reconnect goes on exactly after the last one."""
    plan = {
        "steps": [
            {"do": "emit", "lines": [
                {"moment": "started", "text": "here"},
                {"moment": "tool_call", "tool": "kubectl_read", "text": f'{{"token": "{TOKEN}"}}'},
                "no event at all",
            ]},
            {"do": "write", "path": "here"},
            {"do": "wait_for", "path": "go", "seconds": 60},
            {"do": "report"},
            {"do": "emit", "lines": [{"moment": "finished", "text": "done"}]},
        ]
    }  # fmt: skip
    path = home.root / "plan.json"
    path.write_text(json.dumps(plan))
    path.chmod(0o755)
    running = home.start(
        "investigate", "--agent", "scripted", str(home.fault()),
        env={"AGENT_RUNTIME_COMMAND": str(path)},
    )  # fmt: skip
    while not list(home.data.glob("workspaces/*/here")):
        assert running.poll() is None
        await anyio.sleep(0.05)

    async with a_web(home.data) as web:
        (row,) = await web.store.list_investigations(limit=1)
        url = f"/api/v1/incidents/{row.incident_id}/events"
        # state, starting, running, and two of the three lines: the last may be half a line.
        first = await all_told(web.client, url, most=5)
        next(home.data.glob("workspaces/*")).joinpath("go").touch()
        rest = await all_told(web.client, url, after=first[-1].id)
        code = await anyio.to_thread.run_sync(lambda: running.wait(timeout=60))

        whole = await all_told(web.client, url)
        resumed = [await all_told(web.client, url, after=each.id) for each in whole]

    assert code == 0
    assert plain(first + rest) == plain(whole)
    assert [plain(each) for each in resumed] == [plain(whole[n + 1 :]) for n in range(len(whole))]
    agent = [each.data for each in whole if each.kind == "agent"]
    assert [each["moment"] for each in agent] == ["started", "tool_call", "garbage", "finished"]
    assert agent[1]["tool"] == "kubectl_read"
    assert TOKEN not in json.dumps([each.data for each in whole])
    running.communicate(timeout=60)


async def test_an_agent_that_prints_without_end_is_told_of_in_pieces(home: Home) -> None:
    """Thousands of lines come in order, each once, and a reconnect amid them loses none."""
    lines = [{"moment": "message", "text": f"line {number}"} for number in range(2300)]
    plan = {"steps": [{"do": "emit", "lines": lines}, {"do": "report"}]}
    path = home.root / "plan.json"
    path.write_text(json.dumps(plan))
    path.chmod(0o755)
    done = home.run(
        "investigate", "--agent", "scripted", str(home.fault()),
        env={"AGENT_RUNTIME_COMMAND": str(path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    async with a_web(home.data) as web:
        (row,) = await web.store.list_investigations(limit=1)
        url = f"/api/v1/incidents/{row.incident_id}/events"
        whole = await all_told(web.client, url)
        first = await all_told(web.client, url, most=1234)
        rest = await all_told(web.client, url, after=first[-1].id)

    said = [each.data["text"] for each in whole if each.data.get("moment") == "message"]
    assert said == [each["text"] for each in lines]
    assert first + rest == whole
    assert [each.kind for each in whole[-3:]] == ["transition", "state", "end"]


def plain(events: list[Told]) -> list[tuple[str, str]]:
    """What was told of the attempt and at the end; states are as they were when asked for."""
    return [(each.kind, json.dumps(each.data)) for each in events if each.kind != "state"]


async def test_the_report_and_artifacts_of_a_real_run_are_served(home: Home) -> None:
    """What an agent left and what kubecase wrote comes over HTTP, byte for byte."""
    plan = {
        "steps": [
            {"do": "write", "path": "output/artifacts/notes/a.txt", "text": "hello"},
            {"do": "report"},
        ]
    }
    path = home.root / "plan.json"
    path.write_text(json.dumps(plan))
    path.chmod(0o755)
    done = home.run(
        "investigate", "--agent", "scripted", str(home.fault()),
        env={"AGENT_RUNTIME_COMMAND": str(path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    async with a_web(home.data) as web:
        (row,) = await web.store.list_investigations(limit=1)
        story = (await web.get(f"/api/v1/incidents/{row.incident_id}")).json()
        files = {each.get("name", each["kind"]): await fetched(web.client, each["url"])
                 for each in story["files"]}  # fmt: skip

    kept = home.data / "artifacts" / f"{row.incident_id}-1"
    assert files.pop("notes/a.txt") == b"hello"
    assert files == {
        kind: (kept / f"final-report.{kind}").read_bytes() for kind in ("md", "html", "json")
    }


async def fetched(client: httpx2.AsyncClient, url: str) -> bytes:
    answer = await client.get(url)
    assert answer.status_code == 200, answer.text
    return answer.content
