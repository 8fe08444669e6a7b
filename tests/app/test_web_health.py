"""What machines ask of the service: is it alive, is it ready, how are its clusters, what counts."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes.web_rig import FAULT, WebRig, a_web
from kubecase.app.intake_metrics import NAMES
from kubecase.app.web.backend import ClusterState, ClusterStatus

pytestmark = pytest.mark.anyio


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[WebRig]:
    async with a_web(tmp_path) as rig:
        yield rig


async def test_it_is_ready_until_something_is_wrong(web: WebRig) -> None:
    """Readiness says why not; health goes on until the service shuts down."""
    good = (await web.get("/healthz"), await web.get("/readyz"))
    web.backend.trouble = "no source is connected"
    unready = (await web.get("/healthz"), await web.get("/readyz"))
    web.backend.trouble = None
    web.backend.intake.draining = True
    draining = (await web.get("/healthz"), await web.get("/readyz"))

    assert [each.status_code for each in good] == [200, 200]
    assert [each.status_code for each in unready] == [200, 503]
    assert unready[1].json() == {"status": "unavailable", "reason": "no source is connected"}
    assert [each.status_code for each in draining] == [503, 503]
    assert draining[0].json()["reason"] == "shutting down"


async def test_clusters_are_shown_as_the_formats_say(web: WebRig) -> None:
    """Name, status, counts, error and permissions of each, and a summary (formats.md section 8)."""
    permissions = {"can_get_pods": True, "warnings": []}
    web.backend.states = (
        ClusterState(
            name="prod", status=ClusterStatus.ACTIVE, event_count=7, permissions=permissions,
            last_event=datetime(2026, 1, 2, tzinfo=UTC), labels={"environment": "production"},
        ),
        ClusterState(
            name="dev", status=ClusterStatus.DEGRADED, triage_enabled=False, retry_in=2.5,
            error="token " + "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8 was refused",
        ),
    )  # fmt: skip

    told = (await web.get("/health/clusters")).json()

    assert told["clusters"][0] == {
        "name": "prod", "status": "active", "event_count": 7, "triage_enabled": True,
        "last_event": "2026-01-02T00:00:00+00:00", "error": None, "permissions": permissions,
        "labels": {"environment": "production"}, "retry_in": None,
    }  # fmt: skip
    assert told["clusters"][1]["retry_in"] == 2.5
    assert "ghp_" not in told["clusters"][1]["error"]
    assert told["summary"] == {"total": 2, "active": 1, "unhealthy": 1, "triage_enabled": 1}


async def test_what_came_in_is_counted_where_prometheus_looks(web: WebRig) -> None:
    """One fault over HTTP is one received fault of its severity and source."""
    await web.post("/api/v1/faults", {**FAULT, "cluster": "prod"})

    answer = await web.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [
        sample
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == NAMES["received"]
    ]
    assert [(each.labels, each.value) for each in samples] == [
        ({"cluster": "prod", "severity": "critical", "source": "http"}, 1.0)
    ]


@pytest.mark.promtool
async def test_prometheus_accepts_what_the_service_serves(web: WebRig) -> None:
    """The answer of `/metrics` passes Prometheus's own check."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (package prometheus)")
    await web.post("/api/v1/faults", dict(FAULT))
    text = (await web.get("/metrics")).text

    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_probes_that_go_well_are_not_on_record(web: WebRig) -> None:
    """The log holds what somebody asked for, and of probes and scrapes only what went wrong."""
    for path in ("/healthz", "/readyz", "/metrics"):
        await web.get(path)
    web.backend.trouble = "no source is connected"
    await web.get("/readyz")
    await web.get("/api/v1/incidents")

    assert [(each["path"], each["status"]) for each in web.observer.of("http_request")] == [
        ("/readyz", 503), ("/api/v1/incidents", 200),
    ]  # fmt: skip
