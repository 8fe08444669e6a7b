"""The resources that may be read, as a value: which there are, and what they are called."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SUBRESOURCES = frozenset({"log", "status", "scale"})
"""Those that only show something. All others are refused, whatever the list says."""

NEVER = frozenset({"secrets", "secret"})

_PLURAL = re.compile(r"[a-z][a-z0-9-]{0,62}")
_GROUP = re.compile(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?")
_VERSION = re.compile(r"v[0-9]+((alpha|beta)[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource: `group` is empty for the core; `namespaced` is None where it is not known."""

    group: str
    plural: str
    kind: str | None = None
    short: tuple[str, ...] = ()
    namespaced: bool | None = None
    subresources: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Raise ValueError for what may not be read by anybody, or can be no resource."""
        if self.plural in NEVER:
            raise ValueError("Secrets are not read in any form")
        if not _PLURAL.fullmatch(self.plural):
            raise ValueError(f"{self.plural[:80]!a} is no resource's plural name")
        if self.group and not _GROUP.fullmatch(self.group):
            raise ValueError(f"{self.group[:80]!a} is no API group")
        if unknown := self.subresources - SUBRESOURCES:
            raise ValueError(f"the subresource {min(unknown)[:40]!a} does more than show")

    @property
    def full_name(self) -> str:
        """`pods`, or `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @classmethod
    def parse(cls, text: str) -> "Resource":
        """The resource that an operator names: `widgets.example.com`; its scope is left open.

        Raises ValueError for what is no such name.
        """
        plural, dot, group = text.strip().partition(".")
        if not dot or "." not in group:
            raise ValueError(f"{text[:80]!a} is not of the form PLURAL.GROUP, as widgets.shop.io")
        return cls(group=group, plural=plural, subresources=frozenset({"status", "scale"}))


@dataclass(frozen=True, slots=True)
class Resources:
    """All resources that may be read of one cluster."""

    all: tuple[Resource, ...]
    _by_path: Mapping[tuple[str, str], Resource] = field(init=False, repr=False)
    _words: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Index them."""
        object.__setattr__(self, "_by_path", {(r.group, r.plural): r for r in self.all})
        object.__setattr__(self, "_words", frozenset(_words(self.all)))

    def at(self, group: str, plural: str) -> Resource | None:
        """The resource of that group and plural name, if it may be read."""
        return self._by_path.get((group, plural))

    def knows(self, word: str) -> bool:
        """Whether kubectl would take `word`, in lower case, for one of them.

        Plural, singular and short names, with group and version after a dot.
        """
        if word in self._words:
            return True
        name, _, rest = word.partition(".")
        version, _, group = rest.partition(".")
        return _VERSION.fullmatch(version) is not None and (
            (f"{name}.{group}" if group else name) in self._words
        )

    def with_extra(self, extra: Iterable[Resource]) -> "Resources":
        """These and `extra`."""
        return Resources((*self.all, *extra))


def is_version(text: str) -> bool:
    """Whether `text` is a version of an API: `v1`, `v2beta1`."""
    return _VERSION.fullmatch(text) is not None


def _words(resources: Iterable[Resource]) -> Iterable[str]:
    for each in resources:
        names = {each.plural, *each.short}
        if each.kind is not None:
            names.add(each.kind.lower())
        for name in names:
            yield name
            if each.group:
                yield f"{name}.{each.group}"
