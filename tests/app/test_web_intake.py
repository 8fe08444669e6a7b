"""Faults come in over HTTP: durable before they are acknowledged, refused by name of the field."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from fakes.web_rig import FAULT, WebRig, a_web
from kubecase.core.intake import Rules
from kubecase.store import Owner, Store

pytestmark = pytest.mark.anyio

NOTIFICATION: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="PodCrash"}',
    "status": "firing",
    "receiver": "kubecase",
    "groupLabels": {"alertname": "PodCrash"},
    "commonLabels": {"alertname": "PodCrash", "namespace": "shop", "severity": "critical"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager.example.com",
    "alerts": [
        {
            "status": "firing", "labels": {"pod": "api-0"}, "annotations": {"summary": "it died"},
            "startsAt": "2026-01-02T03:04:05Z", "fingerprint": "a1",
        },
        {
            "status": "firing", "labels": {"pod": "db-0"}, "annotations": {},
            "startsAt": "2026-01-02T03:04:05Z", "fingerprint": "b2",
        },
    ],
}  # fmt: skip
EVENT = {"specversion": "1.0", "id": "1", "source": "/sensor", "type": "fault.seen"}


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[WebRig]:
    async with a_web(tmp_path) as rig:
        yield rig


def problem(response: httpx2.Response) -> tuple[int, list[str]]:
    """Status and pointers of an error, which is in its documented form."""
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert "Traceback" not in response.text
    return response.status_code, [each["pointer"] for each in body.get("errors", [])]


async def test_a_fault_is_on_record_when_it_is_acknowledged(tmp_path: Path) -> None:
    """Whoever has the answer 202 finds the incident on record, from another process as well."""
    async with a_web(tmp_path) as web:
        answer = await web.post("/api/v1/faults", dict(FAULT))

        # Read beside the service, as after its death.
        async with Store.open(tmp_path / "kubecase.db", owner=Owner.current()) as store:
            (accepted,) = answer.json()["accepted"]
            story = await store.story(accepted["incident_id"])

    assert answer.status_code == 202
    assert accepted["decision"] == "opened"
    assert str(story.incident.fault.resource) == "Pod/api-0"
    assert json.loads(story.incident.fault.raw) == FAULT


async def test_each_fault_of_a_list_gets_its_decision(web: WebRig) -> None:
    """A list is answered in its order; a repetition joins the incident that was just opened."""
    other = {**FAULT, "resource": "Pod/db-0"}

    answer = await web.post("/api/v1/faults", [FAULT, other, FAULT])

    first, second, third = answer.json()["accepted"]
    assert [each["decision"] for each in (first, second, third)] == ["opened", "opened", "joined"]
    assert first["incident_id"] == third["incident_id"] != second["incident_id"]


async def test_a_fault_of_an_mcp_server_and_an_event_are_taken_as_they_are(web: WebRig) -> None:
    """What a Kubernetes MCP server or a cluster says itself needs no translation."""
    fault = {
        "faultId": "9f3c0d1e2b4a5968", "faultType": "CrashLoop", "severity": "critical",
        "resource": {"apiVersion": "v1", "kind": "Pod", "name": "api-0", "namespace": "shop"},
        "context": "container api exited 1", "timestamp": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    event = {
        "kind": "Event", "type": "Warning", "reason": "Evicted", "message": "low on memory",
        "involvedObject": {"kind": "Pod", "name": "db-0", "namespace": "shop"},
    }  # fmt: skip

    answer = await web.post("/api/v1/faults", [fault, event])

    assert [each["decision"] for each in answer.json()["accepted"]] == ["opened", "opened"]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"resource": "Pod/api-0", "reason": "x"}, ["/namespace"]),
        ({**FAULT, "resource": "api-0"}, ["/resource"]),
        ({**FAULT, "resource": {"kind": "Pod"}}, ["/resource/name"]),
        ({**FAULT, "severity": 3}, ["/severity"]),
        ({**FAULT, "timestamp": "yesterday"}, ["/timestamp"]),
        ({**FAULT, "id": "../../etc"}, ["/id"]),
        ({"namespace": "shop", "resource": "Pod/a"}, ["/reason"]),
        ([FAULT, 7, {**FAULT, "labels": []}], ["/1", "/2/labels"]),
        ([], [""]),
        (None, [""]),
        (NOTIFICATION, [""]),
        ([FAULT] * 501, [""]),
    ],
)
async def test_what_is_no_fault_is_refused_by_its_field(
    web: WebRig, body: Any, pointers: list[str]
) -> None:
    """Each wrong field is named, and of a list with one mistake nothing is taken."""
    content = json.dumps(body)

    answer = await web.client.post(
        "/api/v1/faults", content=content, headers={"content-type": "application/json"}
    )

    assert problem(answer) == (422, pointers)
    assert (await web.get("/api/v1/incidents")).json()["incidents"] == []


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {"content-type": "application/json"}, 400),
        (b"", {"content-type": "application/json"}, 400),
        (b"\x00\xff\xfe" * 9, {"content-type": "application/json"}, 400),
        (b"[" * 100_000, {"content-type": "application/json"}, 400),
        (b'{"a": 1e999}', {"content-type": "application/json"}, 400),
        (b"{} {}", {"content-type": "application/json"}, 400),
        (b"a: 1", {"content-type": "application/yaml"}, 415),
        (b"{}", {}, 415),
        (b"{}", {"content-type": "application/json", "content-encoding": "gzip"}, 415),
        (b"{}", {"content-type": "application/json", "idempotency-key": "a b"}, 400),
    ],
)
async def test_garbage_is_refused_and_the_service_goes_on(
    web: WebRig, content: bytes, headers: dict[str, str], status: int
) -> None:
    """Whatever is sent is answered with an error in its documented form, and that is all."""
    answer = await web.client.post("/api/v1/faults", content=content, headers=headers)

    assert problem(answer)[0] == status
    assert (await web.post("/api/v1/faults", dict(FAULT))).status_code == 202


async def test_a_notification_opens_an_incident_for_each_alert_of_its_group(web: WebRig) -> None:
    """Alertmanager has grouped: each alert is one fault, with the labels of its group."""
    answer = await web.post("/api/v1/alertmanager", NOTIFICATION)

    assert answer.status_code == 202, answer.text
    assert [each["decision"] for each in answer.json()["accepted"]] == ["opened", "opened"]
    found = (await web.get("/api/v1/incidents")).json()["incidents"]
    assert {(each["resource"], each["severity"]) for each in found} == {
        ("Pod/api-0", "critical"), ("Pod/db-0", "critical"),
    }  # fmt: skip


async def test_a_resolved_alert_closes_what_is_open_for_it(web: WebRig) -> None:
    """What its source takes back is done; what fires in the same notification stays open."""
    opened = (await web.post("/api/v1/alertmanager", NOTIFICATION)).json()["accepted"]
    first, second = NOTIFICATION["alerts"]
    over = {**NOTIFICATION, "alerts": [{**first, "status": "resolved"}, second]}

    answer = (await web.post("/api/v1/alertmanager", over)).json()

    assert [each["decision"] for each in answer["resolved"]] == ["resolved"]
    assert answer["resolved"][0]["incident_id"] == opened[0]["incident_id"]
    assert [each["decision"] for each in answer["accepted"]] == ["joined"]
    states = {
        each["id"]: each["state"]
        for each in (await web.get("/api/v1/incidents")).json()["incidents"]
    }
    assert states == {opened[0]["incident_id"]: "done", opened[1]["incident_id"]: "queued"}


async def test_an_alert_that_names_no_object_costs_the_others_nothing(web: WebRig) -> None:
    """Usable alerts are taken, and of the one that is not it is said why."""
    body = {**NOTIFICATION, "commonLabels": {}}
    body["alerts"] = [
        {"status": "firing", "labels": {"alertname": "Watchdog"}},
        {"status": "firing", "labels": {"alertname": "x", "namespace": "shop", "pod": "a-0"}},
    ]

    answer = (await web.post("/api/v1/alertmanager", body)).json()

    assert [each["decision"] for each in answer["accepted"]] == ["opened"]
    assert [each["pointer"] for each in answer["ignored"]] == ["/alerts/0"]


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"version": "3"}, ["/version"]),
        ({"alerts": {}}, ["/alerts"]),
        ({"alerts": []}, ["/alerts"]),
        ({"alerts": [7]}, ["/alerts/0"]),
        ({"commonLabels": {}, "alerts": [{"labels": {"pod": "a"}}]}, ["/alerts/0"]),
    ],
)
async def test_what_is_no_notification_is_refused_by_its_field(
    web: WebRig, changes: dict[str, Any], pointers: list[str]
) -> None:
    """A notification of another version, or without a usable alert, is refused."""
    body = {**NOTIFICATION, "commonLabels": {}, **changes}

    answer = await web.post("/api/v1/alertmanager", body)

    assert problem(answer) == (422, pointers)


@pytest.mark.parametrize("data", [FAULT, json.dumps(FAULT), NOTIFICATION])
async def test_a_structured_cloudevent_carries_a_fault(web: WebRig, data: Any) -> None:
    """What is inside a CloudEvent counts as if it had come by itself."""
    answer = await web.client.post(
        "/api/v1/cloudevents",
        content=json.dumps({**EVENT, "data": data}),
        headers={"content-type": "application/cloudevents+json; charset=utf-8"},
    )

    assert answer.status_code == 202, answer.text
    assert {each["decision"] for each in answer.json()["accepted"]} == {"opened"}


async def test_packed_binary_and_batched_events_are_taken(web: WebRig) -> None:
    """Base64 inside, attributes in headers, several at once: all three ways of CloudEvents 1.0."""
    packed = {**EVENT, "data_base64": base64.b64encode(json.dumps(FAULT).encode()).decode()}
    batch = [{**EVENT, "data": {**FAULT, "resource": f"Pod/b-{n}"}} for n in range(3)]
    headers = {f"ce-{name}": value for name, value in EVENT.items()}

    answers = [
        await web.client.post(
            "/api/v1/cloudevents", content=json.dumps(body), headers={"content-type": kind, **more}
        )
        for body, kind, more in (
            (packed, "application/cloudevents+json", {}),
            ({**FAULT, "resource": "Pod/bin-0"}, "application/json", headers),
            (batch, "application/cloudevents-batch+json", {}),
        )
    ]

    assert [each.status_code for each in answers] == [202, 202, 202], [e.text for e in answers]
    assert [len(each.json()["accepted"]) for each in answers] == [1, 1, 3]


@pytest.mark.parametrize(
    ("body", "headers", "pointers"),
    [
        ({**EVENT, "specversion": "0.3", "data": FAULT}, {}, ["/specversion"]),
        ({"specversion": "1.0", "data": FAULT}, {}, ["/id", "/source", "/type"]),
        (EVENT, {}, ["/data"]),
        ({**EVENT, "data_base64": "%%%"}, {}, ["/data_base64"]),
        ({**EVENT, "data": {**FAULT, "severity": 1}}, {}, ["/data/severity"]),
        ({**EVENT, "data": {**EVENT, "data": FAULT}}, {}, ["/data"]),
        (FAULT, {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s"}, ["header.ce-type"]),
    ],
)
async def test_what_is_no_cloudevent_is_refused_by_its_field(
    web: WebRig, body: Any, headers: dict[str, str], pointers: list[str]
) -> None:
    """A missing attribute is named, in the body or among the headers."""
    answer = await web.post("/api/v1/cloudevents", body, headers=headers)

    assert problem(answer) == (422, pointers)


async def test_the_same_key_is_given_the_same_answer_also_after_a_restart(tmp_path: Path) -> None:
    """A sender that lost the answer asks again with its key and opens nothing a second time."""
    key = {"Idempotency-Key": "deploy-77"}
    async with a_web(tmp_path) as web:
        first = await web.post("/api/v1/faults", dict(FAULT), headers=key)

    async with a_web(tmp_path) as web:
        again = await web.post("/api/v1/faults", dict(FAULT), headers=key)
        other = await web.post("/api/v1/faults", {**FAULT, "reason": "OOM"}, headers=key)
        story = await web.store.story(first.json()["accepted"][0]["incident_id"])

    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert story.occurrences == 1
    assert problem(other) == (422, ["header.Idempotency-Key"])


async def test_two_requests_of_one_key_at_once_are_one(web: WebRig) -> None:
    """The second waits for the first and is told the same."""
    web.backend.gate = anyio.Event()
    answers: list[httpx2.Response] = []

    async def ask() -> None:
        key = {"Idempotency-Key": "k"}
        answers.append(await web.post("/api/v1/faults", dict(FAULT), headers=key))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        web.backend.gate.set()

    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["accepted"][0]["decision"] == "opened"


async def test_a_full_queue_leaves_the_fault_with_its_sender(tmp_path: Path) -> None:
    """503 with Retry-After: nothing was taken, and the sender knows when to come again."""
    async with a_web(tmp_path, rules=Rules(max_queued=1, second_sign=0, storm=0)) as web:
        first = await web.post("/api/v1/faults", dict(FAULT))
        second = await web.post("/api/v1/faults", {**FAULT, "resource": "Pod/db-0"})

    assert first.status_code == 202
    assert problem(second)[0] == 503
    assert int(second.headers["retry-after"]) >= 1


async def test_a_list_that_is_taken_in_part_is_sent_again_whole(tmp_path: Path) -> None:
    """503 if one of it was refused: who sends it again loses nothing and opens nothing twice."""
    faults = [{**FAULT, "resource": f"Pod/{name}-0"} for name in ("api", "db", "web")]
    async with a_web(tmp_path, rules=Rules(max_queued=2, second_sign=0, storm=0)) as web:
        part = await web.post("/api/v1/faults", faults)
        web.backend.rules = Rules(second_sign=0, storm=0)
        whole = await web.post("/api/v1/faults", faults)

    assert problem(part)[0] == 503
    assert int(part.headers["retry-after"]) >= 1
    decisions = [each["decision"] for each in whole.json()["accepted"]]
    assert decisions == ["joined", "joined", "opened"]


async def test_a_fault_may_name_its_incident(web: WebRig) -> None:
    """The incident gets the id that its fault asks for, once (formats.md section 11)."""
    own = "0b8e4f5e-1111-4222-8333-444455556666"

    first = await web.post(
        "/api/v1/faults", [{**FAULT, "resource": "Pod/a-0"}, {**FAULT, "id": own}]
    )
    again = await web.post("/api/v1/faults", {**FAULT, "resource": "Pod/other-0", "id": own})

    assert first.json()["accepted"][1]["incident_id"] == own
    assert first.json()["accepted"][0]["incident_id"] != own
    assert [each["decision"] for each in again.json()["accepted"]] == ["joined"]
    assert (await web.get(f"/api/v1/incidents/{own}")).json()["incident"]["resource"] == "Pod/api-0"


async def test_a_bug_with_one_fault_holds_up_nobody(web: WebRig) -> None:
    """Whoever waits for the same writing is answered too, and the next one is taken."""
    asked: list[int] = []

    def rules(_: str) -> Rules:
        raise RuntimeError("a bug")

    async def ask(number: int) -> None:
        body = {**FAULT, "resource": f"Pod/p{number}-0"}
        asked.append((await web.post("/api/v1/faults", body)).status_code)

    good, web.backend.intake.rules = web.backend.intake.rules, rules
    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(ask, number)
    web.backend.intake.rules = good
    after = await web.post("/api/v1/faults", dict(FAULT))

    assert set(asked) <= {500, 503}
    assert len(asked) == 5
    assert after.status_code == 202


async def test_who_shuts_down_takes_nothing_more(web: WebRig) -> None:
    """While it drains, faults are refused with Retry-After, and incidents can still be read."""
    web.backend.intake.draining = True

    answer = await web.post("/api/v1/faults", dict(FAULT))

    assert problem(answer)[0] == 503
    assert "retry-after" in answer.headers
    assert (await web.get("/healthz")).status_code == 503
    assert (await web.get("/api/v1/incidents")).status_code == 200


async def test_a_bug_says_nothing_of_itself(web: WebRig) -> None:
    """What nobody expected is answered with 500 and not a word of what it was."""
    web.backend.bug = RuntimeError("secret-internal-detail at /var/lib")

    answer = await web.post("/api/v1/faults", dict(FAULT))

    assert problem(answer)[0] == 500
    assert "secret-internal-detail" not in answer.text
    web.backend.bug = None
    assert (await web.post("/api/v1/faults", dict(FAULT))).status_code == 202
