"""The protocols through which the service knows agents, runtimes, sources, sinks and publishers.

All on one page. Third parties implement them and register under the entry-point groups
`kubecase.agents`, `.runtimes`, `.sources`, `.sinks` and `.publishers`; what is built in registers
the same way. `tests/contracts` holds one suite per protocol that every implementation must pass.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from kubecase.core.briefing import Briefing
from kubecase.core.messages import Message
from kubecase.core.model import (
    Collection,
    Command,
    Exit,
    Fault,
    IncidentId,
    Investigation,
    Limits,
    Verdict,
)


class Moment(StrEnum):
    """What an agent was seen doing, in one vocabulary for all CLIs."""

    STARTED = "started"
    MESSAGE = "message"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    DENIED = "denied"
    RETRY = "retry"
    USAGE = "usage"
    FINISHED = "finished"
    GARBAGE = "garbage"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """One thing an agent did, read from its output. `text` is untrusted and at most 2000 long."""

    moment: Moment
    text: str
    tool: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A key that an agent's CLI needs: the variable it reads, and the value."""

    variable: str
    value: str

    def __repr__(self) -> str:
        """Without the value."""
        return f"Credential({self.variable})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolServer:
    """Where an agent finds kubecase's tools: an MCP server over HTTP, with a token of its run."""

    url: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """The tools that a CLI may offer to its model, by the names that the model is told.

    `names` are whole names, `prefixes` beginnings of names. A tool in a namespace is called
    `namespace/name`.
    """

    names: frozenset[str]
    prefixes: tuple[str, ...] = ()

    def admits(self, tool: str) -> bool:
        """Whether `tool` is one of them."""
        return tool in self.names or tool.startswith(self.prefixes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a CLI can do by itself, and what it cannot is done by kubecase or not at all.

    `stream`: it tells what it does while it does it; `cost`: it tells what a run cost; `budget` and
    `turns`: it can be given a limit of either; `denials`: it tells which tool calls it refused.
    `needs_node`: its program is run by Node.
    """

    stream: bool = False
    cost: bool = False
    budget: bool = False
    turns: bool = False
    denials: bool = False
    needs_node: bool = False


class Agent(Protocol):
    """How to ask one AI CLI. Pure: no file, no process, no clock."""

    @property
    def name(self) -> str:
        """The name in settings, rows and metrics."""

    @property
    def capabilities(self) -> Capabilities:
        """What its CLI can do by itself."""

    @property
    def offers(self) -> Offers | None:
        """The tools that its CLI may offer to a model; None where nothing is known of them."""

    @property
    def variables(self) -> frozenset[str]:
        """Every environment name that `command` may add to the briefing's own."""

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        """What to run for `briefing` in `workspace`; `private` is where private files will lie.

        The prompt goes in by standard input. The environment is `briefing.environment` and
        declared `variables`, nothing else; no secret is in argv.
        """

    def verify_start(self, line: bytes) -> str | None:
        """What is wrong with the start that this line of standard output tells of, in a sentence.

        None for a start as it was asked for, and for any other line. Never raises.
        """

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        """What one line of standard output tells. Never raises, whatever the line holds."""

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        """What the whole standard output claims. Never raises, whatever the lines hold."""


class Stop(Protocol):
    """A request to stop one investigation: data that is waited for, never a cancellation."""

    def is_set(self) -> bool:
        """Whether the request has been made."""

    async def wait(self) -> object:
        """Return once the request has been made."""


Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An agent's process exists: who it is, since when, and which isolation is in force.

    `isolation` is the name of the layer; `notes` say what that layer does not defend against.
    """

    pid: int
    at: datetime
    isolation: str
    notes: tuple[str, ...] = ()


class Watcher(Protocol):
    """Told by a runtime what happens while a command runs. Its methods must be quick."""

    async def started(self, started: Started) -> None:
        """The agent's process exists."""

    def output(self, stream: Stream, data: bytes) -> None:
        """More output, in the order it came, in pieces of any size, up to the stored limit."""

    def listening(self, listeners: tuple[int, ...]) -> None:
        """The listening sockets of the run: those of the command, then one for each of its `ports`
        in a network of the agent's own. Descriptors, which are the watcher's from now on. Told
        again to whoever takes over.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Whether a mechanism works on this host, in words; `remedy` where something can be done."""

    works: bool
    says: str
    remedy: str | None = None


class Runtime(Protocol):
    """Starts one command, watches it, contains it, and leaves nothing of it alive."""

    @property
    def name(self) -> str:
        """The name in settings and in the run's record."""

    def probe(self) -> Probe:
        """Try on this host what the runtime needs; nothing of the trial is left."""

    async def run(
        self, command: Command, limits: Limits, *, run_dir: Path, stop: Stop, watcher: Watcher
    ) -> Exit:
        """Run `command` to its end, whatever ends it, and say how it ended.

        `run_dir` is created by the runtime (0700, outside the workspace, must not exist) and keeps
        the log, the start and the exit record. However this is left, by return, by error or by
        cancellation, no process of the command is alive. A program that cannot be started is an
        Exit by START_ERROR. Raises RuntimeUnavailable when supervision itself cannot work here.
        """

    async def attach(self, run_dir: Path, *, stop: Stop, watcher: Watcher) -> Exit | None:
        """Take over a run whose supervisor is dead, and follow it to its end like `run` does.

        The watcher is told of the start again, and of all output from the beginning if the agent
        still runs. None if no agent was started, and then none will be. Only for the owner of the
        run: two that take over the same one are not told apart here. Raises RuntimeUnavailable.
        """

    def is_running(self, run_dir: Path) -> bool:
        """Whether the run kept in `run_dir`, started by any process, has begun and not ended."""

    def lines(self, run_dir: Path) -> Iterator[bytes]:
        """The stored standard output of a run, line by line without line ends, bounded."""

    def log(self, run_dir: Path) -> Iterator[bytes]:
        """Both stored streams of a run, interleaved as they came, in chunks."""

    async def stop(self, run_dir: Path, *, wait_seconds: float) -> bool:
        """Ask the run kept in `run_dir`, started by any process, to stop; True once it is gone."""


class Collector(Protocol):
    """Finds out what is known about a fault, read-only."""

    async def collect(self, fault: Fault) -> Collection:
        """What could be had; failing to get something is a `Gap`, not an error."""


class Source(Protocol):
    """Where faults come from."""

    @property
    def name(self) -> str:
        """The name in settings and metrics."""

    def faults(self) -> AsyncIterator[Fault]:
        """The faults, as they come; ends when the source is exhausted."""


class Sink(Protocol):
    """Where reports go to reach people."""

    @property
    def name(self) -> str:
        """The name in settings and metrics."""

    async def send(self, message: Message, *, reference: str) -> None:
        """Deliver `message` once, with a few tries close together; raises NotDelivered.

        `reference` is the same whenever the same message is sent again, and a receiver that keeps
        it can tell. Bounded in time; may be cancelled, and it is then not known what arrived.
        """


class Publisher(Protocol):
    """Where the files of an ended investigation are kept for readers."""

    async def publish(self, investigation: Investigation, files: Mapping[str, Path]) -> str | None:
        """Store `files` by name; returns an address for people, if there is one."""


Handler = Callable[[IncidentId], Awaitable[float | None]]
"""Works one incident that a queue gives out; returns None when it is done with it, else the seconds
after which it wants it again. Must not raise."""


class Queue(Protocol):
    """Gives out incidents: the most urgent first, at most so many of a cluster at a time, each to
    one worker. What is queued is told to it again after a restart; the truth is on record.
    """

    async def enqueue(self, incident: IncidentId, *, cluster: str, priority: int) -> bool:
        """Hand in `incident`; False if it is queued or being worked already."""

    async def cancel_queued(self, incident: IncidentId) -> bool:
        """Take `incident` out before it is given to anybody; False if it is not waiting."""

    async def register(self, cluster: str, limit: int) -> None:
        """From now on give out incidents of `cluster`, at most `limit` at a time."""

    async def run(self, handler: Handler) -> None:
        """Give out incidents until `stop`; returns when those given out are done with."""

    async def stop(self) -> None:
        """Give out nothing more."""

    async def stats(self) -> Mapping[str, int]:
        """How many incidents of each cluster wait."""


class Observer(Protocol):
    """Told of every event that logs and metrics are made of."""

    def record(self, event: str, /, **fields: object) -> None:
        """One event with its fields; the names are those of docs/formats.md section 7."""


class Silence:
    """An observer that keeps nothing, for those who have none."""

    def record(self, event: str, /, **fields: object) -> None:
        """Keep nothing of it."""
