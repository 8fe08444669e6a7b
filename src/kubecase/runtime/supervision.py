"""One run as its supervisor sees it, from the first word of the shim to the last."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Cause, Command, Exit
from kubecase.core.ports import Stop, Watcher
from kubecase.runtime import launch, records
from kubecase.runtime.lost import lose
from kubecase.runtime.tail import Tail

END_SECONDS = 60.0
"""The longest that a shim may take to end its agent: the kill, and what an engine has to remove."""

TELL_SECONDS = 2.0
TURN_SECONDS = 0.005
PORTION_LINES = 1024


@dataclass(slots=True, kw_only=True)
class Supervision:
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

    async def run(
        self, request: dict[str, Any], listeners: Sequence[int], stop: Stop, command: Command
    ) -> Exit:
        """Hand the request to the shim and follow the run to its end."""
        await self.shim.send_request(request, listeners)
        await self._until_silent(stop)
        exit = self._how_it_ended()
        if exit.cause is Cause.START_ERROR:
            return _name_program(exit, command)
        return exit

    async def take_over(self, started: records.StartRecord, stop: Stop) -> Exit:
        """Follow to its end a run that another process has begun."""
        self.forked, self.started = True, started
        await self.watcher.started(started.started)
        await self._until_silent(stop)
        return self._how_it_ended()

    async def _until_silent(self, stop: Stop) -> None:
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

    async def _obey(self, stop: Stop) -> None:
        await stop.wait()
        self.shim.tell(launch.CANCEL)

    async def _follow(self, tail: Tail) -> None:
        """Listen to the shim until it says no more."""
        while messages := await self.shim.hear():
            told_before = self.started is not None
            for message in messages:
                self._note(*message)
            kinds = {kind for kind, _ in messages}
            if self.started is not None and not told_before:
                await self.watcher.started(self.started.started)
            if launch.LISTENERS in kinds:
                self._hand_over_listeners()
            if launch.OUTPUT in kinds or told_before:
                await self._pass_on(tail)

    def _hand_over_listeners(self) -> None:
        handles, self.shim.listeners = tuple(self.shim.listeners), []
        if handles:
            self.watcher.listening(handles)

    def _note(self, kind: bytes, record: bytes) -> None:
        if kind == launch.FORKING:
            self.forked = True
        elif kind == launch.STARTED:
            self.started = self.started or records.parse_started(record)
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
            await anyio.to_thread.run_sync(lose, self.run_dir, self.started)
        shim.close()

    def _how_it_ended(self) -> Exit:
        exit = self.exit
        if exit is None and self.shim.status == 0:
            # It ended well, but could not make itself heard. The record that stands beside a shim
            # that was killed may be anyone's.
            exit = records.read_exit(self.run_dir)
        if exit is not None:
            _forget_empty_log(self.run_dir)
            return exit
        if not self.forked:
            raise RuntimeUnavailable(
                "cannot supervise: the shim ended before it started the agent",
                hint=f"What it says is in {self.run_dir / launch.SHIM_LOG}.",
            )
        return lose(self.run_dir, self.started)


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


def never_started(run_dir: Path, command: Command) -> Exit:
    """The end of a run that was stopped before anything was started; also put on record."""
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


def _name_program(exit: Exit, command: Command) -> Exit:
    """With the program and its directory, as an operator needs them; never the arguments."""
    return replace(exit, error=f"{command.argv[0]} in {command.cwd}: {exit.error}")


def _forget_empty_log(run_dir: Path) -> None:
    log = run_dir / launch.SHIM_LOG
    with suppress(OSError):
        if log.stat().st_size == 0:
            log.unlink()
