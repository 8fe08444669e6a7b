"""What a program says about its configuration and its rights, and commands that cannot run."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, title
from kubecase.diagnosis.finding import Finding, found, get, near_pods, previous_log
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.logs import Signal, words_of
from kubecase.diagnosis.mounts import Mount, mount_of
from kubecase.diagnosis.pods import Container
from kubecase.diagnosis.values import dig, mapping, maps, moment, text, texts

_NO_START = re.compile(
    r"exec: \"|executable file not found|no such file or directory|permission denied|"
    r"not a directory|"
    r"is a directory|no such file",
    re.IGNORECASE,
)
_VOLUMES = frozenset({"persistentVolumeClaim", "hostPath", "nfs", "csi", "ephemeral"})
_FILE = re.compile(r"([\w./-]{1,200}\.(?:ya?ml|json|toml|conf|cfg|ini|properties|xml|cnf))\b")
_QUOTED = re.compile(r"exec: \"([^\"]{1,200})\"")


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for programs that fail for configuration, command or rights."""
    for container in graph.containers:
        if _as_root(container):
            yield _run_as_root(graph, container)
        elif (finding := _start_error(graph, container)) is not None:
            yield finding
        elif not container.pod.is_done and (cause := container.cause) is not None:
            yield from _from_log(graph, container, cause)
        elif (finding := _not_found(graph, container)) is not None:
            yield finding


def _make(
    graph: Graph,
    container: Container,
    category: str,
    what: str,
    strength: float,
    *proof: Evidence | None,
    blamed: Key | None = None,
) -> Finding:
    root = graph.root_of(container.pod)
    ended = container.ending
    code = (
        container.pod.thing.states(f"{ended.path}.exitCode", ended.code)
        if ended and ended.code
        else None
    )
    return found(
        category,
        f"{title(root)}: container {container.name} {what}.",
        blamed=blamed or root,
        strength=strength,
        about=near_pods(graph, container.pod),
        evidence=[*proof, code, container.state_quote()],
        steps=(previous_log(container.pod, container.name), get(root)),
    )


def _as_root(container: Container) -> bool:
    return "runAsNonRoot" in container.waiting_message or any(
        "runAsNonRoot" in e.message for e in container.events("Failed")
    )


def _run_as_root(graph: Graph, container: Container) -> Finding:
    said = container.waiting_message
    events = [e.quote() for e in container.events("Failed") if "runAsNonRoot" in e.message]
    return _make(
        graph,
        container,
        "config.security_context",
        "must not run as root (runAsNonRoot is set), and its image runs as root",
        0.95,
        container.pod.thing.states("state.waiting.message", said) if said else None,
        *events[:1],
    )


def _start_error(graph: Graph, container: Container) -> Finding | None:
    """The runtime could not start the command at all."""
    ended = next(
        (e for e in container.endings if e.reason in {"StartError", "ContainerCannotRun"}), None
    )
    said = (
        ended.message
        if ended
        else container.waiting_message
        if container.waiting in {"RunContainerError", "CreateContainerError"}
        else ""
    )
    if not said or not _NO_START.search(said) or "exec format" in said or "OOM" in said:
        return None
    events = [e.quote() for e in container.events("Failed") if _NO_START.search(e.message)]
    if "error mounting" in said or ("not a directory: unknown" in said and "mount" in said):
        return None
    matched = _QUOTED.search(said)
    program = matched.group(1) if matched else "its command"
    why = (
        "is not executable (permission denied)"
        if "permission denied" in said
        else "is not found in $PATH"
        if "$PATH" in said
        else "does not exist in the image (no such file or directory)"
    )
    path = f"{ended.path}.message" if ended else "state.waiting.message"
    return _make(
        graph,
        container,
        "config.bad_command",
        f"cannot be started: its command {program} {why}",
        0.94,
        container.pod.thing.states(path, said),
        *events[:1],
    )


def _not_found(graph: Graph, container: Container) -> Finding | None:
    """A shell's 126 and 127 without a word in the log."""
    ended = container.ending
    if ended is None or ended.code not in {126, 127}:
        return None
    why = "is not executable" if ended.code == 126 else "is not found"
    return _make(
        graph,
        container,
        "config.bad_command",
        f"ends with exit code {ended.code}: its command or script {why}",
        0.8,
    )


def _from_log(graph: Graph, container: Container, cause: Signal) -> Iterator[Finding]:
    if not container.is_failing and container.pod.is_sound and not graph.facts.is_alert:
        return
    ended = container.ending
    if (
        ended is not None
        and ended.code in {126, 127}
        and cause.kind in {"denied", "error", "bad_command", "crash"}
    ):
        yield _script(graph, container, cause, ended.code)
    elif cause.kind == "missing_env":
        yield _missing_env(graph, container, cause)
    elif cause.kind == "invalid_value":
        yield _invalid_value(graph, container, cause)
    elif cause.kind == "bad_command" and ended is not None:
        yield _make(
            graph,
            container,
            "config.bad_command",
            f"does not accept its command or arguments: {words_of(cause.line)[:200]}",
            0.88,
            cause.quote(),
            _args(container),
        )
    elif cause.kind in {"readonly_fs", "not_permitted", "denied"}:
        finding = _rights(graph, container, cause)
        if finding is not None:
            yield finding
    elif cause.kind == "unresponsive" and not container.events("Unhealthy"):
        yield _make(
            graph,
            container,
            "app.unresponsive",
            f"hangs: {words_of(cause.line)[:200]}",
            0.75,
            cause.quote(),
        )


def _args(container: Container) -> Evidence | None:
    said = next(
        (a for a in (*_list(container, "args"), *_list(container, "command")) if len(a) >= 4), None
    )
    return (
        container.pod.thing.states("args", said)
        if said and said in _list(container, "args")
        else None
    )


def _list(container: Container, field: str) -> tuple[str, ...]:
    found_ = dig(container.spec, field)
    return tuple(a for a in found_ if isinstance(a, str)) if isinstance(found_, list) else ()


def _script(graph: Graph, container: Container, cause: Signal, code: int) -> Finding:
    mount = mount_of(container, cause.line)
    blamed, mode = None, ""
    if code == 126 and mount is not None and mount.kind in {"configMap", "secret"}:
        value = dig(mount.volume, mount.kind, "defaultMode")
        mode = (
            (
                f"; it comes from {mount.kind} {mount.name} with defaultMode {value}, "
                "without the right to execute"
            )
            if isinstance(value, int)
            else ""
        )
    why = "may not be executed" if code == 126 else "is not found"
    return _make(
        graph,
        container,
        "config.bad_command",
        (
            f"ends with exit code {code}, its command or script {why}: "
            f"{words_of(cause.line)[:160]}{mode}"
        ),
        0.93,
        cause.quote(),
        blamed=blamed,
    )


def _missing_env(graph: Graph, container: Container, cause: Signal) -> Finding:
    name = next((g for g in cause.groups if g), "")
    given = name in {text(e, "name") for e in maps(container.spec, "env")}
    before = graph.container_before(container)
    was = before and name in {text(e, "name") for e in maps(before[0], "env")}
    how = ", which is not set in its specification" if name and not given else ""
    how += "; the revision before had it" if was and not given else ""
    optional = _optional_absent(graph, container)
    how += (
        f"; it may come from the optional {optional[0]} {optional[2]}, which does not exist"
        if optional
        else ""
    )
    return _make(
        graph,
        container,
        "config.missing_env",
        f"needs environment variable {name or 'a variable'}{how}: {words_of(cause.line)[:160]}",
        0.92 if name else 0.8,
        cause.quote(),
    )


def _optional_absent(graph: Graph, container: Container) -> Key | None:
    namespace = container.pod.thing.namespace
    sources = [(e, "configMapRef", "secretRef") for e in maps(container.spec, "envFrom")]
    sources += [
        (mapping(e, "valueFrom"), "configMapKeyRef", "secretKeyRef")
        for e in maps(container.spec, "env")
    ]
    for each, config, secret in sources:
        for kind, field in (("ConfigMap", config), ("Secret", secret)):
            ref = mapping(each, field)
            key = (kind, namespace, text(ref, "name"))
            if ref.get("optional") is True and key not in graph.facts.by_key:
                return key
    return None


def _invalid_value(graph: Graph, container: Container, cause: Signal) -> Finding:
    matched = _FILE.search(cause.line)
    mount = mount_of(container, cause.line) or (
        mount_of(container, matched.group(1)) if matched else None
    )
    if mount is None:
        mount = _config_with(
            graph, container, matched.group(1).rpartition("/")[2] if matched else ""
        )
    blamed, where, proof = None, "", None
    if mount is not None and mount.kind in {"configMap", "secret"}:
        kind = "ConfigMap" if mount.kind == "configMap" else "Secret"
        blamed = (kind, container.pod.thing.namespace, mount.name)
        where = f" from {kind} {mount.name}{_changed(graph, blamed)}"
        thing = graph.facts.by_key.get(blamed)
        proof = thing.states("metadata.name", thing.name) if thing else None
    return _make(
        graph,
        container,
        "config.invalid_value",
        f"rejects its configuration{where}: {words_of(cause.line)[:220]}",
        0.9,
        cause.quote(),
        proof,
        blamed=blamed,
    )


def _config_with(graph: Graph, container: Container, file: str) -> Mount | None:
    """The mounted ConfigMap that has this file, or the only one there is when no file is named."""
    mounts = [
        m
        for m in (
            mount_of(container, text(v, "mountPath")) for v in maps(container.spec, "volumeMounts")
        )
        if m is not None and m.kind == "configMap" and m.name != "kube-root-ca.crt"
    ]
    for mount in mounts:
        thing = graph.facts.thing("ConfigMap", container.pod.thing.namespace, mount.name)
        if file and thing and file in mapping(thing.raw, "data"):
            return mount
    return mounts[0] if len(mounts) == 1 and file else None


def _changed(graph: Graph, key: Key) -> str:
    thing = graph.facts.by_key.get(key)
    times = [
        m
        for f in maps(thing.raw if thing else None, "metadata", "managedFields")
        if (m := moment(f, "time"))
    ]
    age = graph.facts.age(max(times)) if times else None
    return f" (changed {age / 60:.0f} minutes ago)" if age is not None and age < 86400 else ""


def _rights(graph: Graph, container: Container, cause: Signal) -> Finding | None:
    """Rights that the container's own settings take away; volumes are storage's business."""
    mount = mount_of(container, cause.line)
    if mount is not None and mount.kind in _VOLUMES:
        return None
    context = mapping(container.spec, "securityContext")
    said = words_of(cause.line)[:180]
    if cause.kind == "readonly_fs":
        if context.get("readOnlyRootFilesystem") is not True:
            return None
        return _make(
            graph,
            container,
            "config.security_context",
            f"may not write, readOnlyRootFilesystem is true: {said}",
            0.94,
            cause.quote(),
            container.pod.thing.states("securityContext.readOnlyRootFilesystem", True),
        )
    setting, quote = _setting(container, context)
    if not setting and cause.kind == "denied":
        return None
    return _make(
        graph,
        container,
        "config.security_context",
        f"is stopped by its security settings, {setting or 'the security context'}: {said}",
        0.9 if setting else 0.6,
        cause.quote(),
        quote,
    )


def _setting(container: Container, context: Mapping[str, Any]) -> tuple[str, Evidence | None]:
    """The setting that takes rights away, in words, and its quote."""
    both = (context, mapping(container.pod.thing.raw, "spec", "securityContext"))
    drop = next(iter(texts(context, "capabilities", "drop")), None)
    if drop:
        return f"dropped capabilities ({drop})", None
    user = next((text(each, "runAsUser") for each in both if "runAsUser" in each), "")
    if user:
        return f"runAsUser {user}", container.pod.thing.states("securityContext.runAsUser", user)
    if any(each.get("runAsNonRoot") is True for each in both):
        return "runAsNonRoot", container.pod.thing.states("securityContext.runAsNonRoot", True)
    return "", None
