"""What an agent did, in the words of all agents, read again from what the shim has kept.

Nothing of it is stored a second time: the kept output is the truth, and the adapter reads it.
"""

import json
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import anyio

from kubecase.app import plugins, wiring
from kubecase.app.boundary import AGENT_FAILED, SUCCESS, printable
from kubecase.app.settings import Settings
from kubecase.app.unavailable import UnavailableAgent
from kubecase.core.lifecycle import is_final
from kubecase.core.ports import Agent, AgentEvent
from kubecase.core.redact import Redactor
from kubecase.runtime.registry import RuntimeOptions
from kubecase.store import Store

POLL_SECONDS = 0.5


@dataclass(kw_only=True)
class Activity:
    """The events of one run, each of which is given once, redacted. `seen` counts the lines."""

    agent: Agent
    run_dir: Path
    redactor: Redactor
    seen: int = 0
    more: bool = False

    def new(self, *, ended: bool, most: int | None = None) -> Iterator[AgentEvent]:
        """What came since the last call, of at most `most` lines; `more` says if there were more.

        While the run goes on, its last line may be half a line and is left for later. To be read
        to its end, or events of a line are lost.
        """
        lines = plugins.runtime("process", RuntimeOptions()).lines(self.run_dir)
        begin, held = self.seen, None
        self.more = False
        for line in chain(islice(lines, self.seen, None), (None,)):
            if held is not None and (line is not None or ended):
                if most is not None and self.seen - begin >= most:
                    self.more = True
                    return
                yield from self._of(held)
            held = line

    def _of(self, line: bytes) -> Iterator[AgentEvent]:
        self.seen += 1
        for event in self.agent.events(line):
            text = self.redactor.text(event.text)[0]
            yield AgentEvent(moment=event.moment, text=text, tool=event.tool)


def activity_of(settings: Settings, agent: str, run: str) -> Activity | None:
    """The events of the run called `run` by `agent`; None for one that has no adapter here."""
    if agent == wiring.BUILTIN or agent not in plugins.names("agents"):
        return None
    adapter: Agent | None = wiring.named_choice(agent, settings, "to be read").agent
    if isinstance(adapter, UnavailableAgent):
        adapter = plugins.reader(agent)
    if adapter is None:
        return None
    return Activity(
        agent=adapter,
        run_dir=settings.store.data_dir / "runs" / run,
        redactor=Redactor(settings.secrets),
    )


async def print_activity(
    store: Store, settings: Settings, name: str, *, last: int, follow: bool, as_json: bool
) -> int:
    """Print the last events of an incident's latest attempt; with `follow` go on to its end."""
    incident_id = await store.resolve(name)
    investigation = await store.status(incident_id)
    activity = activity_of(settings, investigation.agent, investigation.key)
    if activity is None:
        print(f"{incident_id}: {investigation.agent} tells of no events", file=sys.stderr)
        return AGENT_FAILED
    ended = is_final(investigation.status)
    for event in deque(activity.new(ended=ended), maxlen=max(0, last)):
        _print(event, as_json=as_json)
    while follow and not ended:
        await anyio.sleep(POLL_SECONDS)
        ended = is_final((await store.status(incident_id, investigation.attempt)).status)
        for event in activity.new(ended=ended):
            _print(event, as_json=as_json)
    return SUCCESS


def _print(event: AgentEvent, *, as_json: bool) -> None:
    if as_json:
        value = {"moment": event.moment, "tool": event.tool, "text": event.text}
        print(json.dumps(value), flush=True)
        return
    tool = f" {event.tool}" if event.tool else ""
    print(printable(f"{event.moment}{tool}: {event.text}").replace("\n", " "), flush=True)
