"""The parameters of a request: read once, bounded, and written anew."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_plus

from kubecase.gateways.policy.values import Bounds

LISTING = frozenset({
    "limit", "continue", "labelSelector", "fieldSelector", "resourceVersion",
    "resourceVersionMatch", "includeObject", "timeoutSeconds", "pretty", "timeout",
})  # fmt: skip
WATCHING = LISTING | {"watch", "allowWatchBookmarks", "sendInitialEvents"}
LOGGING = frozenset({
    "container", "follow", "previous", "sinceSeconds", "sinceTime", "tailLines", "limitBytes",
    "timestamps", "stream", "pretty", "timeout",
})  # fmt: skip
BARE = frozenset({"timeout", "pretty", "verbose", "exclude", "hash"})

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
MAX_PARAMETERS = 64
MAX_VALUE = 4096


class Unclear(ValueError):
    """A query that two programs could read in two ways, with the reason."""


def parse(raw: str) -> Mapping[str, str]:
    """Each parameter of `raw` with its first value, as the API server takes it; raises Unclear."""
    found: dict[str, str] = {}
    for pair in filter(None, raw.split("&")):
        if ";" in pair:
            raise Unclear("there is a semicolon in the query")
        key, _, value = pair.partition("=")
        name, text = _decoded(key), _decoded(value)
        if len(text) > MAX_VALUE:
            raise Unclear(f"a parameter is longer than {MAX_VALUE} characters")
        found.setdefault(name, text)
        if len(found) > MAX_PARAMETERS:
            raise Unclear(f"there are more than {MAX_PARAMETERS} parameters")
    return found


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise Unclear("a percent sign in the query stands alone")
    try:
        decoded = unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise Unclear("the query is not UTF-8") from None
    if not decoded.isprintable():
        raise Unclear("there is a control character in the query")
    return decoded


def is_watch(query: Mapping[str, str]) -> bool:
    """Whether the server would watch: for everything but absence, `0` and `false`."""
    return query.get("watch", "false") not in {"0", "false"}


def is_follow(query: Mapping[str, str]) -> bool:
    """Whether a log would be followed; read as `is_watch` does."""
    return query.get("follow", "false") not in {"0", "false"}


def only(query: Mapping[str, str], known: frozenset[str]) -> dict[str, str]:
    """Those parameters that are `known`."""
    return {name: value for name, value in query.items() if name in known}


def watching(query: Mapping[str, str], bounds: Bounds) -> dict[str, str]:
    """The parameters of a watch, which ends by itself after `bounds.watch_seconds`."""
    kept = only(query, WATCHING)
    kept.pop("limit", None)
    kept["watch"] = "true"
    kept["timeoutSeconds"] = str(_at_most(kept.get("timeoutSeconds"), bounds.watch_seconds))
    return kept


def logging(query: Mapping[str, str], bounds: Bounds) -> dict[str, str]:
    """The parameters of a log, bounded in lines and bytes.

    `insecureSkipTLSVerifyBackend` is not among them.
    """
    kept = only(query, LOGGING)
    kept.pop("follow", None)
    if is_follow(query):
        kept["follow"] = "true"
    kept["tailLines"] = str(_at_most(kept.get("tailLines"), bounds.log_lines, least=0))
    kept["limitBytes"] = str(_at_most(kept.get("limitBytes"), bounds.log_bytes))
    return kept


def left_out(query: Mapping[str, str], kept: Mapping[str, str]) -> Iterator[str]:
    """The names of parameters that came and are not sent on, shortened."""
    for name in query:
        if name not in kept and name not in {"watch", "follow"}:
            yield name[:64]


def _at_most(value: str | None, most: int, *, least: int = 1) -> int:
    """The number in `value` where it is one from `least` to `most`, else `most`."""
    if value is None or not _NUMBER.fullmatch(value):
        return most
    number = int(value)
    return number if least <= number <= most else most
