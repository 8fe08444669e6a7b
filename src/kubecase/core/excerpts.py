"""What of the collected facts fits into a briefing: redacted, capped, saying what was cut. Pure."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubecase.core.fencing import one_line, visible
from kubecase.core.model import Collection, Gap, Resource
from kubecase.core.redact import Redactor

LOG_BYTES = 1024 * 1024
OBJECT_BYTES = 1024 * 1024
ONE_OBJECT_BYTES = 160 * 1024
EVENT_BYTES = 384 * 1024
_CLUSTER_WIDE_NOISE = ("managedFields",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """The content of one context file, and what is not in it as it was."""

    content: bytes
    count: int
    masked: int = 0
    cut: int = 0


def logs_excerpt(collection: Collection, redactor: Redactor, salt: str) -> Excerpt:
    """All logs in one text: redacted, at most 1 MiB, each with a fair share, head and tail kept.

    `cut` is in bytes. Without any log the text holds the reasons. Headings carry a mark made from
    the logs themselves, so that no log line can pass for one.
    """
    if not any(text.strip() for text in collection.logs.values()):
        return Excerpt(content=_why_no_logs(collection).encode(), count=0)
    masked = 0
    clean: dict[str, bytes] = {}
    for name, text in sorted(collection.logs.items()):
        redacted, count = redactor.text(text)
        masked += count
        clean[name] = visible(redacted).encode("utf-8", "replace")
    mark = _mark(clean.values(), salt)
    parts = [f"Logs follow, each after a line that starts with {mark}; all else is log text.\n"]
    left_out = 0
    for name, share in _fair_shares({n: len(t) for n, t in clean.items()}, LOG_BYTES).items():
        text, gone = _head_and_tail(clean[name], share, mark)
        left_out += gone
        parts.append(f"\n{mark} log {_log_name(name)}, {len(clean[name])} bytes\n")
        parts.append(text if text.strip() else "(empty)\n")
    if gaps := _gaps(g for g in collection.gaps if "log" in f"{g.what} {g.why}".lower()):
        parts.append(f"\n{mark} logs that could not be had\n{gaps}")
    content = "".join(parts).encode("utf-8", "replace")
    return Excerpt(content=content, count=len(clean), masked=masked, cut=left_out)


def objects_excerpt(collection: Collection, about: Resource, redactor: Redactor) -> Excerpt:
    """The objects as JSON, those of the fault first, at most 1 MiB and 160 KiB each.

    `managedFields` are dropped. `cut` counts the objects that were left out; they are named.
    """
    kept: list[Any] = []
    left_out: list[dict[str, str]] = []
    masked = size = 0
    for each in sorted(collection.objects, key=lambda o: _distance(o, about)):
        clean, count = redactor.json(_without_noise(each))
        length = len(json.dumps(clean, ensure_ascii=False, default=str))
        if length > ONE_OBJECT_BYTES or size + length > OBJECT_BYTES:
            left_out.append({**_name_of(each), "why": f"too large: {length} bytes"})
            continue
        masked, size = masked + count, size + length
        kept.append(clean)
    document = {
        "collected_at": collection.collected_at.isoformat(),
        "origin": collection.origin,
        "objects": kept,
        "left_out": left_out[:500],
        "gaps": [{"what": g.what, "why": g.why} for g in collection.gaps[:200]],
    }
    return _as_excerpt(document, len(kept), masked, len(left_out))


def events_excerpt(collection: Collection, about: Resource, redactor: Redactor) -> Excerpt:
    """The events as JSON in the order of time, at most 384 KiB: of the fault's object, then newest.

    `cut` counts the events that were left out.
    """
    newest = sorted(collection.events, key=_moment, reverse=True)
    newest.sort(key=lambda e: not _concerns(e, about))
    kept: list[Mapping[str, Any]] = []
    masked = size = 0
    for each in newest:
        clean, count = redactor.json(_without_noise(each))
        length = len(json.dumps(clean, ensure_ascii=False, default=str))
        if size + length > EVENT_BYTES:
            continue
        masked, size = masked + count, size + length
        kept.append(clean)
    kept.sort(key=_moment)
    left_out = len(newest) - len(kept)
    return _as_excerpt({"events": kept, "left_out": left_out}, len(kept), masked, left_out)


def _as_excerpt(document: Mapping[str, Any], count: int, masked: int, left_out: int) -> Excerpt:
    return Excerpt(content=as_json(document), count=count, masked=masked, cut=left_out)


def as_json(value: Any) -> bytes:
    """`value` as indented UTF-8 JSON with a final line end; what JSON cannot say becomes text."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return (text + "\n").encode("utf-8", "backslashreplace")


def _why_no_logs(collection: Collection) -> str:
    about_logs = [g for g in collection.gaps if "log" in f"{g.what} {g.why}".lower()]
    reasons = _gaps(about_logs or collection.gaps)
    empty = f"{len(collection.logs)} logs were read and all are empty.\n" if collection.logs else ""
    return f"No log text could be had. Facts come from: {one_line(collection.origin)}.\n{empty}" + (
        f"Reasons:\n{reasons}" if reasons else "The source of the facts holds no logs.\n"
    )


def _gaps(gaps: Sequence[Gap] | Iterator[Gap]) -> str:
    lines = [f"- {one_line(g.what, 300)}: {one_line(g.why, 500)}\n" for g in gaps]
    return "".join(lines[:100])


def _log_name(name: str) -> str:
    plain = one_line(name, 600)
    return f"{plain.removesuffix('/previous')} (before the restart)" if (
        plain.endswith("/previous")
    ) else plain  # fmt: skip


def _mark(texts: Any, salt: str) -> str:
    digest = hashlib.sha256(salt.encode())
    for text in texts:
        digest.update(text)
    return f"=====[{digest.hexdigest()[:16]}]====="


def _fair_shares(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """How much of each fits: the small ones whole, what they leave is split among the large."""
    shares: dict[str, int] = {}
    left = total
    for n, (name, size) in enumerate(sorted(sizes.items(), key=lambda item: (item[1], item[0]))):
        shares[name] = min(size, left // (len(sizes) - n))
        left -= shares[name]
    return {name: shares[name] for name in sizes}


def _head_and_tail(text: bytes, share: int, mark: str) -> tuple[str, int]:
    """A quarter of `share` from the beginning, the rest from the end, cut between lines."""
    if len(text) <= share:
        whole = text.decode("utf-8", "replace")
        return whole if whole.endswith("\n") else whole + "\n", 0
    head = text[: share // 4]
    tail = text[len(text) - (share - share // 4) :] if share else b""
    head = head[: head.rfind(b"\n") + 1] or head
    tail = tail[tail.find(b"\n") + 1 :] or tail
    gone = len(text) - len(head) - len(tail)
    note = f"{mark} TRUNCATED: {gone} bytes of this log were left out here\n"
    begin = head.decode("utf-8", "ignore")
    return (
        begin + ("" if begin.endswith("\n") or not begin else "\n") + note
        + tail.decode("utf-8", "ignore").rstrip("\n") + "\n"
    ), gone  # fmt: skip


def _without_noise(value: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = value.get("metadata")
    if not isinstance(metadata, Mapping) or "managedFields" not in metadata:
        return value
    kept = {k: v for k, v in metadata.items() if k not in _CLUSTER_WIDE_NOISE}
    return {**value, "metadata": kept}


def _name_of(value: Mapping[str, Any]) -> dict[str, str]:
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    return {
        "kind": str(value.get("kind", ""))[:100],
        "namespace": str(metadata.get("namespace") or "")[:253],
        "name": str(metadata.get("name", ""))[:253],
    }


def _distance(value: Mapping[str, Any], about: Resource) -> int:
    """0 for the object of the fault, then its namespace, then the rest of the cluster."""
    named = _name_of(value)
    if named["kind"] == about.kind and named["name"] == about.name:
        return 0
    if named["namespace"] == (about.namespace or ""):
        # Pods of one workload share the beginning of their names with it.
        stem = about.name.rsplit("-", 2)[0]
        return 1 if named["name"].startswith(stem) else 2
    return 3


def _concerns(event: Mapping[str, Any], about: Resource) -> bool:
    involved = event.get("involvedObject") or event.get("regarding")
    return isinstance(involved, Mapping) and involved.get("name") == about.name


def _moment(event: Mapping[str, Any]) -> str:
    series = event.get("series")
    last = series.get("lastObservedTime") if isinstance(series, Mapping) else None
    times = (last, event.get("lastTimestamp"), event.get("eventTime"), event.get("firstTimestamp"))
    return next((t for t in times if isinstance(t, str)), "")
