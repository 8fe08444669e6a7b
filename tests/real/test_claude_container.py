"""The real Claude Code in a container, investigating with kubecase's tools in a closed network.

In the image of the tests with the program of this host, and in the image that `make image-build
AGENT=claude` makes with podman's storage of the tests, where that has been done.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from inside import TURNS
from investigating import run
from test_claude import KEY, PROGRAM

from acceptance.conftest import KUBECASE
from adversaries.host import STORE, runtime_of
from adversaries.table import CONTAINER
from fakes.kubectls import WHY_NOT as WHY_NO_KUBECTL
from fakes.kubectls import kubectls
from fakes.model_server import ModelServer
from kubecase.app.recordings import recording_named

CREDENTIAL = "real-credential-of-the-cluster-0123456789"
BUILT = "localhost/kubecase-claude:1"
OF_HOST = {
    "AGENT_RUNTIME_COMMAND": str(PROGRAM),
    "KUBECASE_CONTAINER__IMAGE": "localhost/kubecase-test:1",
    "KUBECASE_CONTAINER__MOUNTS": "/usr:/usr",
}
OF_IMAGE = {"AGENT_RUNTIME_COMMAND": "claude", "KUBECASE_CONTAINER__IMAGE": BUILT}
REPORT = "# Kubernetes Incident Triage Report\n\n" + "The table orders_v2 is missing. " * 10


def is_built() -> bool:
    if shutil.which("podman") is None:
        return False
    storage = ("--root", str(STORE / "root"), "--runroot", str(STORE / "run"))
    asked = subprocess.run(["podman", *storage, "image", "exists", BUILT], capture_output=True)
    return asked.returncode == 0


WHERE = [OF_HOST, *([OF_IMAGE] if is_built() else [])]


def storage_below(root: Path) -> Path:
    """A file that leads podman to the storage of the tests."""
    runtime_of(CONTAINER)
    path = root / "storage.conf"
    path.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{STORE}/root"\nrunroot = "{STORE}/run"\n'
    )
    return path


pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not PROGRAM.exists(), reason="scripts/install-real-clis"),
    pytest.mark.skipif(not kubectls(), reason=WHY_NO_KUBECTL),
    pytest.mark.skipif(os.geteuid() != 0, reason="serving a container takes podman as root"),
]


@pytest.mark.parametrize("where", WHERE)
def test_claude_investigates_in_a_container_with_our_tools(
    tmp_path: Path, where: dict[str, str]
) -> None:
    """The CLI asks its model and the cluster by kubecase alone, leaves its report by our tool, and
    neither the key nor the credential is in anything it could see.
    """
    storage = storage_below(tmp_path)
    asks = ["tool", "mcp__k8s__kubectl_read", {"command": "get pods -A"}]
    writes = ["tool", "mcp__k8s__write_report", {"markdown": REPORT}]
    task: dict[str, Any] = {
        "root": str(tmp_path),
        "program": where["AGENT_RUNTIME_COMMAND"],
        "key": KEY,
        "cluster": CREDENTIAL,
        "fault": str(recording_named("crashloop")),
        "script": [asks, writes, ["text", "done"]],
        "env": {
            **where,
            "AGENT_RUNTIME_ISOLATION": "container",
            "CONTAINERS_STORAGE_CONF": str(storage),
        },
    }

    ran = run(task)

    assert ran["code"] == 0, ran["stderr"]
    result = json.loads(ran["stdout"])
    of_run = json.loads(Path(result["reports"]["json"]).read_text())["run"]
    assert (result["status"], of_run["isolation"]) == ("success", "container")
    assert not any("network: the agent may reach" in note for note in of_run["isolation_notes"])
    assert "orders_v2" in Path(result["reports"]["md"]).read_text()
    assert len(ran["requests"]) == 3
    assert "api" in ran["requests"][1]["body"]
    assert any("/pods" in asked for asked in ran["asked"])
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "real.kubeconfig":
            data = path.read_bytes()
            assert KEY.encode() not in data, path
            assert CREDENTIAL.encode() not in data, path


@pytest.mark.parametrize("where", WHERE)
def test_claude_is_launched_in_a_workspace_of_ours(tmp_path: Path, where: dict[str, str]) -> None:
    """`kubecase container run` asks the CLI a question of ours, by a key of its run, and keeps what
    it says (req 22.2, 22.5, 22.6).
    """
    workspace = tmp_path / "workspace"
    (workspace / "context").mkdir(parents=True)
    (workspace / "context" / "note.txt").write_text("the table orders_v2 is missing")
    reads = ["tool", "mcp__k8s__read_context", {"name": "context/note.txt"}]
    turns = [TURNS[kind](*arguments) for kind, *arguments in (reads, ["text", REPORT])]
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COVERAGE", "COV_"))}
    with ModelServer(turns) as server:
        done = subprocess.run(
            [
                KUBECASE, "container", "run", "-w", workspace, "--agent", "claude",
                "--model", "claude-sonnet-4-5", "--", "What is", "missing?",
            ],
            cwd=tmp_path,
            env={
                **kept, **where, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
                "CONTAINERS_STORAGE_CONF": str(storage_below(tmp_path)), "ANTHROPIC_API_KEY": KEY,
                "KUBECASE_AGENTS__CLAUDE__BASE_URL": server.url,
            },
            stdin=subprocess.DEVNULL, capture_output=True, timeout=110,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr.decode()
    assert all(
        request.has_key and request.model == "claude-sonnet-4-5" for request in server.requests
    )
    assert "What is missing?" in server.requests[0].body
    assert "orders_v2" in server.requests[1].body
    assert (workspace / "output/investigation.md").read_text().strip() == REPORT.strip()
    (log,) = (workspace / "output").glob("claude-*.log")
    assert b"orders_v2" in log.read_bytes()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
