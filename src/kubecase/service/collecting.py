"""Asking what is known about a fault, until it is known or nobody wants to know any more."""

from collections.abc import Callable
from datetime import datetime

import anyio

from kubecase.core.model import Collection, Fault, Gap
from kubecase.core.ports import Collector, Stop


async def collected(
    collector: Collector, fault: Fault, stop: Stop, clock: Callable[[], datetime]
) -> Collection:
    """What is known about `fault`; a request to stop ends the asking at once."""
    nothing = Collection(
        collected_at=clock(),
        trigger=None,
        gaps=(Gap(what="everything", why="the investigation was stopped first"),),
    )
    found: list[Collection] = []
    async with anyio.create_task_group() as both:

        async def ask() -> None:
            found.append(await collector.collect(fault))
            both.cancel_scope.cancel()

        async def give_up() -> None:
            await stop.wait()
            both.cancel_scope.cancel()

        both.start_soon(ask)
        both.start_soon(give_up)
    return found[0] if found else nothing
