"""From the target of a request to what it names: nothing is decoded, whatever is odd is refused.

An API server decodes `%2F` before it routes and does not clean `..` or `//`. Here a path with any
`%` in it, or an empty segment, or any other oddity names nothing at all, so that what is decided
about is what the server will see.
"""

import re
from dataclasses import dataclass

from kubecase.gateways.policy.resources import Resource, Resources, is_version

_SEGMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,251}[A-Za-z0-9_-])?", re.ASCII)
_GROUP = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_HEALTH = frozenset({"readyz", "livez", "healthz"})
MAX_TARGET = 8192


class Odd(ValueError):
    """A target that no client of ours sends, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a path of the API names. `resource` is None if it is none that may be read.

    `plural` and `part` are as they stand in the path. `name` is None for a list.
    """

    group: str
    plural: str
    resource: Resource | None
    namespace: str | None = None
    name: str | None = None
    part: str | None = None


def split_target(target: str) -> tuple[tuple[str, ...], str]:
    """The segments of the path and the raw query; raises Odd."""
    if len(target) > MAX_TARGET:
        raise Odd(f"the address is longer than {MAX_TARGET} characters")
    if not target.startswith("/"):
        raise Odd("the address is not a path")
    path, _, query = target.partition("?")
    if "#" in target:
        raise Odd("there is a fragment in the address")
    segments = tuple(path[1:].split("/"))
    for segment in segments:
        if not _SEGMENT.fullmatch(segment) or ".." in segment:
            raise Odd("a part of the path is empty, encoded, or holds an odd character")
    return segments, query


def is_discovery(segments: tuple[str, ...]) -> bool:
    """Whether the path says which APIs there are: /api, /apis, /api/v1, /apis/G, /apis/G/V."""
    match segments:
        case ("api",) | ("apis",):
            return True
        case ("api", version):
            return is_version(version)
        case ("apis", group):
            return _GROUP.fullmatch(group) is not None
        case ("apis", group, version):
            return _GROUP.fullmatch(group) is not None and is_version(version)
    return False


def is_schema(segments: tuple[str, ...]) -> bool:
    """Whether the path is one of the OpenAPI documents."""
    match segments:
        case ("openapi", "v2") | ("openapi", "v3") | ("openapi", "v3", "version"):
            return True
        case ("openapi", "v3", *rest):
            return is_discovery(tuple(rest))
    return False


def is_health(segments: tuple[str, ...]) -> bool:
    """Whether the path asks for the server's own health."""
    return segments[0] in _HEALTH and len(segments) <= 2


def named(segments: tuple[str, ...], resources: Resources) -> Named | None:
    """What of the API the path names; None for a path that is not of the API."""
    match segments:
        case ("api", version, *rest) if is_version(version):
            group = ""
        case ("apis", group, version, *rest) if is_version(version) and _GROUP.fullmatch(group):
            pass
        case _:
            return None
    match rest:
        case []:
            return None
        case ["namespaces", namespace, plural, *more] if not _of_namespace(group, plural):
            return _named(resources, group, plural, namespace, tuple(more))
        case [plural, *more]:
            return _named(resources, group, plural, None, tuple(more))
    return None


def _of_namespace(group: str, word: str) -> bool:
    """Whether what follows a namespace's name is a part of the Namespace object itself."""
    return group == "" and word in {"status", "finalize"}


def _named(
    resources: Resources, group: str, plural: str, namespace: str | None, more: tuple[str, ...]
) -> Named:
    name = more[0] if more else None
    part = "/".join(more[1:]) or None
    resource = resources.at(group, plural)
    if resource is not None and not _placed(resource, namespace, name):
        resource = None
    return Named(
        group=group, plural=plural, resource=resource, namespace=namespace, name=name, part=part
    )


def _placed(resource: Resource, namespace: str | None, name: str | None) -> bool:
    """Whether the path is one that this resource can have: a list over all namespaces is."""
    if resource.namespaced is None:
        return True
    if resource.namespaced:
        return namespace is not None or name is None
    return namespace is None
