"""The whole way with the real Claude Code: a fault in, three reports out, on loopback alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_claude import HERE, KEY, PROGRAM, UNSHARE, WHY_NOT

from fakes.kubectls import WHY_NOT as WHY_NO_KUBECTL
from fakes.kubectls import kubectls
from kubecase.app.recordings import recording_named
from kubecase.gateways import audit

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]

CREDENTIAL = "real-credential-of-the-cluster-0123456789"
REPORT = "# Kubernetes Incident Triage Report\n\n" + "The table orders_v2 is missing. " * 10


def investigate(root: Path, *script: list[Any], **more: Any) -> dict[str, Any]:
    """Run the installed command with a model that follows `script`."""
    task = {
        "root": str(root),
        "program": str(PROGRAM),
        "key": KEY,
        "fault": str(recording_named("crashloop")),
        "script": script,
        **more,
    }
    done = subprocess.run(
        [*UNSHARE, "--", sys.executable, HERE / "investigating.py"],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    ran = json.loads(done.stdout)
    assert isinstance(ran, dict)
    return ran


def test_an_investigation_ends_in_success_with_the_report_of_the_stream(tmp_path: Path) -> None:
    """The CLI reads the facts that lie in its workspace, and its last answer is the report."""
    read = ["tool", "Read", {"file_path": "context/logs.txt"}]

    ran = investigate(tmp_path, read, ["text", REPORT])

    assert ran["code"] == 0, ran["stderr"]
    result = json.loads(ran["stdout"])
    assert (result["status"], result["exit_code"]) == ("success", 0)
    assert result["usage"]["turns"] == 2
    workspace = Path(result["workspace_dir"])
    assert (workspace / "output/investigation.md").read_text().strip() == REPORT.strip()
    assert "orders_v2" in ran["requests"][-1]["body"]
    served = ["mcp__k8s__kubectl_read", "mcp__k8s__read_context", "mcp__k8s__write_report"]
    assert all(sorted(each["tools"]) == ["Read", "Skill", *served] for each in ran["requests"])
    for kind in ("md", "html", "json"):
        assert "orders_v2" in Path(result["reports"][kind]).read_text()
    assert "tool_call Read" in ran["stderr"]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_refused_key_ends_as_auth(tmp_path: Path) -> None:
    """A 401 of the model ends as failed/auth, with the built-in findings in the reports."""
    ran = investigate(tmp_path, ["error", 401])

    assert ran["code"] == 1, ran["stderr"]
    result = json.loads(ran["stdout"])
    assert (result["status"], result["reason"]) == ("failed", "auth")
    assert "orders_v2" in Path(result["reports"]["md"]).read_text()


def machine_of(result: dict[str, Any]) -> dict[str, Any]:
    value = json.loads(Path(result["reports"]["json"]).read_text())
    assert isinstance(value, dict)
    return value


def report_of(result: dict[str, Any]) -> str:
    return Path(result["reports"]["md"]).read_text()


def record_of(root: Path, result: dict[str, Any]) -> Path:
    key = f"{result['incident_id']}-{result['attempt']}"
    return root / ".local/share/kubecase/audit" / f"{key}.jsonl"


@pytest.mark.parametrize("layer", ["bwrap", "landlock", "process"])
def test_the_agent_has_neither_the_network_nor_the_key(tmp_path: Path, layer: str) -> None:
    """Served by the model gateway, Claude Code runs with a key of its run and, where the layer can
    do that, a closed network; what it used is counted, and the record of it holds.
    """
    read = ["tool", "Read", {"file_path": "context/logs.txt"}]

    ran = investigate(tmp_path, read, ["text", REPORT], env={"AGENT_RUNTIME_ISOLATION": layer})

    result = json.loads(ran["stdout"])
    run = machine_of(result)["run"]
    assert (result["status"], run["isolation"]) == ("success", layer)
    # Said to be open exactly where it is.
    assert any("network" in note for note in run["isolation_notes"]) == (layer == "process")
    assert ran["others"] == []
    assert all(request["has_key"] for request in ran["requests"])
    assert (result["usage"]["turns"], result["usage"]["cost_usd"] > 0) == (2, True)
    record = audit.verify(record_of(tmp_path, result))
    assert record.holds
    assert record.lines >= 2
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_budget_that_is_used_up_ends_the_run(tmp_path: Path) -> None:
    """At its limit the run ends as failed/budget, and what was said until then is kept."""
    said = ["tool", "Read", {"file_path": "context/logs.txt"}]

    ran = investigate(
        tmp_path, said, said, ["text", REPORT],
        env={"KUBECASE_BUDGETS__RUN__MAX_REQUESTS": "1"},
    )  # fmt: skip

    result = json.loads(ran["stdout"])
    assert (ran["code"], result["status"], result["reason"]) == (1, "failed", "budget")
    assert len(ran["requests"]) == 1
    assert "orders_v2" in Path(result["reports"]["md"]).read_text()


def test_a_model_gateway_that_dies_is_followed_by_another(tmp_path: Path) -> None:
    """Killed while the model answers, kubecase is followed by another: the agent waits at its
    listener, the heir serves on, the run succeeds, and the record goes on and holds.
    """
    read = ["tool", "Read", {"file_path": "context/logs.txt"}]

    ran = investigate(
        tmp_path, read, ["text", REPORT], ["text", REPORT], kill=True,
        env={"AGENT_RUNTIME_WHEN_SUPERVISOR_DIES": "survive"},
    )  # fmt: skip

    (recovered,) = json.loads(ran["stdout"])
    assert recovered["result"]["status"] == "success", ran["stderr"]
    assert recovered["result"]["exit_code"] == 0
    assert len(ran["requests"]) >= 2
    record = audit.verify(record_of(tmp_path, recovered["result"]))
    assert record.holds
    assert record.lines >= 1


def test_without_the_gateway_the_network_stays_open_and_that_is_said(tmp_path: Path) -> None:
    """Switched off, the CLI holds its real key; the report says so."""
    ran = investigate(
        tmp_path, ["text", REPORT], env={"KUBECASE_AGENTS__CLAUDE__MODEL_GATEWAY": "false"}
    )

    result = json.loads(ran["stdout"])
    machine = machine_of(result)
    assert result["status"] == "success"
    assert any("model_gateway is off" in note for note in machine["notes"])
    assert any("network" in note for note in machine["run"]["isolation_notes"])


KUBECTL = "mcp__k8s__kubectl_read"
MACHINE = {
    "summary": "The table orders_v2 is missing, so the container exits. Run the migrations.",
    "hypotheses": [{
        "category": "app.crash", "root_cause": "the relation orders_v2 does not exist",
        "culprit": {"kind": "Deployment", "namespace": "shop", "name": "crashloop"},
        "confidence": 0.9, "next_steps": [],
        "evidence": [
            {"source": "event:BackOff", "quote": "Back-off restarting failed container"},
            {"source": "event:Failed", "quote": "a quote that nobody ever said"},
        ],
    }],
}  # fmt: skip


@pytest.mark.skipif(not kubectls(), reason=WHY_NO_KUBECTL)
@pytest.mark.parametrize("layer", ["bwrap", "landlock", "process"])
def test_the_cluster_is_read_through_our_one_tool(tmp_path: Path, layer: str) -> None:
    """Without a shell the CLI reads the cluster and leaves its report by our tools; Secrets and
    writes are refused, the real credential is nowhere, and every call is on record.
    """
    report = {"markdown": REPORT, "report_json": json.dumps(MACHINE)}

    ran = investigate(
        tmp_path,
        ["tool", KUBECTL, {"command": "kubectl get events -n shop -o json"}],
        ["tool", KUBECTL, {"command": "kubectl get secrets -n shop"}],
        ["tool", KUBECTL, {"command": "kubectl delete pod x -n shop"}],
        ["tool", "mcp__k8s__write_report", report],
        ["text", "The report is written."],
        cluster=CREDENTIAL,
        env={"AGENT_RUNTIME_ISOLATION": layer},
    )

    assert ran["code"] == 0, ran["stderr"]
    result = json.loads(ran["stdout"])
    assert (result["status"], machine_of(result)["run"]["isolation"]) == ("success", layer)
    said = " ".join(request["body"] for request in ran["requests"])
    assert "Back-off restarting failed container" in said
    assert "Secrets are not readable in any form" in said
    assert "this access only reads" in said
    assert (Path(result["workspace_dir"]) / "output/investigation.md").read_text() == REPORT
    (cause,) = machine_of(result)["report"]["hypotheses"]
    assert [each["verified"] for each in cause["evidence"]] == [True, False]
    assert "1 of 2 quotes of the agent stand in no recorded answer" in report_of(result)
    assert ran["reached"] == []
    lines = list(audit.read_lines(record_of(tmp_path, result)))
    calls = [(line["tool"], line["decision"]) for line in lines if line["kind"] == "tool"]
    assert calls == [
        ("kubectl_read", "allowed"), ("kubectl_read", "refused"), ("kubectl_read", "refused"),
        ("write_report", "allowed"),
    ]  # fmt: skip
    assert {line["caller"] for line in lines if line["kind"] == "cluster"} == {"kubectl_read"}
    assert audit.verify(record_of(tmp_path, result)).holds
    for path in (tmp_path / ".local").rglob("*"):
        assert not path.is_file() or CREDENTIAL.encode() not in path.read_bytes(), path


@pytest.mark.skipif(not kubectls(), reason=WHY_NO_KUBECTL)
def test_a_gateway_that_dies_in_a_tool_call_is_followed_by_another(tmp_path: Path) -> None:
    """Killed in mid tool call, kubecase is followed by another: the surviving agent's next call is
    answered, counts and record go on, and the record holds.
    """
    ran = investigate(
        tmp_path,
        ["tool", KUBECTL, {"command": "kubectl get persistentvolumeclaims -n shop"}],
        ["tool", KUBECTL, {"command": "kubectl get events -n shop -o json"}],
        ["text", REPORT],
        cluster=CREDENTIAL,
        kill_in_tool_call="persistentvolumeclaims",
        env={"AGENT_RUNTIME_WHEN_SUPERVISOR_DIES": "survive"},
    )

    (recovered,) = json.loads(ran["stdout"])
    assert recovered["result"]["status"] == "success", ran["stderr"]
    assert "Back-off restarting failed container" in ran["requests"][-1]["body"]
    record = record_of(tmp_path, recovered["result"])
    lines = list(audit.read_lines(record))
    assert [line for line in lines if line["kind"] == "tool"]
    assert audit.verify(record).holds
