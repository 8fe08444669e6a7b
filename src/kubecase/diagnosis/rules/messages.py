"""Messages that name a cause themselves, about objects that were not collected."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kubecase.core.report import Evidence
from kubecase.diagnosis.facts import Key, title
from kubecase.diagnosis.finding import Finding, describe, found, get, kubectl, word
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.rules.image import judged_by_words
from kubecase.diagnosis.rules.placement import judged_by_scheduler
from kubecase.diagnosis.scope import Scope
from kubecase.diagnosis.values import pairs

_SURE, _FAIR, _WEAK = 0.55, 0.45, 0.35
_QUOTE = 360
_NAME = r"[\"']?(?P<name>[A-Za-z0-9][A-Za-z0-9.-]{0,252})[\"']?"


@dataclass(frozen=True, slots=True)
class _Told:
    """What a message means; `kind` is that of the object it names as the culprit, if any."""

    pattern: re.Pattern[str]
    category: str
    what: str
    strength: float
    kind: str = ""


def _told(pattern: str, category: str, what: str, strength: float, kind: str = "") -> _Told:
    return _Told(re.compile(pattern), category, what, strength, kind)


_NOBODY = "-"
"""The culprit is another object, which the message does not name."""

_MESSAGES = (
    _told(rf"storageclass(?:\.storage\.k8s\.io)? {_NAME} not found", "storage.class_missing",
          "the StorageClass does not exist", _SURE, "StorageClass"),
    _told(rf"persistentvolumeclaim {_NAME} not found", "storage.pvc_missing",
          "the PersistentVolumeClaim does not exist", _SURE, "PersistentVolumeClaim"),
    _told(rf"configmaps? {_NAME} not found", "config.missing_configmap",
          "the ConfigMap does not exist", _SURE, "ConfigMap"),
    _told(rf"secrets? {_NAME} not found", "config.missing_secret",
          "the Secret does not exist", _SURE, "Secret"),
    _told(rf"couldn't find key \S{{1,253}} in (?P<kind>ConfigMap|Secret) "
          rf"(?:[a-z0-9-]{{1,63}}/)?{_NAME}", "config.missing_key",
          "the key asked for does not exist", _SURE, "named"),
    _told(rf"serviceaccounts? {_NAME} not found", "rbac.service_account_missing",
          "the ServiceAccount does not exist", _SURE, "ServiceAccount"),
    _told(rf"exceeded quota: {_NAME}", "quota.exceeded", "the quota is used up", _SURE,
          "ResourceQuota"),
    _told(r"failed calling webhook", "admission.webhook_failed",
          "an admission webhook cannot be called", _SURE, _NOBODY),
    _told(r"violates PodSecurity|admission webhook [^\n]{1,200} denied the request",
          "admission.policy_denied", "a policy rejects it", _SURE),
    _told(r"Multi-Attach error", "storage.attach_failed",
          "its volume is still attached elsewhere", _SURE),
    _told(r"failed to assign an IP address|no IP addresses available|network plugin is not ready|"
          r"cni plugin not initialized", "network.cni_failure",
          "the pod network cannot be set up", _SURE, _NOBODY),
    _told(r"low on resource: memory", "node.memory_pressure", "its node ran out of memory",
          _SURE, _NOBODY),
    _told(r"low on resource: ephemeral-storage", "node.disk_pressure",
          "its node ran out of disk", _SURE, _NOBODY),
    _told(r"ephemeral local storage usage exceeds|exceeds the (?:total )?limit|"
          r"Usage of EmptyDir volume", "resources.ephemeral_storage",
          "it exceeded its own ephemeral-storage limit", _FAIR),
    _told(r"OOMKilled", "resources.oom_killed",
          "a container exceeded its memory limit and was killed (OOMKilled)", _SURE),
    _told(r"active longer than specified deadline", "workload.job_deadline",
          "it was active longer than its activeDeadlineSeconds", _SURE),
    _told(r"exec format error", "image.arch_mismatch",
          "its image has no build for the node's processor", _SURE),
    _told(r"executable file not found|\bexec: [^\n]{1,200}(?:no such file|permission denied)|"
          r"\bexit(?:ed with)?(?: status)?(?: code)?[ :=]{0,3}12[67]\b", "config.bad_command",
          "its command cannot be run", _FAIR),
    _told(r"\bexit(?:ed with)?(?: status)?(?: code)?[ :=]{0,3}(?:132|134|135|139)\b|SIGSEGV",
          "app.native_crash", "a container dies in native code", _FAIR),
    _told(r"\bexit(?:ed with)?(?: status)?(?: code)?[ :=]{0,3}"
          r"(?!(?:0|125|126|127|128|137|143|255)\b)\d{1,3}\b", "app.crash",
          "a container ends by itself with an error; why, only its log can tell", _WEAK),
)  # fmt: skip


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for what events and the alert say about objects that were not collected."""
    facts = graph.facts
    events = [e for e in facts.events if e.about[2] and e.about not in facts.by_key]
    if not events and not facts.is_alert:
        return
    scope = Scope(graph)
    for event in events:
        if facts.things and event.about not in scope.focus:
            continue
        yield from _judge(event.about, f"event:{event.reason}", (event.message, event.reason))
    focus = scope.focus[0] if scope.focus else None
    if focus is None or focus in facts.by_key or (facts.things and focus[0] == "Namespace"):
        return
    if facts.is_alert:
        notes = pairs(facts.trigger, "annotations")
        told = (
            notes.get("description", ""),
            notes.get("message", ""),
            notes.get("summary", ""),
            facts.trigger_labels.get("reason", ""),
        )
        yield from _judge(focus, "alert", told)


def _judge(about: Key, source: str, texts: tuple[str, ...]) -> Iterator[Finding]:
    """The first meaning that any of these texts has."""
    for each in texts:
        finding = _meaning(about, source, each[:4000])
        if finding is not None:
            yield finding
            return


def _meaning(about: Key, source: str, said: str) -> Finding | None:
    named = judged_by_scheduler(said) or judged_by_words(said)
    if named is not None:
        category, what, is_plain = named
        strength = _SURE if is_plain else _WEAK
        return _make(
            about, source, said, category=category, what=what, strength=strength, blamed=about
        )
    for each in _MESSAGES:
        matched = each.pattern.search(said)
        if matched is None:
            continue
        blamed: Key | None = about
        if each.kind == _NOBODY:
            blamed = about if about[0] == "Node" else None
        elif each.kind:
            kind = matched["kind"] if each.kind == "named" else each.kind
            place = "" if kind == "StorageClass" else about[1]
            blamed = (kind, place, matched["name"].rstrip("."))
        return _make(
            about,
            source,
            said,
            category=each.category,
            what=each.what,
            strength=each.strength,
            blamed=blamed,
            begin=matched.start(),
        )
    return None


def _make(
    about: Key,
    source: str,
    said: str,
    *,
    category: str,
    what: str,
    strength: float,
    blamed: Key | None,
    begin: int = 0,
) -> Finding:
    other = f" ({title(blamed)})" if blamed is not None and blamed != about else ""
    start = 0 if begin < _QUOTE // 2 else begin - 40
    quote = said[start : start + _QUOTE].strip()
    return found(
        category,
        f"{title(about)}: {what}{other}, going by the message alone: {quote[:200]}.",
        blamed=blamed,
        strength=strength,
        about=(about,),
        evidence=[Evidence(source=source, quote=quote)],
        steps=_steps(about, blamed, category),
    )


def _steps(about: Key, blamed: Key | None, category: str) -> tuple[str, ...]:
    steps = [describe(about)]
    if category.startswith("app.") and about[0] == "Pod":
        steps.insert(0, f"{kubectl('logs', about[1])} {word(about[2])} --previous")
    if blamed is not None and blamed != about:
        steps.insert(0, get(blamed))
    return tuple(steps)
