"""How often each caller may ask: one bucket of tokens a caller, bounded in number."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_CALLERS = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


@dataclass(slots=True, kw_only=True)
class Rates:
    """Lets each caller ask `burst` times at once and `per_second` times a second after that."""

    per_second: float
    burst: int
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def take(self, caller: str) -> float | None:
        """None if `caller` may ask now, else the seconds until it may."""
        now = self.clock()
        bucket = self._buckets.pop(caller, None)
        if bucket is None:
            bucket = _Bucket(float(self.burst), now)
            while len(self._buckets) >= MAX_CALLERS:
                self._buckets.popitem(last=False)
        self._buckets[caller] = bucket
        bucket.left = min(float(self.burst), bucket.left + (now - bucket.at) * self.per_second)
        bucket.at = now
        if bucket.left < 1:
            return (1 - bucket.left) / self.per_second
        bucket.left -= 1
        return None


def address_group(host: str) -> str:
    """What counts as one caller: an IPv4 address, or the 64 bits of IPv6 that a site has at least.

    Anything else counts as it is written.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
