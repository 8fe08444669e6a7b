"""Which names are names of secrets, and which values only look like one. Pure.

A name is judged by its last words (`DB_PASSWORD`, `clientSecret`, `--api-key`), so that names *of*
secrets are left alone: `secretName`, `tokenRef`, `password_file`, `max_tokens`.
"""

import re
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache


class Kind(IntEnum):
    """How sure a name makes us that its value is a secret."""

    NONE = 0
    RANDOM_ONLY = 1  # a secret if the value looks like one: `sig`, `session_id`, `auth`
    NOT_A_NAME = 2  # a secret unless the value is the name of an object: `secret=shop/regcred`
    TOKEN = 3  # a secret unless the value is a word of prose or a small number
    PASSWORD = 4  # a secret unless the value is a word of prose
    COOKIE = 5  # everything up to the end of the line


_LAST: Mapping[str, Kind] = {
    "password": Kind.PASSWORD, "passwd": Kind.PASSWORD, "passphrase": Kind.PASSWORD,
    "pwd": Kind.PASSWORD, "passwort": Kind.PASSWORD, "pass": Kind.PASSWORD,
    "token": Kind.TOKEN, "apikey": Kind.TOKEN, "accesskey": Kind.TOKEN, "jwt": Kind.TOKEN,
    "secretkey": Kind.TOKEN, "privatekey": Kind.TOKEN, "authkey": Kind.TOKEN,
    "credential": Kind.NOT_A_NAME, "credentials": Kind.NOT_A_NAME, "secret": Kind.NOT_A_NAME,
    "authorization": Kind.TOKEN, "bearer": Kind.TOKEN, "cookie": Kind.COOKIE,
    "auth": Kind.RANDOM_ONLY, "sig": Kind.RANDOM_ONLY, "signature": Kind.RANDOM_ONLY,
    "hmac": Kind.RANDOM_ONLY, "sessionid": Kind.RANDOM_ONLY, "otp": Kind.RANDOM_ONLY,
    "creds": Kind.NOT_A_NAME,
}  # fmt: skip

_BEFORE_KEY: Mapping[str, Kind] = {
    "api": Kind.TOKEN, "access": Kind.TOKEN, "private": Kind.TOKEN, "signing": Kind.TOKEN,
    "encryption": Kind.TOKEN, "account": Kind.TOKEN, "master": Kind.TOKEN, "auth": Kind.TOKEN,
    "client": Kind.RANDOM_ONLY, "shared": Kind.TOKEN, "storage": Kind.TOKEN,
    "session": Kind.TOKEN, "unseal": Kind.TOKEN,
    "secret": Kind.NOT_A_NAME, "license": Kind.RANDOM_ONLY, "ssh": Kind.RANDOM_ONLY,
    "tls": Kind.RANDOM_ONLY, "ingestion": Kind.RANDOM_ONLY, "app": Kind.RANDOM_ONLY,
    "subscription": Kind.RANDOM_ONLY, "instrumentation": Kind.RANDOM_ONLY,
}  # fmt: skip

_BEFORE_SECRET = {"client", "app", "shared", "webhook", "jwt", "session", "cookie", "hmac", "oauth"}
_REFERENCE = {"pull", "tls", "imagepull", "existing", "image"}
_NOT_TOKENS = {"eos", "bos", "pad", "unk", "unexpected", "next", "continue", "continuation", "page"}
_SUFFIX_WORDS = (
    ("password", Kind.PASSWORD), ("passwd", Kind.PASSWORD), ("passphrase", Kind.PASSWORD),
    ("clientsecret", Kind.TOKEN), ("authtoken", Kind.TOKEN), ("accesstoken", Kind.TOKEN),
    ("apikey", Kind.TOKEN), ("accesskey", Kind.TOKEN), ("secretkey", Kind.TOKEN),
    ("sharedkey", Kind.TOKEN), ("privatekey", Kind.TOKEN), ("apitoken", Kind.TOKEN),
    ("identitytoken", Kind.TOKEN), ("refreshtoken", Kind.TOKEN), ("bearertoken", Kind.TOKEN),
    ("sessiontoken", Kind.TOKEN), ("requirepass", Kind.PASSWORD), ("masterauth", Kind.PASSWORD),
    ("dockerconfigjson", Kind.RANDOM_ONLY),
)  # fmt: skip
_TAIL = {
    "base", "prod", "production", "staging", "stage", "dev", "test", "value", "val", "new", "old",
    "primary", "secondary", "b64", "base64", "plain", "plaintext", "text", "string", "current",
    "previous", "txt",
}  # fmt: skip

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SPLIT = re.compile(r"[^A-Za-z0-9]+")
_DIGITS = re.compile(r"\d+")


@lru_cache(maxsize=4096)
def kind_of(name: str) -> Kind:
    """What `name` (at most 200 characters of it count, from the end) says about its value."""
    name = name[-200:]
    if name in {"PWD", "OLDPWD"}:
        return Kind.NONE
    words = [w.lower() for w in _SPLIT.split(_CAMEL.sub("_", name)) if w]
    if words[-2:] == ["key", "data"]:
        words.pop()
    while len(words) > 1 and (words[-1] in _TAIL or _DIGITS.fullmatch(words[-1])):
        words.pop()
    if not words:
        return Kind.NONE
    last = words[-1].rstrip("0123456789") or words[-1]
    before = words[-2] if len(words) > 1 else ""
    return _judge(last, before, shouted=name.isupper())


def _judge(last: str, before: str, *, shouted: bool) -> Kind:
    if last == "key":
        kind = _BEFORE_KEY.get(before, Kind.NONE)
        return Kind.TOKEN if kind is Kind.NOT_A_NAME and shouted else kind
    if last in {"id", "ids"}:
        return Kind.RANDOM_ONLY if before == "session" else Kind.NONE
    kind = _LAST.get(last, Kind.NONE)
    if last == "secret":
        if before in _REFERENCE or before == "checksum":
            return Kind.NONE
        return Kind.TOKEN if shouted or before in _BEFORE_SECRET else kind
    if last == "token" and before in _NOT_TOKENS:
        return Kind.NONE
    if last == "auth" and before in {"rediscli", "redis"}:
        return Kind.PASSWORD
    if kind is Kind.NONE:
        return next((k for end, k in _SUFFIX_WORDS if last.endswith(end)), Kind.NONE)
    return kind


_PROSE_WORDS = (
    "a absent access against already an and are as at authentication be been bearer but by "
    "cannot changed configured could created credentials denied disabled does empty enabled "
    "error exists expired fail failed failure false file for forbidden found from generated "
    "generation has hidden in incorrect invalid invalidated is issued key length lookup "
    "malformed masked mismatch missing must name never nil no none not null of off ok on only "
    "optional or present provided refresh refreshed rejected removed renewed required reset "
    "retrieved revoked rotated rotation sensitive set should string to too true type "
    "unauthorized unavailable unchanged undefined unexpected unknown unset unsupported "
    "updated use used user valid validation value was will with wrong yes you your omitted "
    "redacted bytes str int object boolean default basic digest negotiate please check "
    "contact ensure verify try using via when while this that the it its "
)
_PROSE = frozenset(_PROSE_WORDS.split())

_PLACEHOLDER = re.compile(
    r"(?:(?:bearer|basic|token|digest)\s+)?\[?redacted\]?|\(?sensitive(?: value)?\)?"
    r"|[*x•.#-]{3,}|<[^<>]*>?|\$\{[^}]*\}?|\$\([^)]*\)?"
    r"|\$[A-Za-z_]\w*|\{\{.*|%[sdvq]|%\([a-z]+\)s|\{[\w.:]*\}|[|>&*{\[]|[|>][+-]|\{\}|\[\]|!\w*"
    r"|HTTP/\d(?:\.\d)?",
    re.IGNORECASE | re.ASCII,
)
_OBJECT_NAME = re.compile(
    r"(?:[a-z0-9-]{1,63}/)?[a-z][a-z0-9]{0,30}(?:[-._][a-z0-9]{1,20}){0,10}", re.ASCII
)
_FILE = re.compile(r"(?:[a-zA-Z]:|file:/?/?|\.{1,2})?(?:/[a-z0-9._@-]{1,60}){2,}/?", re.ASCII)
_SMALL_NUMBER = re.compile(r"-?\d{1,6}(?:\.\d+)?(?:%|ms|s|m|h|d|[kKMG]i?B?)?", re.ASCII)
_REFERENCE_VALUE = re.compile(r"(?:vault|ref|secret|op|ssm|gcp|aws|env|file)[:+]/?/?[\w./#-]+")


def is_harmless(value: str, kind: Kind) -> bool:
    """Whether `value`, found under a name of `kind`, is plainly no secret."""
    if len(value) > 300:
        return False
    bare = value.strip().strip(".,;:!?`")
    if len(bare) < 4 and not any(c.isalnum() for c in bare):
        return True
    if not bare or bare.lower() in _PROSE or _PLACEHOLDER.fullmatch(value.strip()):
        return True
    if _FILE.fullmatch(bare) or _REFERENCE_VALUE.fullmatch(bare):
        return True
    if kind <= Kind.TOKEN and (_SMALL_NUMBER.fullmatch(bare) or bare.count(" ") >= 3):
        return True
    if kind is Kind.NOT_A_NAME:
        return _OBJECT_NAME.fullmatch(bare) is not None and not _mixed(bare)
    return kind is Kind.RANDOM_ONLY and not looks_random(bare.removeprefix("base64:"))


def _mixed(name: str) -> bool:
    """Whether a part of `name` mixes letters and digits the way a password does."""
    return any(
        re.fullmatch(r"(?=.*\d)(?=.*[a-z])[a-z0-9]{6,}", part) is not None
        for part in re.split(r"[-._/]", name)
    )


_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RANDOM_LOOK = re.compile(r"[A-Za-z0-9+/_=.~%-]{12,}")


def looks_random(value: str) -> bool:
    """Whether `value` is long, of token characters, mixes digits or cases, and is no UUID."""
    if _RANDOM_LOOK.fullmatch(value) is None or _UUID.fullmatch(value):
        return False
    kinds = (
        any(c.isdigit() for c in value)
        + any(c.isupper() for c in value)
        + any(c.islower() for c in value)
    )
    return kinds >= 2 and not re.fullmatch(r"[A-Z]?[a-z]+", value)
