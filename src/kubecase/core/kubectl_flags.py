"""Which flags of kubectl may be used with which verb: an allow-list. Pure data and checks."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Check = Callable[[str], str | None]
"""From a flag's value to what is wrong with it; None if nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A flag: its long name, its letter, and whether a value belongs to it."""

    name: str
    short: str | None = None
    takes_value: bool = True
    check: Check | None = None


_NUMBER = re.compile(r"-?[0-9]{1,12}", re.ASCII)
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,6})?(?:ms|s|m|h))+|0", re.ASCII)
_PART = re.compile(r"([0-9.]+)(ms|s|m|h)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_FOR = re.compile(r"(?:condition|jsonpath)=[^\x00-\x1f]{1,4000}|delete|create")
_OUTPUT = re.compile(
    r"json|yaml|wide|name|plaintext|plaintext-openapiv2|"
    r"(?:jsonpath|jsonpath-as-json|custom-columns|go-template)=[^\x00-\x1f]{1,4000}|go-template"
)
MOST_WAIT = 60.0
"""Seconds that a wait or a rollout status may last."""


def _number(value: str) -> str | None:
    return None if _NUMBER.fullmatch(value) else "is no number"


def _name(value: str) -> str | None:
    return None if _LABEL.fullmatch(value) else "is no name that Kubernetes would take"


def _time(value: str) -> str | None:
    return None if _TIME.fullmatch(value) else "is no time such as 2026-01-02T03:04:05Z"


def _duration(value: str) -> str | None:
    return None if _DURATION.fullmatch(value) else "is no duration such as 10m or 90s"


def seconds_of(value: str) -> float:
    """The duration in `value`, which `_duration` has found to be one."""
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))


def _short_duration(value: str) -> str | None:
    if _DURATION.fullmatch(value) is None:
        return "is no duration such as 30s"
    if not 0 < seconds_of(value) <= MOST_WAIT:
        return f"is not between 0 and {MOST_WAIT:.0f}s"
    return None


def _output(value: str) -> str | None:
    if "-file" in value.partition("=")[0]:
        return "reads a file, which is not allowed; write the template into the command"
    if _OUTPUT.fullmatch(value) is None:
        return (
            "is none of json, yaml, wide, name, jsonpath=..., jsonpath-as-json=..., "
            "custom-columns=..., go-template=..."
        )
    return None


def _subresource(value: str) -> str | None:
    return None if value in {"status", "scale"} else "is none of status, scale"


def _condition(value: str) -> str | None:
    known = "condition=..., jsonpath=..., delete, create"
    return None if _FOR.fullmatch(value) else f"is none of {known}"


def _only_false(value: str) -> str | None:
    return None if value in {"false", "true"} else "is neither true nor false"


def _value(name: str, short: str | None = None, check: Check | None = None) -> Flag:
    return Flag(name=name, short=short, check=check)


def _switch(name: str, short: str | None = None) -> Flag:
    return Flag(name=name, short=short, takes_value=False, check=_only_false)


_GLOBAL = (_value("namespace", "n", _name), _value("request-timeout", check=_duration))
_SELECTING = (_value("selector", "l"), _switch("all-namespaces", "A"), _value("field-selector"))
_PRINTING = (
    _value("output", "o", _output), _value("template"), _switch("show-managed-fields"),
    _switch("allow-missing-template-keys"), _switch("no-headers"),
)  # fmt: skip
_CHUNKS = _value("chunk-size", check=_number)
_TIMEOUT = _value("timeout", check=_short_duration)

FLAGS: Mapping[str, tuple[Flag, ...]] = {
    "get": (
        *_SELECTING, *_PRINTING, _CHUNKS, _value("sort-by"), _switch("show-labels"),
        _switch("show-kind"), _value("label-columns", "L"), _switch("ignore-not-found"),
        _value("subresource", check=_subresource), _switch("server-print"),
    ),
    "describe": (_value("selector", "l"), _switch("all-namespaces", "A"), _switch("show-events"),
                 _CHUNKS),
    "logs": (
        _value("selector", "l"), _value("container", "c", _name), _switch("previous", "p"),
        _switch("all-containers"), _switch("all-pods"), _switch("timestamps"), _switch("prefix"),
        _switch("ignore-errors"), _value("tail", check=_number), _value("since", check=_duration),
        _value("since-time", check=_time), _value("limit-bytes", check=_number),
        _value("max-log-requests", check=_number), _value("pod-running-timeout", check=_duration),
    ),
    "events": (
        _switch("all-namespaces", "A"), _value("for"), _value("types"), _CHUNKS, *_PRINTING,
    ),
    "top pods": (
        _value("selector", "l"), _switch("all-namespaces", "A"), _value("field-selector"),
        _switch("containers"), _value("sort-by"), _switch("no-headers"), _switch("sum"),
    ),
    "top nodes": (_value("selector", "l"), _value("sort-by"), _switch("no-headers"),
                  _switch("show-capacity")),
    "explain": (_switch("recursive"), _value("api-version"), _value("output", "o", _output)),
    "api-resources": (
        _switch("namespaced"), _value("api-group"), _value("verbs"), _value("categories"),
        _value("output", "o", _output), _value("sort-by"), _switch("no-headers"),
        _switch("cached"),
    ),
    "api-versions": (),
    "version": (_value("output", "o", _output), _switch("client"), _switch("short")),
    "cluster-info": (),
    "auth can-i": (
        _switch("list"), _value("subresource"), _switch("all-namespaces", "A"),
        _switch("quiet", "q"), _switch("no-headers"),
    ),
    "auth whoami": _PRINTING,
    "rollout status": (
        _TIMEOUT, _value("revision", check=_number), _switch("watch", "w"),
        _value("selector", "l"),
    ),
    "rollout history": (_value("revision", check=_number), _value("selector", "l"), *_PRINTING),
    "wait": (
        _value("for", check=_condition), _TIMEOUT, *_SELECTING, _switch("all"),
        _value("output", "o", _output),
    ),
}  # fmt: skip
"""Every verb that may be used, with its flags beside those that all have."""

BY_NAME: Mapping[str, Flag] = {
    flag.name: flag for flags in (_GLOBAL, *FLAGS.values()) for flag in flags
}
"""The flags of all verbs. One of a name takes a value with every verb, or with none."""
BY_LETTER: Mapping[str, Flag] = {flag.short: flag for flag in BY_NAME.values() if flag.short}

_CREDENTIAL = "the way to the cluster is set, and is not chosen by the command"
_FILES = "no file is read by the command; name resources instead"
_STREAM = "a stream has no end; ask again, or use `wait --for=... --timeout=60s`"
_LOGGING = "how kubectl logs is not chosen by the command"
NEVER: Mapping[str, str] = {
    **dict.fromkeys(
        ("kubeconfig", "server", "token", "as", "as-group", "as-uid", "as-user-extra", "user",
         "username", "password", "cluster", "context", "client-key", "client-certificate",
         "certificate-authority", "insecure-skip-tls-verify", "tls-server-name", "cache-dir",
         "disable-compression", "match-server-version", "kuberc", "proxy-url", "s"),
        _CREDENTIAL,
    ),
    **dict.fromkeys(("filename", "kustomize", "f", "k", "from-file", "patch-file"), _FILES),
    **dict.fromkeys(("watch", "watch-only", "follow", "w", "output-watch-events"), _STREAM),
    **dict.fromkeys(
        ("v", "vmodule", "logtostderr", "alsologtostderr", "log-dir", "log-file",
         "log-file-max-size", "log-flush-frequency", "stderrthreshold", "profile",
         "profile-output", "skip-headers", "add-dir-header", "one-output", "log-backtrace-at"),
        _LOGGING,
    ),
    "raw": "no raw path is asked for; name the resource instead",
    "dry-run": "nothing is changed, also not as a dry run; put it into the report instead",
    "recursive": _FILES,
    "R": _FILES,
    "force": "nothing is changed here; put it into the report instead",
}  # fmt: skip
"""Flags that are never used, with what is said about them."""


def flags_of(verb: str) -> tuple[Flag, ...]:
    """All flags that `verb` may have."""
    return (*_GLOBAL, *FLAGS[verb])
