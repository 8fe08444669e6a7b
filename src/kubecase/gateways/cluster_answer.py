"""How an answer of the API server is handed on: read under a cap, redacted, or not at all."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from kubecase.clusters.untrusted import Unreadable, decode, parse_json
from kubecase.core.redact import MARKER, Redactor

_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
OFFLOADED = 128 * 1024
"""From this size on an answer is parsed and redacted in a thread, so that nobody else waits."""


class Unshowable(Exception):
    """An answer that is not handed on, with the reason: what cannot be redacted is not shown."""


async def redacted_object(data: bytes, redactor: Redactor) -> tuple[bytes, int]:
    """The JSON object in `data` without its secrets, and how many there were; raises Unshowable."""
    if len(data) < OFFLOADED:
        return redact_object(data, redactor)
    return await asyncio.to_thread(redact_object, data, redactor)


def redact_object(data: bytes, redactor: Redactor) -> tuple[bytes, int]:
    """The same at once."""
    try:
        value = parse_json(decode(data)[0])
    except Unreadable as error:
        raise Unshowable(f"it cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise Unshowable("it is no object")
    value, hidden = without_bundles(value)
    shown, count = redactor.json(value)
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace"), count + hidden


def without_bundles(value: Any) -> tuple[Any, int]:
    """`value` with what may hold anything masked: binary data, and releases that Helm keeps.

    No rule can look into them; a release holds all values that a chart was given.
    """
    if not isinstance(value, dict):
        return value, 0
    items = value.get("items")
    if isinstance(items, list):
        of_list = str(value.get("kind", "")).removesuffix("List")
        shown = [_without_bundle(each, of_list) for each in items]
        return {**value, "items": [each for each, _ in shown]}, sum(count for _, count in shown)
    inner = value.get("object")
    if isinstance(inner, dict) and "type" in value:
        shown_object, count = without_bundles(inner)
        return {**value, "object": shown_object}, count
    rows = value.get("rows")
    if isinstance(rows, list):
        return _without_in_rows(value, rows)
    return _without_bundle(value, "")


def _without_in_rows(value: dict[str, Any], rows: list[Any]) -> tuple[Any, int]:
    total, shown = 0, []
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("object"), dict):
            inner, count = _without_bundle(row["object"], "")
            total += count
            row = {**row, "object": inner}  # noqa: PLW2901
        shown.append(row)
    return {**value, "rows": shown}, total


def _without_bundle(each: Any, of_list: str) -> tuple[Any, int]:
    if not isinstance(each, dict) or (each.get("kind") or of_list) != "ConfigMap":
        return each, 0
    count, result = 0, dict(each)
    binary = each.get("binaryData")
    if isinstance(binary, Mapping) and binary:
        result["binaryData"] = dict.fromkeys(map(str, binary), MARKER)
        count += len(binary)
    data = each.get("data")
    if isinstance(data, Mapping) and _is_helm(each) and "release" in data:
        result["data"] = {**data, "release": MARKER}
        count += 1
    if count and isinstance(each.get("metadata"), Mapping):
        result["metadata"] = _without_copy(each["metadata"])
    return result, count


def _without_copy(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` without the copy of the whole object that `kubectl apply` keeps in it."""
    annotations = metadata.get("annotations")
    if not isinstance(annotations, Mapping) or _APPLIED not in annotations:
        return dict(metadata)
    return {**metadata, "annotations": {**annotations, _APPLIED: MARKER}}


def _is_helm(each: Mapping[str, Any]) -> bool:
    metadata = each.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return isinstance(labels, Mapping) and str(labels.get("owner", "")).lower() == "helm"


def redact_text(data: bytes, redactor: Redactor) -> tuple[bytes, int]:
    """A short text of the server's own, such as its health."""
    text, count = redactor.text(decode(data)[0])
    return text.encode("utf-8", "replace"), count


def status(code: int, reason: str, says: str) -> bytes:
    """A Kubernetes `Status` that tells why there is nothing else."""
    return json.dumps(status_value(code, reason, says), separators=(",", ":")).encode()


def status_value(code: int, reason: str, says: str) -> dict[str, Any]:
    """The same, not yet written."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": says,
        "reason": reason,
        "code": code,
    }


class WatchLines:
    """Redacts the lines of a watch as they come; each is one JSON object.

    `masked` counts what was masked. Raises Unshowable for a line that is too long or no JSON.
    """

    def __init__(self, redactor: Redactor, *, longest: int) -> None:
        self._redactor = redactor
        self._longest = longest
        self._rest = bytearray()
        self.masked = 0

    def lines(self, chunk: bytes) -> bytes:
        """The whole lines that are there by now."""
        self._rest += chunk
        end = self._rest.rfind(b"\n", max(0, len(self._rest) - len(chunk)))
        if end < 0:
            if len(self._rest) > self._longest:
                raise Unshowable(f"a line is longer than {self._longest} bytes")
            return b""
        whole = bytes(self._rest[:end])
        del self._rest[: end + 1]
        parts = []
        for line in filter(None, whole.split(b"\n")):
            if len(line) > self._longest:
                raise Unshowable(f"a line is longer than {self._longest} bytes")
            shown, count = redact_object(line, self._redactor)
            self.masked += count
            parts.append(shown + b"\n")
        return b"".join(parts)

    def end(self) -> bytes:
        """What came last, if it is a whole object."""
        rest, self._rest = bytes(self._rest), bytearray()
        if not rest.strip():
            return b""
        shown, count = redact_object(rest, self._redactor)
        self.masked += count
        return shown + b"\n"
