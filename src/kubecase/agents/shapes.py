"""Whether a value has the form that it must have, and if not, where it differs: in words."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

MOST_FINDINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text of which all fits `pattern`; what it holds is never part of a finding."""

    pattern: str = r"(?s).*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A whole number from `least` to `most`."""

    least: int
    most: int


def differences(value: Any, shape: Any) -> tuple[str, ...]:
    """What in `value` is not as `shape` says; empty if nothing is.

    A mapping must have just the keys of the shape, in the same order: some programs let the last
    rule that fits decide. Anything else in a shape but Text and Count stands for itself.
    """
    return tuple(islice(_walk(value, shape, ""), MOST_FINDINGS))


def read(data: bytes, parse: Callable[[str], Any], what: str) -> tuple[Any, tuple[str, ...]]:
    """The value that `data` holds, and what is wrong with it if it cannot be read as `what`."""
    try:
        return parse(data.decode("utf-8")), ()
    except (ValueError, RecursionError) as error:
        return None, (f"not {what} ({type(error).__name__})",)


def _walk(value: Any, shape: Any, at: str) -> Iterator[str]:
    where = at or "the whole"
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            yield f"{where} is not a mapping"
            return
        if missing := [key for key in shape if key not in value]:
            yield f"{where} lacks {', '.join(missing)}"
        if more := [ascii(key)[:80] for key in value if key not in shape]:
            yield f"{where} has {', '.join(more[:5])}, which is not known"
        if not missing and not more and list(value) != list(shape):
            yield f"{where} has its keys in another order"
        for key, each in shape.items():
            if key in value:
                yield from _walk(value[key], each, f"{at}.{key}" if at else str(key))
    elif isinstance(shape, Text):
        if not isinstance(value, str) or not re.fullmatch(shape.pattern, value):
            yield f"{where} is not as it must be"
    elif isinstance(shape, Count):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not shape.least <= value <= shape.most:
            yield f"{where} is no number from {shape.least} to {shape.most}"
    elif type(value) is not type(shape) or value != shape:
        yield f"{where} is not {shape!r}"[:300]
