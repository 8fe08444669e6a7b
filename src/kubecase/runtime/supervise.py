"""The supervising side: starts a shim for each command, follows its files, waits for its end."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Command, Exit, Limits
from kubecase.core.ports import Probe, Stop, Watcher
from kubecase.runtime import launch, records
from kubecase.runtime.attach import find, open_shim, stop_run
from kubecase.runtime.layers import Layer, ProcessLayer, Wrapped
from kubecase.runtime.lost import lose
from kubecase.runtime.supervision import Supervision, never_started
from kubecase.runtime.tail import interleaved, stored_lines

Policy = Literal["die_with_me", "survive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRuntime:
    """Runs a command under a shim of its own, in the layer of isolation that it was given.

    With `die_with_me` the shim ends the agent when this process is gone; with `survive` the run
    goes on, leaves its record, and can be taken over. `python` is the interpreter of the shim.
    `reader` is the group of the user that agents run as, if that is another. `open_files` and
    `data_bytes` are limits for each process of the agent.
    """

    layer: Layer = field(default_factory=ProcessLayer)
    policy: Policy = "die_with_me"
    python: str = sys.executable
    reader: int | None = None
    open_files: int = 4096
    data_bytes: int = 4 * 1024**3

    @property
    def name(self) -> str:
        """The name of the layer, in settings and in the run's record."""
        return self.layer.name

    def probe(self) -> Probe:
        """Try the mechanism of the layer."""
        return self.layer.probe()

    async def run(
        self, command: Command, limits: Limits, *, run_dir: Path, stop: Stop, watcher: Watcher
    ) -> Exit:
        """Run `command` to its end, whatever ends it: see `core.ports.Runtime`."""
        require_linux()
        wrapped = self.layer.wrap(command, run_dir)
        records.create_run_dir(run_dir, command.private_files, reader=self.reader)
        request = self._request(command, wrapped, limits, run_dir)
        if stop.is_set():
            return never_started(run_dir, command)
        shim = launch.launch(self.python, run_dir)
        supervision = Supervision(shim=shim, run_dir=run_dir, watcher=watcher)
        try:
            # While the interpreter of the shim starts: what is intended is on record first.
            await anyio.to_thread.run_sync(records.write_request, run_dir, command, request)
            return await supervision.run(request, command.listeners, stop, command)
        finally:
            with anyio.CancelScope(shield=True):
                await supervision.leave_nothing()

    async def attach(self, run_dir: Path, *, stop: Stop, watcher: Watcher) -> Exit | None:
        """Take over a run whose supervisor is dead: see `core.ports.Runtime`."""
        require_linux()
        found = await find(run_dir)
        if found.started is None:
            return found.exit
        shim = open_shim(found.started, run_dir)
        if shim is None:
            # The shim writes its record last of all, so it may have come since the first look.
            exit = records.read_exit(run_dir)
            await watcher.started(found.started.started)
            return exit or await anyio.to_thread.run_sync(lose, run_dir, found.started)
        supervision = Supervision(shim=shim, run_dir=run_dir, watcher=watcher)
        try:
            return await supervision.take_over(found.started, stop)
        finally:
            with anyio.CancelScope(shield=True):
                await supervision.leave_nothing()

    def is_running(self, run_dir: Path) -> bool:
        """Whether a shim is at work there: it holds its record of the start, and lives."""
        started = records.read_started(run_dir)
        return started is not None and started.shim.is_alive()

    def lines(self, run_dir: Path) -> Iterator[bytes]:
        """The stored standard output line by line, without line ends, at most 8 MiB of each."""
        return stored_lines(run_dir)

    def log(self, run_dir: Path) -> Iterator[bytes]:
        """Both stored streams as they came, in pieces."""
        return interleaved(run_dir)

    async def stop(self, run_dir: Path, *, wait_seconds: float) -> bool:
        """Ask the run kept in `run_dir` to stop; True once nothing of it is alive.

        False if that was not seen within `wait_seconds`, or if no such run has been started.
        """
        with anyio.move_on_after(wait_seconds):
            return await stop_run(run_dir)
        return False

    def _request(
        self, command: Command, wrapped: Wrapped, limits: Limits, run_dir: Path
    ) -> dict[str, Any]:
        processors = os.cpu_count() or 1
        return {
            "argv": _encoded(wrapped.argv),
            "environment": _encoded_pairs(wrapped.environment),
            "cwd": str(command.cwd),
            "stdin": command.stdin,
            "run_dir": str(run_dir),
            "isolation": self.name,
            "notes": list(wrapped.notes),
            "confinement": dict(wrapped.confinement),
            "cleanup": None if wrapped.cleanup is None else {
                "argv": _encoded(wrapped.cleanup[0]),
                "environment": _encoded_pairs(wrapped.cleanup[1]),
            },
            "limits": {
                "wall_clock": limits.wall_clock,
                "grace": limits.grace,
                "idle": limits.idle,
                "output_bytes": limits.output_bytes,
                "disk_bytes": limits.disk_bytes,
                "log_bytes": limits.log_bytes,
                "stop_signal": int(command.stop_signal),
                "policy": self.policy,
            },
            "rlimits": {
                "NOFILE": self.open_files,
                "CORE": 0,
                "FSIZE": limits.disk_bytes,
                "DATA": self.data_bytes,
                # A second line only: the clock on the wall is the limit.
                "CPU": int((limits.wall_clock + limits.grace) * processors) + 60,
                **wrapped.limits,
            },
        }  # fmt: skip


def require_linux() -> None:
    """Raise RuntimeUnavailable, naming what is missing, where supervision cannot work."""
    missing = [f"os.{name}" for name in ("pidfd_open", "splice", "waitid") if not hasattr(os, name)]
    if not hasattr(signal, "pidfd_send_signal"):
        missing.append("signal.pidfd_send_signal")
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        missing.append("/proc/PID/task/TID/children")
    if missing:
        raise RuntimeUnavailable(
            f"cannot supervise processes on this system: {', '.join(missing)} missing",
            hint="Run agents on Linux 5.4 or newer; the built-in investigator works anywhere.",
        )


def _encoded(words: tuple[str, ...]) -> list[bytes]:
    return [os.fsencode(word) for word in words]


def _encoded_pairs(pairs: Any) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in pairs.items()}
