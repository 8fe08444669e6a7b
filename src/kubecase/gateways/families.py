"""The shipped list of resources, and what operators add to it."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from kubecase.gateways.policy import Resource, Resources


@cache
def shipped_resources() -> Resources:
    """All of `resources.toml`, which lies beside this file."""
    text = files("kubecase.gateways").joinpath("resources.toml").read_text(encoding="utf-8")
    families = tomllib.loads(text)["family"]
    return Resources(tuple(each for family in families for each in _of(family)))


def resources_with(extra: Iterable[str]) -> Resources:
    """The shipped list with `extra`, each as `widgets.example.com`; raises ValueError."""
    return shipped_resources().with_extra(Resource.parse(each) for each in extra)


def _of(family: Mapping[str, Any]) -> Iterator[Resource]:
    for scope in ("namespaced", "cluster"):
        for each in family.get(scope, ()):
            yield Resource(
                group=family["group"],
                plural=each["plural"],
                kind=each["kind"],
                short=tuple(each.get("short", ())),
                namespaced=scope == "namespaced",
                subresources=frozenset(each.get("sub", ())),
            )
