"""What people see while an investigation runs: a live view on a terminal, else plain lines."""

import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from kubecase.app.boundary import printable

if TYPE_CHECKING:
    from rich.console import Group

LOG_LINES = 6
WIDTH = 160
OF_ONE_AGENT = frozenset({"state_changed", "agent_event"})
"""Events that say which agent they are about, for where there are several."""


class PlainProgress:
    """An observer that writes one line for each thing that happens, for logs and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._several = False
        self._begun = time.monotonic()

    def record(self, event: str, /, **fields: object) -> None:
        """Say `event` in one line, if it is one that people want to read."""
        self._several = self._several or bool(fields.get("several"))
        line = in_words(event, fields)
        if line and self._several and event in OF_ONE_AGENT:
            line = f"{fields.get('agent')}: {line}"
        if line:
            seconds = time.monotonic() - self._begun
            print(f"{seconds:7.2f} s  {line}", file=self._out, flush=True)


class LiveProgress:
    """An observer that keeps a small view of the run up to date: state, elapsed, events, log."""

    def __init__(self) -> None:
        self._state = "created"
        self._what = ""
        self._agent = ""
        self._last = "opening the case"
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._begun = time.monotonic()

    def record(self, event: str, /, **fields: object) -> None:
        """Take `event` into the view; the view redraws itself."""
        if event == "case_opened":
            self._what, self._agent = str(fields.get("what")), str(fields.get("agent"))
            self._begun = time.monotonic()
        elif event == "state_changed":
            self._state = str(fields.get("to"))
        elif event == "agent_event" and fields.get("moment") in {"message", "garbage"}:
            self._log.append(printable(fields.get("text"))[:WIDTH])
            return
        line = in_words(event, fields)
        if line:
            self._last = line[:WIDTH]

    def __rich__(self) -> "Group":
        """The view as it is now."""
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        elapsed = int(time.monotonic() - self._begun)
        head = Spinner(
            "dots",
            text=Text.assemble(
                (f" {self._state}", "bold"),
                f"  {elapsed // 60}:{elapsed % 60:02}",
                f"  {self._agent}",
                ("  Ctrl-C stops", "dim"),
                ("  " + printable(self._what), "cyan"),
                no_wrap=True,
                overflow="ellipsis",
            ),
        )
        lines = [Text(f"  {self._last}", style="dim", no_wrap=True, overflow="ellipsis")]
        lines += [Text(f"  │ {line}", no_wrap=True, overflow="ellipsis") for line in self._log]
        return Group(head, *lines)


@contextmanager
def progress(quiet: bool) -> Iterator[PlainProgress | LiveProgress | None]:
    """The observer that suits standard error; the live view is gone when the block is left."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield PlainProgress(sys.stderr)
        return
    from rich.console import Console
    from rich.live import Live

    view = LiveProgress()
    with Live(view, console=Console(stderr=True), transient=True, refresh_per_second=8):
        yield view


WORDS: Mapping[str, str] = {
    "case_opened": "case {incident_id}: {what}, by {agent}",
    "workspace_created": "workspace {workspace}",
    "facts_collected": "collected {objects} objects, {events} events, {logs} logs, {gaps} gaps "
    "from {origin}",
    "findings": "built-in finding: {headline}",
    "state_changed": "{from} → {to}",
    "self_test": "self-test of {agent}, once for this program: {program}",
    "agent_started": "agent started, pid {pid}, isolation {isolation}",
    "agent_event": "{moment}{tool}: {text}",
    "retrying": "attempt {attempt} failed, which may pass: {error}; again in {seconds} s, {left} "
    "more after that",
    "falling_back": "attempt {attempt} by {agent} failed: {error}; {to} is asked next",
    "breaker_opened": "{agent} failed {failures} times in a row",
    "breaker_closed": "{agent} works again",
    "fault_decided": "{decision}: {fault} of {resource}: {reason}",
    "entry_ignored": "left out {pointer}: {why}",
    "service_started": "serving",
    "web_started": "HTTP API at {url}, its description at {url}/api/v1/openapi.json",
    "source_state": "source {source} is {state}: {error}",
    "incident_expired": "incident {incident_id} expired after {waited} s",
    "incident_healed": "incident {incident_id} needs no work: {why}",
    "settings_reloaded": "settings read anew from {file}",
    "stopping": "stopping: {why}",
    "handed_over": "{count} investigations go on; the next service takes them over",
    "error": "error in {error_type}: {error}",
}
"""What each event says to a human; events that are not here are for machines only."""


def in_words(event: str, fields: Mapping[str, object]) -> str | None:
    """What `event` says to a human, on one line; None for what only machines want."""
    words = WORDS.get(event)
    if words is None:
        return None
    known = defaultdict(lambda: "None", {name: str(value) for name, value in fields.items()})
    if event == "agent_event":
        known["tool"] = f" {fields['tool']}" if fields.get("tool") else ""
    line = words.format_map(known)
    return printable(line.removesuffix(": None")).replace("\n", " ")
