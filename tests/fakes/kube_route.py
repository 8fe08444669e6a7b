"""Where a request goes in an API server, and which doors it comes to that no reader may."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

SELF_REVIEWS = {
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
}
_RUNS = {"exec", "attach", "portforward"}
_INSIDE = {"metrics", "debug", "logs", "configz", "flagz", "statusz"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A request target as it is routed: decoded and not cleaned.

    `segments` are those of the decoded path; `None` where it is no path or wrongly encoded.
    """

    segments: tuple[str, ...] | None
    query: Mapping[str, str]

    @property
    def path(self) -> str:
        """The decoded path, without a trailing slash."""
        return "/" + "/".join(self.segments or ())

    @property
    def is_clean(self) -> bool:
        """Whether no segment is empty, `.` or `..`: others are served by nobody."""
        return self.segments is not None and not {"", ".", ".."} & set(self.segments)


def target_of(raw: str) -> Target:
    """Read a target in origin or absolute form; of a repeated parameter the first counts."""
    path, _, query = re.sub(r"(?i)^https?://[^/?]*", "", raw).partition("?")
    values = {key: each[0] for key, each in parse_qs(query, keep_blank_values=True).items()}
    if (path and not path.startswith("/")) or re.search(r"%(?![0-9A-Fa-f]{2})", path):
        return Target(segments=None, query=values)
    segments = unquote(path).split("/")[1:]
    if segments[-1:] == [""]:
        segments = segments[:-1]
    return Target(segments=tuple(segments), query=values)


@dataclass(frozen=True, kw_only=True)
class Route:
    """A path of the API, taken apart. `watch` tells the legacy prefix; `rest` follows `part`."""

    root: str
    plural: str
    namespace: str | None
    name: str | None
    part: str | None
    rest: tuple[str, ...]
    watch: bool


def route_of(segments: Sequence[str]) -> Route | None:
    """Take the path of a resource apart, as the API server does; None for any other path."""
    depth = {"api": 2, "apis": 3}.get(segments[0]) if segments else None
    if depth is None or len(segments) <= depth:
        return None
    root, left = "/" + "/".join(segments[:depth]), list(segments[depth:])
    watch = left[0] == "watch"
    if watch:
        left = left[1:]
    namespace = None
    if left[:1] == ["namespaces"] and len(left) > 2 and left[2] not in {"status", "finalize"}:
        namespace, left = left[1], left[2:]
    if not left:
        return None
    plural, name, part, *rest = [*left, None, None, None][: max(3, len(left))]
    return Route(
        root=root, plural=str(plural), namespace=namespace, name=name, part=part,
        rest=tuple(str(each) for each in rest), watch=watch,
    )  # fmt: skip


def danger_of(method: str, target: Target, headers: Mapping[str, str]) -> list[str]:
    """Which doors a request comes to that nobody read-only may come to, in words.

    `headers` have lower-case names. Where a path is not clean, a word anywhere in it counts: no
    server serves it, but a gateway that lets it through has read it in another way.
    """
    parts = [each for each in target.segments or () if each]
    words, route = set(parts[2:]), route_of(parts)
    plural, part = (route.plural, route.part) if route else ("", None)
    served = route is not None and target.is_clean
    found = ["upgrade"] if upgrades(headers) else []
    if plural == "secrets" or (not served and "secrets" in words):
        found.append("secret")
    if part in _RUNS or (not served and words & _RUNS):
        found.append("exec")
    if part == "proxy" or parts[2:3] == ["proxy"] or (not served and "proxy" in words):
        found.append("proxy")
    if (plural, part) == ("serviceaccounts", "token"):
        found.append("token")
    if parts and parts[0] in _INSIDE:
        found.append("debug")
    if method != "GET" and not is_self_review(method, target):
        found.append("review" if plural.endswith("reviews") else "write")
    return found


def is_self_review(method: str, target: Target) -> bool:
    """Whether this asks for one of the three reviews that tell who asks, and what they may do."""
    return method == "POST" and target.path in SELF_REVIEWS


def upgrades(headers: Mapping[str, str]) -> bool:
    """Whether a connection is to be upgraded, to a WebSocket or to SPDY."""
    return "upgrade" in headers or "upgrade" in headers.get("connection", "").lower()
