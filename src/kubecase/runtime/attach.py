"""Finding a run that another process began: whether it lives, has ended, or never was."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Exit
from kubecase.runtime import launch, records
from kubecase.runtime.remnants import kill_remnants

START_RECORD_SECONDS = 5.0
AT_WORK_SECONDS = 120.0
"""A shim that holds its lock comes to a start or to an end well within this: it has bounds of its
own for both. Until then nothing may be said of its run.
"""
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of a run: its start if there was one, its end if that is on record."""

    started: records.StartRecord | None
    exit: Exit | None


async def find(run_dir: Path) -> Found:
    """What has become of the run in `run_dir`, whose supervisor is dead.

    If no agent was started, and no shim is about to start one, none will be from now on. Raises
    RuntimeUnavailable when a shim is at work there and comes to neither within two minutes.
    """
    with anyio.move_on_after(AT_WORK_SECONDS):
        while True:
            found = Found(started=records.read_started(run_dir), exit=records.read_exit(run_dir))
            if found.started is not None or found.exit is not None or not run_dir.is_dir():
                return found
            if records.abandon(run_dir):
                # A shim may have come and gone since the look above.
                return Found(started=records.read_started(run_dir), exit=records.read_exit(run_dir))
            await anyio.sleep(POLL_SECONDS)
    raise RuntimeUnavailable(
        f"cannot take over the run in {run_dir}: its shim has not said for "
        f"{AT_WORK_SECONDS:.0f} s whether an agent runs",
        hint="Try again; if it stays so, look for a process `-I -S ... shim` and its shim.log.",
    )


def open_shim(started: records.StartRecord, run_dir: Path) -> launch.Shim | None:
    """The shim of a run, held and called; None if it has ended."""
    shim = started.shim
    if not shim.is_alive():
        return None
    try:
        pidfd = os.pidfd_open(shim.pid)
    except ProcessLookupError:
        return None
    # Between the look and the opening the number may have been given to a stranger.
    if not shim.is_alive():
        os.close(pidfd)
        return None
    return launch.call(shim.pid, pidfd, run_dir)


async def stop_run(run_dir: Path) -> bool:
    """Ask a run to stop, whoever supervises it, and wait until it has; whether it is gone."""
    started = await _start_record(run_dir)
    if started is None:
        return records.read_exit(run_dir) is not None
    if started.shim.is_alive():
        with suppress(ProcessLookupError):
            await _cancel(started.shim)
    exit = records.read_exit(run_dir)
    if exit is None or not exit.clean:
        kill_remnants(started.agent)
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
