"""What is done while an agent runs: the mirror of its log, its events, the workspace's size."""

import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import anyio

from kubecase.core.errors import KubecaseError
from kubecase.core.model import Incident
from kubecase.core.ports import Agent, Moment, Observer, Started, Stream
from kubecase.service.case import AGENT_LOG
from kubecase.workspace import Workspace

MAX_LINE = 1024 * 1024
MAX_LINES_A_SECOND = 200
SIZE_INTERVAL = 5.0


@dataclass(kw_only=True)
class Watch:
    """The service's `Watcher`: mirrors both streams, reads events from standard output.

    `mirror` is the descriptor of `output/agent.log`; the truth is kept by the runtime, so a mirror
    that can no longer be written is given up without harm to the run. `served` is given the run's
    listeners, `strange` what is wrong with the agent's start, if anything is.
    """

    incident: Incident
    agent: Agent
    observer: Observer
    mirror: int
    begun: Callable[[Started], Awaitable[None]]
    served: Callable[[tuple[int, ...]], None] | None = None
    strange: Callable[[str], None] | None = None
    _rest: bytes = b""
    _mirror_works: bool = True
    _skipping: bool = False
    _second: float = 0.0
    _told: int = 0
    _left_out: int = 0

    async def started(self, started: Started) -> None:
        """Put it on record that the agent's process exists."""
        await self.begun(started)

    def output(self, stream: Stream, data: bytes) -> None:
        """Mirror `data`, and tell the observer of each event that complete lines hold."""
        self._write(data)
        if stream == "stdout":
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines and self._skipping:
                # The tail of a line that was too long to be an event.
                self._skipping, lines = False, lines[1:]
            self._compare(lines)
            for line in lines[: self._allowed(len(lines))]:
                self._line(line)
            if len(self._rest) > MAX_LINE:
                self._rest, self._skipping = b"", True

    def listening(self, listeners: tuple[int, ...]) -> None:
        """Serve on them; where nothing serves the agent nobody may wait for an answer either."""
        if self.served is not None:
            self.served(listeners)
            return
        for handle in listeners:
            os.close(handle)

    def _compare(self, lines: list[bytes]) -> None:
        """Tell of a start that is not as it was asked for; no flood hides one."""
        if self.strange is None:
            return
        for line in lines:
            sentence = self.agent.verify_start(line)
            if sentence is not None:
                self.strange(sentence)

    def _allowed(self, count: int) -> int:
        """How many of `count` lines may be read for events: a flood is not worth a standstill."""
        now = time.monotonic()
        if now - self._second >= 1:
            if self._left_out:
                self._tell(Moment.MESSAGE, f"... {self._left_out} more lines", None)
            self._second, self._told, self._left_out = now, 0, 0
        allowed = min(count, MAX_LINES_A_SECOND - self._told)
        self._told += allowed
        self._left_out += count - allowed
        return allowed

    def _line(self, line: bytes) -> None:
        for event in self.agent.events(line):
            self._tell(event.moment, event.text, event.tool)

    def _tell(self, moment: Moment, text: str, tool: str | None) -> None:
        self.observer.record(
            "agent_event",
            incident_id=self.incident.id,
            cluster=self.incident.fault.cluster,
            agent=self.agent.name,
            moment=moment,
            tool=tool,
            text=text,
        )

    def _write(self, data: bytes) -> None:
        if not self._mirror_works:
            return
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self.mirror, view) :]
        except OSError:
            self._mirror_works = False


class Requested:
    """A request to stop that has been made before anybody could wait for it."""

    def is_set(self) -> bool:
        """Always."""
        return True

    async def wait(self) -> object:
        """At once."""
        return None


@contextmanager
def mirrored(workspace: Workspace) -> Iterator[int]:
    """A fresh mirror of the log in a workspace that an agent may have worked in already.

    What it made of the old one goes; if it left no place for one, nothing is mirrored.
    """
    try:
        with suppress(KubecaseError, FileNotFoundError):
            workspace.remove(AGENT_LOG)
        handle = workspace.create_log()
    except KubecaseError:
        handle = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


async def report_size(
    size: Callable[[], int], told: Callable[[int], None], interval: float = SIZE_INTERVAL
) -> None:
    """Tell the size of the workspace every `interval` seconds until cancelled."""
    while True:
        await anyio.sleep(interval)
        told(await anyio.to_thread.run_sync(size))
