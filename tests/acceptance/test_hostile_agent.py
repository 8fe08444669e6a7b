"""An agent that looks for the cluster's credential, and for a way around the gateway."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fakes.kube_api import Authority, FakeCluster, recorded

from .conftest import Home

TOKEN = "real-credential-of-the-cluster-0123456789"
NETWORK = os.environ.get("KUBECASE_REQUIRE_LAYERS", "bwrap,landlock")

SEARCHES = r"""
import json, os, pathlib, socket, ssl, sys, urllib.request

needle, found, looked = "real-credential-of-the-" + "cluster-0123456789", [], 0
for name, value in os.environ.items():
    if needle in value:
        found.append("environment " + name)
for process in pathlib.Path("/proc").glob("[0-9]*"):
    for name in ("environ", "cmdline"):
        try:
            if needle.encode() in (process / name).read_bytes():
                found.append(str(process / name))
        except OSError:
            pass
for top in ("/etc", "/home", "/root", "/run", "/tmp", "/var", os.getcwd(), os.environ["HOME"],
            os.path.dirname(os.environ["KUBECONFIG"])):
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.path.isfile(path) and os.path.getsize(path) < 5_000_000:
                    looked += 1
                    if needle.encode() in open(path, "rb").read():
                        found.append(path)
            except OSError:
                pass
open_ports = []
for port in range(1, 65536):
    with socket.socket() as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(("127.0.0.1", port))
            if probe.getsockname() != probe.getpeername():  # TCP may find itself
                open_ports.append(port)
        except OSError:
            pass
config = json.load(open(os.environ["KUBECONFIG"]))
server = config["clusters"][0]["cluster"]["server"]
import base64
ca = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
trust = ssl.create_default_context(cadata=ca)

def ask(path, method="GET", token=config["users"][0]["user"]["token"], **headers):
    request = urllib.request.Request(server + path, method=method)
    request.add_header("Authorization", "Bearer " + token)
    for name, value in headers.items():
        request.add_header(name, value)
    try:
        return urllib.request.urlopen(request, context=trust, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code

pod = "/api/v1/namespaces/shop/pods"
answers = {
    "pods": ask(pod), "secrets": ask("/api/v1/secrets"), "delete": ask(pod + "/x", "DELETE"),
    "exec": ask(pod + "/x/exec?command=id", Connection="Upgrade", Upgrade="websocket"),
    "no token": ask(pod, token="guessed"), "proxy": ask("/api/v1/nodes/node-1/proxy/pods"),
}
result = {"found": found, "looked": looked, "ports": open_ports, "server": server,
          "answers": answers}
report = "# Kubernetes Incident Triage Report\n\n" + "What a hostile agent found. " * 5
pathlib.Path("output/investigation.md").write_text(report)
pathlib.Path("output/artifacts").mkdir(exist_ok=True)
pathlib.Path("output/artifacts/found.json").write_text(json.dumps(result))
"""


@pytest.mark.parametrize("layer", ["bwrap", "landlock"])
def test_a_hostile_agent_finds_no_credential_and_no_way_around(
    home: Home, tmp_path: Path, layer: str
) -> None:
    """Environment, /proc and files hold no credential, and nothing answers but the gateway."""
    if layer not in NETWORK:
        pytest.skip(f"{layer} is not required on this host")
    program = tmp_path / "hostile.py"
    program.write_text(SEARCHES)
    fake = FakeCluster(recorded("crashloop"), token=TOKEN, authority=Authority.make(tmp_path))
    pod = next(e["metadata"]["name"] for e in fake.objects if e["kind"] == "Pod")
    with fake:
        real = fake.kubeconfig(tmp_path / "real")
        code, result = home.result(
            f"pod/{pod}", "-n", "shop", "--kubeconfig", str(real), "--agent", "command",
            env={
                "AGENT_RUNTIME_COMMAND": f"/usr/bin/python3 {program}",
                "KUBECASE_AGENT_RUNTIME__READ_ONLY_PATHS": str(program),
                "AGENT_RUNTIME_ISOLATION": layer,
                "AGENT_RUNTIME_NETWORK": "none",
            },
        )  # fmt: skip

    assert code == 0, result
    found = found_by(result)
    assert found["found"] == []
    assert found["looked"] > 20
    assert [f"https://127.0.0.1:{port}" for port in found["ports"]] == [found["server"]]
    assert found["answers"] == {
        "pods": 200, "secrets": 403, "delete": 403, "exec": 403, "no token": 401, "proxy": 403,
    }  # fmt: skip
    assert fake.reached == []
    record = home.data / "audit" / f"{result['incident_id']}-1.jsonl"
    decided = [json.loads(line) for line in record.read_text().splitlines()]
    rules = {line["rule"] for line in decided if line["kind"] == "cluster"}
    assert rules == {None, "secrets", "method", "upgrade", "credential", "subresource"}
    assert {line["caller"] for line in decided if line["kind"] == "cluster"} == {"agent", None}
    assert home.run("verify", result["incident_id"]).returncode == 0


def test_plain_supervision_says_what_it_does_not_guarantee(home: Home, tmp_path: Path) -> None:
    """In isolation `process` the report says that files, credentials and network are not closed."""
    fake = FakeCluster(recorded("crashloop"), token=TOKEN, authority=Authority.make(tmp_path))
    pod = next(e["metadata"]["name"] for e in fake.objects if e["kind"] == "Pod")
    agent = home.agent("printf '%0200d' 1 >output/investigation.md; env >output/artifacts/env")
    with fake:
        real = fake.kubeconfig(tmp_path / "real")
        code, result = home.result(
            f"pod/{pod}", "-n", "shop", "--kubeconfig", str(real), "--agent", "command",
            env={"AGENT_RUNTIME_COMMAND": str(agent), "AGENT_RUNTIME_ISOLATION": "process"},
        )  # fmt: skip

    assert code in {0, 1}, result
    report = Path(result["reports"]["md"]).read_text()
    for word in ("files:", "credentials:", "network:"):
        assert word in report
    for path in home.data.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def found_by(result: dict[str, Any]) -> dict[str, Any]:
    (artifact,) = result["artifacts"]
    value = json.loads(Path(artifact["path"]).read_text())
    assert isinstance(value, dict)
    return value
