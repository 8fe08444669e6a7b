"""Secrets that only the words around them give away: command lines, SQL, XML, prose. Pure.

What `mysql -p`, `IDENTIFIED BY` and `Unseal Key 1:` have in common is that the secret follows a
phrase and not a name with an equals sign. Every pattern is linear in the length of the text: what
may repeat is bounded or possessive, and each is tried only where its hint stands in the text.
"""

import re
from collections.abc import Callable, Mapping

from kubecase.core.secret_words import Kind, is_harmless, kind_of

_ON = r"[^\n|;&]{0,200}?[ ]"
_WORD = r"""["']?+(?P<value>[^\s"'<>|;&]{4,500}+)"""
_COMMANDS = re.compile(
    rf"""(?<![\w./-])(?:
      (?:docker|podman|skopeo|buildah|crane|oc|az|helm[ ]registry)[ ]login\b{_ON}-p[ =]{{1,4}}+
    | sshpass[ ]{{1,4}}+-p[ ]{{0,4}}+
    | (?:mysql|mysqldump|mysqladmin|mariadb|mariadb-dump)\b{_ON}-p(?=\S)
    | redis-cli\b{_ON}-a[ ]{{1,4}}+
    | ldap[a-z]{{3,8}}\b{_ON}-w[ ]{{1,4}}+
    )(?!-){_WORD}""",
    re.VERBOSE | re.ASCII,
)
_PASSIN = re.compile(rf"(?<!\S)-pass(?:in|out)?[ =]{{1,4}}+[\"']?+pass:{_WORD}", re.ASCII)
_VAULT = re.compile(rf"\bvault[ ]login[ ]{{1,4}}+(?:-\S{{1,80}}+[ ]){{0,4}}+(?!-){_WORD}", re.ASCII)
_SQL = re.compile(
    r"""\b(?:identified[ ]{1,4}+(?:with[ ]{1,4}+\S{1,64}+[ ]{1,4}+)?+(?:by|as)[ ]{1,4}+
         | password[ ]{0,4}+\([ ]{0,4}+)
        (?P<quote>\\{0,4}["'])(?P<value>[^\n"'\\]{1,500}+)(?P=quote)""",
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)
_ORACLE = re.compile(r"""\boracle:[a-z0-9]{2,8}:[\w$]{1,64}+/(?P<value>[^\s@"'/]{1,200}+)@""")
_ODBC = re.compile(r"""(?<=;)[ ]?+PWD=(?P<value>[^\s;"'{}]{1,200}+)(?=[;"'\s]|\Z)""")
_XML = re.compile(
    r"""(?:\bkey[ ]{0,4}+=[ ]{0,4}+["'](?P<key>[\w.:-]{1,200}+)["']|<(?P<tag>[\w.:-]{1,200}+))
        \s{1,40}+value[ ]{0,4}+=[ ]{0,4}+(?P<quote>["'])(?P<value>[^\n"']{1,8192}+)(?P=quote)""",
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)
_OBJECT = re.compile(
    r"""["'](?P<name>[\w.-]{1,200}+)["'][ ]{0,4}+:[ ]{0,4}+\{(?P<between>[^{}]{0,300}?)["']value["']
        [ ]{0,4}+:[ ]{0,4}+(?P<quote>["'])(?P<value>[^\n"'\\]{1,8192}+)(?P=quote)""",
    re.VERBOSE | re.ASCII,
)
_CHANGED = re.compile(
    r"""(?<![\w.-])(?P<name>[\w.-]{1,200}+)["']?+[ ]{0,60}+=[ ]{0,4}+(?:"[^"\n]{0,500}+"|null)
        [ ]{1,4}+->[ ]{1,4}+(?P<quote>")(?P<value>[^\n"\\]{1,8192}+)(?P=quote)""",
    re.VERBOSE | re.ASCII,
)
_SAID = re.compile(
    r"""\b(?:password|passphrase|token|api[ ]key|secret[ ]key|unseal[ ]key)
        (?:[ ]\d{1,2}+ | [ ]for[ ]\S{1,64}+[ ]is | [ ]is
         | [ ](?:was[ ]|is[ ]|has[ ]been[ ])?+(?:generated|created|set)
           (?:[ ](?:for|to)[ ][^\s:]{1,64}+)?+):
        [ ]{1,4}+["']?+(?P<value>[^\s"'<>(){}\[\],;]{8,200}+)""",
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)
_PAIR = re.compile(r"\bcredentials:?[ ]{1,4}+[\w.-]{1,64}+[/:](?P<value>[^\s/:\"'<>,;()]{6,200}+)")
_PGPASS = re.compile(
    r"(?<![^\n])[\w.*-]{1,200}+:(?:\d{4,5}|\*):(?:[\w-]{1,63}+|\*):[\w*-]{1,63}+:"
    r"(?P<value>\S{4,200}+)",
    re.ASCII,
)

_HINTED: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (_COMMANDS, (" -p", " -a ", " -w ")), (_PASSIN, ("pass:",)), (_VAULT, ("vault login",)),
    (_SQL, ("identified", "password")), (_ORACLE, ("oracle:",)), (_ODBC, ("pwd=",)),
    (_XML, ("value",)), (_OBJECT, ("'value'", '"value"')), (_CHANGED, ("->",)),
    (_SAID, ("password", "passphrase", "token", " key")), (_PAIR, ("credentials",)),
    (_PGPASS, (":*:", ":543")),
)  # fmt: skip


def phrases(text: str, marker: str) -> tuple[str, int]:
    """`text` with `marker` for every such value, and how many there were."""
    total = 0
    lowered = text.lower()
    for pattern, hints in _HINTED:
        if not any(hint in lowered for hint in hints):
            continue
        parts: list[str] = []
        done = 0
        for found in pattern.finditer(text):
            if marker in found["value"] or not _ACCEPT.get(pattern, _is_password)(found):
                continue
            parts += [text[done : found.start("value")], marker]
            done = found.end("value")
            total += 1
        if done:
            text = "".join([*parts, text[done:]])
    return text, total


def _is_password(found: re.Match[str]) -> bool:
    return not is_harmless(found["value"], Kind.PASSWORD)


def _is_named(found: re.Match[str]) -> bool:
    kind = kind_of(found["name"])
    return kind is not Kind.NONE and not is_harmless(found["value"], kind)


def _is_named_in_xml(found: re.Match[str]) -> bool:
    kind = kind_of(found["key"] or found["tag"])
    return kind is not Kind.NONE and not is_harmless(found["value"], kind)


def _looks_chosen(found: re.Match[str]) -> bool:
    """Whether letters and digits stand with a capital or a sign: no word, no name, no number."""
    value = found["value"].rstrip(".:")
    return (
        any(c.isdigit() for c in value)
        and any(c.isalpha() for c in value)
        and any(c.isupper() or not c.isalnum() for c in value)
        and not is_harmless(value, Kind.NOT_A_NAME)
    )


_ACCEPT: Mapping[re.Pattern[str], Callable[[re.Match[str]], bool]] = {
    _VAULT: _looks_chosen, _SAID: _looks_chosen, _PAIR: _looks_chosen,
    _OBJECT: _is_named, _CHANGED: _is_named, _XML: _is_named_in_xml,
}  # fmt: skip
