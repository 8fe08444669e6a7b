"""Incidents are found, read and acted on over HTTP; files go out as they were collected."""

import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.incidents import FINDINGS, a_fault
from fakes.web_rig import FAULT, WebRig, a_web
from kubecase.core.model import (
    Artifact,
    Incident,
    IncidentState,
    Investigation,
    Reason,
    Resource,
    Status,
    parse_incident_id,
)
from kubecase.core.report import report_as_json
from kubecase.workspace import Workspace, keep_files

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
UNKNOWN = "0b8e4f5e-1111-4222-8333-444455556666"


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[WebRig]:
    async with a_web(tmp_path) as rig:
        yield rig


async def opened(
    web: WebRig, number: int, *, minutes: int = 0, to: Status | None = None, **fault: Any
) -> Investigation:
    """An incident on record whose id ends in `number`, worked as far as `to`."""
    fault.setdefault("fingerprint", f"f{number}")
    incident = Incident(
        id=parse_incident_id(f"00000000-0000-4000-8000-{number:012d}"),
        fault=a_fault(**fault),
        opened_at=NOON + timedelta(minutes=minutes),
    )
    attempt = await web.store.begin(incident, agent="scripted")
    for step in (Status.STARTING, Status.RUNNING, to):
        if to is None or step is None:
            break
        reason: Mapping[str, Any] = {"reason": Reason.EXIT_CODE} if step is Status.FAILED else {}
        attempt = await web.store.move(attempt, step, **reason)
        if step is to:
            break
    return attempt


async def ids(web: WebRig, query: str) -> list[int]:
    answer = await web.get(f"/api/v1/incidents?{query}")
    assert answer.status_code == 200, answer.text
    return [int(each["id"][-12:]) for each in answer.json()["incidents"]]


async def test_incidents_are_found_by_what_they_are(web: WebRig) -> None:
    """Each filter gives those that fit it, newest first; several narrow it down together."""
    pod = Resource(kind="Pod", name="api-0", namespace="shop")
    await opened(web, 1, minutes=1, to=Status.SUCCESS)
    await opened(web, 2, minutes=2, to=Status.FAILED, word="info", cluster="prod")
    await opened(web, 3, minutes=3, resource=pod, reason="OOMKilled", message="100% of memory_")

    assert await ids(web, "") == [3, 2, 1]
    assert await ids(web, "state=done") == [2, 1]
    assert await ids(web, "state=active") == [3]
    assert await ids(web, "status=failed") == [2]
    assert await ids(web, "status=created") == [3]
    assert await ids(web, "cluster=prod") == [2]
    assert await ids(web, "namespace=shop") == [3]
    assert await ids(web, "severity=info") == [2]
    assert await ids(web, "since=2026-03-04T12:02:00Z") == [3, 2]
    assert await ids(web, "until=2026-03-04T13:02:00%2B01:00") == [1]
    assert await ids(web, "q=OOMKILLED") == [3]
    assert await ids(web, "q=API-0") == [3]
    assert await ids(web, "q=0%25%20of%20memory_") == [3]
    assert await ids(web, "q=%25") == [3]
    assert await ids(web, "q=signer-keys&severity=critical&state=done") == [1]


async def test_pages_hold_every_incident_once_whatever_is_opened_meanwhile(web: WebRig) -> None:
    """Cursors go on where a page ended, also among incidents of the same moment."""
    for number in range(1, 8):
        await opened(web, number, minutes=number // 3)

    seen: list[int] = []
    cursor = ""
    for _ in range(10):
        page = (await web.get(f"/api/v1/incidents?limit=3{cursor}")).json()
        seen += [int(each["id"][-12:]) for each in page["incidents"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
        await opened(web, 100 + len(seen), minutes=60)

    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "query.limit"), ("limit=1000", "query.limit"), ("limit=x", "query.limit"),
        ("state=open", "query.state"), ("status=ok", "query.status"),
        ("since=yesterday", "query.since"),
        ("since=0001-01-01T00:00:00%2B12:00", "query.since"), ("cursor=abc", "query.cursor"),
        ("cursor=WzEsMl0", "query.cursor"), ("q=%00", "query.q"),
        ("cluster=a%0Ab", "query.cluster"),
        ("q=", "query.q"), ("severity=", "query.severity"),
    ],
)  # fmt: skip
async def test_a_bad_parameter_is_named(web: WebRig, query: str, pointer: str) -> None:
    """What cannot be asked for is refused by the parameter's name."""
    answer = await web.get(f"/api/v1/incidents?{query}")

    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


async def test_one_incident_tells_all_that_is_on_record(web: WebRig) -> None:
    """Attempts, transitions, reports with their evidence, decisions and feedback, redacted."""
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    body = {**FAULT, "message": f"login with {secret} failed"}
    incident = (await web.post("/api/v1/faults", body)).json()["accepted"][0]["incident_id"]
    attempt = await web.store.begin_attempt(incident, "scripted")
    for step in (Status.STARTING, Status.RUNNING):
        attempt = await web.store.move(attempt, step)
    await web.store.save_report(attempt, report_as_json(FINDINGS), None)
    await web.store.move(attempt, Status.SUCCESS)
    said = {"verdict": "wrong", "cause": "the node was drained", "by": "sre"}
    assert (await web.post(f"/api/v1/incidents/{incident}/feedback", said)).status_code == 202

    answer = await web.get(f"/api/v1/incidents/{incident}")

    told = answer.json()
    assert told["incident"]["state"] == "done"
    assert [each["to"] for each in told["transitions"]] == ["starting", "running", "success"]
    assert [each["status"] for each in told["attempts"]] == ["success"]
    assert told["reports"][0]["report"]["hypotheses"][0]["category"] == "config.missing_secret"
    assert told["evidence"][0]["source"] == "event:FailedMount"
    assert [each["decision"] for each in told["decisions"]] == ["opened"]
    assert told["feedback"][0]["cause"] == "the node was drained"
    assert {each["kind"] for each in told["files"]} == {"md", "html", "json"}
    assert secret not in answer.text
    assert secret not in (await web.get("/api/v1/incidents")).text


@pytest.mark.parametrize(
    "id", ["x", UNKNOWN.upper(), UNKNOWN + "0", "..%2f..%2fetc", "%00", UNKNOWN.replace("-", "")]
)
async def test_what_is_no_id_is_refused(web: WebRig, id: str) -> None:
    """Only a canonical id is looked for."""
    for path in ("", "/events", "/attempts/1/report.md"):
        assert (await web.get(f"/api/v1/incidents/{id}{path}")).status_code in {404, 422}


async def test_an_incident_that_is_not_there_is_not_found(web: WebRig) -> None:
    """Everything about an unknown id is answered with 404."""
    for path in ("", "/events", "/attempts/1/report.md", "/attempts/1/artifacts/a"):
        assert (await web.get(f"/api/v1/incidents/{UNKNOWN}{path}")).status_code == 404
    for action in ("cancel", "retry"):
        assert (await web.post(f"/api/v1/incidents/{UNKNOWN}/{action}")).status_code == 404
    feedback = await web.post(f"/api/v1/incidents/{UNKNOWN}/feedback", {"verdict": "right"})
    assert feedback.status_code == 404


async def test_an_incident_is_cancelled_and_retried(web: WebRig) -> None:
    """One that waits is taken out, one that runs is told to stop, one that has ended may go on."""
    waiting = (await web.post("/api/v1/faults", dict(FAULT))).json()["accepted"][0]["incident_id"]
    running = await opened(web, 1, to=Status.RUNNING)
    path = f"/api/v1/incidents/{running.incident_id}"

    out = await web.post(f"/api/v1/incidents/{waiting}/cancel")
    stop = await web.post(f"{path}/cancel")
    again = await web.post(f"{path}/cancel")
    early = await web.post(f"{path}/retry")
    retried = await web.post(f"/api/v1/incidents/{waiting}/retry")

    assert (out.status_code, out.json()["outcome"]) == (202, "done")
    assert (stop.json()["outcome"], again.json()["outcome"]) == ("requested", "already_requested")
    assert (await web.store.attempt(running.incident_id)).cancel_requested_at is not None
    assert early.status_code == 409
    assert (retried.status_code, retried.json()["outcome"]) == (202, "requested")
    assert (await web.store.progress(waiting)).state is IncidentState.QUEUED


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/verdict"]), ({"verdict": "perhaps"}, ["/verdict"]),
        ({"verdict": "right", "note": 7}, ["/note"]), ({"verdict": "right", "x": 1}, ["/x"]),
        ({"verdict": "right", "by": "x" * 201}, ["/by"]), ([], [""]),
    ],
)  # fmt: skip
async def test_feedback_is_checked_by_its_fields(
    web: WebRig, body: Any, pointers: list[str]
) -> None:
    """What is no feedback is refused by its field."""
    done = await opened(web, 1, to=Status.SUCCESS)

    answer = await web.post(f"/api/v1/incidents/{done.incident_id}/feedback", body)

    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == pointers


async def test_reports_go_out_as_they_were_kept(web: WebRig) -> None:
    """Each form with its type; the page is sandboxed, and no link leads out of its directory."""
    done = await opened(web, 1, to=Status.SUCCESS)
    kept = web.settings.store.data_dir / "artifacts" / done.key
    page = "<p>the <b>api</b></p><script>alert(1)</script>"
    keep_files(
        kept,
        {
            "final-report.md": b"# x\n",
            "final-report.html": page.encode(),
            "final-report.json": b"{}",
        },
    )
    base = f"/api/v1/incidents/{done.incident_id}/attempts/1/report"

    text, html, machine = [await web.get(f"{base}.{kind}") for kind in ("md", "html", "json")]
    (kept / "final-report.md").unlink()
    (kept / "final-report.md").symlink_to("/etc/passwd")
    linked = await web.get(f"{base}.md")

    assert text.text == "# x\n"
    assert text.headers["content-type"].startswith("text/markdown")
    assert html.text == page
    policy = html.headers["content-security-policy"]
    assert "sandbox;" in policy
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "allow" not in policy
    assert html.headers["x-content-type-options"] == "nosniff"
    assert machine.json() == {}
    assert linked.status_code == 404
    assert "root:" not in linked.text
    assert (await web.get(f"{base}.exe")).status_code == 422


async def with_artifacts(web: WebRig, files: Mapping[str, bytes]) -> tuple[Path, str]:
    """An attempt that left `files`; where they lie, and their address."""
    attempt = await opened(web, 9, to=Status.RUNNING)
    workspace = Workspace.create(web.settings.store.data_dir / "ws", attempt.incident_id, 1)
    below = workspace.root / "output" / "artifacts"
    artifacts = []
    for name, data in files.items():
        path = below / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        artifacts.append(Artifact(path=path, size=len(data), sha256=digest))
    await web.store.move(
        attempt, Status.SUCCESS, workspace=workspace.root, artifacts=tuple(artifacts)
    )
    return below, f"/api/v1/incidents/{attempt.incident_id}/attempts/1/artifacts"


async def test_artifacts_are_downloads_and_nothing_else(web: WebRig) -> None:
    """Whatever an agent left is bytes to be kept, whatever it is called; every byte comes."""
    large = os.urandom(700_000)
    files = {
        "evil.html": b"<script>alert(1)</script>",
        'deep/down/ünïcode "x".bin': large,
        "e": b"",
    }
    _, base = await with_artifacts(web, files)
    incident = (await web.get(base.partition("/attempts")[0])).json()
    urls = {each["name"]: each["url"] for each in incident["files"] if each["kind"] == "artifact"}

    answers = {name: await web.get(url) for name, url in urls.items()}

    assert {name: each.content for name, each in answers.items()} == files
    for each in answers.values():
        assert each.headers["content-type"] == "application/octet-stream"
        assert each.headers["content-disposition"].startswith("attachment; ")
        assert each.headers["x-content-type-options"] == "nosniff"
        assert "\n" not in each.headers["content-disposition"]


async def test_only_what_was_collected_is_given_out(web: WebRig) -> None:
    """No other path, no link, no file that was changed since; nothing outside is ever read."""
    below, base = await with_artifacts(web, {"a.txt": b"first", "b.txt": b"second", "c.txt": b"x"})
    (below / "later.txt").write_text("put there afterwards")
    (below / "a.txt").write_bytes(b"FIRST")
    (below / "b.txt").unlink()
    (below / "b.txt").symlink_to("/etc/passwd")

    changed = await web.get(f"{base}/a.txt")
    linked = await web.get(f"{base}/b.txt")
    others = [
        await web.get(f"{base}/{path}")
        for path in (
            "later.txt", "..%2f..%2fagent.log", "%2fetc%2fpasswd", "c.txt/", ".%2fc.txt",
            "..%2fartifacts%2fc.txt", "c.txt%00", "%ff%fe", "x" * 5000,
        )
    ]  # fmt: skip

    assert changed.status_code == 409
    assert linked.status_code == 404
    assert {each.status_code for each in others} <= {404, 422}
    for each in (linked, *others):
        assert "root:" not in each.text
    assert (await web.get(f"{base}/c.txt")).content == b"x"


async def test_a_store_that_is_away_is_told_and_nothing_of_it(web: WebRig, tmp_path: Path) -> None:
    """503 with Retry-After while the record cannot be read; readiness says so too."""
    for name in ("kubecase.db", "kubecase.db-wal", "kubecase.db-shm"):
        (tmp_path / name).write_bytes(b"no database " * 500)

    answer = await web.get("/api/v1/incidents")
    ready = await web.get("/readyz")

    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert str(tmp_path) not in answer.text
    assert ready.status_code == 503
    assert "store" in json.dumps(ready.json())
