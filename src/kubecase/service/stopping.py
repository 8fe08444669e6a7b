"""A stop of our own: a run that must not go on, and that nobody has cancelled."""

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from kubecase.core.model import Cause, Exit, Reason
from kubecase.core.ports import Stop

if TYPE_CHECKING:
    from kubecase.service.case import Case


class OwnStop:
    """Set when the other one is, or from here: then `ours` says that it was nobody's wish."""

    def __init__(self, other: Stop) -> None:
        self._other = other
        self._event = anyio.Event()
        self.ours = False

    def is_set(self) -> bool:
        """Whether either has been."""
        return self._event.is_set() or self._other.is_set()

    async def wait(self) -> object:
        """Return once either is set."""
        async with anyio.create_task_group() as both:

            async def follow() -> None:
                await self._other.wait()
                both.cancel_scope.cancel()

            both.start_soon(follow)
            await self._event.wait()
            both.cancel_scope.cancel()
        return None

    def now(self) -> None:
        """Set it from here."""
        if not self.is_set():
            self.ours = True
            self._event.set()


def settle(case: "Case", exit: Exit) -> Exit:
    """Put the agent's claim right by what was seen here, and return the exit that it is judged by.

    A run that was stopped by kubecase itself was cancelled by nobody: what ended it is what the
    claim says by then.
    """
    ours = case.own_stop is not None and case.own_stop.ours
    if case.access is not None and case.verdict is not None:
        case.verdict = case.access.corrected(case.verdict)
        ours = ours or case.access.ended_run
    if case.strange_start is not None and case.verdict is not None:
        case.verdict = replace(
            case.verdict,
            report=None,
            reason=Reason.START_ERROR,
            failure=case.strange_start,
            transient=False,
        )
    if ours and exit.cause is Cause.STOP_REQUESTED:
        return replace(exit, cause=Cause.EXITED)
    return exit
