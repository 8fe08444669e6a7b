"""Images that cannot be had: the registry's answer decides, not the back-off."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods, word
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.pods import Container
from kubecase.diagnosis.values import maps, pairs, text

_WAITING = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_RATE = re.compile(r"\b429\b|toomanyrequests|too many requests|pull rate limit", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"no such host|i/o timeout|connection refused|TLS handshake timeout|x509:|\b50[0234]\b|"
    r"server misbehaving|network is unreachable|no route to host|connection reset|Client\.Timeout|"
    r"deadline exceeded|dial tcp|server gave HTTP response|proxyconnect|\bEOF\b|lookup [\w.-]+",
    re.IGNORECASE,
)
_AUTH = re.compile(
    r"\b401\b|\b403\b|unauthori[sz]ed|forbidden|no basic auth|failed to authorize|not authorized|"
    r"insufficient_scope|authorization failed|access denied|authentication required|"
    r"denied: |credentials|token (?:has )?expired",
    re.IGNORECASE,
)
_AMBIGUOUS = re.compile(r"repository does not exist or may require", re.IGNORECASE)
_CERTAIN_AUTH = re.compile(
    r"\b401\b|\b403\b|no basic auth|unauthori[sz]ed|not authorized|expired", re.IGNORECASE
)
_NOT_FOUND = re.compile(
    r"not found|manifest unknown|NotFound|name unknown|does not exist|no such manifest",
    re.IGNORECASE,
)
_PLATFORM = re.compile(r"no match for platform|no matching manifest", re.IGNORECASE)
_SECRETS = re.compile(r"pull secrets \(([^)]{1,500})\)")


@dataclass(frozen=True)
class _Refusal:
    said: str
    quote: Evidence


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for every container whose image is not there."""
    for container in graph.containers:
        if container.waiting in _WAITING or _was_refused(container):
            yield from _for_container(graph, container)
        elif (running := _arch(graph, container)) is not None:
            yield running


def _was_refused(container: Container) -> bool:
    if container.waiting not in {"", "ContainerCreating", "PodInitializing"}:
        return False
    if container.running_since is not None or container.ending is not None:
        return False
    return any(
        "pull image" in e.message or "pull policy" in e.message
        for e in container.events("Failed", "ErrImageNeverPull")
    )


def _refusals(container: Container) -> list[_Refusal]:
    """What the registry said, the fullest sentence first."""
    thing, said = container.pod.thing, []
    if container.waiting_message:
        message = container.waiting_message
        said.append(_Refusal(message, thing.states("state.waiting.message", message)))
    for event in container.events("Failed", "InspectFailed", "ErrImageNeverPull"):
        if "mage" in event.message and not event.message.startswith("Error: "):
            said.insert(0, _Refusal(event.message, event.quote()))
    return [each for each in said if not _is_bare(each.said)]


def _is_bare(said: str) -> bool:
    return said.startswith("Back-off pulling image") and "ErrImagePull:" not in said


def _for_container(graph: Graph, container: Container) -> Iterator[Finding]:
    refusals = _refusals(container)
    said = " ".join(each.said for each in refusals).replace(container.image, "IMAGE")
    evidence = [each.quote for each in refusals[:2]]
    if (state := container.state_quote()) is not None:
        evidence.append(state)
    root = graph.root_of(container.pod)
    category, why, strength, blamed = _judge(graph, container, said)
    before = graph.container_before(container)
    changed = ""
    if before and text(before[0], "image") not in {"", container.image}:
        changed = f" The previous revision used {text(before[0], 'image')}."
    evidence.append(container.pod.thing.states("image", container.image))
    yield found(
        category,
        (
            f"{title(root)} asks for image {container.image} (container {container.name}): "
            f"{why}.{changed}"
        ),
        blamed=blamed or root,
        strength=strength,
        about=near_pods(graph, container.pod),
        evidence=evidence,
        steps=_steps(container, root, blamed),
    )


def _judge(graph: Graph, container: Container, said: str) -> tuple[str, str, float, Key | None]:
    """Category, reason in words, strength, and a culprit other than the controller."""
    host = registry(container.image)
    node = container.pod.node
    if container.waiting == "InvalidImageName" or "invalid reference format" in said:
        return (
            "image.invalid_reference",
            f"the reference cannot be parsed{_oddity(container)}",
            0.95,
            None,
        )
    if container.waiting == "ErrImageNeverPull" or "pull policy of Never" in said:
        return (
            "image.never_pull",
            f"the pull policy is Never and the image is not present on node {node}",
            0.95,
            None,
        )
    if _PLATFORM.search(said):
        arch = _arch_of(graph, node)
        return (
            "image.arch_mismatch",
            f"it has no build for the platform {arch} of node {node}",
            0.93,
            None,
        )
    if _RATE.search(said):
        return (
            "image.rate_limited",
            f"registry {host} answers 429 Too Many Requests: its pull rate limit is reached",
            0.94,
            None,
        )
    secret = _missing_pull_secret(graph, container)
    if _AMBIGUOUS.search(said) and not _CERTAIN_AUTH.search(said) and secret is None:
        return _ambiguous(graph, container, host)
    if _AUTH.search(said) and not (_UNREACHABLE.search(said) and "x509" in said):
        return _refused(graph, container, host, secret)
    if _UNREACHABLE.search(said) and not re.search(r"code = NotFound|manifest unknown", said):
        return "image.registry_unreachable", _unreachable(said, host), 0.93, None
    if _NOT_FOUND.search(said):
        return (
            "image.not_found",
            f"the tag or repository does not exist: registry {host} answers not found",
            0.94,
            None,
        )
    if secret is not None:
        return _refused(graph, container, host, secret)
    return "image.not_found", "it cannot be pulled, and why was not recorded", 0.35, None


def _ambiguous(graph: Graph, container: Container, host: str) -> tuple[str, str, float, Key | None]:
    """A denial that may mean either: a secret or a private host speaks for the credentials."""
    if _pull_secrets(graph, container):
        return _refused(graph, container, host, None)
    if host != "docker.io":
        return (
            "image.auth_failed",
            f"registry {host} denies access (pull access denied, unauthorized)",
            0.8,
            None,
        )
    return (
        "image.not_found",
        f"registry {host} does not know this repository (it does not exist, or is private)",
        0.75,
        None,
    )


def _refused(
    graph: Graph, container: Container, host: str, missing: Key | None
) -> tuple[str, str, float, Key | None]:
    if missing is not None:
        why = (
            f"the pull secret {missing[2]} that the pod refers to does not exist, so {host} "
            "denies access"
        )
        return "image.auth_failed", f"unauthorized: {why}", 0.95, missing
    for name in _pull_secrets(graph, container):
        key = ("Secret", container.pod.thing.namespace, name)
        if key in graph.facts.by_key:
            age = graph.facts.age(graph.facts.by_key[key].created_at)
            old = f", made {age / 86400:.0f} days ago," if age and age > 43200 else ""
            why = (
                f"the credentials in pull secret {name}{old} are refused by registry {host} "
                "(unauthorized)"
            )
            return "image.auth_failed", why, 0.93, key
    none = "" if _pull_secrets(graph, container) else "; the pod names no pull secret"
    return (
        "image.auth_failed",
        f"registry {host} refuses access: unauthorized, credentials are missing or refused{none}",
        0.92,
        None,
    )


def _pull_secrets(graph: Graph, container: Container) -> list[str]:
    pod = container.pod
    names = [text(each, "name") for each in maps(pod.thing.raw, "spec", "imagePullSecrets")]
    account = graph.facts.thing("ServiceAccount", pod.thing.namespace, pod.service_account)
    names += [text(e, "name") for e in maps(account.raw if account else None, "imagePullSecrets")]
    return list(dict.fromkeys(name for name in names if name))


def _missing_pull_secret(graph: Graph, container: Container) -> Key | None:
    namespace = container.pod.thing.namespace
    told: list[str] = []
    for event in container.pod.events("FailedToRetrieveImagePullSecret"):
        matched = _SECRETS.search(event.message)
        if matched:
            told += [name.strip() for name in matched.group(1).split(",")]
    if not told and graph.facts.of_kind("Secret"):
        told = _pull_secrets(graph, container)
    for name in told:
        key = ("Secret", namespace, name)
        if key not in graph.facts.by_key:
            return key
    return None


def _unreachable(said: str, host: str) -> str:
    if "no such host" in said or "lookup" in said:
        return f"the registry host {host} cannot be resolved (no such host)"
    if "x509" in said or "HTTP response" in said:
        return f"the TLS certificate of registry {host} is not accepted (x509)"
    if re.search(r"\b50[0234]\b", said):
        return f"registry {host} is unavailable (it answers with a server error)"
    return f"registry {host} cannot be reached (it does not answer)"


def _oddity(container: Container) -> str:
    image = container.image
    if "{{" in image or "$(" in image or "${" in image:
        return " because a template placeholder was not filled in (invalid reference format)"
    if any(c.isupper() for c in image.partition(":")[0]):
        return " because the repository name has upper-case letters (invalid reference format)"
    return " (invalid reference format)"


def _arch(graph: Graph, container: Container) -> Finding | None:
    """A program that the node's processor cannot run."""
    signals = container.signals("exec_format")
    ended = next((e for e in container.endings if "exec format error" in e.message), None)
    if not signals and ended is None:
        return None
    node = container.pod.node
    evidence = [s.quote() for s in signals[:1]]
    if ended is not None:
        evidence.append(container.pod.thing.states(f"{ended.path}.message", ended.message))
    thing = graph.facts.thing("Node", "", node)
    arch = _arch_of(graph, node)
    root = graph.root_of(container.pod)
    return found(
        "image.arch_mismatch",
        f"The image {container.image} of {title(root)} has no build for the "
        f"architecture {arch} of node "
        f"{node}: exec format error in container {container.name}.",
        blamed=root,
        strength=0.93,
        about=near_pods(graph, container.pod),
        evidence=[
            *evidence,
            container.state_quote(),
            thing.quote("status", "nodeInfo", "architecture") if thing else None,
        ],
        steps=("kubectl get nodes -L kubernetes.io/arch", get(root)),
    )


def _arch_of(graph: Graph, node: str) -> str:
    thing = graph.facts.thing("Node", "", node)
    if thing is None:
        return "of the node"
    return text(thing.raw, "status", "nodeInfo", "architecture") or pairs(
        thing.raw, "metadata", "labels"
    ).get("kubernetes.io/arch", "of the node")


def _steps(container: Container, root: Key, blamed: Key | None) -> Iterator[str]:
    namespace, name = root[1], root[2]
    if root[0] == "Deployment":
        yield f"{kubectl('rollout history', namespace)} deployment/{word(name)}"
    yield get(root)
    if blamed is not None and blamed[0] == "Secret":
        yield f"{kubectl('get', namespace)} secret {word(blamed[2])} -o jsonpath='{{.type}}'"
    if container.pod.node:
        yield (
            f"kubectl get node {word(container.pod.node)} -o jsonpath='{{.status.images[*].names}}'"
        )


def registry(image: str) -> str:
    """The host of the registry that an image reference names."""
    first, slash, _ = image.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_host else "docker.io"


_PULL = re.compile(
    r"pull(?:ing)? image|ImagePullBackOff|ErrImagePull|InvalidImageName|ErrImageNeverPull|"
    r"pull policy of Never|failed to resolve reference|manifest (?:for|unknown)|"
    r"pull access denied|invalid reference format",
    re.IGNORECASE,
)


def judged_by_words(said: str) -> tuple[str, str, bool] | None:
    """Category, reason, and whether the words are plain, from a message alone about a pull.

    `None` if the message is about something else.
    """
    if not _PULL.search(said) or "Successfully pulled" in said:
        return None
    if re.search(r"InvalidImageName|invalid reference format", said):
        return "image.invalid_reference", "its image reference cannot be parsed", True
    if re.search(r"ErrImageNeverPull|pull policy of Never", said):
        return "image.never_pull", "its image is not on the node and may not be pulled", True
    if _PLATFORM.search(said):
        return "image.arch_mismatch", "its image has no build for the node's platform", True
    if _RATE.search(said):
        return "image.rate_limited", "the registry's pull rate limit is reached", True
    if _AUTH.search(said) and not _AMBIGUOUS.search(said):
        return "image.auth_failed", "the registry refuses the credentials", True
    if _NOT_FOUND.search(said) and not re.search(r"no such host|x509", said):
        plain = not _AMBIGUOUS.search(said)
        return "image.not_found", "the registry does not know its image", plain
    if re.search(r"no such host|timeout|refused|x509|\b50[0234]\b|EOF|dial tcp", said):
        return "image.registry_unreachable", "the registry cannot be used", True
    return "image.not_found", "its image cannot be pulled, and why was not recorded", False
