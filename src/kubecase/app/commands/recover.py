"""`kubecase recover`: take over investigations whose kubecase was killed."""

import json as jsonlib
import sys
from typing import TYPE_CHECKING

from kubecase.app.boundary import AGENT_FAILED, INTERRUPTED, SUCCESS, printable
from kubecase.app.commands.options import DEFAULT, Json, Shared

if TYPE_CHECKING:
    from kubecase.app.orphans import Recovered
    from kubecase.app.settings import Settings


def recover(*, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Take over investigations whose kubecase was killed, and bring each to its end.

    An agent that still runs is followed to its end; one that ended meanwhile is judged by what its
    shim put on record; one that was never started, or left no word, is lost. Each gets its three
    reports. Only those are touched whose kubecase is proved dead and ran on this host. Ctrl-C stops
    the agents that still run. Exit code 1 when one could not be taken over.

    Parameters
    ----------
    json
        Print what became of each as a JSON array.
    """
    import anyio

    settings = shared.settings().settings
    done, stopped = anyio.run(_recover, settings)
    if json:
        print(jsonlib.dumps([each.as_json() for each in done], indent=2))
    else:
        for each in done:
            print(printable(each.in_words()))
    if not done:
        print("no investigation has lost its kubecase", file=sys.stderr)
    if stopped:
        return INTERRUPTED
    return AGENT_FAILED if any(each.error is not None for each in done) else SUCCESS


async def _recover(settings: "Settings") -> "tuple[list[Recovered], bool]":
    from contextlib import closing

    import anyio

    from kubecase.app.logs import LogObserver, configure_logs
    from kubecase.app.orphans import recover as take_over
    from kubecase.app.orphans import remove_stray_containers
    from kubecase.app.session import stopped_by_signals
    from kubecase.app.wiring import opened_store

    stop = anyio.Event()
    logs = configure_logs(
        settings.store.data_dir / "kubecase.log",
        level=settings.agent_runtime.log_level,
        structured=settings.agent_runtime.structured_logging,
        secrets=settings.secrets,
    )
    grace = settings.agent_runtime.graceful_shutdown_seconds
    with closing(logs):
        observer = LogObserver(logs)
        async with (
            opened_store(settings, observer) as store,
            stopped_by_signals(stop, observer, grace),
        ):
            done = await take_over(settings, store, observer, stop)
            for name in await remove_stray_containers(settings, store):
                print(f"kubecase: removed the container {printable(name)}", file=sys.stderr)
            return done, stop.is_set()
