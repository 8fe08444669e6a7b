"""What people see while an investigation runs: a live view on a terminal, else plain lines."""

import sys
import time
from collections import deque
from collections.abc import Iterator
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


def in_words(event: str, fields: dict[str, object]) -> str | None:
    """What `event` says to a human, on one line; None for what only machines want."""
    match event:
        case "case_opened":
            line = (
                f"case {fields.get('incident_id')}: {fields.get('what')}, by {fields.get('agent')}"
            )
        case "workspace_created":
            line = f"workspace {fields.get('workspace')}"
        case "facts_collected":
            line = (
                f"collected {fields.get('objects')} objects, {fields.get('events')} events, "
                f"{fields.get('logs')} logs, {fields.get('gaps')} gaps from {fields.get('origin')}"
            )
        case "findings":
            line = f"built-in finding: {fields.get('headline')}"
        case "state_changed":
            line = f"{fields.get('from')} → {fields.get('to')}"
        case "agent_started":
            line = f"agent started, pid {fields.get('pid')}, isolation {fields.get('isolation')}"
        case "agent_event":
            tool = f" {fields.get('tool')}" if fields.get("tool") else ""
            line = f"{fields.get('moment')}{tool}: {fields.get('text')}"
        case "retrying":
            line = (
                f"attempt {fields.get('attempt')} failed, which may pass: {fields.get('error')}; "
                f"again in {fields.get('seconds')} s, {fields.get('left')} more after that"
            )
        case "falling_back":
            line = (
                f"attempt {fields.get('attempt')} by {fields.get('agent')} failed: "
                f"{fields.get('error')}; {fields.get('to')} is asked next"
            )
        case "breaker_opened":
            line = f"{fields.get('agent')} failed {fields.get('failures')} times in a row"
        case "breaker_closed":
            line = f"{fields.get('agent')} works again"
        case "stopping":
            line = f"stopping: {fields.get('why')}"
        case "error":
            line = f"error in {fields.get('error_type')}: {fields.get('error')}"
        case _:
            return None
    return printable(line).replace("\n", " ")
