"""Shows untrusted text so that it stays data: visible, bounded, between unforgeable lines. Pure."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping

_COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}m")
_AT = {ord("@"): "(at)", 0xFF20: "(at)", 0xFE6B: "(at)"}
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_TAG_SELECTORS = range(0xE0100, 0xE01F0)


class _Visible(dict[int, str | int]):
    """A table for `str.translate` that fills itself: what cannot be seen becomes its escape."""

    def __missing__(self, code: int) -> str | int:
        hidden = unicodedata.category(chr(code)) in _UNSEEN or code in _TAG_SELECTORS
        shown: str | int = code
        if hidden:
            shown = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
        self[code] = shown
        return shown


_PLAIN: Mapping[int, str | int] = {ord("\n"): ord("\n"), ord("\t"): ord("\t")}


def visible(text: str) -> str:
    r"""`text` with every character that cannot be seen written as an escape such as `\x1b`.

    Control characters, terminal escapes, characters that turn the direction of writing, zero-width
    and private ones, and halves of surrogate pairs. Line feeds and tabs stay, CRLF becomes LF, and
    plain colour codes (which logs are full of) are dropped.
    """
    return _COLOUR.sub("", text.replace("\r\n", "\n")).translate(_Visible(_PLAIN))


def one_line(text: str, longest: int = 253) -> str:
    """`text` as one visible line of at most `longest` characters, with single spaces."""
    return " ".join(visible(text[: 4 * longest]).split())[:longest]


def cut(text: str, longest: int) -> tuple[str, int]:
    """The first `longest` characters of `text`, and how many were left out."""
    return text[:longest], max(0, len(text) - longest)


def fence(text: str, salt: str) -> str:
    """
    `text` as data in a prompt: between two lines that cannot occur in it, each line after `| `.

    The delimiter is derived from the content and `salt`, so whoever wrote the content cannot have
    known it. `@` is written `(at)`, since command-line agents read `@path` as an order to attach a
    file, and the prefix keeps `/`, `-`, `#` and `!` from standing at the start of a line.
    """
    shown = visible(text).translate(_AT)
    mark = _delimiter(shown, salt)
    lines = "\n".join(f"| {line}" for line in shown.split("\n"))
    return f"<<<{mark} untrusted data begins\n{lines}\n{mark}>>> untrusted data ends"


def _delimiter(text: str, salt: str) -> str:
    number = 0
    while True:
        seed = f"{salt}\0{number}\0{text}".encode("utf-8", "surrogatepass")
        mark = "DATA-" + hashlib.sha256(seed).hexdigest()[:24]
        if mark not in text:
            return mark
        number += 1
