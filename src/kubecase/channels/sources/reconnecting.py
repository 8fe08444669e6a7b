"""Trying again: longer pauses after each failure, never in step with others, never without one."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

FIRST = 1.0
LONGEST = 60.0
JITTER = 0.25


@dataclass(kw_only=True)
class BackOff:
    """How long to wait before the next try: from one second up to a minute, doubling, give or take
    a quarter. `chance` gives numbers from 0 to 1.
    """

    first: float = FIRST
    longest: float = LONGEST
    chance: Callable[[], float] = random.random
    _next: float = field(default=0.0)

    def failed(self, asked: float | None = None) -> float:
        """The seconds until the next try; at least `asked`, which the other side may want."""
        pause = self._next or self.first
        self._next = min(pause * 2, self.longest)
        spread = pause * (1 - JITTER + 2 * JITTER * self.chance())
        return max(spread, asked or 0.0)

    def worked(self) -> None:
        """Begin anew with the shortest pause."""
        self._next = 0.0
