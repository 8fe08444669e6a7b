"""What one run is served by kubecase, from before its start to after its end.

Its model, its cluster and its tools, each on a listener of its own and with a credential of its
own. The state that a successor needs lies beside the record: digests of the credentials, which
listener is whose, where the real kubeconfig lies, which tools its CLI may offer, and what the model
was asked. What the cluster was asked is counted from the record itself.
"""

import dataclasses
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio

from kubecase.core.errors import StoreUnavailable
from kubecase.core.metering import GatewayRecord, Tokens, Trouble, corrected
from kubecase.core.model import Command, Verdict
from kubecase.core.ports import Agent, Offers, Stop, ToolServer
from kubecase.gateways.audit import AuditLog, read_lines
from kubecase.gateways.authority import Identity
from kubecase.gateways.callers import AccessToken
from kubecase.gateways.cluster_call import ClusterRecord
from kubecase.gateways.kubeconfig import GatewayKubeconfig
from kubecase.gateways.model import DummyKey, Told
from kubecase.gateways.serving_parts import ClusterPart, ModelPart, Serving, ToolPart
from kubecase.gateways.tools import KIND, CaseFiles

OWN_PORTS: Mapping[str, int] = {"model": 8181, "cluster": 8182, "tools": 8183}
"""The ports of each on the loopback of a network of the agent's own; the order is that of the
listeners too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """What an agent is told of what serves it."""

    model_key: DummyKey | None = None
    model_port: int | None = None
    tools: ToolServer | None = None


@dataclass(frozen=True, kw_only=True)
class RunServer:
    """Serves runs; made once by the wiring. Parts that are None are not served.

    `dress` gives an agent as it is to be asked with such a lead. `cluster_again` makes the part for
    a run that another process began, from what that one put down. With `own_network` the agent's
    network is its own, and its listeners are handed out of it; `closed` says that the network leads
    nowhere else. `records` is the directory of the records, `answers` that of kept answers.
    `remember` says what an agent was asked to start with, for whoever goes on with its run, and
    `recall` gives an agent as it was asked then.
    """

    models: ModelPart | None
    clusters: ClusterPart | None
    tools: ToolPart | None
    dress: Callable[[Agent, Lead], Agent]
    records: Path
    answers: Path
    own_network: bool
    closed: bool
    cluster_again: Callable[[Mapping[str, Any]], ClusterPart | None] = lambda _: None
    remember: Callable[[Agent], Mapping[str, Any]] = lambda _: {}
    recall: Callable[[Agent, Mapping[str, Any]], Agent] = lambda agent, _: agent

    @asynccontextmanager
    async def open(
        self,
        agent: Agent,
        *,
        run: str,
        cluster: str,
        stop: Stop,
        files: CaseFiles | None,
        context: Mapping[str, bytes] | None = None,
        again: bool = False,
    ) -> AsyncIterator["RunAccess"]:
        """The access of the run called `run`, until the block is left.

        `context` are the files that the agent is given: the first entries of the record.

        With `again` the run goes on that another process has begun, with the same credentials and
        counts. Raises StoreUnavailable when the record cannot be kept.
        """
        path = self.records / f"{run}.jsonl"
        with _told(self.records):
            audit = AuditLog.open(path, self.answers)
            identity = Identity.kept(self.records.parent)
            earlier = ClusterRecord.of(path) if again else ClusterRecord()
            _record_given(audit, context or {})
        state = self.records / f"{run}.served.json"
        access = RunAccess(agent=agent, stop=_Either(stop), state=state, trail=path)
        access.cluster_record = earlier
        serving = Serving(
            audit=audit, identity=identity, run=run, cluster=cluster, files=files, access=access
        )
        try:
            async with anyio.create_task_group() as group:
                clusters = self._go_on(access) if again else self.clusters
                if not again:
                    self._prepare(access, agent, identity)
                parts = {"model": self.models, "cluster": clusters, "tools": self.tools}

                def start(listeners: dict[str, socket.socket]) -> None:
                    group.start_soon(serving.serve, parts, listeners)

                access.start = start
                group.start_soon(access.stop.follow)
                yield access
                group.cancel_scope.cancel()
        finally:
            access.close()
            audit.close()

    def _prepare(self, access: "RunAccess", agent: Agent, identity: Identity) -> None:
        parts = {"model": self.models, "cluster": self.clusters, "tools": self.tools}
        access.parts = tuple(name for name in OWN_PORTS if parts[name] is not None)
        if self.own_network:
            ports = {name: OWN_PORTS[name] for name in access.parts}
        else:
            ports = {name: access.listen() for name in access.parts}
            access.listeners = tuple(each.fileno() for each in access.made)
        # Where the network is open there is no port that has to be let through.
        access.ports = tuple(ports.values()) if self.own_network or self.closed else ()
        lead = Lead()
        if "model" in ports:
            key = DummyKey.new()
            access.digests["model"] = key.sha256
            lead = replace(lead, model_key=key, model_port=ports["model"])
        if "tools" in ports:
            token = AccessToken.new()
            access.digests["tools"] = token.sha256
            url = f"http://127.0.0.1:{ports['tools']}/mcp"
            lead = replace(lead, tools=ToolServer(url=url, token=token.text))
        if self.clusters is not None:
            token = AccessToken.new()
            access.digests["cluster"] = token.sha256
            access.reach = self.clusters.again
            access.kubeconfig = GatewayKubeconfig(
                server=f"https://127.0.0.1:{ports['cluster']}",
                authority=identity.authority,
                token=token.text,
                namespace=self.clusters.credentials.namespace,
            ).as_bytes()
        access.agent = self.dress(agent, lead)
        access.offers = access.agent.offers
        access.asked = self.remember(access.agent)
        with _told(self.records):
            access.save()

    def _go_on(self, access: "RunAccess") -> ClusterPart | None:
        """Take up what the process before put down."""
        saved = _saved(access.state)
        access.parts = tuple(name for name in OWN_PORTS if name in saved.get("parts", ()))
        access.digests = {
            str(name): str(digest) for name, digest in dict(saved.get("digests", {})).items()
        }
        access.record = _record_from(saved.get("record", {}))
        access.asked = _mapping(saved.get("asked"))
        access.agent = self.recall(access.agent, access.asked)
        access.offers = _offers_from(saved["offers"]) if "offers" in saved else access.agent.offers
        access.reach = _mapping(saved.get("reach"))
        return self.cluster_again(access.reach) if "cluster" in access.parts else None


@dataclass(kw_only=True)
class RunAccess:
    """What the run needs to know, and what is known of it afterwards."""

    agent: Agent
    stop: "_Either"
    state: Path
    trail: Path
    parts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    listeners: tuple[int, ...] = ()
    kubeconfig: bytes | None = field(default=None, repr=False)
    record: GatewayRecord = field(default_factory=GatewayRecord)
    cluster_record: ClusterRecord = field(default_factory=ClusterRecord)
    digests: dict[str, str] = field(default_factory=dict)
    offers: Offers | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    reach: Mapping[str, Any] = field(default_factory=dict)
    made: list[socket.socket] = field(default_factory=list)
    start: Callable[[dict[str, socket.socket]], None] = lambda _: None

    def listen(self) -> int:
        """Make one more listener on a port of the loopback, which is returned."""
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.made.append(made)
        made.bind(("127.0.0.1", 0))
        made.listen(128)
        return int(made.getsockname()[1])

    def led(self, command: Command, private: Path) -> Command:
        """`command` with the way to what is served; `private` is where its private files lie."""
        command = replace(command, ports=self.ports, listeners=self.listeners)
        if self.kubeconfig is None:
            return command
        return replace(
            command,
            private_files={**command.private_files, "kubeconfig": self.kubeconfig},
            environment={**command.environment, "KUBECONFIG": str(private / "kubeconfig")},
        )

    def serve(self, listeners: tuple[int, ...]) -> None:
        """Answer on the run's listeners from now on; those that are nobody's are closed."""
        for handle in listeners[len(self.parts) :]:
            os.close(handle)
        self.start(
            {
                name: socket.socket(fileno=handle)
                for name, handle in zip(self.parts, listeners, strict=False)
            }
        )

    @property
    def ended_run(self) -> bool:
        """Whether the run was stopped from here, and by nobody else before."""
        return self.stop.ours

    def corrected(self, verdict: Verdict) -> Verdict:
        """The CLI's claim, put right by what was seen here."""
        return corrected(verdict, self.record) if "model" in self.parts else verdict

    def refused_calls(self) -> int | None:
        """How many calls of our tools were refused, by the record; None if none is served."""
        if "tools" not in self.parts:
            return None
        try:
            lines = (each for each in read_lines(self.trail) if each.get("kind") == KIND)
            return sum(1 for each in lines if each.get("decision") == "refused")
        except OSError:
            return None

    def hear(self, told: Told) -> None:
        """What stands in the way; some of it ends the run."""
        if told.ends_run:
            self.stop.now()

    def count(self, record: GatewayRecord) -> None:
        """Keep what was counted, for whoever may have to go on."""
        self.record = record
        with suppress(OSError):  # the budgets' own ledgers decide; this is for the report
            self.save()

    def count_cluster(self, record: ClusterRecord) -> None:
        """Remember it for the report; for a successor the record has it."""
        self.cluster_record = record

    def save(self) -> None:
        """Put the state beside the record, whole. Raises OSError."""
        value = {
            "parts": self.parts,
            "digests": self.digests,
            "reach": dict(self.reach),
            "asked": dict(self.asked),
            "offers": None
            if self.offers is None
            else {
                "names": sorted(self.offers.names),
                "prefixes": self.offers.prefixes,
            },
            "record": dataclasses.asdict(self.record),
        }
        temporary = self.state.with_suffix(".new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        temporary.replace(self.state)

    def close(self) -> None:
        """Let go of the listeners that were made here."""
        for each in self.made:
            each.close()


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


def _record_given(audit: AuditLog, context: Mapping[str, bytes]) -> None:
    for name, content in sorted(context.items()):
        audit.record("given", file=name, bytes=len(content), answer=audit.keep(content))


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


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _offers_from(value: Any) -> Offers | None:
    """What the CLI may offer, as it was put down; nothing at all where that makes no sense."""
    if value is None:
        return None
    try:
        return Offers(names=frozenset(value["names"]), prefixes=tuple(value["prefixes"]))
    except (TypeError, KeyError):
        return Offers(names=frozenset())


def _record_from(value: Any) -> GatewayRecord:
    """What was counted before; nothing of it is lost, and what makes no sense is nothing."""
    try:
        given = dict(value)
        given["tokens"] = Tokens(**given.get("tokens", {}))
        for name in ("unknown_models", "models"):
            given[name] = tuple(given.get(name, ()))
        for name in ("last_trouble", "gave_up_for"):
            given[name] = Trouble(given[name]) if given.get(name) else None
        return GatewayRecord(**given)
    except (TypeError, ValueError, AttributeError):
        return GatewayRecord()
