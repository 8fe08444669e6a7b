"""kubecase is killed while its agent reads the cluster; the next one goes on serving it."""

import json
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from fakes.kube_api import Authority, FakeCluster, recorded
from fakes.kubectls import WHY_NOT, kubectls
from kubecase.gateways import audit

from .conftest import Home

TOKEN = "real-credential-of-the-cluster-0123456789"
READS_TWICE = """\
first=$(kubectl get pods -n shop -o name)
echo "$first" >output/artifacts/first
while ! [ -e go ]; do sleep 0.05; done
second=$(kubectl get services -n shop 2>&1; kubectl get events -n shop -o name)
echo "$second" >output/artifacts/second
"""


@pytest.mark.skipif(not kubectls(), reason=WHY_NOT)
@pytest.mark.parametrize("network", ["host", "none"])
def test_a_killed_kubecase_is_followed_at_the_same_gateway(
    home: Home, tmp_path: Path, leaves_report: str, network: str
) -> None:
    """The agent asks while nobody serves, waits, and is answered by the successor with the same
    credential, on a record that goes on and holds.
    """
    agent = home.agent(f"{leaves_report}\nmkdir -p output/artifacts\n{READS_TWICE}")
    env = {
        "AGENT_RUNTIME_COMMAND": str(agent),
        "AGENT_RUNTIME_WHEN_SUPERVISOR_DIES": "survive",
        "AGENT_RUNTIME_NETWORK": network,
    }
    fake = FakeCluster(recorded("crashloop"), token=TOKEN, authority=Authority.make(tmp_path))
    pod = next(e["metadata"]["name"] for e in fake.objects if e["kind"] == "Pod")
    with fake:
        real = fake.kubeconfig(tmp_path / "real")
        process = home.start(
            "investigate", f"pod/{pod}", "-n", "shop", "--kubeconfig", str(real),
            "--agent", "command", "--quiet", env=env,
        )  # fmt: skip
        first = until(lambda: next(home.data.glob("workspaces/*/output/artifacts/first"), None))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (first.parents[2] / "go").touch()
        done = home.run("recover", "--json", env=env)

    (recovered,) = json.loads(done.stdout)
    result = recovered["result"]
    assert result["status"] == "success", done.stderr.decode()
    second = next(p for p in map(Path, paths_of(result)) if p.name == "second").read_text()
    assert "event/crashloop-" in second
    record = home.data / "audit" / f"{result['incident_id']}-1.jsonl"
    lines = [line for line in audit.read_lines(record) if line["kind"] == "cluster"]
    assert {line["caller"] for line in lines} == {"agent"}
    assert any("/events" in line["target"] for line in lines)
    assert audit.verify(record).holds
    assert home.run("verify", result["incident_id"]).returncode == 0
    assert fake.reached == []
    with sqlite3.connect(home.data / "kubecase.db") as database:
        (count,) = database.execute("SELECT count(*) FROM investigation").fetchone()
    assert count == 1


def paths_of(result: dict[str, list[dict[str, str]]]) -> list[str]:
    return [each["path"] for each in result["artifacts"]]


def until(promise):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 30
    while not (found := promise()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
