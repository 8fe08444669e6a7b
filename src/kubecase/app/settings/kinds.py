"""The kinds of value that an option may have: how each is read, and what is wrong otherwise.

Imported late, since pydantic takes longer to import than `kubecase --help` may take to run.
Validators raise ValueError with words for people; what they say is all that is shown.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    SecretStr,
    WithJsonSchema,
)

from kubecase.app.settings.environment import FromOutside
from kubecase.app.settings.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    parse_duration,
    parse_size,
)
from kubecase.core.addresses import password_problem


def _seconds(unit: str, *, zero: bool = False) -> BeforeValidator:
    def check(value: Any) -> float:
        seconds = parse_duration(value, unit=unit)
        if seconds == 0 and not zero:
            raise ValueError("must be more than zero")
        return seconds

    return BeforeValidator(check)


def _seconds_or_off(value: Any) -> float | None:
    if isinstance(value, str) and value.strip().lower() == "off":
        return None
    seconds = parse_duration(value)
    if seconds == 0:
        raise ValueError("must be more than zero (or `off`)")
    return seconds


def _duration_schema(*more: dict[str, Any], **bound: int) -> WithJsonSchema:
    text = {"type": "string", "pattern": DURATION_PATTERN}
    words = "duration or `off`" if more else "duration"
    return WithJsonSchema({"anyOf": [{"type": "number", **bound}, text, *more], "x-type": words})


def _size(value: Any) -> int:
    size = parse_size(value)
    if size == 0:
        raise ValueError("must be more than zero")
    return size


def _size_or_off(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().lower() == "off":
        return None
    size = parse_size(value)
    if size == 0:
        raise ValueError("must be more than zero (or `off`)")
    return size


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, FromOutside) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    raise ValueError("is neither true nor false")


def _number(kind: type[int] | type[float], words: str) -> Callable[[Any], int | float]:
    def check(value: Any) -> int | float:
        if isinstance(value, FromOutside):
            try:
                return kind(value.strip())
            except ValueError:
                raise ValueError(f"is not {words}") from None
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            raise ValueError(f"is not {words}")
        return kind(value)

    return check


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a text (write it in quotes)")
    if not value.strip():
        raise ValueError("is empty")
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("holds control characters or bytes that are not UTF-8")
    return str(value)


def _matching(pattern: str, words: str) -> Callable[[str], str]:
    expression = re.compile(pattern)

    def check(value: str) -> str:
        if not expression.fullmatch(value):
            raise ValueError(f"{value[:60]!a} is not {words}")
        return value

    return check


def word(choices: Any, aliases: Mapping[str, str] | None = None) -> BeforeValidator:
    """One of the words of a `Literal`, in any case; `aliases` are other words for them."""
    words = get_args(choices)

    def check(value: Any) -> str:
        given = value.strip().lower() if isinstance(value, str) else ""
        given = (aliases or {}).get(given, given)
        if given not in words:
            shown = f"{value[:40]!a} " if isinstance(value, str) else ""
            raise ValueError(f"{shown}is not one of {', '.join(words)}")
        return given

    return BeforeValidator(check)


def _items(split: Callable[[FromOutside], Any]) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, FromOutside):
            return split(value)
        if not isinstance(value, list | tuple):
            raise ValueError("is not a list")
        return list(value)

    return BeforeValidator(check)


def _command(value: Any) -> Any:
    if isinstance(value, FromOutside):
        value = value.split_command()
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("is neither a program nor a list of a program and its arguments")
    if any(not isinstance(each, str) or "\0" in each for each in value) or not value[0].strip():
        raise ValueError("holds something that is not a text, or no program")
    return [str(each) for each in value]


def budget(value: float) -> float:
    """A positive sum of money that is no slip of the hand."""
    if not 0 < value <= 100_000:
        raise ValueError("must be more than 0 and at most 100000")
    return value


def http_url(value: str) -> str:
    """An address that a model's CLI can be pointed at; a key in it would end up in logs."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("is not an address") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address such as https://llm-proxy.example.com")
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or a password")
    return value


def cpu_count(value: float) -> float:
    """A share of processors that a container can have."""
    if not 0.01 <= value <= 1024:
        raise ValueError("must be from 0.01 to 1024")
    return value


def image_name(value: str) -> str:
    """The name of an image; one that looks like an option would be taken for that."""
    if value.startswith("-") or any(c.isspace() for c in value):
        raise ValueError("is not the name of an image")
    return value


def between(low: int, high: int) -> AfterValidator:
    """A number from `low` to `high`, both included."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}")
        return value

    return AfterValidator(check)


def store_url(value: str) -> str:
    """A URL of a database that the store can be kept in. Never quoted: it may hold a password."""
    try:
        parts = urlsplit(value)
        _ = parts.port, parts.password
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in {"sqlite", "postgresql"}:
        raise ValueError("does not begin with sqlite:// or postgresql://")
    problem = password_problem(value) if parts.scheme == "postgresql" else None
    if problem is not None:
        raise ValueError(problem)
    return value


def _secret(value: Any) -> SecretStr:
    # Its own type before anything else looks at it: no message ever quotes it.
    if not isinstance(value, str) or not value.strip() or not value.strip().isascii():
        raise ValueError("is not a key (one line of ASCII text)")
    if any(ord(c) < 33 or ord(c) == 127 for c in value.strip()):
        raise ValueError("is not a key (one line of ASCII text, no blanks)")
    return SecretStr(str(value).strip())


Hours = Annotated[float, _seconds("h", zero=True), _duration_schema(minimum=0)]
"""A duration in seconds; a plain number is hours; may be zero."""

Minutes = Annotated[float, _seconds("m"), _duration_schema(exclusiveMinimum=0)]
"""A duration in seconds; a plain number is minutes."""

Seconds = Annotated[float, _seconds("s", zero=True), _duration_schema(minimum=0)]
"""A duration in seconds; may be zero."""

SecondsOrOff = Annotated[
    float | None,
    BeforeValidator(_seconds_or_off),
    _duration_schema({"const": "off"}, exclusiveMinimum=0),
]
"""A duration in seconds, or `off`, which is `None`."""

Text = Annotated[str, BeforeValidator(_text)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Whole = Annotated[int, BeforeValidator(_number(int, "a whole number"))]
Decimal = Annotated[float, BeforeValidator(_number(float, "a number"))]
FilePath = Annotated[
    str, BeforeValidator(_text), WithJsonSchema({"type": "string", "x-type": "path"})
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({
        "anyOf": [
            {"type": "integer", "exclusiveMinimum": 0},
            {"type": "string", "pattern": SIZE_PATTERN},
        ],
        "x-type": "size",
    }),
]  # fmt: skip
SizeOrOff = Annotated[
    int | None,
    BeforeValidator(_size_or_off),
    WithJsonSchema({
        "anyOf": [
            {"type": "integer", "exclusiveMinimum": 0},
            {"type": "string", "pattern": SIZE_PATTERN},
            {"const": "off"},
        ],
        "x-type": "size or `off`",
    }),
]  # fmt: skip
NAME_PATTERN = "[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?"
USER_PATTERN = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}"
CLUSTER_PATTERN = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
Name = Annotated[
    Text,
    AfterValidator(_matching(NAME_PATTERN, "a name of lower-case letters, digits, - and _")),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$"}),
]
VARIABLE_PATTERN = "[A-Za-z_][A-Za-z0-9_]{0,127}"
Variable = Annotated[
    Text,
    AfterValidator(_matching(VARIABLE_PATTERN, "the name of a variable")),
    WithJsonSchema({"type": "string", "pattern": f"^{VARIABLE_PATTERN}$"}),
]
User = Annotated[
    Text,
    AfterValidator(_matching(USER_PATTERN, "a user's name or number")),
    WithJsonSchema({"type": "string", "pattern": f"^{USER_PATTERN}$"}),
]
Items = _items(FromOutside.split_list)
"""A list, given as such or as text from outside."""

Names = Annotated[list[Name], Items]
Texts = Annotated[list[Text], Items]
_ModelPattern = _matching("[A-Za-z0-9*?._:/@-]{1,128}", "a pattern of model names")
ModelPatterns = Annotated[list[Annotated[Text, AfterValidator(_ModelPattern)]], Items]
_ResourceName = _matching(
    r"(?!secrets?\.)[a-z][a-z0-9-]{0,62}\.[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+",
    "a resource as PLURAL.GROUP, such as widgets.shop.io, or it is Secrets",
)
ResourceNames = Annotated[list[Annotated[Text, AfterValidator(_ResourceName)]], Items]
Argv = Annotated[
    list[str],
    BeforeValidator(_command),
    WithJsonSchema({
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ],
        "x-type": "program, or list of program and arguments",
    }),
]  # fmt: skip
Secret = Annotated[
    SecretStr,
    BeforeValidator(_secret),
    WithJsonSchema({"type": "string", "writeOnly": True, "x-type": "secret text"}),
]
