"""From an incident to what its agent is given: files, environment, prompt. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kubecase.core.excerpts import (
    Excerpt,
    as_json,
    events_excerpt,
    logs_excerpt,
    objects_excerpt,
)
from kubecase.core.fencing import one_line
from kubecase.core.model import Collection, Fault, Gap, Incident, Resource
from kubecase.core.prompt import OPINIONS, SYSTEM_INSTRUCTIONS, Told, prompt
from kubecase.core.redact import Redactor
from kubecase.core.report import Report, report_as_json

MESSAGE_CHARACTERS = 16 * 1024
GAP_CHARACTERS = 2000
MOST_GAPS = 200
LANG = "C.UTF-8"
OPINION_CHARACTERS = 16 * 1024

_PERMISSIONS = (
    "validated_at", "can_get_pods", "can_get_logs", "can_get_events", "can_get_deployments",
    "can_get_services", "secrets_access_allowed", "can_get_secrets", "can_get_configmaps",
    "can_get_nodes", "can_write",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """Everything an agent is told (the `ContextBundle` of docs/requirements.md).

    `files` is content by path relative to the workspace, PROMPT.md included. `environment` is the
    part that all agents share. `system_prompt` and `user_prompt` are the texts of
    `context/system-instructions.txt` and `PROMPT.md`. `skills` are the names of those that lie in
    `.claude/skills/`.
    """

    files: Mapping[str, bytes] = field(repr=False)
    environment: Mapping[str, str]
    system_prompt: str = field(repr=False)
    user_prompt: str = field(repr=False)
    skills: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """`context/event.json`, and how it differs from what arrived."""

    content: bytes
    masked: int
    invalid_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """The files that were made from what a stranger said, and how they were changed."""

    event: _Event
    logs: Excerpt
    objects: Excerpt
    events: Excerpt


def brief(
    incident: Incident,
    collection: Collection,
    findings: Report,
    *,
    workspace: str,
    deadline: datetime,
    home: str,
    path: str,
    tmpdir: str,
    agent_name: str,
    permissions: Mapping[str, Any] | None = None,
    skills: Mapping[str, str] | None = None,
    opinions: Sequence[str] = (),
    redactor: Redactor | None = None,
) -> Briefing:
    """What the agent `agent_name` is given for `incident`: every file below, and the environment.

    `workspace`, `home` and `tmpdir` are absolute paths and `path` is the PATH of the agent.
    `permissions` is what was found about the credential (docs/formats.md section 4), `None` if
    nothing was checked; `skills` are descriptions by name; `opinions` are what other agents
    concluded, which this one is to doubt. All that the cluster or the source said goes through
    `redactor`; sizes are bounded, and the prompt says what was masked or cut. The same input gives
    the same bytes.
    """
    redactor = redactor or Redactor()
    collection = _without_secrets(collection, redactor)
    facts = _facts(incident, collection, redactor)
    told = Told(
        agent_name=agent_name, deadline=deadline, skills=skills or {}, second=bool(opinions),
        changes=tuple(_changes(facts)),
    )  # fmt: skip
    text = prompt(incident, collection, findings, told, redactor)
    environment = _environment(
        incident, workspace=workspace, deadline=deadline, home=home, path=path, tmpdir=tmpdir
    )
    files = _context(incident, collection, facts, redactor)
    may = _permissions(incident.fault.cluster, permissions)
    files["context/findings.json"] = as_json(redactor.json(report_as_json(findings))[0])
    if opinions:
        files[OPINIONS] = redactor.text(_joined(opinions))[0].encode("utf-8", "replace")
    files["context/permissions.json"] = as_json(redactor.json(may)[0])
    return Briefing(
        files={"PROMPT.md": text.encode(), **files},
        environment=environment,
        system_prompt=SYSTEM_INSTRUCTIONS,
        user_prompt=text,
        skills=tuple(skills or ()),
    )


def _facts(incident: Incident, collection: Collection, redactor: Redactor) -> _Facts:
    return _Facts(
        event=_event(incident.fault.raw, redactor),
        logs=logs_excerpt(collection, redactor, incident.id),
        objects=objects_excerpt(collection, incident.fault.resource, redactor),
        events=events_excerpt(collection, incident.fault.resource, redactor),
    )


def _joined(opinions: Sequence[str]) -> str:
    return "\n\n".join(each[:OPINION_CHARACTERS] for each in opinions[:4]) + "\n"


def _context(
    incident: Incident, collection: Collection, facts: _Facts, redactor: Redactor
) -> dict[str, bytes]:
    info = _cluster_info(incident.fault, collection)
    return {
        "context/incident.json": as_json(
            redactor.json(_incident(incident, facts.event, redactor))[0]
        ),
        "context/event.json": facts.event.content,
        "context/logs.txt": facts.logs.content,
        "context/objects.json": facts.objects.content,
        "context/events.json": facts.events.content,
        "context/cluster-info.json": as_json(redactor.json(info)[0]),
        "context/system-instructions.txt": SYSTEM_INSTRUCTIONS.encode(),
    }


def _without_secrets(collection: Collection, redactor: Redactor) -> Collection:
    """`collection` with its small texts redacted; objects, events and logs are done one by one."""

    def clean(text: str) -> str:
        # A secret that is cut in two must not be missed, so more is redacted than is kept.
        return redactor.text(text[: 4 * GAP_CHARACTERS])[0][:GAP_CHARACTERS]

    return replace(
        collection,
        origin=clean(collection.origin),
        gaps=tuple(Gap(what=clean(g.what), why=clean(g.why)) for g in collection.gaps[:MOST_GAPS]),
        logs={clean(name): text for name, text in collection.logs.items()},
    )


def _environment(
    incident: Incident, *, workspace: str, deadline: datetime, home: str, path: str, tmpdir: str
) -> dict[str, str]:
    fault = incident.fault
    values = {
        "INCIDENT_ID": incident.id,
        "INCIDENT_WORKSPACE": workspace,
        "KUBERNETES_CLUSTER": one_line(fault.cluster),
        "KUBERNETES_NAMESPACE": one_line(fault.resource.namespace or ""),
        "CLAUDE_READ_ONLY_MODE": "true",
        "KUBECASE_DEADLINE": deadline.isoformat(),
        "PATH": path,
        "HOME": home,
        "LANG": LANG,
        "TMPDIR": tmpdir,
    }
    # The kernel takes no NUL in an environment, and a start that fails for it says little.
    return {name: value.replace("\0", "?") for name, value in values.items()}


def _event(raw: bytes, redactor: Redactor) -> _Event:
    """The payload byte for byte, unless a secret had to be masked or it is not UTF-8."""
    try:
        text, invalid = raw.decode("utf-8"), 0
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "replace")
        invalid = _count_invalid(raw)
    try:
        value, masked = redactor.json(json.loads(text))
    except (ValueError, RecursionError):
        masked_text, masked = redactor.text(text)
        content = masked_text.encode("utf-8", "replace") if masked else text.encode()
    else:
        content = as_json(value) if masked else text.encode()
    return _Event(
        content=content if masked or invalid else raw, masked=masked, invalid_bytes=invalid
    )


def _count_invalid(raw: bytes) -> int:
    """How many bytes of `raw` are not part of UTF-8 text: escapes count one byte each."""
    decoded = raw.decode("utf-8", "surrogateescape")
    return len(raw) - len(decoded.encode("utf-8", "ignore"))


def _incident(incident: Incident, event: _Event, redactor: Redactor) -> dict[str, Any]:
    fault = incident.fault
    document: dict[str, Any] = {
        "id": incident.id,
        "cluster": fault.cluster,
        "namespace": fault.resource.namespace,
        "severity": fault.severity,
        "timestamp": fault.seen_at.isoformat(),
        "state": incident.state,
        "opened_at": incident.opened_at.isoformat(),
        "resource": _resource(fault.resource),
        "reason": fault.reason,
        "message": _beginning(fault.message, redactor),
        "severity_word": fault.severity_word[:200],
        "fingerprint": fault.fingerprint,
        "source": fault.source,
        "labels": dict(fault.labels),
    }
    if event.masked or event.invalid_bytes:
        document["event_altered"] = {
            "masked": event.masked,
            "invalid_bytes": event.invalid_bytes,
        }
    return document


def _beginning(text: str, redactor: Redactor) -> str:
    """At most 16384 characters of `text`, redacted; says how much there was if it was cut."""
    shown = redactor.text(text[: 4 * MESSAGE_CHARACTERS])[0]
    if len(shown) <= MESSAGE_CHARACTERS:
        return shown
    return f"{shown[:MESSAGE_CHARACTERS]} [... cut: {len(text)} characters in all]"


def _resource(resource: Resource) -> dict[str, str | None]:
    return {
        "kind": resource.kind,
        "name": resource.name,
        "namespace": resource.namespace,
        "apiVersion": resource.api_version,
        "uid": resource.uid,
    }


def _cluster_info(fault: Fault, collection: Collection) -> dict[str, Any]:
    """The resource of the fault first, then its owners and its node, as far as they are known."""
    involved = [_resource(fault.resource)]
    current = _find(collection, fault.resource.kind, fault.resource.name, fault.resource.namespace)
    spec = current.get("spec") if current else None
    node = spec.get("nodeName") if isinstance(spec, Mapping) else None
    while current is not None and len(involved) < 6:
        owner = next(_owners(current), None)
        if owner is None:
            break
        namespace = fault.resource.namespace
        involved.append({**_known(owner, ("kind", "name", "apiVersion", "uid")),
                         "namespace": namespace})  # fmt: skip
        current = _find(collection, str(owner.get("kind")), str(owner.get("name")), namespace)
    if isinstance(node, str) and node:
        found = _find(collection, "Node", node, None)
        metadata = found.get("metadata", {}) if found else {}
        involved.append({"kind": "Node", "name": node, "namespace": None, "apiVersion": "v1",
                         "uid": metadata.get("uid")})  # fmt: skip
    return {
        "clusterName": fault.cluster,
        "namespace": fault.resource.namespace,
        "involvedResources": involved,
    }


def _known(value: Mapping[str, Any], names: Sequence[str]) -> dict[str, str | None]:
    return {n: str(value[n])[:253] if value.get(n) is not None else None for n in names}


def _owners(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    metadata = value.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, Mapping) else None
    for owner in owners if isinstance(owners, list) else []:
        if isinstance(owner, Mapping):
            yield owner


def _find(
    collection: Collection, kind: str, name: str, namespace: str | None
) -> Mapping[str, Any] | None:
    for each in collection.objects:
        metadata = each.get("metadata")
        if (
            each.get("kind") == kind
            and isinstance(metadata, Mapping)
            and metadata.get("name") == name
            and (metadata.get("namespace") or None) == namespace
        ):
            return each
    return None


def _permissions(cluster: str, found: Mapping[str, Any] | None) -> dict[str, Any]:
    document: dict[str, Any] = {"cluster_name": cluster}
    document |= {name: (found or {}).get(name) for name in _PERMISSIONS}
    if found is None:
        document["warnings"] = ["nothing was validated: what the credential may do is not known"]
    else:
        warnings = found.get("warnings")
        document["warnings"] = list(warnings) if isinstance(warnings, list | tuple) else []
    return document


def _changes(facts: _Facts) -> Iterator[str]:
    """What was masked or cut, in sentences that hold nothing but our own words and numbers."""
    event, logs = facts.event, facts.logs
    others: dict[str, Excerpt] = {
        "logs.txt": logs,
        "objects.json": facts.objects,
        "events.json": facts.events,
    }
    if event.masked:
        yield f"`context/event.json`: values masked as secrets: {event.masked}."
    for name, part in others.items():
        if part.masked:
            yield f"`context/{name}`: values masked as secrets: {part.masked}."
    if event.invalid_bytes:
        yield f"`context/event.json`: {event.invalid_bytes} bytes were not UTF-8 and were replaced."
    if logs.cut:
        yield f"`context/logs.txt`: {logs.cut} bytes were left out, marked TRUNCATED where."
    for name, part in (("objects", facts.objects), ("events", facts.events)):
        if part.cut:
            yield f"`context/{name}.json`: {part.cut} {name} were left out, too much for the file."
    if not logs.count:
        yield "`context/logs.txt` holds no logs, but the reasons why."
