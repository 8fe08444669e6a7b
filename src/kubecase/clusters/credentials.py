"""How a cluster is reached and who asks: from a kubeconfig, or from inside a pod."""

import ipaddress
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kubecase.core.errors import ClusterUnavailable

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import SingleConfig

MAX_KUBECONFIG = 4 * 1024 * 1024
MAX_NESTING = 100
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """One context of a kubeconfig that was found usable, without having been used yet.

    `config` is lightkube's and may hold a token or key. `plugin` is the `exec` section if the
    credential comes from a program. `notes` say what an operator should know, such as a plugin
    that will run, or certificates that are not checked.
    """

    context: str
    server: str
    namespace: str
    config: "SingleConfig" = field(repr=False)
    plugin: Mapping[str, Any] | None = field(default=None, repr=False)
    plugin_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls_server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that nobody may see, for redaction: token and password."""
        user = self.config.user
        found = () if user is None else (user.token, user.password)
        return tuple(str(each) for each in found if each)


def from_kubeconfig(
    path: Path,
    *,
    context: str | None = None,
    allow_plugins: bool = True,
    plugin_environment: Mapping[str, str] | None = None,
) -> Credentials:
    """The credentials of `context`, or of the current context, in the kubeconfig at `path`.

    A kubeconfig may name a program to run for its credential; `allow_plugins` is for files that
    the operator chose by hand. Raises ClusterUnavailable with what is wrong and how to put it
    right; no message holds a value of the file but names.
    """
    document = _document(path)
    name, notes = _context_name(document, context, path)
    chosen = _entry(document, "context", name, path)
    cluster = _entry(document, "cluster", _text(chosen.get("cluster")), path)
    user = _entry(document, "user", _text(chosen.get("user")), path)
    server = _server(cluster, user, path)
    notes += _notes(cluster, user)
    plugin = user.get("exec")
    if plugin is not None:
        notes.append(_plugin_note(plugin, path, allowed=allow_plugins))
    if "auth-provider" in user:
        raise _unusable(path, "its auth-provider is not supported", "Use an `exec` plugin instead.")
    return Credentials(
        context=name,
        server=server,
        namespace=_text(chosen.get("namespace")) or "default",
        config=_config(document, name, path),
        plugin=plugin,
        plugin_environment=dict(plugin_environment or {}),
        tls_server_name=_text(cluster.get("tls-server-name")) or None,
        proxy=_text(cluster.get("proxy-url")) or None,
        notes=tuple(notes),
    )


def check_kubeconfig(path: Path, *, context: str | None = None) -> tuple[str, ...]:
    """What an operator should know about the kubeconfig at `path`; nothing is asked of a cluster.

    Raises ClusterUnavailable as `from_kubeconfig` does.
    """
    return from_kubeconfig(path, context=context).notes


def in_cluster(host: str, port: str, *, directory: Path = SERVICE_ACCOUNT) -> Credentials:
    """The credentials of the pod that kubecase runs in; its token is read again when it changes.

    `host` and `port` are KUBERNETES_SERVICE_HOST and _PORT. Raises ClusterUnavailable if the
    service account is not mounted.
    """
    from lightkube.config.kubeconfig import KubeConfig  # noqa: PLC0415 - slow to import
    from lightkube.config.models import Cluster, User  # noqa: PLC0415 - slow to import

    try:
        namespace = (directory / "namespace").read_text().strip()
        (directory / "token").read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterUnavailable(
            f"cannot use the pod's service account: {type(error).__name__} in {directory}",
            hint="Set automountServiceAccountToken: true, or give a kubeconfig.",
        ) from error
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    config = KubeConfig.from_one(
        cluster=Cluster(server=server, certificate_auth=str(directory / "ca.crt")),
        user=User(token_file=str(directory / "token")),
        context_name="in-cluster",
        namespace=namespace,
    ).get()
    assert config is not None  # noqa: S101 - from_one always sets its one context
    return Credentials(context="in-cluster", server=server, namespace=namespace, config=config)


def _document(path: Path) -> Mapping[str, Any]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 - slow to import

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _unusable(path, "not a file")
        with open(path, "rb") as file:
            data = file.read(MAX_KUBECONFIG + 1)
    except OSError as error:
        raise _unusable(path, error.strerror or type(error).__name__) from error
    if len(data) > MAX_KUBECONFIG:
        raise _unusable(path, f"more than {MAX_KUBECONFIG} bytes")
    if _nesting(data) > MAX_NESTING:
        # The parser's time grows with the square of this.
        raise _unusable(path, "invalid YAML: nested too deep")
    try:
        document = YAML(typ="safe", pure=True).load(data.decode())
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        # Without the parser's words: they quote the file, and the file holds secrets.
        raise _unusable(path, f"invalid YAML{where}") from None
    if not isinstance(document, dict):
        raise _unusable(path, "invalid YAML: not a mapping")
    for section in ("cluster", "user", "context"):
        if not _entries(document, section):
            raise _unusable(path, f"kubeconfig must contain at least one {section}")
    return document


def _nesting(data: bytes) -> int:
    depth = deepest = 0
    for opening in re.findall(rb"[\[{]|[\]}]", data):
        depth += 1 if opening in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _entries(document: Mapping[str, Any], section: str) -> dict[str, Mapping[str, Any]]:
    found = document.get(f"{section}s")
    return {
        each["name"]: each[section]
        for each in (found if isinstance(found, list) else [])
        if isinstance(each, dict)
        and isinstance(each.get("name"), str)
        and isinstance(each.get(section), dict)
    }


def _context_name(
    document: Mapping[str, Any], context: str | None, path: Path
) -> tuple[str, list[str]]:
    contexts = _entries(document, "context")
    name = context or _text(document.get("current-context"))
    if not name and len(contexts) == 1:
        name = next(iter(contexts))
        return name, [f"no current-context is set: the only one, {name}, is taken"]
    if not name:
        known = ", ".join(sorted(contexts))
        raise _unusable(path, "no current-context is set", f"Choose one of its contexts: {known}.")
    return name, []


def _entry(document: Mapping[str, Any], section: str, name: str, path: Path) -> Mapping[str, Any]:
    found = _entries(document, section)
    if name not in found:
        known = ", ".join(sorted(found))
        raise _unusable(path, f"it has no {section} {name!r}", f"Its {section}s are: {known}.")
    return found[name]


def _server(cluster: Mapping[str, Any], user: Mapping[str, Any], path: Path) -> str:
    server = _text(cluster.get("server"))
    try:
        parts = urlsplit(server)
        host = parts.hostname or ""
        usable = parts.scheme in {"http", "https"} and bool(host) and parts.username is None
    except ValueError:
        usable, parts, host = False, urlsplit(""), ""
    if not usable:
        raise _unusable(path, "its cluster's server is not an https address")
    credential = {"token", "tokenFile", "password", "exec"} & user.keys()
    if parts.scheme == "http" and credential and not _is_loopback(host):
        raise _unusable(path, "it would send its credential over plain http", "Use https.")
    return server


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _notes(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> list[str]:
    notes = []
    if cluster.get("insecure-skip-tls-verify") is True:
        notes.append("the server's certificate is not checked (insecure-skip-tls-verify)")
    if not user:
        notes.append("its user has no credential: requests are anonymous")
    if {"as", "as-groups", "as-uid"} & user.keys():
        notes.append("its impersonation (as) is not supported and left out")
    return notes


def _plugin_note(plugin: Any, path: Path, *, allowed: bool) -> str:
    from kubecase.clusters.plugin import VERSIONS  # noqa: PLC0415 - slow to import

    command = plugin.get("command") if isinstance(plugin, dict) else None
    if not isinstance(command, str) or not command or plugin.get("apiVersion") not in VERSIONS:
        raise _unusable(path, "its exec section has no command, or an unknown apiVersion")
    lists = [plugin.get("args") or [], plugin.get("env") or []]
    named = isinstance(lists[1], list) and all(
        isinstance(each, dict) and {"name", "value"} <= each.keys() for each in lists[1]
    )
    if not isinstance(lists[0], list) or not named:
        raise _unusable(path, "args or env of its exec section are malformed")
    program = os.path.basename(command)
    if not allowed:
        raise _unusable(
            path,
            f"it would run the program {program} for its credential",
            "Name the file yourself with --kubeconfig FILE if that is wanted.",
        )
    return f"its credential comes from the program {program}, which is run for it"


def _config(document: Mapping[str, Any], name: str, path: Path) -> "SingleConfig":
    import msgspec  # noqa: PLC0415 - comes with lightkube
    from lightkube.config.kubeconfig import KubeConfig  # noqa: PLC0415 - slow to import
    from lightkube.core.exceptions import ConfigError  # noqa: PLC0415 - slow to import

    usable = {
        f"{section}s": [
            {"name": key, section: _known_only(value) if section == "user" else value}
            for key, value in _entries(document, section).items()
        ]
        for section in ("cluster", "user", "context")
    }
    try:
        config = KubeConfig.from_dict(usable, fname=path.absolute()).get(name)
    except (ConfigError, KeyError, msgspec.ValidationError) as error:
        raise _unusable(path, f"context {name!r} is malformed") from error
    assert config is not None  # noqa: S101 - a name was given, so lightkube raises instead
    return config


def _known_only(user: Mapping[str, Any]) -> dict[str, Any]:
    # Plugins are run by our own hand: with a bounded environment and in every API version.
    return {key: value for key, value in user.items() if key != "exec"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _unusable(path: Path, why: str, hint: str | None = None) -> ClusterUnavailable:
    return ClusterUnavailable(
        f"cannot use the kubeconfig {path}: {why}",
        hint=hint or "Check it with: kubectl config view --minify --kubeconfig FILE",
    )
