"""Whatever is asked: nothing that the policy lets through comes to a door that changes or betrays.

The fake API server routes as the real one does, on the decoded path, and counts the doors: writes,
Secrets, commands in containers, proxies, tokens, upgrades, other reviews, its own debug pages.
"""

import os
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fakes.kube_api import FakeCluster, recorded
from kubecase.gateways.families import shipped_resources
from kubecase.gateways.policy import Allowed, Answer, Bounds, KubeRequest, decide

EXAMPLES = int(os.environ.get("KUBECASE_EXAMPLES", "10000"))
RESOURCES, BOUNDS = shipped_resources(), Bounds()
REVIEWS = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}

WORDS = [
    "api", "apis", "v1", "v1beta1", "apps", "batch", "metrics.k8s.io", "namespaces", "shop",
    "pods", "secrets", "secret", "configmaps", "services", "nodes", "serviceaccounts", "events",
    "deployments", "default", "db", "exec", "attach", "portforward", "proxy", "log", "status",
    "scale", "token", "eviction", "binding", "ephemeralcontainers", "finalize", "watch", "metrics",
    "debug", "logs", "configz", "openapi", "v3", "version", "readyz", "", ".", "..", "web:80",
    "authorization.k8s.io", "selfsubjectaccessreviews", "subjectaccessreviews",
    "authentication.k8s.io", "tokenreviews", "http:node-1:5000",
]  # fmt: skip
SPOILERS = ["%2F", "%2f", "%252F", "%00", "%5c", "\\", ";", "//", "/./", "/../", "%2e%2e", "#", "?",
            "*", "~", " ", "\u017f", "%73", ":", "@"]  # fmt: skip
STARTS = ["/api/v1", "/apis/apps/v1", "/api/v1/namespaces/shop", "/apis/metrics.k8s.io/v1beta1",
          "/", "", "https://cluster/api/v1", "/api/v1/namespaces/shop/pods/api-0",
          "/apis/authorization.k8s.io/v1"]  # fmt: skip


@st.composite
def targets(draw: st.DrawFn) -> str:
    """A path of words that mean something to an API server, spoilt or not, and a query."""
    parts = draw(st.lists(st.sampled_from(WORDS), max_size=7))
    path = draw(st.sampled_from(STARTS)) + "".join(f"/{part}" for part in parts)
    if draw(st.integers(0, 2)) == 0:
        place = draw(st.integers(0, len(path)))
        path = path[:place] + draw(st.sampled_from(SPOILERS)) + path[place:]
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, max(0, len(path) - 1)))
        path = (
            path[:place] + f"%{ord(path[place : place + 1] or 'x') & 255:02x}" + path[place + 1 :]
        )
    names = st.sampled_from(["watch", "follow", "command", "container", "limit", "fieldSelector",
                             "dryRun", "path", "insecureSkipTLSVerifyBackend", "x"])  # fmt: skip
    values = st.sampled_from(["", "1", "true", "0", "false", "no", "metadata.name=db", "id", "%2F"])
    query = urlencode(draw(st.lists(st.tuples(names, values), max_size=3)))
    return path + (f"?{query}" if query else "")


METHODS = st.sampled_from(
    ["GET"] * 6 + ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "get"]
)
HEADERS = st.lists(
    st.sampled_from([
        ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Upgrade", "SPDY/3.1"),
        ("Connection", "keep-alive, upgrade"), ("Impersonate-User", "admin"),
        ("X-HTTP-Method-Override", "DELETE"), ("Accept", "application/vnd.kubernetes.protobuf"),
        ("Content-Type", "application/json"), ("Sec-WebSocket-Key", "AAAA"),
    ]),
    max_size=3,
)  # fmt: skip
BODIES = st.sampled_from([
    b"", b"{}", b'{"kind":"DeleteOptions","dryRun":["All"]}',
    b'{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1"}',
])  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> FakeCluster:
    """A server that is asked directly, without a network, since only its routing matters."""
    return FakeCluster(recorded("crashloop"))


def send(cluster: FakeCluster, allowed: Allowed) -> list[str]:
    """Send what was allowed, as the gateway writes it; which doors it came to."""
    cluster.reached.clear()
    query = urlencode(allowed.query)
    target = allowed.path + (f"?{query}" if query else "")
    cluster.reply(allowed.method, target, {"Accept": allowed.accept})
    return list(cluster.reached)


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow],
    derandomize=True, database=None,
)  # fmt: skip
@given(method=METHODS, target=targets(), headers=HEADERS, body=BODIES)
@example(method="GET", target="/api/v1/namespaces/shop%2Fsecrets", headers=[], body=b"")
@example(method="GET", target="/api/v1/namespaces/secrets/pods", headers=[], body=b"")
@example(method="GET", target="/api/v1/watch/namespaces/shop/secrets", headers=[], body=b"")
@example(method="GET", target="/api/v1/namespaces/shop/secrets/", headers=[], body=b"")
def test_nothing_that_is_allowed_comes_to_a_forbidden_door(
    cluster: FakeCluster, method: str, target: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """No request that passes writes, reads a Secret, runs, proxies, upgrades or mints a token."""
    request = KubeRequest(method=method, target=target, headers=tuple(headers), body=body)
    decision = decide(request, RESOURCES, BOUNDS)

    if not isinstance(decision, Allowed):
        assert decision.says.startswith("kubecase: ")
        return
    assert send(cluster, decision) == []
    assert decision.method == "GET" or decision.path.rpartition("/")[2] in REVIEWS
    assert "%" not in decision.path
    assert "//" not in decision.path
    if decision.answer is Answer.WATCH:
        assert 0 < int(dict(decision.query)["timeoutSeconds"]) <= BOUNDS.watch_seconds
    if decision.resource == "pods/log":
        asked = dict(decision.query)
        assert int(asked["tailLines"]) <= BOUNDS.log_lines
        assert 0 < int(asked["limitBytes"]) <= BOUNDS.log_bytes
        assert "insecureSkipTLSVerifyBackend" not in asked


def test_the_doors_of_the_fake_server_are_seen(cluster: FakeCluster) -> None:
    """The counting of doors works: what the policy would have to let through is counted."""
    asked = {
        ("GET", "/api/v1/namespaces/shop/secrets"): "secret",
        ("GET", "/api/v1/namespaces/shop%2Fsecrets"): "secret",
        ("GET", "/api/v1/watch/namespaces/shop/secrets"): "secret",
        ("GET", "/api/v1/namespaces/shop/pods/api-0%2Fexec"): "exec",
        ("GET", "/api/v1/nodes/node-1/proxy/pods"): "proxy",
        ("DELETE", "/api/v1/namespaces/shop/pods/api-0"): "write",
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"): "review",
        ("GET", "/metrics"): "debug",
    }
    for (method, target), door in asked.items():
        cluster.reached.clear()
        cluster.reply(method, target, {})
        assert door in cluster.reached, target
