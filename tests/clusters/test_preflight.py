"""What our own credential may do, asked of the cluster before anything else."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.kube_api import FakeCluster, reader_may
from kubecase.clusters import ClusterCollector
from kubecase.clusters.preflight import write_capable
from kubecase.core.permissions import Permissions

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def asked(cluster: FakeCluster, directory: Path, namespace: str | None = "shop") -> Permissions:
    path = cluster.kubeconfig(directory / "kubeconfig")
    collector = ClusterCollector.from_kubeconfig(path, clock=lambda: NOW, cluster="production")

    async def ask() -> Permissions:
        return await collector.permissions(namespace)

    return anyio.run(ask)


def test_a_readers_credential_is_found_to_read_only(tmp_path: Path) -> None:
    """A read-only credential has every reading permission, no writing one, and no warning."""
    with FakeCluster() as cluster:
        permissions = asked(cluster, tmp_path)

    assert permissions.unproven is None
    assert permissions.as_json() == {
        "cluster_name": "production", "validated_at": NOW.isoformat(), "can_get_pods": True,
        "can_get_logs": True, "can_get_events": True, "can_get_deployments": True,
        "can_get_services": True, "secrets_access_allowed": False, "can_get_secrets": False,
        "can_get_configmaps": True, "can_get_nodes": True, "can_write": [], "warnings": [],
    }  # fmt: skip
    assert {method for method, _ in cluster.requests} == {"POST"}
    assert not cluster.reached


def test_every_question_sets_its_subresource(tmp_path: Path) -> None:
    """No question is one that TYPE/NAME could be read into, and none is asked without a place."""
    with FakeCluster() as cluster:
        asked(cluster, tmp_path)

    assert len(cluster.reviews) > 15
    assert all("subresource" in each and "/" not in each["resource"] for each in cluster.reviews)
    places = {each.get("namespace") for each in cluster.reviews if each["resource"] != "nodes"}
    assert places == {"shop"}


@pytest.mark.parametrize(
    ("may", "word"),
    [
        ({"verb": "create", "resource": "pods", "subresource": ""}, "create"),
        ({"verb": "update", "resource": "pods", "subresource": ""}, "update"),
        ({"verb": "update", "resource": "deployments"}, "update"),
        ({"verb": "patch", "resource": "pods", "subresource": ""}, "patch"),
        ({"verb": "patch", "resource": "pods", "subresource": "ephemeralcontainers"}, "patch"),
        ({"verb": "delete", "resource": "pods"}, "delete"),
        ({"verb": "get", "resource": "pods", "subresource": "exec"}, "exec"),
        ({"verb": "create", "resource": "pods", "subresource": "exec"}, "exec"),
        ({"verb": "create", "resource": "pods", "subresource": "portforward"}, "exec"),
    ],
)
def test_a_credential_that_can_write_is_found_out(
    tmp_path: Path, may: dict[str, str], word: str
) -> None:
    """One single right to write, run or forward is enough to be named (req 13.3)."""

    def allowed(asked: Any) -> bool:
        return reader_may(asked) or may.items() <= asked.items()

    with FakeCluster() as cluster:
        cluster.may = allowed
        found = asked(cluster, tmp_path)

    assert found.can_write == (word,)
    assert f"can write: {word}" in found.warnings
    refusal = write_capable(found)
    assert "kubecase rbac | kubectl apply -f -" in str(refusal.hint)
    assert "kubecase kubeconfig --out FILE" in str(refusal.hint)
    assert "allow_write_capable_credential" in str(refusal.hint)


def test_a_star_is_every_right_to_write(tmp_path: Path) -> None:
    """Who may do everything can write in every way, whatever else was answered (req 13.3)."""
    with FakeCluster() as cluster:
        cluster.may = lambda asked: reader_may(asked) or asked["verb"] == "*"
        found = asked(cluster, tmp_path)

    assert found.can_write == ("create", "update", "patch", "delete", "exec")


def test_the_documentation_counts_the_questions(tmp_path: Path) -> None:
    """As many questions are asked as docs/rbac.md says, and none is asked twice."""
    with FakeCluster() as cluster:
        asked(cluster, tmp_path)
    different = {tuple(sorted(each.items())) for each in cluster.reviews}

    text = (Path(__file__).parents[2] / "docs/rbac.md").read_text()
    assert len(different) == len(cluster.reviews)
    assert f"({len(different)}\n`SelfSubjectAccessReview` questions" in text


def test_what_is_missing_and_what_is_dangerous_is_said(tmp_path: Path) -> None:
    """A credential without nodes or logs, but with Secrets or tokens, is warned of in words."""

    def allowed(asked: Any) -> bool:
        if asked["resource"] == "nodes":
            return False
        reads = asked["subresource"] != "log" and asked["verb"] in {"get", "list"}
        return reads or asked["subresource"] == "token"

    with FakeCluster() as cluster:
        cluster.may = allowed
        found = asked(cluster, tmp_path)

    assert "cannot get pod logs" in found.warnings
    assert "cannot get nodes (cluster-wide visibility limited)" in found.warnings
    assert "can read secrets" in found.warnings
    assert "can issue tokens for service accounts" in found.warnings


def test_a_cluster_that_does_not_answer_is_a_warning(tmp_path: Path) -> None:
    """Where nobody answers, nothing is known, the reason is said, and one question is asked."""
    with FakeCluster() as cluster:
        cluster.answer("selfsubject", 500, "down")
        found = asked(cluster, tmp_path)
        assert len(cluster.requests) == 1

    assert found.as_json()["can_get_pods"] is None
    assert found.can_write == ()
    assert "not everything was validated: 500" in found.warnings[0]
    assert str(found.unproven).startswith("500")
