"""Pods that were never made, and requests that are refused: identity, admission, quota."""

import re
from collections.abc import Iterable, Iterator, Mapping

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Happening, Key, Thing, title
from kubecase.diagnosis.finding import Finding, found, get, kubectl, near_pods, word
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.pods import Container
from kubecase.diagnosis.values import maps, pairs, text, texts

_QUOTA = re.compile(r"exceeded quota: ([^,\s]{1,253})(?:, (requested: .{1,600}))?", re.DOTALL)
_QUOTA_MUST = re.compile(
    r"failed quota: ([^:\s]{1,253}): must specify (.{1,200})|must specify (?:limits|requests)\.\w+"
)
_LIMIT_RANGE = re.compile(
    r"(?:maximum|minimum) [\w.-]+ usage per \w+ is|(?:max|min)imum (?:cpu|memory|"
    r"ephemeral-storage)|limit to request ratio|"
    r"must be less than or equal to (?:cpu|memory) limit",
)
_WEBHOOK_DOWN = re.compile(r"failed calling webhook \"([^\"]{1,253})\"|failed to call webhook")
_DENIED = re.compile(
    r"admission webhook \"([^\"]{1,253})\" denied the request:? ?(.{0,300})|"
    r"violates PodSecurity \"([^\"]{1,80})\":? ?(.{0,300})|"
    r"ValidatingAdmissionPolicy '([^']{1,253})' (?:with binding '[^']{1,253}' )?denied r"
    r"equest:? ?(.{0,300})|"
    r"(unable to validate against any (?:security context constraint|pod security policy))",
    re.DOTALL,
)
_ACCOUNT = re.compile(
    r"service ?account \"?(?:[^\s\"/]{1,253}/)?([^\s\":]{1,253})\"?:? (?:was )?not found|"
    r"serviceaccount \"([^\"]{1,253})\" not found",
    re.IGNORECASE,
)
_RBAC = re.compile(
    r"User \"system:serviceaccount:([^:\"]{1,63}):([^\"]{1,253})\" cannot (\w{1,30}) res"
    r"ource \"([^\"]{1,120})\""
    r"(?: in API group \"([^\"]{0,120})\")?"
)
_SERVICE_URL = re.compile(r"https?://([\w-]{1,63})\.([\w-]{1,63})\.svc")
_CREATION = (
    "FailedCreate",
    "ReplicaSetCreateError",
    "FailedUpdate",
    "FailedDelete",
    "RecreatingFailedPod",
)


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for everything that the API server refused."""
    seen: set[tuple[str, Key | None, Key]] = set()
    for about, said, quote in _refusals(graph):
        finding = _judge(graph, about, said, quote)
        if finding is not None and (mark := (finding.category, finding.blamed, about)) not in seen:
            seen.add(mark)
            yield finding
    for container in graph.containers:
        yield from _from_log(graph, container)


def _refusals(graph: Graph) -> Iterator[tuple[Key, str, Evidence]]:
    """Every refusal, with the object that was refused something."""
    for event in _distinct(graph.facts.events):
        yield event.about, event.message, event.quote()
    for thing in graph.facts.of_kind("Deployment", "ReplicaSet", "StatefulSet", "Job", "DaemonSet"):
        for type_ in ("ReplicaFailure", "Progressing", "Failed"):
            condition = thing.condition(type_)
            said = text(condition, "message")
            if text(condition, "reason") in _CREATION and said:
                yield thing.key, said, thing.states(f"status.conditions.{type_}", said)


def _distinct(events: Iterable[Happening]) -> Iterator[Happening]:
    seen: set[tuple[Key, str]] = set()
    for event in events:
        # Each refusal names a new pod: the words behind the name are what counts.
        mark = (event.about, event.message.partition("is forbidden")[2] or event.message)
        if event.warning and mark not in seen:
            seen.add(mark)
            yield event


def _judge(graph: Graph, about: Key, said: str, quote: Evidence) -> Finding | None:
    root = graph.root(about)
    if matched := _QUOTA.search(said):
        return _quota(graph, about, root, matched, quote)
    if _QUOTA_MUST.search(said) or _LIMIT_RANGE.search(said):
        return _limit_range(graph, about, root, said, quote)
    if matched := _WEBHOOK_DOWN.search(said):
        return _webhook(graph, about, said, matched.group(1) or "", quote)
    if matched := _DENIED.search(said):
        return _denied(graph, about, root, matched, quote)
    if matched := _ACCOUNT.search(said):
        return _account(graph, about, root, matched.group(1) or matched.group(2), quote)
    if matched := _RBAC.search(said):
        return _forbidden(graph, (about, root), root, matched, quote)
    return None


def _quota(graph: Graph, about: Key, root: Key, matched: re.Match[str], quote: Evidence) -> Finding:
    name = matched.group(1)
    key = ("ResourceQuota", about[1], name)
    thing = graph.facts.by_key.get(key)
    numbers = f" ({matched.group(2).strip()})" if matched.group(2) else ""
    used = next(iter(pairs(thing.raw, "status", "used").items()), None) if thing else None
    return found(
        "quota.exceeded",
        f"ResourceQuota {about[1]}/{name} is used up (exceeded quota), so {title(root)} "
        "cannot create its "
        f"pods{numbers}.",
        blamed=key,
        strength=0.95,
        about=(about, root, key),
        evidence=[
            quote,
            thing.states(f"status.used.{used[0]}", used[1]) if thing and used else None,
        ],
        steps=(f"{kubectl('describe', about[1])} resourcequota {word(name)}", get(root)),
        lasting=True,
    )


def _limit_range(graph: Graph, about: Key, root: Key, said: str, quote: Evidence) -> Finding:
    words = said.partition("is forbidden: ")[2] or said
    limits = [t for t in graph.facts.of_kind("LimitRange") if t.namespace == about[1]]
    by_quota = "must specify" in said
    why = (
        "a quota needs requests and limits that its containers do not set"
        if by_quota
        else "its containers are outside the bounds of the LimitRange"
    )
    name = f" {limits[0].name}" if limits and not by_quota else ""
    return found(
        "quota.limit_range",
        f"{title(root)} cannot create its pods, {why}{name}: {words[:260]}.",
        blamed=root,
        strength=0.94,
        about=(about, root),
        evidence=[quote, limits[0].states("metadata.name", limits[0].name) if limits else None],
        steps=(f"{kubectl('get', about[1])} limitrange -o yaml", get(root)),
        lasting=True,
    )


def _webhook(graph: Graph, about: Key, said: str, name: str, quote: Evidence) -> Finding:
    root = graph.root(about)
    config = _configuration(graph, name)
    service = _service_of(graph, config, said, name)
    why, blamed, proof = _why_down(graph, service, said)
    behind = f" of {config.kind} {config.name}" if config else ""
    return found(
        "admission.webhook_failed",
        f"Admission webhook {name or 'of the cluster'}{behind} cannot be called, so "
        f"{title(root)} cannot create its "
        f"pods: {why}.",
        blamed=blamed or (config.key if config else None) or root,
        strength=0.95,
        about=(about, root),
        evidence=[quote, *proof, config.quote("webhooks", "failurePolicy") if config else None],
        steps=(
            "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o yaml",
            *((get(blamed),) if blamed else ()),
        ),
        lasting=True,
    )


def _configuration(graph: Graph, name: str) -> Thing | None:
    for thing in graph.facts.of_kind(
        "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"
    ):
        if name in {text(hook, "name") for hook in maps(thing.raw, "webhooks")}:
            return thing
    return None


def _service_of(graph: Graph, config: Thing | None, said: str, name: str) -> Key | None:
    for hook in maps(config.raw if config else None, "webhooks"):
        if text(hook, "name") == name and text(hook, "clientConfig", "service", "name"):
            return (
                "Service",
                text(hook, "clientConfig", "service", "namespace"),
                text(hook, "clientConfig", "service", "name"),
            )
    matched = _SERVICE_URL.search(said)
    return ("Service", matched.group(2), matched.group(1)) if matched else None


def _why_down(
    graph: Graph, service: Key | None, said: str
) -> tuple[str, Key | None, list[Evidence | None]]:
    """Why it cannot be called, what to repair, and what proves it."""
    tail = said.rpartition(": ")[2][:200]
    if "x509" in said:
        return f"its certificate is not accepted ({tail})", None, []
    if service is None:
        return f"it does not answer ({tail})", None, []
    thing = graph.facts.by_key.get(service)
    if thing is None:
        return f"its {title(service)} does not exist or cannot be reached ({tail})", service, []
    workloads = graph.selected_workloads(thing)
    sick = [p for p in graph.selected(thing) if not p.is_sound]
    if sick:
        root = graph.root_of(sick[0])
        states = [c.state_quote() for c in sick[0].containers if c.waiting]
        return (
            f"the pods of {title(root)} behind {title(service)} are not ready ({tail})",
            root,
            states,
        )
    for each in workloads:
        if text(each.raw, "spec", "replicas") == "0":
            return (
                f"{each.title} behind {title(service)} is scaled to 0 ({tail})",
                each.key,
                [each.states("spec.replicas", 0)],
            )
    if not graph.selected(thing):
        return (
            f"{title(service)} has no endpoints ({tail})",
            workloads[0].key if workloads else service,
            [],
        )
    return f"{title(service)} does not answer ({tail})", service, []


def _denied(
    graph: Graph, about: Key, root: Key, matched: re.Match[str], quote: Evidence
) -> Finding:
    groups: Mapping[str, str | None] = {str(n): g for n, g in enumerate(matched.groups(), start=1)}
    if groups["3"]:
        policy, why = (
            f'Pod Security level "{groups["3"]}" of namespace {about[1]}',
            groups["4"] or "",
        )
    elif groups["5"]:
        policy, why = f"ValidatingAdmissionPolicy {groups['5']}", groups["6"] or ""
    else:
        policy, why = (
            f"admission webhook {groups['1'] or 'of the cluster'}",
            groups["2"] or groups["7"] or "",
        )
    return found(
        "admission.policy_denied",
        (
            f"{title(root)} cannot create its pods: {policy} denies them as a violation of "
            f"policy: {why.strip()[:280]}."
        ),
        blamed=root,
        strength=0.95,
        about=(about, root),
        evidence=[quote],
        steps=(f"kubectl get namespace {word(about[1])} --show-labels", get(root)),
        lasting=True,
    )


def _account(graph: Graph, about: Key, root: Key, name: str, quote: Evidence) -> Finding:
    key = ("ServiceAccount", about[1], name)
    near = graph.near("ServiceAccount", about[1], name)
    similar = f" (similar: {near.name})" if near else ""
    return found(
        "rbac.service_account_missing",
        f"{title(root)} runs as ServiceAccount {name}, which does not exist in "
        f"namespace {about[1]} (not found){similar}, so "
        "that no pod can be created.",
        blamed=key,
        strength=0.95,
        about=(about, root),
        evidence=[quote],
        steps=(f"{kubectl('get', about[1])} serviceaccount", get(root)),
        lasting=True,
    )


def _from_log(graph: Graph, container: Container) -> Iterator[Finding]:
    for signal in reversed(container.signals("rbac")):
        matched = _RBAC.search(signal.line)
        if matched:
            root = graph.root_of(container.pod)
            yield _forbidden(graph, near_pods(graph, container.pod), root, matched, signal.quote())
            return


def _forbidden(
    graph: Graph, about: tuple[Key, ...], root: Key, matched: re.Match[str], quote: Evidence
) -> Finding:
    namespace, account, verb, resource, group = matched.groups()
    role, binding = _role_of(graph, namespace, account, resource.partition("/")[0])
    blamed = role or ("ServiceAccount", namespace, account)
    how = (
        f"{title(role)}, bound to it, lacks verb {verb} on {resource}"
        if role
        else f"no role that is bound to it allows verb {verb} on {resource}"
    )
    return found(
        "rbac.forbidden",
        f"ServiceAccount {namespace}/{account}, as which {title(root)} runs, is "
        f"forbidden to {verb} resource {resource}"
        f"{' of ' + group if group else ''}: {how}.",
        blamed=blamed,
        strength=0.93,
        about=about,
        evidence=[quote, binding.quote("roleRef", "name") if binding else None],
        steps=(
            (
                f"kubectl auth can-i {word(verb)} {word(resource)} -n {word(about[0][1])} "
                f"--as=system:serviceaccount:{word(namespace)}:{word(account)}"
            ),
            "kubectl get rolebindings,clusterrolebindings -A -o wide",
        ),
        lasting=True,
    )


def _role_of(
    graph: Graph, namespace: str, account: str, resource: str
) -> tuple[Key | None, Thing | None]:
    """The role that is bound to an account, one that speaks of the resource first."""
    bound: list[tuple[Key, Thing]] = []
    for binding in graph.facts.of_kind("RoleBinding", "ClusterRoleBinding"):
        for subject in maps(binding.raw, "subjects"):
            if text(subject, "name") == account and text(subject, "namespace") in {"", namespace}:
                kind = text(binding.raw, "roleRef", "kind")
                place = "" if kind == "ClusterRole" else binding.namespace
                bound.append(((kind, place, text(binding.raw, "roleRef", "name")), binding))
    for key, binding in bound:
        thing = graph.facts.by_key.get(key)
        if any(
            resource in texts(r, "resources") for r in maps(thing.raw if thing else None, "rules")
        ):
            return key, binding
    return bound[0] if bound else (None, None)
