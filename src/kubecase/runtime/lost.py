"""The end of a run whose shim was killed: what can be found is killed, and that is recorded."""

import os
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Cause, Exit
from kubecase.runtime import records
from kubecase.runtime.remnants import kill_remnants

CLEANUP_SECONDS = 30
CONTAINED = frozenset({"bwrap", "container"})
"""Layers in which nothing can outlive the agent's first process."""


def lose(run_dir: Path, started: records.StartRecord | None) -> Exit:
    """The shim died without a last word: kill what can be found, and put that on record.

    Takes as long as an engine takes to remove a container, half a minute at most.
    """
    requested = records.read_request(run_dir)
    found = kill_remnants(started.agent, requested.cwd if requested else None) if started else 0
    removed = clean_up_after(requested)
    clean = removed and started is not None and started.started.isolation in CONTAINED
    exit = Exit(
        cause=Cause.LOST,
        code=None,
        signal=None,
        seconds=_seconds_since(started),
        clean=clean and not started.agent.is_alive() if started else False,
        leftover=found,
        error="the shim was killed; "
        + ("its sandbox went with it" if clean else "what the agent had started may be alive"),
    )
    with suppress(RuntimeUnavailable):  # the answer matters more than its copy on a full disk
        records.write_exit(run_dir, exit)
    return exit


def clean_up_after(requested: records.Requested | None) -> bool:
    """Have the engine remove what it keeps of the run; whether that is certainly done."""
    if requested is None or requested.cleanup is None:
        return True
    argv, environment = requested.cleanup
    try:
        done = subprocess.run(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=CLEANUP_SECONDS,
            cwd=os.sep,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _seconds_since(started: records.StartRecord | None) -> float:
    if started is None:
        return 0.0
    return max(0.0, (datetime.now(UTC) - started.started.at).total_seconds())
