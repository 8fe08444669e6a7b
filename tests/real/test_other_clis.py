"""The real Codex, Gemini CLI, opencode and Goose: no shell, our tools, and no key in their reach.

Run by `make test-real`, which installs them (1.4 GB); each investigates in a network namespace that
holds nothing but loopback.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_claude import HERE, UNSHARE

from fakes.kubectls import WHY_NOT, kubectls
from kubecase.app.recordings import recording_named
from kubecase.gateways import audit

pytestmark = [pytest.mark.real, pytest.mark.skipif(not kubectls(), reason=WHY_NOT)]

OTHERS = HERE.parent.parent / ".tools" / "others" / "bin"
KEY = "sk-real-key-of-the-model-0123456789"
CREDENTIAL = "real-credential-of-the-cluster-0123456789"
MODELS = {"codex": "gpt-5", "gemini": "gemini-2.5-pro", "goose": "gpt-x", "opencode": "gpt-x"}
REPORT = "# Kubernetes Incident Triage Report\n\n" + "The table orders_v2 is missing. " * 10
WORDS = "That is all there is to say about it, and the report holds every word of it. " * 2
READ = ["kubectl_read", {"command": "kubectl get events -n shop -o json"}]
SECRETS = ["kubectl_read", {"command": "kubectl get secrets -n shop"}]
WRITE = ["write_report", {"markdown": REPORT}]


def investigate(root: Path, agent: str, *script: Any, **env: str) -> dict[str, Any]:
    """Run the installed command with a model that follows `script`."""
    program = (OTHERS / agent).resolve()
    task = {
        "root": str(root), "agent": agent, "program": str(program), "model": MODELS[agent],
        "key": KEY, "cluster": CREDENTIAL, "fault": str(recording_named("crashloop")),
        "script": script,
        "env": {
            "KUBECASE_AGENT_RUNTIME__READ_ONLY_PATHS": str(OTHERS.parent / "node_modules"),
            "AGENT_RUNTIME_RETRIES": "0",
            **env,
        },
    }  # fmt: skip
    done = subprocess.run(
        [*UNSHARE, "--", sys.executable, HERE / "investigating_others.py"],
        input=json.dumps(task), capture_output=True, text=True, timeout=160,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ran = json.loads(done.stdout)
    assert isinstance(ran, dict)
    return ran


@pytest.mark.parametrize("layer", ["bwrap", "process"])
@pytest.mark.parametrize("agent", MODELS)
def test_the_cluster_is_read_and_a_report_is_left(tmp_path: Path, agent: str, layer: str) -> None:
    """Each CLI reads the cluster by our tool, is refused a Secret, leaves its report by our tool,
    and has neither the key nor the credential anywhere in its reach.
    """
    script = (READ, SECRETS, WRITE, WORDS)
    ran = investigate(tmp_path, agent, *script, AGENT_RUNTIME_ISOLATION=layer)

    assert ran["code"] == 0, ran["stderr"]
    result = json.loads(ran["stdout"])
    assert result["status"] == "success"
    assert result["usage"]["input_tokens"] >= 4000
    workspace = Path(result["workspace_dir"])
    assert (workspace / "output/investigation.md").read_text() == REPORT
    said = ran["asked"][-1]["body"]
    assert "Back-off restarting failed container" in said
    assert "Secrets are not readable in any form" in said
    assert all(KEY in each["credential"] for each in ran["asked"])
    tools = {name for each in ran["asked"] for name in each["tools"]}
    assert not {name for name in tools if "shell" in name or "bash" in name or "exec" in name}
    assert ran["reached"] == []
    record = tmp_path / ".local/share/kubecase/audit" / f"{result['incident_id']}-1.jsonl"
    lines = list(audit.read_lines(record))
    calls = [line["decision"] for line in lines if line["kind"] == "tool"]
    assert calls == ["allowed", "refused", "allowed"]
    assert audit.verify(record).holds
    for path in (tmp_path / ".local").rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert KEY.encode() not in data, path
        assert CREDENTIAL.encode() not in data, path


@pytest.mark.parametrize("agent", MODELS)
def test_a_refused_key_ends_as_auth(tmp_path: Path, agent: str) -> None:
    """A 401 of the model ends as failed/auth, whatever the CLI exits with."""
    ran = investigate(tmp_path, agent, 401)

    result = json.loads(ran["stdout"])
    assert (ran["code"], result["status"], result["reason"]) == (1, "failed", "auth")


@pytest.mark.parametrize("agent", MODELS)
def test_a_budget_ends_the_run(tmp_path: Path, agent: str) -> None:
    """A model that calls tools for ever is stopped by the gateway's budget."""
    ran = investigate(tmp_path, agent, READ, KUBECASE_BUDGETS__RUN__MAX_REQUESTS="3")

    result = json.loads(ran["stdout"])
    assert (ran["code"], result["status"], result["reason"]) == (1, "failed", "budget")
    assert len(ran["asked"]) == 3
