"""The same answer to the same request: `Idempotency-Key`."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from kubecase.app.web.backend import Backend, Remembered
from kubecase.app.web.problems import FieldError, Problem

HEADER = "Idempotency-Key"

_KEY = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(kw_only=True)
class Answers:
    """What was answered under which key. Keys of different callers and paths are different keys.

    Two requests of one key that come together are answered one after the other; with several
    replicas only the folding of faults keeps the second from opening anything.
    """

    backend: Backend
    _turns: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary)

    @asynccontextmanager
    async def turn(self, key: str | None) -> AsyncIterator[None]:
        """Wait for others that ask under `key` now."""
        if key is None:
            yield
            return
        lock = self._turns.setdefault(key, asyncio.Lock())
        async with lock:
            yield

    async def known(self, key: str | None, digest: str) -> Remembered | None:
        """The answer to the same request; raises Problem (422) where another one had the key."""
        found = None if key is None else await self.backend.remembered(key)
        if found is not None and found.digest != digest:
            error = FieldError(
                pointer=f"header.{HEADER}", detail="was used for another body within a day"
            )
            raise Problem(422, f"{HEADER} was used for another body", errors=[error])
        return found

    async def keep(self, key: str | None, digest: str, status: int, body: Any) -> None:
        """Remember an answer; it is durable on return."""
        if key is not None:
            await self.backend.remember(key, Remembered(digest=digest, status=status, body=body))


def key_of(given: str | None, caller: str, path: str) -> str | None:
    """Under what an answer is kept; None without the header. Raises Problem (400)."""
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        error = FieldError(
            pointer=f"header.{HEADER}", detail="is not of 1 to 200 visible ASCII characters"
        )
        raise Problem(400, f"the header {HEADER} {error.detail}", errors=[error])
    return digest_of(caller.encode(), path.encode(), given.encode())


def digest_of(*parts: bytes) -> str:
    """SHA-256 of `parts`, which do not run into one another, in hex."""
    found = hashlib.sha256()
    for each in parts:
        found.update(len(each).to_bytes(8, "big") + each)
    return found.hexdigest()
