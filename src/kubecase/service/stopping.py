"""A stop of our own: a run that must not go on, and that nobody has cancelled."""

import anyio

from kubecase.core.ports import Stop


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
