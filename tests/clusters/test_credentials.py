"""Kubeconfigs: which are taken, and what is said of those that are not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.kube_api import kubeconfig_for
from kubecase.clusters import check_kubeconfig, from_kubeconfig, in_cluster
from kubecase.core.errors import ClusterUnavailable

CLUSTER = {"server": "https://127.0.0.1:6443"}
PLUGIN = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/opt/bin/get-token"}


def written(directory: Path, document: Any) -> Path:
    path = directory / "kubeconfig"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def good(cluster: dict[str, Any] | None = None, **user: Any) -> dict[str, Any]:
    return kubeconfig_for({**CLUSTER, **(cluster or {})}, user or {"token": "t"})


def without(section: str) -> dict[str, Any]:
    return {key: value for key, value in good().items() if key != section}


def test_a_good_kubeconfig_gives_server_context_and_namespace(tmp_path: Path) -> None:
    """The current context is taken; its credential is in no representation (req 16.6)."""
    document = good(token="CANARY")
    document["contexts"][0]["context"]["namespace"] = "shop"

    found = from_kubeconfig(written(tmp_path, document))

    assert (found.server, found.context, found.namespace) == (CLUSTER["server"], "fake", "shop")
    assert found.notes == ()
    assert "CANARY" not in repr(found)


MALFORMED: dict[str, tuple[Any, str]] = {
    "broken": ("clusters: [\n", "invalid YAML (line"),
    "tabs": ("a:\n\t- b", "invalid YAML"),
    "list": ("- a\n", "invalid YAML"),
    "text": ("hello", "invalid YAML"),
    "empty": ("", "invalid YAML"),
    "binary": ("\x00\x01", "invalid YAML"),
    "deep": ("[" * 5_000, "invalid YAML"),
    "bomb": ("[" * 500_000, "invalid YAML"),
    "object": ("!!python/object/apply:os.system [id]", "invalid YAML"),
    "no clusters": (without("clusters"), "kubeconfig must contain at least one cluster"),
    "no users": (without("users"), "kubeconfig must contain at least one user"),
    "no contexts": (without("contexts"), "kubeconfig must contain at least one context"),
    "empty clusters": ({**good(), "clusters": []}, "kubeconfig must contain at least one cluster"),
    "odd clusters": (
        {**good(), "clusters": [7, {}]},
        "kubeconfig must contain at least one cluster",
    ),
    "clusters as text": ({**good(), "clusters": "x"}, "must contain at least one cluster"),
    "current context gone": ({**good(), "current-context": "prod"}, "'prod'"),
    "no server": (kubeconfig_for({}, {}), "not an https address"),
    "server as list": (kubeconfig_for({"server": []}, {}), "not an https address"),
    "server of another kind": (kubeconfig_for({"server": "file:///etc"}, {}), "not an https"),
    "server with a user": (kubeconfig_for({"server": "https://a:b@c"}, {}), "not an https"),
    "plain http": (kubeconfig_for({"server": "http://c"}, {"token": "t"}), "plain http"),
    "old plugin": (good(**{"auth-provider": {"name": "gcp"}}), "auth-provider"),
    "plugin without command": (good(exec={"apiVersion": PLUGIN["apiVersion"]}), "exec section"),
    "plugin of another version": (good(exec={**PLUGIN, "apiVersion": "v9"}), "exec section"),
    "plugin with odd env": (good(exec={**PLUGIN, "env": ["A=B"]}), "malformed"),
    "token as number": (good(token=7), "malformed"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_cannot_be_used_is_named(tmp_path: Path, name: str) -> None:
    """Each broken kubeconfig is refused with the agreed words and a hint."""
    document, words = MALFORMED[name]

    with pytest.raises(ClusterUnavailable) as refused:
        from_kubeconfig(written(tmp_path, document))

    assert words in str(refused.value)
    assert str(refused.value).startswith("cannot ")
    assert refused.value.hint


def test_a_context_that_is_missing_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    """Asking for an unknown context says its name and the known ones."""
    with pytest.raises(ClusterUnavailable, match="'staging'") as refused:
        check_kubeconfig(written(tmp_path, good()), context="staging")

    assert "fake" in (refused.value.hint or "")


def test_without_a_current_context_the_only_one_is_taken(tmp_path: Path) -> None:
    """One context needs no choice; of several none is guessed."""
    document = without("current-context")
    assert "fake" in check_kubeconfig(written(tmp_path, document))[0]

    document["contexts"].append(
        {"name": "other", "context": {"cluster": "fake", "user": "someone"}}
    )
    with pytest.raises(ClusterUnavailable, match="no current-context") as refused:
        check_kubeconfig(written(tmp_path, document))
    assert "fake, other" in (refused.value.hint or "")


def test_no_message_holds_what_the_file_holds(tmp_path: Path) -> None:
    """A parser's complaint about a line with a token does not repeat it (req 16.6)."""
    broken = "users:\n- user: {token: CANARY-TOKEN\n  password: CANARY-TOO: x\n"

    with pytest.raises(ClusterUnavailable) as refused:
        from_kubeconfig(written(tmp_path, broken))

    error: BaseException | None = refused.value
    assert "CANARY" not in str(error) + (refused.value.hint or "")
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path / "absent",
        lambda path: path,
        lambda path: Path("/dev/null"),
    ],
    ids=["absent", "directory", "device"],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """A missing file, a directory and a device are refused alike."""
    with pytest.raises(ClusterUnavailable, match="cannot use the kubeconfig"):
        from_kubeconfig(make(tmp_path))


def test_aliases_do_not_blow_up(tmp_path: Path) -> None:
    """A file whose aliases multiply is read in no time, or refused."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]

    with pytest.raises(ClusterUnavailable, match="at least one cluster"):
        from_kubeconfig(written(tmp_path, "\n".join(lines)))


def test_a_credential_plugin_is_told_and_can_be_forbidden(tmp_path: Path) -> None:
    """A program named by the file runs only if the operator chose the file, and is announced."""
    path = written(
        tmp_path, good(exec={**PLUGIN, "args": ["--x"], "env": [{"name": "A", "value": "b"}]})
    )

    assert any("get-token" in note for note in check_kubeconfig(path))
    with pytest.raises(ClusterUnavailable, match="would run the program get-token"):
        from_kubeconfig(path, allow_plugins=False)


def test_what_weakens_a_connection_is_noted(tmp_path: Path) -> None:
    """Unchecked certificates, no credential and impersonation are said."""
    unchecked = good({"insecure-skip-tls-verify": True})
    assert "not checked" in check_kubeconfig(written(tmp_path, unchecked))[0]
    anonymous = kubeconfig_for(CLUSTER, {})
    assert "anonymous" in check_kubeconfig(written(tmp_path, anonymous))[0]
    other = good(**{"token": "t", "as": "admin"})
    assert "impersonation" in check_kubeconfig(written(tmp_path, other))[0]


def test_inside_a_pod_the_service_account_is_used(tmp_path: Path) -> None:
    """The mounted token, CA and namespace make the credentials; IPv6 hosts are bracketed."""
    for name, text in (("token", "t"), ("namespace", "ops\n"), ("ca.crt", "x")):
        (tmp_path / name).write_text(text)

    found = in_cluster("10.0.0.1", "443", directory=tmp_path)

    assert (found.server, found.namespace) == ("https://10.0.0.1:443", "ops")
    assert in_cluster("fd00::1", "443", directory=tmp_path).server == "https://[fd00::1]:443"


def test_outside_a_pod_that_is_said(tmp_path: Path) -> None:
    """Without a mounted service account there is a hint, not a traceback."""
    with pytest.raises(ClusterUnavailable, match="service account"):
        in_cluster("10.0.0.1", "443", directory=tmp_path)
