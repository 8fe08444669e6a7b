"""What is done while an agent runs: the mirror of its log, its events, the workspace's size."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from kubecase.core.model import Incident
from kubecase.core.ports import Agent, Observer, Started, Stream

MAX_LINE = 1024 * 1024
SIZE_INTERVAL = 5.0


@dataclass(kw_only=True)
class Watch:
    """The service's `Watcher`: mirrors both streams, reads events from standard output.

    `mirror` is the descriptor of `output/agent.log`; the truth is kept by the runtime, so a mirror
    that can no longer be written is given up without harm to the run.
    """

    incident: Incident
    agent: Agent
    observer: Observer
    mirror: int
    begun: Callable[[Started], Awaitable[None]]
    _rest: bytes = b""
    _mirror_works: bool = True
    _skipping: bool = field(default=False)

    async def started(self, started: Started) -> None:
        """Put it on record that the agent's process exists."""
        await self.begun(started)

    def output(self, stream: Stream, data: bytes) -> None:
        """Mirror `data`, and tell the observer of each event that complete lines hold."""
        self._write(data)
        if stream == "stdout":
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._line(line)
            if len(self._rest) > MAX_LINE:
                self._rest, self._skipping = b"", True

    def _line(self, line: bytes) -> None:
        if self._skipping:
            # The tail of a line that was too long to be an event.
            self._skipping = False
            return
        for event in self.agent.events(line):
            self.observer.record(
                "agent_event",
                incident_id=self.incident.id,
                cluster=self.incident.fault.cluster,
                moment=event.moment,
                tool=event.tool,
                text=event.text,
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


async def report_size(
    size: Callable[[], int], told: Callable[[int], None], interval: float = SIZE_INTERVAL
) -> None:
    """Tell the size of the workspace every `interval` seconds until cancelled."""
    while True:
        await anyio.sleep(interval)
        told(await anyio.to_thread.run_sync(size))
