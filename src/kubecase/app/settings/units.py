"""Durations and sizes as people write them, and back."""

import math
import re
from collections.abc import Mapping

SECONDS: Mapping[str, float] = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
"""What each unit of a duration is in seconds, largest first."""

BYTES: Mapping[str, int] = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
"""What each unit of a size is in bytes, in lower case."""

LONGEST_SECONDS = 366 * 86400.0
LARGEST_BYTES = 2**50

DURATION_PATTERN = r"^\s*([0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?(ms|[smhd]))+)\s*$"
SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*([KMGTkmgt]?[Bb]|[KMGTkmgt][Ii][Bb]?)?\s*$"

_NUMBER = re.compile(r"\s*([+-]?[0-9]+(?:\.[0-9]+)?)\s*")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhd])")
_PARTS = re.compile(r"\s*-?(?:[0-9]+(?:\.[0-9]+)?(?:ms|[smhd]))+\s*")
_SIZE = re.compile(r"\s*([+-]?[0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_duration(value: str | int | float, *, unit: str = "s") -> float:
    """`value` in seconds: `10m`, `90s`, `1h30m`, `500ms`, or a plain number of `unit`.

    Units come largest first, each at most once. Raises ValueError, in words for people, for
    anything else, for negative values, and for more than 366 days.
    """
    text = _as_text(value, "a duration")
    plain = _NUMBER.fullmatch(text)
    if plain is not None:
        seconds = float(plain[1]) * SECONDS[unit]
    elif _PARTS.fullmatch(text):
        seconds = _sum_of_parts(text)
    else:
        raise ValueError(f"{_quoted(text)} is not a duration such as 10m, 90s or 1h30m")
    if seconds < 0:
        raise ValueError("a duration cannot be negative")
    if not math.isfinite(seconds) or seconds > LONGEST_SECONDS:
        raise ValueError("a duration cannot be longer than 366 days")
    return seconds


def _sum_of_parts(text: str) -> float:
    parts = _PART.findall(text)
    order = list(SECONDS)
    places = [order.index(unit) for _, unit in parts]
    if places != sorted(set(places)):
        raise ValueError(f"{_quoted(text)} does not name its units once each, largest first")
    total = sum(float(number) * SECONDS[unit] for number, unit in parts)
    return -total if text.strip().startswith("-") else total


def parse_size(value: str | int | float) -> int:
    """`value` in bytes: `64MiB`, `1GiB`, `500MB`, `64Mi`, or a plain number of bytes.

    Case does not matter. Raises ValueError, in words for people, for anything else, for
    negative values, and for more than 1 PiB.
    """
    text = _as_text(value, "a size")
    match = _SIZE.fullmatch(text)
    factor = None if match is None else BYTES.get(match[2].lower())
    if match is None or factor is None:
        raise ValueError(f"{_quoted(text)} is not a size such as 64MiB, 500MB or 1GiB")
    number = float(match[1])
    if number < 0:
        raise ValueError("a size cannot be negative")
    # Bounded before it becomes an integer: whoever writes a thousand digits gets an answer too.
    if not math.isfinite(number) or number * factor > LARGEST_BYTES:
        raise ValueError("a size cannot be larger than 1 PiB")
    return int(match[1]) * factor if match[1].lstrip("+").isdigit() else round(number * factor)


def format_duration(seconds: float) -> str:
    """`seconds` as `parse_duration` would take it: `10m`, `1h30m`, `72h`, `500ms`, `0s`."""
    rest = round(seconds * 1000)
    parts = []
    for unit in ("h", "m", "s", "ms"):
        count, rest = divmod(rest, round(SECONDS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_size(size: int) -> str:
    """`size` bytes as `parse_size` would take it, exactly: `64MiB`, `500MB`, `1000001B`."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "KB"):
        if size and size % BYTES[unit.lower()] == 0:
            return f"{size // BYTES[unit.lower()]}{unit}"
    return f"{size}B"


def _as_text(value: object, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"is not {what}")
    if isinstance(value, str):
        return value[:200]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"is not {what}")
    return format(value, "f") if isinstance(value, float) else str(value)


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")
