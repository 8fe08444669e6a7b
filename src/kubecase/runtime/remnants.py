"""What can be done for a run whose shim died without its last word."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

from kubecase.runtime.records import Process
from kubecase.runtime.shim.kernel import boot_id, process_stat, read_small

ROUNDS = 20
MARK = "INCIDENT_WORKSPACE"
"""The variable by which a descendant is known that has left the session."""


def kill_remnants(agent: Process, workspace: str | None = None) -> int:
    """Kill every process of the session that `agent` led, and every one that has `workspace` in
    its environment; how many were found.

    Best effort: a descendant with a session of its own that has thrown away its environment cannot
    be told from a stranger any more. Nothing is touched in another boot, nor by the session if the
    agent's number belongs to another process now.
    """
    killed: set[tuple[int, int]] = set()
    for _ in range(ROUNDS):
        found = set(_members(agent)) | set(_marked(agent, workspace))
        if not found:
            break
        for pid, start in found:
            _kill(pid, start)
        killed |= found
    return len(killed)


def _members(agent: Process) -> Iterator[tuple[int, int]]:
    if agent.boot != boot_id():
        return
    leader = process_stat(agent.pid)
    if leader is not None and leader.start != agent.start:
        return
    for name in os.listdir("/proc"):
        stat = process_stat(int(name)) if name.isdecimal() else None
        # While a session has members its number is given to nobody else.
        if stat is not None and stat.session == agent.pid and not stat.is_dead:
            yield int(name), stat.start


def _marked(agent: Process, workspace: str | None) -> Iterator[tuple[int, int]]:
    if not workspace or agent.boot != boot_id():
        return
    mark = b"\0" + os.fsencode(f"{MARK}={workspace}") + b"\0"
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        stat = process_stat(int(name))
        if stat is None or stat.is_dead:
            continue
        with suppress(OSError):
            if mark in b"\0" + read_small(f"/proc/{name}/environ") + b"\0":
                yield int(name), stat.start


def _kill(pid: int, start: int) -> None:
    with suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            stat = process_stat(pid)
            if stat is not None and stat.start == start:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
