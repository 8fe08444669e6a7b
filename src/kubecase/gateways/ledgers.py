"""Ledgers that outlive the process: a JSON file, and one that begins anew every day."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from kubecase.core.errors import StoreUnavailable
from kubecase.gateways.budget import Ledger, Spent, spent_from

MAX_BYTES = 1024 * 1024


class JsonLedger:
    """What one account has spent, in a JSON file that several processes may share.

    `account` is the name in the file under which it is kept. The file is replaced as a whole, under
    a lock beside it, so that a killed process leaves the state before or after.
    """

    def __init__(self, path: Path, account: str) -> None:
        self._path = path
        self._account = account

    async def spent(self) -> Spent:
        """Everything that was added so far. Raises StoreUnavailable."""
        with self._told():
            return self._of(self._read())

    async def add(self, spent: Spent) -> None:
        """Add `spent`. Raises StoreUnavailable."""
        with self._told(), self._locked():
            accounts = dict(self._read())
            accounts[self._account] = self._of(accounts).corrected(spent).as_json()
            self._replace(json.dumps(accounts, sort_keys=True).encode())

    def _of(self, accounts: Mapping[str, Any]) -> Spent:
        return spent_from(accounts.get(self._account) or {})

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, AttributeError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise StoreUnavailable(
                f"cannot keep what was spent in {self._path}: {why}",
                hint="Make the file writable for this user; delete it to begin counting anew.",
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> Mapping[str, Any]:
        try:
            with open(self._path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        value = json.loads(data)
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object")
        return value

    def _replace(self, data: bytes) -> None:
        temporary = Path(f"{self._path}.new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(self._path)


class DayLedger:
    """A ledger for each day in UTC, of which only today's counts; `of` makes that of a day."""

    def __init__(
        self,
        of: Callable[[date], Ledger],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._of = of
        self._clock = clock
        self._today: tuple[date, Ledger] | None = None

    async def spent(self) -> Spent:
        """Everything that was added today."""
        return await self._ledger().spent()

    async def add(self, spent: Spent) -> None:
        """Add `spent` to today."""
        await self._ledger().add(spent)

    def _ledger(self) -> Ledger:
        today = self._clock().astimezone(UTC).date()
        if self._today is None or self._today[0] != today:
            self._today = (today, self._of(today))
        return self._today[1]
