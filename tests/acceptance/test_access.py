"""The credential of an investigation: how a read-only one is made, and what another one meets."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from fakes.kube_api import Authority, FakeCluster, recorded
from kubecase.gateways import audit

from .conftest import Home

TOKEN = "administrators-own-token"
NEW = "token-of-the-reader"


@dataclass(frozen=True)
class Done:
    """What the command left: its code, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def kubecase(home: Home, *words: str, **env: str) -> Done:
    done = home.run(*words, env=env)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def rendered(home: Home, *words: str) -> list[dict[str, Any]]:
    done = kubecase(home, "rbac", *words)
    assert done.returncode == 0, done.stderr
    return list(YAML(typ="safe").load_all(done.stdout))


def test_the_manifests_grant_reading_and_nothing_else(home: Home) -> None:
    """No other verb, no star, no Secret, no way into a workload is in the manifests (req 13.1)."""
    objects = rendered(home)

    assert [each["kind"] for each in objects] == [
        "Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding",
    ]  # fmt: skip
    rules = [rule for each in objects for rule in each.get("rules", ())]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
    names = {name for rule in rules for name in rule["resources"]}
    assert not {name for name in names if "secret" in name or "*" in name}
    parts = {name.partition("/")[2] for name in names}
    assert parts == {"", "log", "status", "scale"}
    assert {"pods", "pods/log", "nodes", "events", "leases", "deployments"} <= names
    assert "nodes/status" not in names
    assert "clusterroles" not in names


def test_the_manifests_can_be_for_some_namespaces(home: Home) -> None:
    """With namespaces, what lies in one is granted in those only; nodes stay readable."""
    objects = rendered(home, "--namespace", "shop", "-n", "bank", "--name", "reader")

    bound = [o for o in objects if o["kind"] == "RoleBinding"]
    assert [o["metadata"]["namespace"] for o in bound] == ["shop", "bank"]
    everywhere = next(o for o in objects if o["kind"] == "ClusterRole")
    names = {name for rule in everywhere["rules"] for name in rule["resources"]}
    assert "nodes" in names
    assert "pods" not in names


def test_the_documentation_holds_the_manifests(home: Home) -> None:
    """What docs/rbac.md shows is what is printed (req 13.2)."""
    text = (Path(__file__).parents[2] / "docs/rbac.md").read_text()
    shown = text.split("<!-- rendered -->\n```yaml\n")[1].split("```\n<!-- end -->")[0]

    assert shown == kubecase(home, "rbac").stdout


def test_json_is_the_same_manifests(home: Home) -> None:
    """With --json there is one List of the objects that people get as YAML, as kubectl takes it."""
    done = kubecase(home, "rbac", "-n", "shop", "--json")
    assert json.loads(done.stdout) == {
        "apiVersion": "v1", "kind": "List", "items": rendered(home, "-n", "shop"),
    }  # fmt: skip


def test_a_name_that_is_none_is_refused(home: Home) -> None:
    """A namespace that could not exist is told of before anything is printed."""
    done = kubecase(home, "rbac", "-n", "Shop/../x")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "is no Kubernetes name" in done.stderr


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    authority = Authority.make(tmp_path)
    return FakeCluster(recorded("crashloop"), token=TOKEN, authority=authority)


def test_a_kubeconfig_is_made_from_the_account(
    home: Home, tmp_path: Path, cluster: FakeCluster
) -> None:
    """One POST for one token; the new file holds that token and nothing of the administrator's."""
    status = {"token": NEW, "expirationTimestamp": "2026-01-03T03:04:05Z"}
    body = json.dumps({"kind": "TokenRequest", "status": status}).encode()
    out = tmp_path / "reader.kubeconfig"
    with cluster:
        cluster.answer("/serviceaccounts/kubecase-reader/token$", 201, body=body)
        real = cluster.kubeconfig(tmp_path / "real")
        words = ("kubeconfig", "--kubeconfig", str(real), "--out", str(out))
        done = kubecase(home, *words)
        again = kubecase(home, *words)

    assert done.returncode == 0, done.stderr
    assert "until 2026-01-03T03:04:05+00:00" in done.stderr
    account = "/api/v1/namespaces/kubecase/serviceaccounts/kubecase-reader/token"
    assert cluster.requests == [("POST", account)]
    assert out.stat().st_mode & 0o777 == 0o600
    assert NEW in out.read_text()
    assert TOKEN not in out.read_text()
    assert json.loads(out.read_text())["clusters"][0]["cluster"]["server"] == cluster.url
    assert again.returncode == 2
    assert "already" in again.stderr


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(404, "kubecase rbac | kubectl apply -f -"), (403, "an administrator's with --kubeconfig")],
)
def test_a_token_that_is_not_given_names_the_remedy(
    home: Home, tmp_path: Path, cluster: FakeCluster, status: int, remedy: str
) -> None:
    """Without the account, or without the right, the error says what to do; no file is left."""
    out = tmp_path / "out"
    with cluster:
        cluster.answer("/token$", status, "no such thing")
        real = cluster.kubeconfig(tmp_path / "real")
        done = kubecase(home, "kubeconfig", "--kubeconfig", str(real), "--out", str(out))

    assert done.returncode == 2
    assert remedy in done.stderr
    assert not out.exists()


SHOWS_ITSELF = """\
import json, os, pathlib, subprocess, sys
config = os.environ.get("KUBECONFIG", "")
pods = subprocess.run(["kubectl", "get", "pods", "-n", "shop", "-o", "name"], capture_output=True,
                      text=True)
delete = subprocess.run(["kubectl", "delete", "pod", "x", "-n", "shop"], capture_output=True,
                        text=True)
text = "# Kubernetes Incident Triage Report\\n\\n" + "What kubectl said:\\n" * 4
text += pods.stdout + pods.stderr + delete.stderr
pathlib.Path("output/investigation.md").write_text(text)
"""


def investigated(
    home: Home, tmp_path: Path, cluster: FakeCluster, *words: str, **variables: str
) -> Done:
    """An agent that uses the kubectl of the machine, asked about a pod of the cluster."""
    program = tmp_path / "agent.py"
    program.write_text(SHOWS_ITSELF)
    pod = next(e["metadata"]["name"] for e in cluster.objects if e["kind"] == "Pod")
    real = cluster.kubeconfig(tmp_path / "real")
    agent = () if "--agent" in words else ("--agent", "command")
    return kubecase(
        home, "investigate", f"pod/{pod}", "-n", "shop", "--kubeconfig", str(real), *agent,
        "--json", *words,
        AGENT_RUNTIME_COMMAND=f"/usr/bin/python3 {program}",
        KUBECASE_AGENT_RUNTIME__READ_ONLY_PATHS=str(program), **variables,
    )  # fmt: skip


def test_a_credential_that_can_write_is_refused(
    home: Home, tmp_path: Path, cluster: FakeCluster
) -> None:
    """An agent is not asked with an administrator's credential; the error names two commands."""
    with cluster:
        cluster.may = lambda _: True
        done = investigated(home, tmp_path, cluster)

    assert done.returncode == 2, done.stderr
    assert "can write (create, update, patch, delete, exec)" in done.stderr
    assert "kubecase rbac | kubectl apply -f -" in done.stderr
    assert "--allow-write-capable" in done.stderr
    assert {method for method, _ in cluster.requests} == {"POST"}


def test_a_credential_that_can_write_is_made_safe(
    home: Home, tmp_path: Path, cluster: FakeCluster
) -> None:
    """Allowed for one run it reads through the gateway; the agent never has it (req 13.4)."""
    with cluster:
        cluster.may = lambda _: True
        done = investigated(home, tmp_path, cluster, "--allow-write-capable")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    report = Path(result["reports"]["md"]).read_text()
    assert "pod/crashloop-" in report
    assert "DELETE of pods is refused" in report
    assert "can write (create, update, patch, delete, exec); the gateway let only reading" in report
    assert not cluster.reached
    may = json.loads((Path(result["workspace_dir"]) / "context/permissions.json").read_text())
    assert may["can_write"] == ["create", "update", "patch", "delete", "exec"]
    for path in home.data.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_a_credential_of_which_nothing_is_known_is_noted(
    home: Home, tmp_path: Path, cluster: FakeCluster
) -> None:
    """Where the cluster does not say what it may do, the report says so, beside the gateway."""
    with cluster:
        cluster.answer("selfsubject", 500, "down")
        done = investigated(home, tmp_path, cluster)

    assert done.returncode == 0, done.stderr
    report = Path(json.loads(done.stdout)["reports"]["md"]).read_text()
    assert "can write was not found out (500" in report
    assert "the gateway let only reading through" in report


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("MAX_REQUESTS", "the 1 requests of"),
        ("MAX_ANSWERS", "bytes of this investigation are used"),
    ],
)
def test_a_budget_of_a_cluster_is_kept(
    home: Home, tmp_path: Path, cluster: FakeCluster, setting: str, says: str
) -> None:
    """Who has asked as much as the settings allow is told so, and given nothing more."""
    amount = {"MAX_REQUESTS": "1", "MAX_ANSWERS": "64"}[setting]
    with cluster:
        real = cluster.kubeconfig(tmp_path / "real")
        done = investigated(
            home, tmp_path, cluster, "--cluster", "prod",
            KUBECASE_CLUSTERS__PROD__KUBECONFIG=str(real),
            **{f"KUBECASE_CLUSTERS__PROD__{setting}": amount},
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "pod/crashloop-" not in Path(result["reports"]["md"]).read_text()
    record = home.data / "audit" / f"{result['incident_id']}-1.jsonl"
    lines = [line for line in audit.read_lines(record) if line["kind"] == "cluster"]
    assert [line["decision"] for line in lines[:2]] == ["allowed", "denied"]
    assert says in lines[1]["reason"]


def test_the_built_in_investigator_reads_with_any_credential(
    home: Home, tmp_path: Path, cluster: FakeCluster
) -> None:
    """Without an agent nobody but kubecase has the credential: it reads, and says what it could."""
    with cluster:
        cluster.may = lambda _: True
        done = investigated(home, tmp_path, cluster, "--agent", "builtin")

    assert done.returncode == 0, done.stderr
    report = Path(json.loads(done.stdout)["reports"]["md"]).read_text()
    assert "can write (create, update, patch, delete, exec); kubecase only reads" in report
    assert not cluster.reached


def test_the_cluster_that_kubecase_runs_in_needs_a_pod(home: Home) -> None:
    """Outside of a pod the setting for the cluster inside is one clear error, also in doctor."""
    (home.root / "kubecase.yaml").write_text("clusters: {here: {in_cluster: true}}")
    done = kubecase(home, "investigate", "pod/x", "-n", "shop", "--cluster", "here")
    assert done.returncode == 2
    assert "clusters.here.in_cluster is on, and kubecase does not run in a pod" in done.stderr
    assert "does not run in a pod" in kubecase(home, "doctor").stdout


def test_doctor_says_what_a_credential_may_do(
    home: Home, tmp_path: Path, cluster: FakeCluster
) -> None:
    """A credential that can write is told of, with the way to one that cannot."""
    with cluster:
        real = cluster.kubeconfig(tmp_path / "real")
        fine = kubecase(home, "doctor", AGENT_RUNTIME_KUBECONFIG=str(real))
        cluster.may = lambda _: True
        writes = kubecase(home, "doctor", AGENT_RUNTIME_KUBECONFIG=str(real))
    assert "it reads, and can write nothing" in fine.stdout
    assert "it can write: create, update, patch, delete, exec" in writes.stdout
    assert "kubecase rbac" in writes.stdout
