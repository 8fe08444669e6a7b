"""The table of scenarios: what each should be called, and whose change ends it."""

from collections.abc import Callable
from dataclasses import dataclass

from .clusters import Cluster

Build = Callable[[Cluster], None]


@dataclass(frozen=True)
class Scenario:
    """A cluster with one fault, its category and its culprit (`Kind/namespace/name`, or none)."""

    name: str
    category: str
    culprit: str
    build: Build

    def cluster(self, *, noise: bool = True) -> Cluster:
        """The cluster, with neighbours that have nothing to do with it."""
        made = Cluster()
        self.build(made)
        if noise:
            made.noise()
        return made


SCENARIOS: list[Scenario] = []


def scenario(category: str, culprit: str = "Deployment/shop/api") -> Callable[[Build], Build]:
    """Puts a builder into the table."""

    def remember(build: Build) -> Build:
        SCENARIOS.append(Scenario(build.__name__, category, culprit, build))
        return build

    return remember
