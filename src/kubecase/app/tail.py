"""Printing the log of an agent, while it runs and afterwards."""

import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import anyio

from kubecase.app import plugins
from kubecase.app.boundary import AGENT_FAILED, SUCCESS, printable
from kubecase.app.settings import Settings
from kubecase.core.lifecycle import is_final
from kubecase.core.redact import Redactor
from kubecase.runtime.registry import RuntimeOptions
from kubecase.store import Store

POLL_SECONDS = 0.25
MAX_LINE = 64 * 1024


async def print_log(store: Store, settings: Settings, name: str, lines: int, follow: bool) -> int:
    """Print the last `lines` of the log that the shim kept, redacted and harmless to a terminal.

    With `follow`, go on until the investigation has ended.
    """
    incident_id = await store.resolve(name)
    investigation = await store.status(incident_id)
    log = _Log(settings.store.data_dir / "runs" / investigation.key, Redactor(settings.secrets))
    ended = is_final(investigation.status)
    for line in deque(log.new(last=ended), maxlen=max(0, lines)):
        print(line)
    if log.empty and is_final(investigation.status):
        print(
            f"{incident_id} has no log: {investigation.agent} started no process", file=sys.stderr
        )
        return AGENT_FAILED
    while follow and not ended:
        ended = is_final((await store.status(incident_id)).status)
        for line in log.new(last=ended):
            print(line, flush=True)
        if not ended:
            await anyio.sleep(POLL_SECONDS)
    return SUCCESS


class _Log:
    """The interleaved log of one run, of which each line is given once."""

    def __init__(self, run_dir: Path, redactor: Redactor) -> None:
        self._run_dir = run_dir
        self._redactor = redactor
        self._seen = 0
        self._rest = b""

    @property
    def empty(self) -> bool:
        """Whether nothing was ever there."""
        return self._seen == 0

    def new(self, *, last: bool) -> Iterator[str]:
        """The complete lines that came since the last call; with `last` also what has no end."""
        for data in self._unseen():
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                yield self._shown(line)
        if last and self._rest:
            yield self._shown(self._rest)
            self._rest = b""

    def _shown(self, line: bytes) -> str:
        text = line[:MAX_LINE].decode("utf-8", "replace")
        return printable(self._redactor.text(text)[0])

    def _unseen(self) -> Iterator[bytes]:
        position = 0
        for chunk in plugins.runtime("process", RuntimeOptions()).log(self._run_dir):
            position += len(chunk)
            if position > self._seen:
                new = chunk[len(chunk) - (position - self._seen) :]
                self._seen = position
                yield new
