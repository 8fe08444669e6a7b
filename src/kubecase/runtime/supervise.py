"""The supervising side: starts a shim for each command, follows its files, waits for its word."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Cause, Command, Exit, Limits
from kubecase.core.ports import Stop, Watcher
from kubecase.runtime import records
from kubecase.runtime.tail import Tail, interleaved, stored_lines

Policy = Literal["die_with_me", "survive"]
SHIM = Path(__file__).with_name("shim_main.py")
POLL_SECONDS = 0.1
KILL_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRuntime:
    """Runs a command as a process of this user, under a shim of its own.

    With `die_with_me` the shim ends the agent when this process is gone; with `survive` it goes on
    and leaves its record. `python` is the interpreter of the shim.
    """

    policy: Policy = "die_with_me"
    python: str = sys.executable

    @property
    def name(self) -> str:
        """The name in settings and in the run's record."""
        return "process"

    async def run(
        self, command: Command, limits: Limits, *, run_dir: Path, stop: Stop, watcher: Watcher
    ) -> Exit:
        """Run `command` to its end, whatever ends it: see `core.ports.Runtime`."""
        _require_linux()
        records.create(run_dir, command)
        shim, control = self._spawn()
        supervision = _Supervision(
            shim=shim, control=control, run_dir=run_dir, watcher=watcher, tail=Tail(run_dir)
        )
        try:
            request = self._request(command, limits, run_dir)
            await supervision.send(json.dumps(request).encode() + b"\n" + command.stdin)
            return await supervision.until_the_end(stop)
        except BaseException:
            # Our own shutdown, or a bug: the agent goes first, whatever the policy says.
            with anyio.CancelScope(shield=True):
                await supervision.end_now()
            raise
        finally:
            supervision.close()

    def _spawn(self) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            argv = [self.python, "-I", "-S", str(SHIM), str(theirs.fileno())]
            try:
                shim = os.posix_spawn(self.python, argv, {}, setsid=True)
            except OSError as error:
                ours.close()
                raise RuntimeUnavailable(
                    f"cannot start the shim with {self.python}: {error.strerror}",
                    hint="Reinstall kubecase with a Python that can be executed here.",
                ) from error
        ours.setblocking(False)
        return shim, ours

    def _request(self, command: Command, limits: Limits, run_dir: Path) -> dict[str, Any]:
        return {
            "argv": list(command.argv),
            "environment": dict(command.environment),
            "cwd": str(command.cwd),
            "run_dir": str(run_dir),
            "stdin_bytes": len(command.stdin),
            "stop_signal": int(command.stop_signal),
            "policy": self.policy,
            "wall_clock": limits.wall_clock,
            "grace": limits.grace,
            "idle": limits.idle,
            "output_bytes": limits.output_bytes,
            "disk_bytes": limits.disk_bytes,
            "log_bytes": limits.log_bytes,
        }

    def lines(self, run_dir: Path) -> Iterator[bytes]:
        """The stored standard output line by line, each cut at 8 MiB."""
        return stored_lines(run_dir)

    def log(self, run_dir: Path) -> Iterator[bytes]:
        """Both stored streams as they came."""
        return interleaved(run_dir)

    async def stop(self, run_dir: Path, *, wait_seconds: float) -> bool:
        """Ask the run kept in `run_dir` to stop; True once nothing of it is alive."""
        started = records.read(run_dir, "started")
        if started is None:
            return False
        if records.is_alive(started, "shim"):
            with suppress(ProcessLookupError):
                pidfd = os.pidfd_open(started["shim_pid"])
                try:
                    # The pid may have been given to another since: look again, now that we hold it.
                    if records.is_alive(started, "shim"):
                        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
                finally:
                    os.close(pidfd)
        deadline = time.monotonic() + wait_seconds
        while records.is_alive(started, "shim") or records.is_alive(started, "agent"):
            if time.monotonic() >= deadline:
                return False
            await anyio.sleep(POLL_SECONDS / 2)
        return True


@dataclass(slots=True, kw_only=True)
class _Supervision:
    """One shim as its supervisor sees it."""

    shim: int
    control: socket.socket
    run_dir: Path
    watcher: Watcher
    tail: Tail
    exit: Exit | None = None
    reaped: bool = False

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            await anyio.wait_writable(self.control)
            try:
                view = view[self.control.send(view) :]
            except OSError:
                return  # The shim is gone; reading says so next.

    async def until_the_end(self, stop: Stop) -> Exit:
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._pass_on, stop)
            beside.start_soon(self._follow)
            await self._listen()
            beside.cancel_scope.cancel()
        await self._reap()
        await self._tell_output()
        if self.exit is None:
            return await self._lost()
        return self.exit

    async def _pass_on(self, stop: Stop) -> None:
        await stop.wait()
        await self.send(b"stop")

    async def _follow(self) -> None:
        while True:
            await anyio.sleep(POLL_SECONDS)
            await self._tell_output()

    async def _tell_output(self) -> None:
        while piece := self.tail.take():
            self.watcher.output(*piece)
            # A flood must not keep the loop from everything else.
            await anyio.sleep(0)

    async def _listen(self) -> None:
        """What the shim says, until it says no more."""
        rest = b""
        while True:
            await anyio.wait_readable(self.control)
            try:
                data = self.control.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "started" in said:
                    await self.watcher.started(records.started_of(said["started"]))
                if "exit" in said:
                    self.exit = records.exit_of(said["exit"])

    async def _reap(self) -> None:
        """Wait for the shim's end; it has closed its socket, so it is about to be gone."""
        if self.reaped:
            return
        with suppress(ProcessLookupError, ChildProcessError):
            pidfd = os.pidfd_open(self.shim)
            try:
                await anyio.wait_readable(pidfd)
            finally:
                os.close(pidfd)
            os.waitpid(self.shim, 0)
        self.reaped = True

    async def _lost(self) -> Exit:
        """The shim died without its last word: end what can be found of the agent, and say so."""
        started = records.read(self.run_dir, "started")
        if started is None:
            why = "the shim died before the agent was started"
            return Exit(
                cause=Cause.LOST, code=None, signal=None, seconds=0.0, clean=True, error=why
            )
        if records.is_alive(started, "agent"):
            with suppress(ProcessLookupError):
                os.killpg(started["pid"], signal.SIGKILL)
        return Exit(
            cause=Cause.LOST,
            code=None,
            signal=None,
            seconds=max(0.0, time.time() - started["at"]),
            clean=False,
            error="the shim died; what the agent started may be alive",
        )

    async def end_now(self) -> None:
        """End the agent whatever it takes, and come back when the shim has."""
        if self.reaped:
            return
        await self.send(b"now!")
        with anyio.move_on_after(KILL_SECONDS):
            await self._reap()
            return
        with suppress(ProcessLookupError):
            os.kill(self.shim, signal.SIGKILL)
        await self._reap()
        await self._lost()

    def close(self) -> None:
        """Let go of the socket and the files."""
        self.control.close()
        self.tail.close()


def _require_linux() -> None:
    missing = [name for name in ("pidfd_open", "splice", "posix_spawn") if not hasattr(os, name)]
    if sys.platform != "linux" or missing:
        raise RuntimeUnavailable(
            f"cannot supervise agents on {sys.platform}: " + (", ".join(missing) or "not Linux"),
            hint="The built-in investigator works here; agents need Linux.",
        )
