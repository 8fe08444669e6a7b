"""Telling people while the service runs, by the settings that are in force at the moment."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from kubecase.app.notices import outbox_of, tell_conclusion
from kubecase.app.settings import Settings
from kubecase.core.errors import KubecaseError
from kubecase.core.ports import Observer
from kubecase.service.outbox import Outbox

if TYPE_CHECKING:
    from kubecase.service import Concluded
    from kubecase.store import Store

INTERVAL = 5.0
"""How often is looked for what other processes have put into the outbox, in seconds."""


@dataclass(kw_only=True)
class Telling:
    """Puts conclusions into the outbox, sends what is due, and harms no investigation by that."""

    settings: Callable[[], Settings]
    store: "Store"
    observer: Observer
    _made: "tuple[Settings, Outbox] | None" = None
    _news: anyio.Event = field(default_factory=anyio.Event)

    async def concluded(self, concluded: "Concluded") -> None:
        """Tell of an incident that has just been concluded."""
        settings = self.settings()
        if not settings.sinks:
            return
        try:
            await tell_conclusion(settings, self._outbox(settings), concluded)
        except KubecaseError as error:
            self.observer.record("error", error_type="notify", error=error)
        self._news.set()

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            settings = self.settings()
            self._news = anyio.Event()
            if settings.sinks:
                try:
                    await self._outbox(settings).send_due()
                except KubecaseError as error:
                    self.observer.record("error", error_type="notify", error=error)
            with anyio.move_on_after(INTERVAL):
                await self._news.wait()

    def _outbox(self, settings: Settings) -> Outbox:
        """The outbox of these settings, made again only when they were read anew."""
        if self._made is None or self._made[0] is not settings:
            self._made = settings, outbox_of(settings, self.store, self.observer)
        return self._made[1]
