"""One agent in a container of its own, in a workspace of somebody's: `kubecase container run`.

The same layer, adapters and gateways as those of an investigation, without an incident and without
a place in the store. The runs lie in a directory of their own: what the service finds below `runs`
and does not know it takes for a stray.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from kubecase.app.container_command import (
    command_of,
    environment_of,
    layer_of,
    prepare,
    run_dir_of,
)
from kubecase.app.container_order import ContainerOrder
from kubecase.app.containment import Containment, contain, layer_options
from kubecase.app.model_access import is_served
from kubecase.app.serving import run_server
from kubecase.app.session import stopped_by_signals
from kubecase.core.errors import KubecaseError
from kubecase.core.lifecycle import judge
from kubecase.core.model import Cause, Command, Ended, Exit
from kubecase.core.ports import Silence, Started, Stop, Stream
from kubecase.workspace import hand_over

if TYPE_CHECKING:
    from kubecase.gateways.serving import RunAccess

REPORT = "output/investigation.md"
SHELL = ("/bin/sh",)
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How it ended, and where its log lies."""

    ended: Ended
    exit: Exit
    log: Path


async def run(order: ContainerOrder, tell: Tell) -> Ran:
    """Run the agent to its end, whatever ends it; nothing of it is left but its workspace.

    Raises KubecaseError for what has to be put right first.
    """
    settings = order.settings
    contained = contain(settings, served=is_served(order.choice, settings), agent=order.choice.name)
    await _refuse_writers(order)
    prepare(order)
    stop = anyio.Event()
    grace = settings.agent_runtime.graceful_shutdown_seconds
    for warning in contained.warnings:
        tell(f"warning: {warning}")
    try:
        async with (
            stopped_by_signals(stop, Silence(), grace),
            _served(order, contained, stop) as access,
        ):
            tell(f"{order.choice.name} runs in a container; its log: {order.log}")
            return await _run(order, contained, access, stop if access is None else access.stop)
    finally:
        shutil.rmtree(run_dir_of(order), ignore_errors=True)
        _forget_home(order)


@dataclass(kw_only=True)
class _Watcher:
    """Keeps the log in the workspace; serves the run where it has something to be served."""

    log: int
    access: "RunAccess | None"

    async def started(self, started: Started) -> None:
        """Nothing is waiting for it."""

    def output(self, stream: Stream, data: bytes) -> None:
        """Append to the log, as far as the disk goes; the runtime keeps its own."""
        with suppress(OSError):
            view = memoryview(data)
            while view:
                view = view[os.write(self.log, view) :]

    def listening(self, listeners: tuple[int, ...]) -> None:
        """Serve on them; where nothing is served nobody may wait for an answer."""
        if self.access is not None:
            self.access.serve(listeners)
            return
        for handle in listeners:
            os.close(handle)


async def _run(
    order: ContainerOrder, contained: Containment, access: "RunAccess | None", stop: Stop
) -> Ran:
    workspace, run_dir = order.workspace, run_dir_of(order)
    agent = order.agent if access is None else access.agent
    command = command_of(order, agent, run_dir / "private")
    if access is not None:
        command = access.led(command, run_dir / "private")
    workspace.write(command.files)
    log = workspace.create_log(order.log)
    try:
        _hand_over(order)
        exit = await contained.runtime.run(
            command, order.settings.agent_runtime.limits, run_dir=run_dir, stop=stop,
            watcher=_Watcher(log=log, access=access),
        )  # fmt: skip
    finally:
        os.close(log)
    verdict = agent.verdict(contained.runtime.lines(run_dir), exit)
    if access is not None:
        verdict = access.corrected(verdict)
        if access.ended_run and exit.cause is Cause.STOP_REQUESTED:
            # Not a cancel of anybody's: what ended it is what the verdict says by now.
            exit = replace(exit, cause=Cause.EXITED)
    if verdict.report is not None:
        _keep_report(order, verdict.report)
    ended = judge(exit, verdict, None, require_report=False)
    return Ran(ended=ended, exit=exit, log=workspace.root / order.log)


def _hand_over(order: ContainerOrder) -> None:
    """Give the workspace to the user that agents run as, if that is another one."""
    user = layer_options(order.settings).switched_user
    if user is not None:
        hand_over(order.workspace, user.uid, user.gid)


def _forget_home(order: ContainerOrder) -> None:
    """Remove its HOME, unless it has made something else of the way to it."""
    with suppress(OSError, KubecaseError):
        order.workspace.remove(order.home)


def _keep_report(order: ContainerOrder, text: str) -> None:
    """Put what the agent said at its end where reports lie, unless it has left one itself."""
    try:
        order.workspace.read_start(REPORT, 1)
    except (FileNotFoundError, KubecaseError):
        # Nothing, or something that nobody can read as a file.
        order.workspace.replace(REPORT, text.encode("utf-8", "replace"))


def debug(order: ContainerOrder, words: tuple[str, ...]) -> int:
    """A shell, or the program `words`, in the container that the agent would have; its exit code.

    On this terminal, with no key, and served nothing.
    """
    prepare(order)
    command = Command(
        argv=words or SHELL, environment=environment_of(order), cwd=order.workspace.root
    )
    _hand_over(order)
    layer = layer_of(order)
    wrapped = layer.wrap(command, run_dir_of(order))
    at = wrapped.argv.index("run") + 1
    tty = ("--tty",) if sys.stdin.isatty() else ()
    try:
        return subprocess.run(
            (*wrapped.argv[:at], *tty, *wrapped.argv[at:]),
            env=dict(wrapped.environment),
            check=False,
        ).returncode
    finally:
        if wrapped.cleanup is not None:
            argv, environment = wrapped.cleanup
            subprocess.run(argv, env=dict(environment), capture_output=True, check=False)
        _forget_home(order)


@asynccontextmanager
async def _served(
    order: ContainerOrder, contained: Containment, stop: Stop
) -> AsyncIterator["RunAccess | None"]:
    """What the run is served: its model, the cluster, tools; None where that is nothing."""
    from kubecase.service.case_files import WorkspaceFiles

    server = run_server(order.choice, order.settings, contained, order.reached)
    if server is None:
        yield None
        return
    cluster = "" if order.reached is None else order.reached.cluster
    files = WorkspaceFiles(workspace=order.workspace)
    async with server.open(
        order.agent, run=order.key, cluster=cluster, stop=stop, files=files
    ) as access:
        yield access


async def _refuse_writers(order: ContainerOrder) -> None:
    """Raise ClusterUnavailable for a credential that can write, as an investigation does."""
    from kubecase.clusters.preflight import write_capable

    runtime, reached = order.settings.agent_runtime, order.reached
    if reached is None or not runtime.read_only_mode or runtime.allow_write_capable_credential:
        return
    permissions = await reached.permissions(None)
    if permissions.can_write:
        raise write_capable(permissions)
