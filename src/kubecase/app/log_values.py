"""Makes any value fit for a log record: JSON-safe, bounded, without secrets, inert on a terminal.

Three things are masked: the exact values that the process knows, what looks like a secret, and
whatever stands under a name that holds KEY, TOKEN, SECRET or PASSWORD, in mappings, in argument
lists and in assignments.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from kubecase.core.redact import MARKER, Redactor

LONGEST_TEXT = 16_000
LONGEST_ARGUMENT = 300
MOST_ITEMS = 100
DEEPEST = 8

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
# Counted, not secret: what a run consumed is asked for by everybody who pays for it.
_COUNTS = frozenset({"input_tokens", "output_tokens", "total_tokens"})
_OPTION = re.compile(r"(-{0,2}[A-Za-z_][\w.-]*)=(.*)", re.DOTALL)
_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
# In running text only what is unmistakably an assignment or a flag: "KeyError: x" stays readable.
_IN_TEXT = re.compile(
    r"((?<![\w-])(?:--?)?[\w.-]{0,100}(?:KEY|TOKEN|SECRET|PASSWORD)[\w.-]{0,100}=)"
    r"(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;]+)",
    re.IGNORECASE,
)
_FLAG_IN_TEXT = re.compile(
    r"((?<![\w-])--?[\w.-]{0,100}(?:key|token|secret|password)[\w.-]{0,100}\s+)([^\s-]\S*)",
    re.IGNORECASE,
)
# What a terminal acts on, or what makes text look like other text: controls other than tab and
# newline, direction marks, line separators, surrogates.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def is_secret_name(name: str) -> bool:
    """Whether what stands under `name` is masked whatever it is."""
    return name not in _COUNTS and _SECRET_NAME.search(name) is not None


def inert(text: str) -> str:
    """`text` with nothing in it that a terminal acts on; surrogates become U+FFFD."""
    return _ACTIVE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Masker:
    """Turns values into what a log record may hold. `secrets` are the values the process knows."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._redactor = Redactor(tuple(secrets))

    def text(self, text: str) -> str:
        """`text` without secrets, inert and at most 16 000 characters long."""
        cut = len(text) - LONGEST_TEXT
        # Redacted before it is cut, or half a secret would no longer be known as one; but only
        # over a stretch that keeps a hostile megabyte from costing seconds.
        text, _ = self._redactor.text(text[: 2 * LONGEST_TEXT])
        text = _IN_TEXT.sub(rf"\1{MARKER}", text)
        text = _FLAG_IN_TEXT.sub(rf"\1{MARKER}", text)
        end = f"... ({cut} more characters)" if cut > 0 else ""
        return inert(text[:LONGEST_TEXT]) + end

    def value(self, value: Any, depth: int = 0) -> Any:
        """`value` as JSON would hold it: paths, enumerations and moments become text."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self.value(value.value, depth)
        if isinstance(value, int | float):
            # JSON has no word for infinity, and readers choke on integers of a thousand digits.
            finite = isinstance(value, int) or value - value == 0
            return value if finite and abs(value) < 2**63 else str(value)[:40]
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        if isinstance(value, bytes | bytearray):
            return self.text(bytes(value[: 2 * LONGEST_TEXT]).decode("utf-8", "replace"))
        if depth >= DEEPEST:
            return "..."
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, Sequence | Set) and not isinstance(value, str):
            return self._items(value, depth)
        return self.text(str(value))

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a record, all of them."""
        return self._mapping(fields, 0)

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for number, (key, value) in enumerate(mapping.items()):
            if number >= MOST_ITEMS:
                made["..."] = f"{len(mapping) - MOST_ITEMS} more"
                break
            name = self.text(str(key))[:200]
            hidden = is_secret_name(name) and value is not None and not isinstance(value, bool)
            made[name] = MARKER if hidden else self.value(value, depth + 1)
        return made

    def _items(self, items: Iterable[Any], depth: int) -> list[Any]:
        made: list[Any] = []
        hide_next = False
        for number, item in enumerate(items):
            if number >= MOST_ITEMS:
                made.append("...")
                break
            if not isinstance(item, str):
                made.append(self.value(item, depth + 1))
                hide_next = False
            elif hide_next and not item.startswith("--"):
                made.append(MARKER)
                hide_next = False
            else:
                made.append(self._argument(item))
                hide_next = _FLAG.fullmatch(item) is not None and is_secret_name(item)
        return made

    def _argument(self, text: str) -> str:
        option = _OPTION.fullmatch(text)
        if option is not None and is_secret_name(option[1]):
            return f"{inert(option[1])}={MARKER}"
        shown = self.text(text)
        if len(shown) <= LONGEST_ARGUMENT:
            return shown
        return f"{shown[:LONGEST_ARGUMENT]}... ({len(shown) - LONGEST_ARGUMENT} more characters)"
