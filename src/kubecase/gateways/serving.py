"""What one run is served by kubecase, from before its start to after its end.

Today that is its model: the agent's CLI has a key of this run and an address of ours. The state
that a successor needs lies beside the record: the key's digest and what was counted.
"""

import dataclasses
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from kubecase.core.errors import StoreUnavailable
from kubecase.core.metering import GatewayRecord, Tokens, Trouble, corrected
from kubecase.core.model import Verdict
from kubecase.core.ports import Agent, Stop
from kubecase.gateways.audit import AuditLog
from kubecase.gateways.budget import Account
from kubecase.gateways.model import DummyKey, ModelGateway, Told
from kubecase.gateways.prices import Prices
from kubecase.gateways.upstream import Upstream

OWN_PORT = 8181
"""The port of the model on the loopback of a network of the agent's own."""


@dataclass(frozen=True, kw_only=True)
class ModelServer:
    """Serves the model of each run; made once by the wiring.

    `dress` gives an agent as it is to be asked with a key and an address on this port. `accounts`
    are those that a run with this key, of this cluster, is charged to. With `own_network` the
    agent's network is its own, and its listener is handed out of it; `closed` says that the network
    leads nowhere else. `records` is the directory of
    the records, `answers` that of kept answers.
    """

    upstream: Upstream
    prices: Prices
    dress: Callable[[Agent, DummyKey, int], Agent]
    accounts: Callable[[str, str], Sequence[Account]]
    records: Path
    answers: Path
    own_network: bool
    closed: bool

    @asynccontextmanager
    async def open(
        self, agent: Agent, *, run: str, cluster: str, stop: Stop, again: bool = False
    ) -> AsyncIterator["ModelAccess"]:
        """The access of the run called `run`, until the block is left.

        With `again` the run goes on that another process has begun, with the same key and counts.
        Raises StoreUnavailable when the record cannot be kept.
        """
        state = self.records / f"{run}.model.json"
        key = None if again else DummyKey.new()
        with _told(self.records):
            audit = AuditLog.open(self.records / f"{run}.jsonl", self.answers)
        saved = _saved(state) if again else {}
        access = ModelAccess(agent=agent, stop=_Either(stop), state=state)
        access.record = _record_from(saved.get("record", {}))
        access.key_sha256 = saved.get("key_sha256", "") if key is None else key.sha256
        try:
            async with anyio.create_task_group() as serving:

                def start(listener: int) -> None:
                    serving.start_soon(self._serve, access, audit, run, cluster, listener)

                access.start = start
                serving.start_soon(access.stop.follow)
                if key is not None:
                    self._prepare(access, agent, key)
                    with _told(self.records):
                        access.save()
                yield access
                serving.cancel_scope.cancel()
        finally:
            access.close()
            audit.close()

    def _prepare(self, access: "ModelAccess", agent: Agent, key: DummyKey) -> None:
        if self.own_network:
            access.ports = (OWN_PORT,)
            access.agent = self.dress(agent, key, OWN_PORT)
            return
        access.made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        access.made.bind(("127.0.0.1", 0))
        access.made.listen()
        port = int(access.made.getsockname()[1])
        access.listeners = (access.made.fileno(),)
        # Where the network is open there is no port that has to be let through.
        access.ports = (port,) if self.closed else ()
        access.agent = self.dress(agent, key, port)

    async def _serve(
        self, access: "ModelAccess", audit: AuditLog, run: str, cluster: str, listener: int
    ) -> None:
        gateway = ModelGateway(
            upstream=self.upstream,
            key_sha256=access.key_sha256,
            accounts=self.accounts(run, cluster),
            prices=self.prices,
            audit=audit,
            record=access.record,
            tell=access.hear,
            counted=access.count,
        )
        async with gateway.serving(socket.socket(fileno=listener)):
            await anyio.sleep_forever()


@dataclass(kw_only=True)
class ModelAccess:
    """What the run needs to know, and what is known of it afterwards."""

    agent: Agent
    stop: "_Either"
    state: Path
    ports: tuple[int, ...] = ()
    listeners: tuple[int, ...] = ()
    record: GatewayRecord = field(default_factory=GatewayRecord)
    key_sha256: str = ""
    made: socket.socket | None = None
    start: Callable[[int], None] = lambda _: None

    def serve(self, listeners: tuple[int, ...]) -> None:
        """Answer on the run's listener from now on; the others are closed."""
        for number, handle in enumerate(listeners):
            if number == 0:
                self.start(handle)
            else:
                os.close(handle)

    @property
    def ended_run(self) -> bool:
        """Whether the run was stopped from here, and by nobody else before."""
        return self.stop.ours

    def corrected(self, verdict: Verdict) -> Verdict:
        """The CLI's claim, put right by what was seen here."""
        return corrected(verdict, self.record)

    def hear(self, told: Told) -> None:
        """What stands in the way; some of it ends the run."""
        if told.ends_run:
            self.stop.now()

    def count(self, record: GatewayRecord) -> None:
        """Keep what was counted, for whoever may have to go on."""
        self.record = record
        with suppress(OSError):  # the budgets' own ledgers decide; this is for the report
            self.save()

    def save(self) -> None:
        """Put the state beside the record, whole. Raises OSError."""
        value = {"key_sha256": self.key_sha256, "record": dataclasses.asdict(self.record)}
        temporary = self.state.with_suffix(".new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        temporary.replace(self.state)

    def close(self) -> None:
        """Let go of the listener that was made here."""
        if self.made is not None:
            self.made.close()


class _Either:
    """Set when the other is, or when the model has no more to give."""

    def __init__(self, other: Stop) -> None:
        self._other = other
        self._event = anyio.Event()
        self.ours = False

    def is_set(self) -> bool:
        """Whether either has been."""
        return self._event.is_set() or self._other.is_set()

    async def wait(self) -> object:
        """Return once either is set."""
        await self._event.wait()
        return None

    async def follow(self) -> None:
        """Pass the other one on."""
        await self._other.wait()
        self._event.set()

    def now(self) -> None:
        """Set it from here."""
        if not self.is_set():
            self.ours = True
            self._event.set()


@contextmanager
def _told(records: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"cannot keep a record in {records}: {error.strerror}",
            hint="The record of what an agent asks lies in store.data_dir; is there space, and may "
            "it be written?",
        ) from error


def _saved(state: Path) -> dict[str, Any]:
    try:
        value = json.loads(state.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _record_from(value: Any) -> GatewayRecord:
    """What was counted before; nothing of it is lost, and what makes no sense is nothing."""
    try:
        given = dict(value)
        given["tokens"] = Tokens(**given.get("tokens", {}))
        given["unknown_models"] = tuple(given.get("unknown_models", ()))
        trouble = given.get("last_trouble")
        given["last_trouble"] = Trouble(trouble) if trouble else None
        return GatewayRecord(**given)
    except (TypeError, ValueError, AttributeError):
        return GatewayRecord()
