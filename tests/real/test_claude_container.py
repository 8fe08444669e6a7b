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
from investigating import run
from test_claude import KEY, PROGRAM

from adversaries.host import STORE, runtime_of
from adversaries.table import CONTAINER
from fakes.kubectls import WHY_NOT as WHY_NO_KUBECTL
from fakes.kubectls import kubectls
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


pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not PROGRAM.exists(), reason="scripts/install-real-clis"),
    pytest.mark.skipif(not kubectls(), reason=WHY_NO_KUBECTL),
    pytest.mark.skipif(os.geteuid() != 0, reason="serving a container takes podman as root"),
]


@pytest.mark.parametrize("where", [OF_HOST, *([OF_IMAGE] if is_built() else [])])
def test_claude_investigates_in_a_container_with_our_tools(
    tmp_path: Path, where: dict[str, str]
) -> None:
    """The CLI asks its model and the cluster by kubecase alone, leaves its report by our tool, and
    neither the key nor the credential is in anything it could see.
    """
    runtime_of(CONTAINER)
    storage = tmp_path / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{STORE}/root"\nrunroot = "{STORE}/run"\n'
    )
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
