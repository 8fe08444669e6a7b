"""Reading lines that an agent printed, none of which is to be trusted. Nothing here raises."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

MAX_TEXT = 2000
MAX_LINE_BYTES = 8 * 1024 * 1024
MAX_COUNT = 2**53


def parsed(line: bytes) -> Mapping[str, Any] | None:
    """The JSON object on `line`; `None` for anything else, and for a line over 8 MiB."""
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        value = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        # RecursionError: nested deeper than the parser follows. ValueError also covers numbers
        # with more digits than Python converts.
        return None
    return value if isinstance(value, dict) else None


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """The first `limit` characters of `text`, safe to encode: no lone surrogate, no zero byte."""
    cut = text[:limit].replace("\0", "\ufffd")
    return cut.encode("utf-8", "replace").decode("utf-8")


def shown(value: Any, limit: int = MAX_TEXT) -> str:
    """`value` for people: a text as it is, anything else as compact JSON; at most `limit` long."""
    if isinstance(value, str):
        return printable(value, limit)
    if value is None:
        return ""
    try:
        return printable(json.dumps(value, ensure_ascii=False, separators=(",", ":")), limit)
    except (ValueError, TypeError, RecursionError):
        return "(cannot be shown)"


def undecoded(line: bytes) -> str:
    """The beginning of a line that is not JSON, for people."""
    return printable(line[: 4 * MAX_TEXT].decode("utf-8", "replace").strip())


def text_at(value: Any, key: str) -> str:
    """The text under `key` of the mapping `value`, else an empty text."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""


def count_at(value: Any, key: str) -> int | None:
    """The count under `key`: a whole number from 0 up to 2**53, else `None`."""
    found = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int):
        return None
    return found if 0 <= found <= MAX_COUNT else None


def amount_at(value: Any, key: str) -> float | None:
    """The amount under `key`: a finite number from 0 up to 2**53, else `None`."""
    found = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if 0 <= found <= MAX_COUNT and isfinite(found) else None
