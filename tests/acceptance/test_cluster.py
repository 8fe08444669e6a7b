"""`kubecase investigate KIND/NAME --kubeconfig FILE` against a fake API server, over TLS."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.kube_api import Authority, FakeCluster, recorded

from .conftest import Home

Check = Callable[[dict[str, Any]], None]


def _pod(name: str) -> tuple[str, str]:
    pod = next(o for o in recorded(name).objects if o["kind"] == "Pod")
    return pod["metadata"]["name"], pod["metadata"]["namespace"]


@pytest.mark.parametrize(
    ("recording", "category"),
    [
        ("oomkilled", "resources.oom_killed"),
        ("missing-configmap", "config.missing_configmap"),
        ("unschedulable-memory", "scheduling.insufficient_resources"),
    ],
)
def test_a_pod_of_ones_own_cluster_is_investigated_with_gets_only(
    home: Home, reports_exist: Check, recording: str, category: str
) -> None:
    """The cause is found by GET requests alone, but for the question what one may do oneself."""
    name, namespace = _pod(recording)
    authority, token = Authority.make(home.root), "canary-token-0123456789"
    with FakeCluster(recorded(recording), authority=authority, token=token) as cluster:
        kubeconfig = cluster.kubeconfig(home.root / "kubeconfig")

        code, result = home.result(
            f"pod/{name}", "-n", namespace, "--kubeconfig", str(kubeconfig), "--agent", "builtin"
        )

    assert code == 0
    reports_exist(result)
    machine = json.loads(Path(result["reports"]["json"]).read_text())
    assert machine["findings"]["hypotheses"][0]["category"] == category
    asked = [path for method, path in cluster.requests if method != "GET"]
    assert {path.rpartition("/")[2] for path in asked} == {"selfsubjectaccessreviews"}
    assert not [path for path in cluster.paths if "secret" in path.lower()]
    for path in home.data.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path


def test_a_cluster_that_does_not_answer_still_ends_in_three_reports(
    home: Home, reports_exist: Check
) -> None:
    """A cluster that hangs costs its time limit and no more; the report says what is missing."""
    with FakeCluster(recorded("oomkilled")) as cluster:
        cluster.hang()
        kubeconfig = cluster.kubeconfig(home.root / "kubeconfig")

        code, result = home.result(
            "pod/api-0", "-n", "shop", "--kubeconfig", str(kubeconfig), "--agent", "builtin"
        )

    assert (code, result["status"]) == (2, "success")
    reports_exist(result)
    machine = json.loads(Path(result["reports"]["json"]).read_text())
    assert machine["collected"]["gaps"]
    assert machine["findings"]["hypotheses"][0]["category"] == "unknown.insufficient_evidence"


def test_a_cluster_that_is_not_there_is_said_and_reported(home: Home, reports_exist: Check) -> None:
    """Nobody listening at the server's address is a gap in the facts, not an end without report."""
    with FakeCluster(recorded("oomkilled")) as cluster:
        kubeconfig = cluster.kubeconfig(home.root / "kubeconfig")

    code, result = home.result(
        "deploy/api", "-n", "shop", "--kubeconfig", str(kubeconfig), "--agent", "builtin"
    )

    assert code == 2
    reports_exist(result)
    machine = json.loads(Path(result["reports"]["json"]).read_text())
    assert "cannot be reached" in json.dumps(machine["collected"]["gaps"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "invalid YAML"),
        ("{}", "kubeconfig must contain at least one cluster"),
        (None, "cannot"),
    ],
)
def test_a_kubeconfig_that_will_not_do_is_the_operators_turn(
    home: Home, content: str | None, words: str
) -> None:
    """A broken kubeconfig is named with what is wrong, before anything is contacted (req 13.3)."""
    path = home.root / "kubeconfig"
    if content is not None:
        path.write_text(content)

    done = home.run("investigate", "pod/a", "-n", "b", "--kubeconfig", str(path))

    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert "kubeconfig" in done.stderr.decode()
