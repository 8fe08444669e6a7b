"""Small hostile programs, and what a test needs to run one under a runtime and judge the outcome.

Whether anything survived is not asked of kubecase: each adversary holds the writing end of a FIFO
named `lifeline` in its workspace open and passes it on to all it starts. The reading end is at its
end exactly when no holder is alive, whatever names, sessions and environments they took.
"""

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from kubecase.core.model import Command, Exit, Limits
from kubecase.core.ports import Runtime, Started, Stop, Stream

HERE = Path(__file__).parent
PATH = "/usr/local/bin:/usr/bin:/bin"


def limits(**changes: Any) -> Limits:
    """Generous limits with a short grace, but for `changes`."""
    usual = {
        "wall_clock": 30.0,
        "grace": 0.4,
        "idle": None,
        "output_bytes": 256 * 1024 * 1024,
        "disk_bytes": 1024 * 1024 * 1024,
    }
    return Limits(**{**usual, **changes})


def shell(script: str, cwd: Path, **changes: Any) -> Command:
    """A command that runs `script` with the shell."""
    return command(("/bin/sh", "-c", script), cwd, **changes)


def program(code: str, cwd: Path, **changes: Any) -> Command:
    """A command that runs Python `code`."""
    return command((sys.executable, "-I", "-S", "-c", code), cwd, **changes)


def adversary(name: str, cwd: Path, *arguments: str, **changes: Any) -> Command:
    """A command that runs the adversary `name`, holding the lifeline."""
    program = (sys.executable, "-I", "-S", str(HERE / "hold.py"), str(HERE / f"{name}.py"))
    return command((*program, *arguments), cwd, read_only_paths=(HERE,), **changes)


def command(argv: tuple[str, ...], cwd: Path, **changes: Any) -> Command:
    """A command with a minimal environment, but for `changes`."""
    return Command(argv=argv, cwd=cwd, **{"environment": {"PATH": PATH}, **changes})


@dataclass(kw_only=True)
class Seen:
    """A watcher that remembers. `ready` is set once standard output holds the word "ready"."""

    started_as: list[Started] = field(default_factory=list)
    pieces: list[tuple[Stream, bytes]] = field(default_factory=list)
    listeners: list[int] = field(default_factory=list)
    at_start: anyio.Event = field(default_factory=anyio.Event)
    ready: anyio.Event = field(default_factory=anyio.Event)

    async def started(self, started: Started) -> None:
        self.started_as.append(started)
        self.at_start.set()

    def output(self, stream: Stream, data: bytes) -> None:
        self.pieces.append((stream, data))
        if b"ready" in self.text("stdout"):
            self.ready.set()

    def listening(self, listeners: tuple[int, ...]) -> None:
        self.listeners += listeners

    def text(self, stream: Stream) -> bytes:
        return b"".join(data for name, data in self.pieces if name == stream)


@dataclass(kw_only=True)
class Bench:
    """A workspace with a lifeline, and run directories beside it."""

    root: Path
    workspace: Path
    lifeline: int
    runs: int = 0

    @property
    def run_dir(self) -> Path:
        """The directory of the latest run."""
        return self.root / "runs" / str(self.runs)

    async def run(
        self,
        runtime: Runtime,
        command: Command,
        limits: Limits,
        *,
        stop: Stop | None = None,
        seen: Seen | None = None,
    ) -> Exit:
        """One run in a fresh run directory."""
        self.runs += 1
        return await runtime.run(
            command,
            limits,
            run_dir=self.run_dir,
            stop=stop or anyio.Event(),
            watcher=seen or Seen(),
        )

    async def run_until_ready(self, runtime: Runtime, command: Command, limits: Limits) -> Exit:
        """One run that is stopped as soon as the agent says that it is ready."""
        stop, seen = anyio.Event(), Seen()
        ends: list[Exit] = []

        async def begin() -> None:
            ends.append(await self.run(runtime, command, limits, stop=stop, seen=seen))
            seen.ready.set()

        async with anyio.create_task_group() as both:
            both.start_soon(begin)
            await seen.ready.wait()
            stop.set()
        assert b"ready" in seen.text("stdout")
        return ends[0]

    def nothing_is_alive(self) -> bool:
        """Whether no process holds the lifeline any more."""
        return bool(select.select([self.lifeline], [], [], 0)[0]) and not os.read(self.lifeline, 1)


@contextlib.contextmanager
def bench(root: Path) -> Iterator[Bench]:
    """A bench in the empty directory `root`."""
    workspace = root / "workspace"
    workspace.mkdir(mode=0o700)
    os.mkfifo(workspace / "lifeline", 0o600)
    handle = os.open(workspace / "lifeline", os.O_RDONLY | os.O_NONBLOCK)
    # Once somebody has held the other end: before that, a FIFO does not say that it is at its end.
    os.close(os.open(workspace / "lifeline", os.O_WRONLY))
    try:
        yield Bench(root=root, workspace=workspace, lifeline=handle)
    finally:
        os.close(handle)


async def until(promise: Any, seconds: float = 10.0) -> None:
    """Return once `promise()` is true; fails the test if that takes too long."""
    with anyio.fail_after(seconds):
        while not promise():
            await anyio.sleep(0.01)
