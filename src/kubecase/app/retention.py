"""Retention at the command line: the janitor made from the settings, once or until stopped."""

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager

import anyio

from kubecase.app import wiring
from kubecase.app.boundary import INTERRUPTED, OPERATOR, SUCCESS, printable, tell
from kubecase.app.logs import LogObserver, configure_logs
from kubecase.app.metrics import ObserverGroup
from kubecase.app.retention_words import JsonLines, Meter, Summary, TextLines, Watched
from kubecase.app.settings import Settings
from kubecase.core.errors import KubecaseError
from kubecase.core.ports import Observer
from kubecase.service.groups import unwrapped
from kubecase.service.janitor import Janitor, SweepInProgress
from kubecase.workspace import CleanupPolicy


async def collect_garbage(settings: Settings, dry_run: bool, json: bool) -> int:
    """Make one pass and print each decision as it is carried out; returns the exit code.

    2 when something could not be deleted, 130 when interrupted; that another pass is at work is
    said, and no failure.
    """
    summary, meter = Summary(sys.stderr), Meter(sys.stderr)
    lines = JsonLines(sys.stdout) if json else TextLines(sys.stdout, dry_run=dry_run)
    with ExitStack() as closing:
        observer: Observer = summary if dry_run else _logged(settings, closing, summary)
        async with _until_signal() as scope, _janitor(settings, observer, meter) as janitor:
            try:
                async with aclosing(janitor.sweep(dry_run=dry_run)) as found:
                    async for swept in found:
                        meter.clear()
                        lines.show(swept)
                        meter.count()
                lines.end(f"no workspaces below {settings.agent_runtime.workspace_root}")
            except SweepInProgress as busy:
                lines.end()
                print(f"kubecase: {printable(busy)}", file=sys.stderr)
            finally:
                meter.clear()
        if scope.cancelled_caught:
            lines.end()
            print("kubecase: interrupted; the next pass goes on from here", file=sys.stderr)
            return INTERRUPTED
    summary.show()
    return OPERATOR if summary.failed else SUCCESS


async def watch(settings: Settings) -> int:
    """Make a pass every `gc_interval` until SIGINT or SIGTERM, and print what goes.

    Raises KubecaseError when there is no interval.
    """
    interval = settings.agent_runtime.gc_interval_seconds
    if interval is None:
        raise KubecaseError(
            "cannot watch: agent_runtime.gc_interval (AGENT_RUNTIME_GC_INTERVAL) is off",
            hint="Set it to a duration such as 1h, or call `kubecase gc` from cron.",
        )
    meter = Meter(sys.stderr)
    watched = Watched(sys.stdout, Summary(sys.stderr), meter)
    with ExitStack() as closing:
        closing.callback(meter.clear)
        observer = _logged(settings, closing, watched)
        async with _until_signal(), _janitor(settings, observer, meter) as janitor:
            await janitor.run(interval)
    return SUCCESS


@asynccontextmanager
async def _janitor(settings: Settings, observer: Observer, meter: Meter) -> AsyncIterator[Janitor]:
    runtime = settings.agent_runtime
    async with wiring.opened_store(settings, observer) as store:
        yield Janitor(
            ends=store,
            observer=observer,
            workspaces=runtime.workspace_root,
            data=settings.store.data_dir,
            policy=CleanupPolicy(runtime.cleanup_policy),
            retention_seconds=runtime.workspace_retention_seconds,
            min_free_bytes=runtime.min_free_bytes,
            clock=wiring.now,
            tick=meter.packing,
        )


def _logged(settings: Settings, closing: ExitStack, view: Observer) -> Observer:
    """`view` together with the log; without it where it cannot be opened, as on a full disk."""
    try:
        logs = configure_logs(
            settings.store.data_dir / "kubecase.log",
            level=settings.agent_runtime.log_level,
            structured=settings.agent_runtime.structured_logging,
            secrets=settings.secrets,
        )
    except KubecaseError as error:
        tell(error, sys.stderr)
        return view
    closing.callback(logs.close)
    return ObserverGroup(view, LogObserver(logs))


@asynccontextmanager
async def _until_signal() -> AsyncIterator[anyio.CancelScope]:
    """Cancel what is in the block at SIGINT, SIGTERM or SIGHUP; the scope says whether it was."""

    async def listen() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            listening.set()
            async for _ in signals:
                scope.cancel()

    listening = anyio.Event()
    with unwrapped():
        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await listening.wait()
            with anyio.CancelScope() as scope:
                yield scope
            group.cancel_scope.cancel()
