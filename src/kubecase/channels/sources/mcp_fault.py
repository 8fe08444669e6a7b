"""The form of the Kubernetes MCP server's fault stream (docs/formats.md section 1)."""

from collections.abc import Mapping
from typing import Any

from kubecase.channels.sources.intake import (
    MAX_NAME,
    Arrival,
    FaultInput,
    fingerprint_of,
    mapping_of,
    message_from,
    moment_of,
    named,
    severity_from,
    text_of,
)
from kubecase.channels.sources.kubecase_fault import resource_from
from kubecase.clusters.untrusted import Unreadable, parse_json
from kubecase.core.model import Collection, Fault, Gap, Resource

MAX_EXCERPTS = 50
MAX_EXCERPT = 256 * 1024


def fault_from_mcp(value: Mapping[str, Any], raw: bytes, arrival: Arrival) -> FaultInput:
    """The fault in `value`, the server's payload or the notification around it.

    `context` may be a sentence, which becomes the message, or JSON text with log excerpts, which
    become the logs of a Collection. Raises FaultRejected if resource or faultType is missing.
    """
    value = payload_of(value)
    notes: list[str] = []
    reason = named(text_of(value.get("faultType")), "faultType")
    cluster = text_of(value.get("cluster"))[:MAX_NAME] or arrival.cluster_default
    resource = resource_from(value.get("resource"), "")
    excerpts = _excerpts(value.get("context"))
    message = _summary(excerpts) if excerpts else text_of(value.get("context"))
    severity, word = severity_from(value.get("severity"), notes)
    seen_at = moment_of(value.get("timestamp"))
    if seen_at is None:
        notes.append("no usable timestamp: counts as seen now")
    fault = Fault(
        fingerprint=fingerprint_of(value.get("faultId"), cluster, resource, reason),
        cluster=cluster,
        resource=resource,
        reason=reason,
        message=message_from(message, notes),
        severity=severity,
        severity_word=word,
        seen_at=seen_at or arrival.now,
        raw=raw,
        source=arrival.source,
    )
    collection = _collection(excerpts, resource, fault) if excerpts else None
    return FaultInput(fault=fault, collection=collection, notes=tuple(notes))


def payload_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The payload inside the server's log notification, or `value` if it is the payload."""
    for key in ("params", "data"):
        if "faultType" not in value and isinstance(value.get(key), dict):
            value = value[key]
    return value


def _excerpts(context: Any) -> tuple[Mapping[str, Any], ...]:
    if isinstance(context, str) and context.lstrip().startswith("["):
        try:
            context = parse_json(context)
        except Unreadable:
            return ()
    if not isinstance(context, list):
        return ()
    found = tuple(mapping_of(each) for each in context[:MAX_EXCERPTS])
    return found if all(text_of(each.get("container")) for each in found) else ()


def _summary(excerpts: tuple[Mapping[str, Any], ...]) -> str:
    parts = []
    for each in excerpts:
        which = "previous log" if each.get("previous") is True else "log"
        panic = ", with a panic" if each.get("hasPanic") is True else ""
        parts.append(f"{which} of container {text_of(each.get('container'))}{panic}")
    return "log excerpts: " + "; ".join(parts)


def _collection(
    excerpts: tuple[Mapping[str, Any], ...], resource: Resource, fault: Fault
) -> Collection:
    logs: dict[str, str] = {}
    gaps: list[Gap] = []
    for each in excerpts:
        key = f"{resource.namespace or ''}/{resource.name}/{text_of(each.get('container'))}"
        if each.get("previous") is True:
            key += "/previous"
        sample, error = each.get("sample"), text_of(each.get("error"))
        if isinstance(sample, str) and sample.strip():
            logs[key] = sample[:MAX_EXCERPT]
        if error:
            gaps.append(Gap(what=f"log {key}", why=error[:MAX_NAME]))
    return Collection(
        collected_at=fault.seen_at,
        trigger=None,
        logs=logs,
        gaps=tuple(gaps),
        origin="log excerpts that came with the fault",
    )
