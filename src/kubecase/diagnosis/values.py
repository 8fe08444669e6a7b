"""Reads parsed JSON of any shape without ever raising: what does not fit counts as absent."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

_NOTHING: Mapping[str, Any] = {}
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(m|Ki|Mi|Gi|Ti|Pi|k|M|G|T|P|E|Ei)?")
_FACTORS = {
    None: 1.0,
    "m": 0.001,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
}
_FRACTION = re.compile(r"\.(\d{6})\d+")


def dig(value: Any, *path: str) -> Any:
    """The value at `path` below `value`, `None` where any step is missing or no object."""
    for step in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def mapping(value: Any, *path: str) -> Mapping[str, Any]:
    """The object at `path`, empty if there is none. Keys that are no text are left out."""
    found = dig(value, *path)
    if not isinstance(found, Mapping):
        return _NOTHING
    if all(isinstance(key, str) for key in found):
        return found
    return {key: each for key, each in found.items() if isinstance(key, str)}


def listing(value: Any, *path: str) -> tuple[Any, ...]:
    """The elements of the list at `path`, none if there is no list."""
    found = dig(value, *path)
    return tuple(found) if isinstance(found, list | tuple) else ()


def maps(value: Any, *path: str) -> tuple[Mapping[str, Any], ...]:
    """The objects in the list at `path`; other elements are left out."""
    return tuple(each for each in listing(value, *path) if isinstance(each, Mapping))


def text(value: Any, *path: str) -> str:
    """The text at `path`, empty if there is none. A number counts as its digits."""
    found = dig(value, *path)
    if isinstance(found, str):
        return found
    if isinstance(found, int | float) and not isinstance(found, bool):
        return str(found)
    return ""


def texts(value: Any, *path: str) -> tuple[str, ...]:
    """The texts in the list at `path`; other elements are left out."""
    return tuple(each for each in listing(value, *path) if isinstance(each, str))


def number(value: Any, *path: str) -> int | None:
    """The whole number at `path`; a text of digits counts too."""
    found = dig(value, *path)
    if isinstance(found, bool):
        return None
    if isinstance(found, int):
        return found
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 16:
        return int(found)
    return None


def pairs(value: Any, *path: str) -> Mapping[str, str]:
    """The object at `path` as text by text, as labels and selectors are."""
    return {key: text(each) for key, each in mapping(value, *path).items()}


def moment(value: Any, *path: str) -> datetime | None:
    """The RFC 3339 moment at `path` in UTC; the year 1 that Go writes for "never" is none."""
    found = dig(value, *path)
    if not isinstance(found, str) or not 10 <= len(found) <= 40:
        return None
    try:
        parsed = datetime.fromisoformat(_FRACTION.sub(r".\1", found))
    except ValueError:
        return None
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return aware.astimezone(UTC) if aware.year > 1970 else None


def quantity(value: Any, *path: str) -> float | None:
    """The Kubernetes quantity at `path` in its base unit: cores, bytes, pieces."""
    found = text(value, *path)
    matched = _QUANTITY.fullmatch(found)
    if matched is None:
        return None
    return float(matched.group(1)) * _FACTORS[matched.group(2)]


def scalar(value: Any) -> str:
    """A value as JSON shows it, texts without quotes."""
    if value is True or value is False:
        return str(value).lower()
    return "null" if value is None else str(value)


def leaf_texts(value: Any, *, limit: int = 2000) -> Iterator[str]:
    """Every text below `value`, at most `limit` of them, without recursion."""
    waiting = [value]
    while waiting and limit > 0:
        each = waiting.pop()
        if isinstance(each, str):
            limit -= 1
            yield each
        elif isinstance(each, Mapping):
            waiting.extend(each.values())
        elif isinstance(each, list | tuple):
            waiting.extend(each)
