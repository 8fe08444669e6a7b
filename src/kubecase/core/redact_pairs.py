"""Secrets whose name stands in one place and whose value in the next. Pure.

Environment entries as YAML and JSON write them, flags in lists of arguments, and `login X password
Y`. Every pattern is linear in the length of the text: what may repeat is bounded or possessive.
"""

import re
from collections.abc import Iterator

from kubecase.core.secret_words import Kind, is_harmless, kind_of

_QUOTE = r"(?:\\{0,4}[\"'])?+"
_NAME = r"(?P<name>[A-Za-z_.][\w.-]{0,199}+)"
_ENTRY = re.compile(
    rf"""(?<![\w-])name{_QUOTE}[ ]{{0,4}}+[:=][ ]{{0,40}}+{_QUOTE}{_NAME}{_QUOTE}
        (?:[ ]{{0,4}}+,)?+\s{{0,80}}+(?<![\w-]){_QUOTE}value{_QUOTE}[ ]{{0,4}}+[:=][ ]{{0,40}}+
        (?P<quote>\\{{0,4}}["'])?+(?P<value>[^\n"'\\]{{1,8192}}+)""",
    re.VERBOSE | re.ASCII,
)
_FLAGS = re.compile(
    r"""(?P<quote>\\{0,4}["'])-{1,2}+(?P<name>[A-Za-z][\w.-]{0,199}+)(?P=quote)[ ]{0,4}+,
        \s{0,80}+(?P=quote)(?P<value>[^\n"'\\]{1,8192}+)(?P=quote)""",
    re.VERBOSE | re.ASCII,
)
_LISTED = re.compile(
    r"""(?<![^\n])[ ]{0,80}+-[ ]{1,4}+["']?+-{1,2}+
        (?P<name>[A-Za-z][\w.-]{0,199}+)["']?+[ ]{0,4}+\r?+\n
        [ ]{0,80}+-[ ]{1,4}+["']?+(?P<value>[^\n"'\s][^\n"']{0,8191}+)""",
    re.VERBOSE | re.ASCII,
)
_LOGIN = re.compile(
    r"\blogin[ \t]{1,4}+\S{1,200}+\s{1,40}+(?P<name>password)[ \t]{1,4}+(?P<value>\S{1,500}+)"
)

# Of what follows no name says for sure that it is secret; the value has to look like one.
_SAID = re.compile(
    r"""\b(?:password|passwd|token|api[ ]key|secret)[ ]{1,4}+(?:is[ ]{1,4}+)?+["']?+
        (?P<value>[^\s"'<>(){}\[\],;]{8,200}+)""",
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)
_DIRECTIVE = re.compile(r"(?<![^\s])(?:requirepass|masterauth)[ \t]{1,4}+(?P<value>\S{4,200}+)")
_USERINFO = re.compile(
    r"(?<![\w/:.@-])[\w.-]{1,64}+:(?P<value>[^\s@:/\"'<>\[\],]{8,200}+)@(?=[\w.-]{1,200})", re.ASCII
)
_PGPASS = re.compile(
    r"(?<![^\n])[\w.*-]{1,200}+:(?:\d{4,5}|\*):[\w*-]{1,63}+:[\w*-]{1,63}+:(?P<value>\S{4,200}+)",
    re.ASCII,
)
_HASH = re.compile(
    r"(?P<value>\$(?:2[abxy]|apr1|[156y])\$[./A-Za-z0-9$]{16,120}+|(?<=\{SHA\})[^\s,;\"']{6,100}+)"
)
_ALONE = ((_SAID, " "), (_DIRECTIVE, " "), (_USERINFO, "@"), (_PGPASS, ":5432:"), (_HASH, "$"),
          (_HASH, "{SHA}"))  # fmt: skip

_PATTERNS = ((_ENTRY, "value"), (_FLAGS, "--"), (_LISTED, "- -"), (_LOGIN, "login"))


def pairs(text: str, marker: str) -> tuple[str, int]:
    """`text` with `marker` for every such value, and how many there were."""
    total = 0
    for pattern, hint in _PATTERNS:
        if hint not in text:
            continue
        parts: list[str] = []
        done = 0
        for start, end in _spans(pattern, text, marker):
            parts += [text[done:start], marker]
            done = end
            total += 1
        if done:
            text = "".join([*parts, text[done:]])
    for pattern, hint in _ALONE:
        if hint in text:
            text, count = _masked(pattern, text, marker)
            total += count
    return text, total


def _masked(pattern: re.Pattern[str], text: str, marker: str) -> tuple[str, int]:
    """`text` without what `pattern` finds where that looks like a secret."""
    parts: list[str] = []
    done = total = 0
    for found in pattern.finditer(text):
        value = found["value"]
        if value == marker or (pattern in _NEEDS_LOOK and not _looks_secret(value)):
            continue
        parts += [text[done : found.start("value")], marker]
        done = found.end("value")
        total += 1
    return ("".join([*parts, text[done:]]), total) if done else (text, 0)


_NEEDS_LOOK = frozenset({_SAID, _USERINFO})
_SIGNS = "!#%+_-.$&*?^~="


def _looks_secret(value: str) -> bool:
    """Whether digits stand among letters, with a capital or a sign: no word, name or number."""
    bare = value.rstrip(".:")
    return (
        len(bare) >= 8
        and any(each.isdigit() for each in bare)
        and any(each.isalpha() for each in bare)
        and (any(each.isupper() for each in bare) or any(each in _SIGNS for each in bare))
        and not is_harmless(bare, Kind.NOT_A_NAME)
    )


def _spans(pattern: re.Pattern[str], text: str, marker: str) -> Iterator[tuple[int, int]]:
    for found in pattern.finditer(text):
        kind, value = kind_of(found["name"]), found["value"].rstrip()
        if kind is Kind.NONE or value == marker or is_harmless(value, kind):
            continue
        start = found.start("value")
        yield start, start + len(value)
