"""Takes secrets out of text before it is stored, shown or sent. Pure.

First the exact values that the process knows, longest first, then families of patterns: private
keys, URLs with passwords, tokens with a vendor's prefix, and values whose name says that they are
secret. Every pattern is linear in the length of the text, whatever the text holds.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kubecase.core.redact_pairs import pairs
from kubecase.core.redact_phrases import phrases
from kubecase.core.secret_words import Kind, is_harmless, kind_of, looks_random

MARKER = "[redacted]"
SHORTEST_KNOWN = 6
_DEEPEST = 60
_LONGEST_EMBEDDED_JSON = 1024 * 1024
_ROUNDS = 4

_VENDOR = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      (?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])
    | gh[pousr]_[A-Za-z0-9]{30,}+ | github_pat_[A-Za-z0-9_]{22,}+
    | gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat|ffct)-[A-Za-z0-9_.-]{20,}+
    | xox[abceoprs]-[A-Za-z0-9-]{10,}+ | xapp-\d-[A-Za-z0-9-]{10,}+
    | sk-(?:ant|proj|svcacct|admin|or)-[A-Za-z0-9_-]{16,}+
    | sk-(?=[a-zA-Z]{0,80}[0-9])(?=[a-z0-9]{0,80}[A-Z])[A-Za-z0-9]{20,}+
    | [rs]k_(?:live|test)_[A-Za-z0-9]{10,}+ | whsec_[A-Za-z0-9+/=]{20,}+
    | AIza[A-Za-z0-9_-]{30,}+ | ya29\.[A-Za-z0-9_-]{20,}+ | GOCSPX-[A-Za-z0-9_-]{20,}+
    | npm_[A-Za-z0-9]{30,}+ | pypi-[A-Za-z0-9_-]{50,}+ | hf_[A-Za-z0-9]{30,}+
    | do[opr]_v1_[a-f0-9]{40,}+ | dapi[a-f0-9]{32}(?![A-Za-z0-9])
    | SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+ | SK[0-9a-f]{32}(?![A-Za-z0-9])
    | hv[sbr]\.[A-Za-z0-9_-]{20,}+ | gl(?:sa|c)_[A-Za-z0-9_=+/]{30,}+
    | lin_api_[A-Za-z0-9]{30,}+ | (?:secret|ntn)_[A-Za-z0-9]{40,}+ | gsk_[A-Za-z0-9]{40,}+
    | xai-[A-Za-z0-9]{40,}+ | shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32,}+ | ATATT3[A-Za-z0-9_=-]{20,}+
    | dp\.(?:pt|st|ct|sa)\.[A-Za-z0-9.]{30,}+ | pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{30,}+
    | NRAK-[A-Z0-9]{20,}+ | tskey-[a-z]{2,20}-[A-Za-z0-9-]{10,}+ | dckr_pat_[A-Za-z0-9_-]{20,}+
    | AGE-SECRET-KEY-1[A-Z0-9]{50,}+ | \d{8,10}:AA[A-Za-z0-9_-]{32,}+
    | eyJhdXRocyI6[A-Za-z0-9+/=]{8,}+
    | (?<![\w-])eyJ[A-Za-z0-9_-]{6,}+\.[A-Za-z0-9_-]{6,}+(?:\.[A-Za-z0-9_-]{0,4096}+){0,3}
    )""",
    re.VERBOSE | re.ASCII,
)
_WEBHOOK = re.compile(
    r"(?<=hooks\.slack\.com/)(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}+"
    r"|(?<=/api/webhooks/)\d{5,25}/[A-Za-z0-9_-]{20,}+"
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){0,20000}+"
    r"(?:-----END [A-Z0-9 ]{0,40}-----)?"
)
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_LINE = re.compile(r"[\w:.+-]{0,40} ?[A-Za-z0-9+/=]{16,100}")
_URL_PASSWORD = re.compile(r"""://[^\s/?#:@"'<>]{0,200}+:([^\s"'<>/\[][^\s"'<>/]{0,500})@""")
_DSN_PASSWORD = re.compile(
    r"""(?<![\w.-])[\w.-]{1,64}+:([^\s@"'<>/\[][^\s@"'<>/]{0,200}+)@(?:tcp|unix)\("""
)
_USER_FLAG = re.compile(
    r"""(?<!\S)(?:-u|--user|--proxy-user)[ =]["']?[\w.@-]{1,64}+:([^\s"'\[]++)"""
)
_SCHEME = re.compile(r"(?i)\b(?:bearer|basic)\s{1,4}([A-Za-z0-9._~+/=-]{8,}+)")

_HEAD = re.compile(
    r"""(?<![\w.-])(?:(?<=\\)[nrt])?+(?P<flag>-{0,2}+)(?P<name>[A-Za-z_.][\w.-]{0,199}+)
        (?P<sep> (?P<quote>\\{0,4}["'])?+ [ \t]{0,60}+ (?P<op>:=|=>|[=:]) [ \t]{0,40}+
               | (?<=[a-zA-Z0-9])> | [ \t]++ (?!-) )""",
    re.VERBOSE | re.ASCII,
)
_HINTS = (
    "pass", "pwd", "secret", "token", "key", "auth", "cred", "cookie", "session", "sig", "hmac",
    "bearer", "jwt", "otp", "dockerconfigjson",
)  # fmt: skip
_QUOTED = re.compile(r"""(?P<quote>\\{0,4}["'])(?P<value>(?:(?!(?P=quote))[^\n]){0,65536}+)""")
_BARE = re.compile(
    r"(?P<scheme>(?i:bearer|basic|token|digest|negotiate|apikey|aws4-hmac-sha256)[ ]{1,4}(?=\S))?+"
    r"(?P<value>\[redacted\]|[^\s,;&\"'}\])<>\\]++)"
)
_LINE = re.compile(r"""[^\n"]++""")
_ENDS_LINE = re.compile(r"""[ \t]*+(?:$|[\n\r,;&}\])|"'<#\\])""")
_FLAG = re.compile(r"--?[A-Za-z][\w.-]{0,199}")


_SHORT, _REMEMBERED = 200, 4096


class Redactor:
    """Masks what must not be read: the `known` values it is given, and what looks like a secret.

    Known values shorter than six characters are not searched for; known values are found in their
    plain, JSON-escaped and base64 forms. Redacting twice changes nothing more.
    """

    def __init__(self, known: Sequence[str] = ()) -> None:
        self._known = tuple(sorted(set(_forms(known)), key=lambda v: (-len(v), v)))
        # Names, ids and keys come up a hundred times in one collection.
        self._short: dict[str, tuple[str, int]] = {}

    def __repr__(self) -> str:
        """Without the values."""
        return f"Redactor({len(self._known)} known values)"

    def text(self, text: str) -> tuple[str, int]:
        """`text` with `[redacted]` for every secret in it, and how many there were."""
        if len(text) > _SHORT:
            return self._thoroughly(text)
        known = self._short.get(text)
        if known is None:
            known = self._thoroughly(text)
            if len(self._short) < _REMEMBERED:
                self._short[text] = known
        return known

    def _thoroughly(self, text: str) -> tuple[str, int]:
        total = 0
        for _ in range(_ROUNDS):  # a mask can lay bare what was one word with its surroundings
            text, count = self._once(text)
            total += count
            if not count:
                break
        return text, total

    def json(self, value: Any) -> tuple[Any, int]:
        """`value` (parsed JSON) with its secrets masked, and how many there were.

        Knows Kubernetes: the data of Secrets, environment entries, flags in argument lists, and
        JSON inside of strings such as the last applied configuration. What lies more than 60
        levels deep is masked as a whole.
        """
        walk = _Walk(self)
        return walk.value(value, 0), walk.count

    def _once(self, text: str) -> tuple[str, int]:
        total = 0
        for secret in self._known:
            if found := text.count(secret):
                total += found
                text = text.replace(secret, MARKER)
        for step in (_private_keys, _groups, _pairs, _phrases, _names):
            text, count = step(text)
            total += count
        return text, total


def _forms(known: Sequence[str]) -> Iterator[str]:
    for secret in known:
        for value in {secret, secret.strip()}:
            if len(value) < SHORTEST_KNOWN or value in MARKER:
                continue
            yield value
            yield json.dumps(value)[1:-1]
            encoded = base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()
            yield encoded.rstrip("=")


def _private_keys(text: str) -> tuple[str, int]:
    if "PRIVATE KEY" not in text:
        return text, 0
    text, count = _PRIVATE_KEY.subn(MARKER, text)
    parts: list[str] = []
    done = 0
    for end in _KEY_END.finditer(text):  # a log that was cut begins in the middle of a key
        start = _start_of_key(text, done, end.start())
        parts += [text[done:start], MARKER]
        done = end.end()
        count += 1
    return "".join([*parts, text[done:]]), count


def _start_of_key(text: str, lowest: int, end: int) -> int:
    lowest = max(lowest, end - 20000)
    start = end
    while start > lowest:
        line = text.rfind("\n", lowest, start - 1) + 1 or lowest
        if not _KEY_LINE.fullmatch(text[line:start].strip()):
            break
        start = line
    return start


def _groups(text: str) -> tuple[str, int]:
    """Everything that a pattern finds without asking for a name."""
    total = 0
    for pattern in (_URL_PASSWORD, _DSN_PASSWORD, _USER_FLAG, _SCHEME, _WEBHOOK, _VENDOR):
        accept = _ACCEPT.get(pattern, _always)
        parts: list[str] = []
        done = 0
        for found in pattern.finditer(text):
            group = pattern.groups
            secret = found.group(group)
            if secret == MARKER or not accept(secret):
                continue
            parts += [text[done : found.start(group)], MARKER]
            done = found.end(group)
            total += 1
        if done:
            text = "".join([*parts, text[done:]])
    return text, total


def _always(_secret: str) -> bool:
    return True


def _is_no_placeholder(secret: str) -> bool:
    return not is_harmless(secret, Kind.PASSWORD)


_ACCEPT: Mapping[re.Pattern[str], Callable[[str], bool]] = {
    _SCHEME: looks_random,
    _URL_PASSWORD: _is_no_placeholder,
    _DSN_PASSWORD: _is_no_placeholder,
    _USER_FLAG: lambda secret: not secret.isdigit() and _is_no_placeholder(secret),
}


def _pairs(text: str) -> tuple[str, int]:
    return pairs(text, MARKER)


def _phrases(text: str) -> tuple[str, int]:
    return phrases(text, MARKER)


def _hints(text: str) -> bool:
    """Whether any name in `text` could be that of a secret: cheap, and mostly the answer is no."""
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS)


def _names(text: str) -> tuple[str, int]:
    """Values whose name says that they are secret, in assignments, JSON, YAML, flags and XML."""
    if not _hints(text):
        return text, 0
    parts: list[str] = []
    done = position = total = 0
    while head := _HEAD.search(text, position):
        position = head.end("name")
        kind = kind_of(head["name"])
        if kind is Kind.NONE or text.startswith("checksum/", head.start("name") - 9):
            continue
        span = _secret_after(text, head, kind)
        if span is None:
            continue
        parts += [text[done : span[0]], MARKER]
        done = position = span[1]
        total += 1
    return "".join([*parts, text[done:]]), total


def _secret_after(text: str, head: re.Match[str], kind: Kind) -> tuple[int, int] | None:
    """Where the secret after `head` begins and ends; `None` if what stands there is none."""
    start = head.end()
    if text.startswith(MARKER, start):
        return None
    quoted = _QUOTED.match(text, start)
    if not _is_assignment(text, head, kind, quoted is not None):
        return None
    if quoted:
        return None if is_harmless(quoted["value"], kind) else quoted.span("value")
    if kind is Kind.COOKIE:
        line = _LINE.match(text, start)
        return None if line is None or MARKER in line[0] or "=" not in line[0] else line.span()
    bare = _BARE.match(text, start)
    if bare is None or is_harmless(bare["value"], kind):
        return None
    if head["op"] == ":" and not head["quote"] and not bare["scheme"]:
        # Prose ("invalid token: please log in again") or YAML ("token: 3fa9c1")?
        alone = _ENDS_LINE.match(text, bare.end()) is not None
        # Go prints {User:bob Password:hunter2 Port:1}: no blank after the colon, and no prose.
        tight = head["sep"].endswith(":") and any(c.isdigit() for c in bare["value"])
        if not alone and not tight and not looks_random(bare["value"]):
            return None
    return bare.span("value")


def _is_assignment(text: str, head: re.Match[str], kind: Kind, quoted: bool) -> bool:
    """Whether `head` gives a value to its name, rather than only standing before other words."""
    if head["op"]:
        return head["op"] != ":" or head["name"] != "pass" or bool(head["quote"])
    before = head.start("name") - 1
    if text.startswith(">", head.end("name")):
        return before >= 0 and text[before] == "<"
    # `--password hunter2`, and SQL's `PASSWORD 'hunter2'`
    return bool(head["flag"]) or (kind is Kind.PASSWORD and quoted)


class _Walk:
    """One pass over parsed JSON; counts what it masks."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.count = 0

    def mask(self) -> str:
        self.count += 1
        return MARKER

    def value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.string(value, depth)
        if isinstance(value, Mapping):
            return self.mask() if depth > _DEEPEST else self.mapping(value, depth)
        if isinstance(value, list | tuple):
            return self.mask() if depth > _DEEPEST else self.sequence(value, depth)
        return value

    def string(self, text: str, depth: int) -> str:
        if text[:1] in {"{", "["} and len(text) <= _LONGEST_EMBEDDED_JSON and depth <= _DEEPEST:
            before = self.count
            try:
                inner = self.value(json.loads(text), depth + 1)
            except (ValueError, RecursionError):
                self.count = before
            else:
                if self.count > before:
                    text = json.dumps(inner, ensure_ascii=False, separators=(",", ":"))
        text, count = self.redactor.text(text)
        self.count += count
        return text

    def mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        kind = value.get("kind")
        is_secret = isinstance(kind, str) and kind in {"Secret", "SecretList"}
        named = value.get("name") if isinstance(value.get("value"), str) else None
        result: dict[str, Any] = {}
        for key, each in value.items():
            name = self.string(str(key), _DEEPEST + 1)
            if is_secret and key in {"data", "stringData"} and isinstance(each, Mapping):
                result[name] = {str(k): v if v == MARKER else self.mask() for k, v in each.items()}
            elif is_secret and key == "items" and isinstance(each, list):
                items = [{"kind": "Secret", **i} if isinstance(i, Mapping) else i for i in each]
                result[name] = self.sequence(items, depth + 1)
            elif key == "value" and isinstance(named, str):
                result[name] = self.under(named, each, depth + 1)
            else:
                result[name] = self.under(str(key), each, depth + 1)
        return result

    def under(self, name: str, value: Any, depth: int) -> Any:
        """`value` as it may be shown under `name`."""
        kind = kind_of(name) if _hints(name) else Kind.NONE
        if kind is not Kind.NONE and isinstance(value, Mapping) and value.get("sensitive") is True:
            shown = value.get("value")  # an output of terraform
            value = {**value, "value": self.mask()} if shown not in (None, "", MARKER) else value
        if kind is Kind.NONE or value is None or isinstance(value, bool | Mapping):
            return self.value(value, depth)
        if isinstance(value, list | tuple):
            return [self.under(name, each, depth + 1) for each in value] if depth <= _DEEPEST else (
                self.mask()
            )  # fmt: skip
        if not isinstance(value, str):
            return self.mask() if kind is Kind.PASSWORD else value
        if not is_harmless(value, kind):
            return self.mask()
        before = self.count
        shown = self.value(value, depth)
        if self.count == before:
            return shown
        # A secret inside: what is left around it would look like a secret the next time.
        self.count = before
        return self.mask()

    def sequence(self, values: Sequence[Any], depth: int) -> list[Any]:
        result: list[Any] = []
        flag = ""
        for each in values:
            if flag and isinstance(each, str) and not each.startswith("-"):
                result.append(self.under(flag, each, depth + 1))
            else:
                result.append(self.value(each, depth + 1))
            flag = each if isinstance(each, str) and _FLAG.fullmatch(each) else ""
        return result
