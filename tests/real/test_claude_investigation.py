"""The whole way with the real Claude Code: a fault in, three reports out, on loopback alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_claude import HERE, KEY, PROGRAM, UNSHARE, WHY_NOT

from kubecase.app.recordings import recording_named

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]

REPORT = "# Kubernetes Incident Triage Report\n\n" + "The table orders_v2 is missing. " * 10


def investigate(root: Path, *script: list[Any]) -> dict[str, Any]:
    """Run the installed command with a model that follows `script`."""
    task = {
        "root": str(root),
        "program": str(PROGRAM),
        "key": KEY,
        "fault": str(recording_named("crashloop")),
        "script": script,
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
    assert all(request["tools"] == ["Read"] for request in ran["requests"])
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
