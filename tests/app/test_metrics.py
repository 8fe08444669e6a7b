"""Counting investigations, serving the counts, and alerting on them."""

import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes.incidents import a_fault
from kubecase.app.intake_metrics import filter_of
from kubecase.app.logs import configure_logs
from kubecase.app.metrics import ERROR_TYPES, NAMES, ObserverGroup, RuntimeMetrics
from kubecase.core.errors import KubecaseError
from kubecase.core.intake import Rules, Silence, filtered
from kubecase.core.model import Reason, Resource, Status
from kubecase.core.severity import Severity

ROOT = Path(__file__).parent.parent.parent


def samples(metrics: RuntimeMetrics) -> Mapping[str, float]:
    return parsed(metrics.text())


def parsed(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def run(metrics: RuntimeMetrics, incident: str, status: Status, seconds: float = 2.0) -> None:
    """One whole run, as the service tells it."""
    steps = [Status.CREATED, Status.STARTING, Status.RUNNING, status]
    for before, after in pairwise(steps):
        metrics.record(
            "state_changed", incident_id=incident, cluster="prod", attempt=1, agent="claude",
            **{"from": before, "to": after},
        )  # fmt: skip
    metrics.record(
        "agent_completed", incident_id=incident, cluster="prod", status=status, reason=None,
        duration=seconds,
    )  # fmt: skip


def test_every_ended_run_is_counted_by_its_status() -> None:
    """Three successes and one failure are counted as three and one (req 14.2)."""
    metrics = RuntimeMetrics(clusters=["prod"])

    for incident in "abc":
        run(metrics, incident, Status.SUCCESS)
    run(metrics, "d", Status.FAILED)

    found = samples(metrics)
    assert found["agent_runtime_invocations_total{cluster=prod,status=success}"] == 3
    assert found["agent_runtime_invocations_total{cluster=prod,status=failed}"] == 1


def test_durations_are_counted_as_often_as_runs() -> None:
    """The histogram's count equals the number of runs, its sum the seconds they took (req 14.3)."""
    metrics = RuntimeMetrics(clusters=["prod"])

    run(metrics, "a", Status.SUCCESS, seconds=1.5)
    run(metrics, "b", Status.SUCCESS, seconds=2.25)

    found = samples(metrics)
    assert found["agent_runtime_duration_seconds_count{cluster=prod,status=success}"] == 2
    assert found["agent_runtime_duration_seconds_sum{cluster=prod,status=success}"] == 3.75
    assert found["agent_runtime_duration_seconds_bucket{cluster=prod,le=1.0,status=success}"] == 0
    assert found["agent_runtime_duration_seconds_bucket{cluster=prod,le=5.0,status=success}"] == 2


def test_an_agent_is_active_from_starting_to_its_end() -> None:
    """The gauge is one during a run, whatever is told twice, and nought after it (req 14.4)."""
    metrics = RuntimeMetrics(clusters=["prod"])
    seen = []

    for status in (Status.CREATED, Status.STARTING, Status.RUNNING, Status.RUNNING, Status.TIMEOUT):
        metrics.record("state_changed", incident_id="a", cluster="prod", attempt=1, to=status)
        seen.append(samples(metrics)["agent_runtime_active_agents{cluster=prod}"])

    assert seen == [0, 1, 1, 1, 0]


def test_a_crash_that_skips_the_last_state_leaves_nobody_active() -> None:
    """A run that is only said to be over is no longer active, and its neighbour is (req 14.4)."""
    metrics = RuntimeMetrics(clusters=["prod"])
    for incident in "ab":
        metrics.record(
            "state_changed", incident_id=incident, cluster="prod", attempt=1, to="running"
        )

    metrics.record(
        "agent_completed", incident_id="a", cluster="prod", status="failed", duration=None
    )

    assert samples(metrics)["agent_runtime_active_agents{cluster=prod}"] == 1


def test_the_breaker_of_each_agent_is_shown() -> None:
    """0 is closed, 1 half open, 2 open, by the name of the agent."""
    metrics = RuntimeMetrics(clusters=["prod"])

    metrics.record("breaker", agent="claude", position="open")
    metrics.record("breaker", agent="codex", position="half_open")

    found = samples(metrics)
    assert found["kubecase_circuit_breaker_state{agent=claude}"] == 2
    assert found["kubecase_circuit_breaker_state{agent=codex}"] == 1


def test_a_service_counts_what_comes_in_and_what_waits() -> None:
    """Faults by severity and source, incidents queued and expired, depth, sources (formats 6)."""
    metrics = RuntimeMetrics(clusters=["prod"])

    serve(metrics)
    metrics.record("incident_expired", cluster="prod", waited=700)
    metrics.record("queue_depth", cluster="prod", depth=2)

    found = samples(metrics)
    received = "kubecase_faults_received_total{cluster=prod,severity=critical,source=http}"
    assert found[received] == 1
    assert found["kubecase_incidents_queued_total{}"] == 1
    assert found["kubecase_incidents_expired_total{}"] == 1
    assert found["kubecase_queue_depth{cluster=prod}"] == 2
    source = "cluster=prod,source=kubernetes:events"
    assert found[f"kubecase_source_connected{{{source}}}"] == 1
    assert (
        found[
            "kubecase_source_reconnections_total{"
            + source.replace("source", "reason=expired,source")
            + "}"
        ]
        == 1
    )
    assert sum(v for k, v in found.items() if k.startswith("kubecase_build_info")) == 1


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"severity": Severity.INFO}, "severity"),
        ({"namespace": "kube-system"}, "namespace"),
        ({"namespace": "elsewhere"}, "namespace"),
        ({"reason": "Known"}, "silenced"),
        ({"team": "b"}, "label"),
    ],
)
def test_every_rule_of_a_filter_has_a_label_of_its_own(changes: dict[str, Any], label: str) -> None:
    """What the intake's own rules say is counted by which of them it was."""
    team = changes.pop("team", "a")
    pod = Resource(kind="Pod", name="x", namespace=changes.pop("namespace", "shop"))
    rules = Rules(
        namespaces=("shop", "kube-system"), excluded_namespaces=("kube-*",), labels={"team": "a"},
        silences=(Silence(reason="upgrade", fault="Known"),),
    )  # fmt: skip
    fault = a_fault(resource=pod, labels={"team": team}, **changes)
    said = filtered(fault, rules, fault.seen_at)

    metrics = RuntimeMetrics(clusters=["prod"])
    metrics.record("fault_decided", cluster="prod", decision="filtered", reason=said)

    found = samples(metrics)
    assert found[f"kubecase_faults_filtered_total{{cluster=prod,reason={label}}}"] == 1
    off = filtered(fault, replace(rules, triage=False), fault.seen_at)
    assert filter_of(str(off)) == "triage_off"


def test_sources_and_reasons_cannot_invent_series_without_end() -> None:
    """Only so many sources and reasons are told apart; a source nobody wants any more is gone."""
    metrics = RuntimeMetrics(clusters=["prod"])
    for number in range(400):
        metrics.record("fault_received", cluster=f"c{number}", severity="x", source=f"s{number}")
        metrics.record(
            "source_reconnecting", cluster="prod", source="a", reason=f"told so at {number}"
        )
        metrics.record("source_state", cluster="prod", source=f"s{number}\n", state="failed")
    metrics.record("source_state", cluster="prod", source="s1", state="active")
    metrics.record("source_state", cluster="prod", source="s1", state="removed")

    names = list(samples(metrics))

    assert len([n for n in names if n.startswith("kubecase_faults_received")]) <= 201
    assert len([n for n in names if n.startswith("kubecase_source_reconnections")]) <= 31
    assert [n for n in names if n.startswith("kubecase_source_connected")] == [
        "kubecase_source_connected{cluster=prod,source=other}"
    ]


def test_the_size_that_was_measured_last_is_shown() -> None:
    """A workspace of a mebibyte is shown as at least one (req 14.5)."""
    metrics = RuntimeMetrics(clusters=["prod"])

    metrics.record("workspace_size", cluster="prod", bytes=4096)
    metrics.record("workspace_size", cluster="prod", bytes=1024 * 1024)

    assert samples(metrics)["agent_runtime_workspace_size_bytes{cluster=prod}"] == 1024 * 1024


@pytest.mark.parametrize(
    ("told", "counted"),
    [("start", "start"), (Reason.AUTH, "auth"), ("skills", "skills"), ("pod-7 said", "other")],
)
def test_errors_are_counted_by_a_fixed_set_of_types(told: str, counted: str) -> None:
    """An error counts under its type, and one of an unknown type as `other` (req 14.6)."""
    metrics = RuntimeMetrics(clusters=["prod"])
    before = samples(metrics)[f"agent_runtime_errors_total{{cluster=prod,error_type={counted}}}"]

    metrics.record("error", incident_id="a", cluster="prod", error_type=told)

    found = samples(metrics)
    assert before == 0
    assert found[f"agent_runtime_errors_total{{cluster=prod,error_type={counted}}}"] == 1


def test_faults_cannot_invent_series() -> None:
    """However many clusters and types faults name, the number of series stays (req 14.1)."""
    metrics = RuntimeMetrics(clusters=["prod", "dev"])
    names = {name for name in samples(metrics) if "errors" in name or "active" in name}

    for number in range(200):
        cluster = f"cluster-{number}"
        metrics.record("error", cluster=cluster, error_type=f"type-{number}")
        metrics.record(
            "state_changed", incident_id=number, cluster=cluster, attempt=1, to="running"
        )

    found = samples(metrics)
    assert {name for name in found if "errors" in name or "active" in name} == names
    assert found["agent_runtime_active_agents{cluster=other}"] == 200


def test_a_status_that_does_not_exist_is_not_counted() -> None:
    """Only the seven words are ever a status; another one is a mistake and told as one."""
    metrics = RuntimeMetrics(clusters=["prod"])
    before = samples(metrics)

    with pytest.raises(ValueError, match="resolved"):
        metrics.record("agent_completed", incident_id="a", cluster="prod", status="resolved")

    assert samples(metrics) == before


def test_metrics_are_served_on_loopback() -> None:
    """GET /metrics answers with Prometheus text that changes between phases (req 14.7, 14.8)."""
    metrics = RuntimeMetrics(clusters=["prod"])

    with metrics.serve("127.0.0.1", 0) as server:
        metrics.record("state_changed", incident_id="a", cluster="prod", attempt=1, to="running")
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            during = parsed(answer.read().decode())
            status, kind = answer.status, answer.headers["Content-Type"]
        metrics.record("state_changed", incident_id="a", cluster="prod", attempt=1, to="success")
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            after = parsed(answer.read().decode())

    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert during["agent_runtime_active_agents{cluster=prod}"] == 1
    assert after["agent_runtime_active_agents{cluster=prod}"] == 0


def test_a_closed_server_is_gone() -> None:
    """Once closed, nothing listens and no thread of it is left; closing twice is harmless."""
    server = RuntimeMetrics().serve("localhost", 0)
    port = server.port

    server()
    server.close()

    assert [t for t in threading.enumerate() if t.name == "metrics"] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/", 404), ("POST", "/metrics", 405)])
def test_nothing_but_the_metrics_is_served(method: str, path: str, code: int) -> None:
    """Another path or method is refused."""
    with RuntimeMetrics().serve("127.0.0.1", 0) as server:
        asked = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=10)

    assert refused.value.code == code


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "", "127.0.0.1 x"])
def test_an_address_that_others_can_reach_is_refused(host: str) -> None:
    """Metrics are never served to another host (req 14.8)."""
    with pytest.raises(KubecaseError, match="not a loopback address") as refused:
        RuntimeMetrics().serve(host, 0)

    assert refused.value.hint


def test_a_port_that_is_taken_is_an_answer_not_a_crash() -> None:
    """A taken or impossible port is refused with the port's number and a remedy."""
    with RuntimeMetrics().serve("127.0.0.1", 0) as server:
        for port in (server.port, 70000):
            with pytest.raises(KubecaseError, match=f"port {port}") as refused:
                RuntimeMetrics().serve("127.0.0.1", port)
            assert refused.value.hint


def test_the_written_file_is_whole_and_replaced_at_once(tmp_path: Path) -> None:
    """A collector that holds the old file open still reads a whole one; nothing else is left."""
    metrics, path = RuntimeMetrics(clusters=["prod"]), tmp_path / "kubecase.prom"
    metrics.write(path)
    with path.open() as old:
        run(metrics, "a", Status.SUCCESS)
        metrics.write(path)
        before, after = parsed(old.read()), parsed(path.read_text())

    name = "agent_runtime_invocations_total{cluster=prod,status=success}"
    assert (before[name], after[name]) == (0, 1)
    assert os.listdir(tmp_path) == ["kubecase.prom"]


def test_a_file_that_cannot_be_written_names_the_remedy(tmp_path: Path) -> None:
    """A missing directory is told as something that an operator can put right."""
    with pytest.raises(KubecaseError, match="cannot write the metrics") as refused:
        RuntimeMetrics().write(tmp_path / "absent" / "kubecase.prom")

    assert "metrics_enabled" in str(refused.value.hint)


class Broken:
    def record(self, event: str, /, **fields: object) -> None:
        raise OSError(28, "No space left on device")


def test_one_failing_observer_never_stops_another(tmp_path: Path) -> None:
    """What one observer cannot do is logged, and the others are told all the same."""
    metrics, log = RuntimeMetrics(clusters=["prod"]), tmp_path / "log"
    logs = configure_logs(log)

    ObserverGroup(Broken(), metrics).record("workspace_size", cluster="prod", bytes=7)
    logs.close()

    assert samples(metrics)["agent_runtime_workspace_size_bytes{cluster=prod}"] == 7
    assert "an observer failed on workspace_size" in log.read_text()
    assert "No space left on device" in log.read_text()


def serve(metrics: RuntimeMetrics) -> None:
    """A service that takes one fault in and has one source."""
    metrics.record("fault_received", cluster="prod", severity="critical", source="http")
    metrics.record(
        "fault_decided", cluster="prod", decision="opened", reason="a new fault", incident_id="a"
    )
    metrics.record("incident_queued", cluster="prod", incident_id="a")
    metrics.record("queue_depth", cluster="prod", depth=3)
    metrics.record("source_state", cluster="prod", source="kubernetes:events", state="active")
    metrics.record(
        "source_reconnecting", cluster="prod", source="kubernetes:events", reason="expired"
    )


def scraped_names() -> set[str]:
    metrics = RuntimeMetrics(clusters=["prod"])
    run(metrics, "a", Status.SUCCESS)
    metrics.record("workspace_size", cluster="prod", bytes=7)
    metrics.record("breaker", agent="claude", position="closed")
    serve(metrics)
    return {name.partition("{")[0] for name in samples(metrics)}


@pytest.mark.parametrize("name", ["docs/alerts.md", "configs/alerts.yaml"])
def test_documents_and_rules_name_only_what_is_scraped(name: str) -> None:
    """Every metric that the page or a rule names is one that a scrape returns (req 20.5)."""
    text = (ROOT / name).read_text()
    named = set(re.findall(r"(?:agent_runtime|kubecase)_[a-z_]+[a-z]", text))
    scraped = scraped_names()
    families = {re.sub(r"_(bucket|count|sum)$", "", each) for each in scraped}

    assert named
    assert named <= scraped | families
    assert families == set(NAMES.values())


def test_the_page_names_every_metric_type_and_alert() -> None:
    """No metric, error type or alert is missing from docs/alerts.md (req 17.6, 20.5)."""
    page = (ROOT / "docs" / "alerts.md").read_text()
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "configs" / "alerts.yaml").read_text())

    assert len(alerts) >= 5
    missing = [w for w in (*NAMES.values(), *ERROR_TYPES, *alerts) if f"`{w}`" not in page]
    assert missing == []


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (package prometheus)")
    return found


@pytest.mark.promtool
def test_prometheus_accepts_the_rules(promtool: str) -> None:
    """The shipped rules are valid for Prometheus itself (req 17.6)."""
    checked = subprocess.run(
        [promtool, "check", "rules", ROOT / "configs" / "alerts.yaml"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.promtool
def test_the_alerts_fire_when_they_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    """Every alert fires on the series it is for and keeps still on healthy ones (req 17.6)."""
    shutil.copy(ROOT / "configs" / "alerts.yaml", tmp_path)
    shutil.copy(ROOT / "tests" / "data" / "alerts_test.yaml", tmp_path)
    expected = (tmp_path / "alerts_test.yaml").read_text()
    alerts = re.findall(r"- alert: (\w+)", (tmp_path / "alerts.yaml").read_text())

    tested = subprocess.run(
        [promtool, "test", "rules", tmp_path / "alerts_test.yaml"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert [a for a in alerts if f"alertname: {a}" not in expected] == []


@pytest.mark.promtool
def test_prometheus_accepts_what_is_served(promtool: str) -> None:
    """The scraped text passes Prometheus's own check of metrics (req 14.1)."""
    metrics = RuntimeMetrics(clusters=["prod"])
    run(metrics, "a", Status.SUCCESS)
    serve(metrics)

    checked = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.text(),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert checked.returncode == 0, checked.stdout + checked.stderr
