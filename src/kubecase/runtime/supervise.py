"""The supervising side: starts a shim for each command, follows its files, waits for its end."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import anyio

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Cause, Command, Exit, Limits
from kubecase.core.ports import Stop, Watcher
from kubecase.runtime import launch, records
from kubecase.runtime.remnants import kill_session
from kubecase.runtime.tail import Tail, interleaved, stored_lines

Policy = Literal["die_with_me", "survive"]

NOTES = (
    "same user: the agent may signal and inspect any process of the user that runs it",
    "files: the agent may read and write whatever that user may",
    "network: the agent may reach whatever this host reaches",
    "memory: bounded for each process, not for the agent as a whole",
    "foreign daemons: what the agent has another program start for it is not found",
)
"""What this layer does not defend against; stands in each run's record."""

START_RECORD_SECONDS = 5.0
POLL_SECONDS = 0.05
END_SECONDS = 20.0
TELL_SECONDS = 2.0
TURN_SECONDS = 0.005
PORTION_LINES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRuntime:
    """Runs a command as a process of this user, under a shim of its own.

    With `die_with_me` the shim ends the agent when this process is gone; with `survive` the run
    goes on and leaves its record. `python` is the interpreter of the shim. `open_files` and
    `data_bytes` are limits for each process of the agent.
    """

    policy: Policy = "die_with_me"
    python: str = sys.executable
    open_files: int = 4096
    data_bytes: int = 4 * 1024**3

    @property
    def name(self) -> str:
        """The name in settings and in the run's record."""
        return "process"

    async def run(
        self, command: Command, limits: Limits, *, run_dir: Path, stop: Stop, watcher: Watcher
    ) -> Exit:
        """Run `command` to its end, whatever ends it: see `core.ports.Runtime`."""
        require_linux()
        records.create_run_dir(run_dir, command.private_files)
        request = self._request(command, limits, run_dir)
        if stop.is_set():
            return _never_started(run_dir, command)
        shim = launch.launch(self.python, run_dir)
        supervision = _Supervision(shim=shim, run_dir=run_dir, watcher=watcher)
        try:
            # While the interpreter of the shim starts: what is intended is on record first.
            await anyio.to_thread.run_sync(records.write_request, run_dir, command, request)
            return await supervision.run(request, stop, command)
        finally:
            with anyio.CancelScope(shield=True):
                await supervision.leave_nothing()

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
            return await _stop(run_dir)
        return False

    def _request(self, command: Command, limits: Limits, run_dir: Path) -> dict[str, Any]:
        processors = os.cpu_count() or 1
        return {
            "argv": [os.fsencode(word) for word in command.argv],
            "environment": {
                os.fsencode(name): os.fsencode(value) for name, value in command.environment.items()
            },
            "cwd": str(command.cwd),
            "stdin": command.stdin,
            "run_dir": str(run_dir),
            "isolation": self.name,
            "notes": list(NOTES),
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
            },
        }


@dataclass(slots=True, kw_only=True)
class _Supervision:
    """One run as its supervisor sees it.

    `started` and `exit` are what the shim said, which the agent cannot change, unlike the files.
    """

    shim: launch.Shim
    run_dir: Path
    watcher: Watcher
    forked: bool = False
    started: records.StartRecord | None = None
    exit: Exit | None = None
    tell_until: float | None = None

    async def run(self, request: dict[str, Any], stop: Stop, command: Command) -> Exit:
        await self.shim.send_request(request)
        obeying = asyncio.ensure_future(self._obey(stop))
        tail = Tail(self.run_dir)
        try:
            await self._follow(tail)
            await self.shim.wait()
            self._set_last_moment()
            await self._pass_on(tail)
        finally:
            obeying.cancel()
            tail.close()
        return self._how_it_ended(command)

    async def _obey(self, stop: Stop) -> None:
        await stop.wait()
        self.shim.tell(launch.CANCEL)

    async def _follow(self, tail: Tail) -> None:
        """Listen to the shim until it says no more."""
        while messages := await self.shim.hear():
            for message in messages:
                self._note(*message)
            kinds = {kind for kind, _ in messages}
            if launch.STARTED in kinds and self.started is not None:
                await self.watcher.started(self.started.started)
            if launch.OUTPUT in kinds:
                await self._pass_on(tail)

    def _note(self, kind: bytes, record: bytes) -> None:
        if kind == launch.FORKING:
            self.forked = True
        elif kind == launch.STARTED:
            self.started = records.parse_started(record)
        elif kind == launch.EXIT:
            self.exit = records.parse_exit(record)
            self._set_last_moment()

    def _set_last_moment(self) -> None:
        """After the end the watcher is told a while longer; all of the output is in the files."""
        if self.tell_until is None:
            self.tell_until = time.monotonic() + TELL_SECONDS

    async def _pass_on(self, tail: Tail) -> None:
        """Tell the watcher what is new, in short turns: a flood leaves room for all else."""
        turn_ends = time.monotonic() + TURN_SECONDS
        while piece := tail.take():
            stream, data = piece
            for portion in portions(data):
                if time.monotonic() >= turn_ends:
                    await anyio.sleep(0)
                    for message in self.shim.overhear():
                        self._note(*message)
                    if self.tell_until is not None and time.monotonic() >= self.tell_until:
                        return
                    turn_ends = time.monotonic() + TURN_SECONDS
                self.watcher.output(stream, portion)

    async def leave_nothing(self) -> None:
        """However a run is left: the shim has ended its agent, or is made to."""
        shim = self.shim
        if shim.status is None:
            shim.tell(launch.HURRY)
            shim.hang_up()
            with anyio.move_on_after(END_SECONDS):
                await shim.wait()
        if shim.status is None:
            shim.kill()
            await shim.wait()
            _lost(self.run_dir, self.started)
        shim.close()

    def _how_it_ended(self, command: Command) -> Exit:
        exit = self.exit
        if exit is None and self.shim.status == 0:
            # It ended well, but could not make itself heard. The record that stands beside a shim
            # that was killed may be anyone's.
            exit = records.read_exit(self.run_dir)
        if exit is not None:
            _forget_empty_log(self.run_dir)
            if exit.cause is Cause.START_ERROR:
                return _name_program(exit, command)
            return exit
        if not self.forked:
            raise RuntimeUnavailable(
                "cannot supervise: the shim ended before it started the agent",
                hint=f"What it says is in {self.run_dir / launch.SHIM_LOG}.",
            )
        return _lost(self.run_dir, self.started)


def portions(data: bytes) -> Iterator[bytes]:
    """`data` in parts of about a thousand lines on average, so that a watcher takes each quickly.

    Ordinary output is one part: 64 KiB hold that many lines only if most are shorter than usual.
    """
    step = max(1, len(data) * PORTION_LINES // max(data.count(b"\n"), PORTION_LINES))
    if step >= len(data):
        yield data
        return
    for begin in range(0, len(data), step):
        yield data[begin : begin + step]


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


def _lost(run_dir: Path, started: records.StartRecord | None) -> Exit:
    """The shim died without a last word: kill what can be found, and put that on record."""
    found = kill_session(started.agent) if started else 0
    exit = Exit(
        cause=Cause.LOST,
        code=None,
        signal=None,
        seconds=_seconds_since(started),
        clean=False,
        leftover=found,
        error="the shim was killed; what the agent had started may be alive",
    )
    with suppress(RuntimeUnavailable):  # the answer matters more than its copy on a full disk
        records.write_exit(run_dir, exit)
    return exit


def _never_started(run_dir: Path, command: Command) -> Exit:
    exit = Exit(
        cause=Cause.STOP_REQUESTED,
        code=None,
        # An exit has a code or a signal; the nearest truth is the one that would have been sent.
        signal=command.stop_signal,
        seconds=0.0,
        clean=True,
        error="stopped before the agent was started",
    )
    records.write_exit(run_dir, exit)
    return exit


def _seconds_since(started: records.StartRecord | None) -> float:
    if started is None:
        return 0.0
    return max(0.0, (datetime.now(UTC) - started.started.at).total_seconds())


def _name_program(exit: Exit, command: Command) -> Exit:
    """With the program and its directory, as an operator needs them; never the arguments."""
    return replace(exit, error=f"{command.argv[0]} in {command.cwd}: {exit.error}")


def _forget_empty_log(run_dir: Path) -> None:
    log = run_dir / launch.SHIM_LOG
    with suppress(OSError):
        if log.stat().st_size == 0:
            log.unlink()


async def _stop(run_dir: Path) -> bool:
    started = await _start_record(run_dir)
    if started is None:
        return records.read_exit(run_dir) is not None
    if started.shim.is_alive():
        with suppress(ProcessLookupError):
            await _cancel(started.shim)
    exit = records.read_exit(run_dir)
    if exit is None or not exit.clean:
        kill_session(started.agent)
    return not started.agent.is_alive()


async def _start_record(run_dir: Path) -> records.StartRecord | None:
    """The record of the start, waited for as long as a start can take."""
    with anyio.move_on_after(START_RECORD_SECONDS):
        while run_dir.is_dir() and records.read_exit(run_dir) is None:
            if (started := records.read_started(run_dir)) is not None:
                return started
            await anyio.sleep(POLL_SECONDS)
    return records.read_started(run_dir)


async def _cancel(shim: records.Process) -> None:
    """Tell the shim to stop its agent, and wait until it has."""
    handle = os.pidfd_open(shim.pid)
    try:
        # Between the look and the opening the number may have been given to a stranger.
        if shim.is_alive():
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            await anyio.wait_readable(handle)
    finally:
        os.close(handle)
