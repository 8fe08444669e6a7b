"""JSON from outside, read without trust: bounded in depth, number and digits, always storable.

Whatever comes out can be written as UTF-8 JSON again: no lone surrogates, no NUL, no infinity.
"""

import codecs
import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 64
MAX_CONTAINERS = 400_000
MAX_DIGITS = 40
MAX_DOCUMENTS = 1000

_ESCAPED = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_FOREIGN = re.compile("[\x00\udc80-\udcff]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Unreadable(ValueError):
    """A text that cannot be taken as JSON, with the reason in words for people."""


def decode(data: bytes) -> tuple[str, int]:
    """`data` as text, and how many of its bytes were replaced because they are none.

    UTF-8, with or without a byte order mark, or UTF-16 with one. Each byte that is not UTF-8, and
    each NUL, becomes U+FFFD, so that positions in the text stay those of `escaped`.
    """
    text = escaped(data)
    clean, replaced = _FOREIGN.subn("\N{REPLACEMENT CHARACTER}", text)
    return clean, replaced


def escaped(data: bytes) -> str:
    """`data` as text from which `restored` gives every byte of it (of UTF-8) back."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def restored(text: str) -> bytes:
    """The bytes that `escaped` has made `text`, or a part of it, from."""
    return text.encode("utf-8", "surrogateescape")


def parse_json(text: str) -> Any:
    """The one JSON value in `text`.

    Raises Unreadable for anything else, for nesting deeper than 64, for numbers of more than 40
    digits, and for more objects and lists than a cluster would send at once.
    """
    found = parse_documents(text)
    if len(found) > 1:
        raise Unreadable("not one JSON value but several")
    return found[0][0]


def parse_documents(text: str) -> list[tuple[Any, int, int]]:
    """The JSON values that follow one another in `text` (one, JSON Lines), each with its span.

    At least one and at most 1000; raises Unreadable as `parse_json` does.
    """
    if text.count("{") + text.count("[") > MAX_CONTAINERS:
        raise Unreadable(f"more than {MAX_CONTAINERS} objects and lists")
    found: list[tuple[Any, int, int]] = []
    position = _skip(text, 0)
    while position < len(text):
        if len(found) == MAX_DOCUMENTS:
            raise Unreadable(f"more than {MAX_DOCUMENTS} JSON values")
        value, end = _one(text, position)
        found.append((value, position, end))
        position = _skip(text, end)
    if not found:
        raise Unreadable("empty")
    return found


def _one(text: str, position: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, position)
    except RecursionError:
        raise Unreadable(f"nested more than {MAX_DEPTH} deep") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Unreadable(f"not JSON ({error.msg.lower()}, {where})") from None
    if _deeper_than(value, MAX_DEPTH):
        raise Unreadable(f"nested more than {MAX_DEPTH} deep")
    if _ESCAPED.search(text, position, end):
        value = _storable(value)
    return value, end


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n\x1e":
        position += 1
    return position


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_storable(each) for each in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(each) for key, each in value.items()}
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Unreadable(f"a number of {len(digits)} digits")
    return int(digits)


def _decimal(digits: str) -> float:
    if len(digits) > 10 * MAX_DIGITS:
        raise Unreadable(f"a number of {len(digits)} digits")
    number = float(digits)
    if not math.isfinite(number):
        raise Unreadable(f"the number {digits[:20]} is too large")
    return number


def _constant(word: str) -> NoReturn:
    raise Unreadable(f"{word} is no JSON number")


_DECODER = json.JSONDecoder(
    # Control characters inside a string are tolerated: logs and messages are full of them.
    strict=False,
    parse_int=_integer,
    parse_float=_decimal,
    parse_constant=_constant,
)
