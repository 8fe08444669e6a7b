"""`kubecase serve`, put together: sources, intake, queue, work, and an orderly end.

One process with one file, or many with one PostgreSQL: what differs is the queue alone.
"""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from kubecase.app import wiring
from kubecase.app.logs import LogObserver, configure_logs
from kubecase.app.metrics import ObserverGroup, RuntimeMetrics
from kubecase.app.serve_notices import Telling
from kubecase.app.serve_rules import limits_of, rules_of
from kubecase.app.serve_sources import Sources
from kubecase.app.serve_work import Workshop
from kubecase.app.settings import Loaded, Settings
from kubecase.core.errors import KubecaseError, SettingsInvalid
from kubecase.core.ports import Observer, Queue
from kubecase.service.dispatch import Dispatcher
from kubecase.service.groups import unwrapped
from kubecase.service.intake import Intake

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubecase.store import Store

SUCCESS, LEFT_BEHIND = 0, 1
PRUNE_EVERY = 3600.0
PRUNE_AFTER = timedelta(days=7)


@dataclass(kw_only=True)
class Service:
    """The service, while it runs. `read` reads the settings anew; `out` is told what people want
    to know.
    """

    loaded: Loaded
    read: "Callable[[], Loaded]"
    view: Observer | None = None
    stop: anyio.Event = field(default_factory=anyio.Event)
    code: int = SUCCESS

    @property
    def settings(self) -> Settings:
        """Those that are in force."""
        return self.loaded.settings

    async def run(self) -> int:
        """Serve until a signal; 0 if all that was begun has ended or was handed over, else 1."""
        with unwrapped(), ExitStack() as closing:
            alone = not (self.settings.store.url or "").startswith("postgresql")
            if alone:
                closing.enter_context(only_one(self.settings.store.data_dir))
            observer, metrics = self._observers(closing)
            async with wiring.opened_store(self.settings, observer) as store:
                queue = await self._queue(observer, alone)
                await self._serve(store, queue, observer, metrics, alone)
        return self.code

    async def _serve(
        self,
        store: "Store",
        queue: Queue,
        observer: Observer,
        metrics: RuntimeMetrics,
        alone: bool,
    ) -> None:
        workshop = Workshop(loaded=lambda: self.loaded, store=store, observer=observer, alone=alone)
        telling = Telling(settings=lambda: self.settings, store=store, observer=observer)
        dispatcher = Dispatcher(
            store=store,
            queue=queue,
            observer=observer,
            clock=wiring.now,
            limits=lambda cluster: limits_of(self.settings, cluster),
            made=workshop.made,
            give_up=workshop.give_up,
            left=workshop.left,
            concluded=telling.concluded,
        )
        intake = Intake(
            desk=store.desk,
            rules=lambda cluster: rules_of(self.settings, cluster),
            observer=observer,
            begin=dispatcher.begin,
        )
        sources = Sources(intake=intake, observer=observer)
        async with anyio.create_task_group() as group:
            group.start_soon(self._work, dispatcher)
            await group.start(sources.run)
            sources.follow(self.settings)
            group.start_soon(self._obey, sources, observer)
            group.start_soon(self._prune, store)
            group.start_soon(telling.run)
            observer.record("service_started", pid=os.getpid())
            await self.stop.wait()
            intake.draining = True
            sources.stop()
            await self._drain(dispatcher, observer)
            group.cancel_scope.cancel()

    async def _work(self, dispatcher: Dispatcher) -> None:
        clusters = {name: limits_of(self.settings, name).at_once for name in self.settings.clusters}
        await dispatcher.run(clusters, self.stop)

    async def _drain(self, dispatcher: Dispatcher, observer: Observer) -> None:
        """Let what runs end within its time; what does not is handed over, or ended."""
        with anyio.move_on_after(self.settings.limits.shutdown_timeout):
            while dispatcher.running:
                await anyio.sleep(0.05)
            return
        left = dispatcher.running
        observer.record("service_stopping", left=len(left))
        if self._survive():
            # As after a kill: the agents go on under their shims, and the next service takes them
            # over. Nothing is unwound, since that would end them.
            observer.record("handed_over", count=len(left))
            os._exit(SUCCESS)
        dispatcher.stop_all()
        with anyio.move_on_after(self.settings.agent_runtime.graceful_shutdown_seconds + 10):
            while dispatcher.running:
                await anyio.sleep(0.05)
        self.code = LEFT_BEHIND

    def _survive(self) -> bool:
        from kubecase.app.containment import policy

        return policy(self.settings)[0] == "survive"

    async def _obey(self, sources: Sources, observer: Observer) -> None:
        """End at SIGINT or SIGTERM; read the settings anew at SIGHUP."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                if number is not signal.SIGHUP:
                    observer.record("stopping", why=f"{number.name}")
                    self.stop.set()
                    continue
                try:
                    self.loaded = self.read()
                except SettingsInvalid as error:
                    # What is in force stays in force: a typing error must not stop anything.
                    observer.record("error", error_type="settings", error=error)
                    continue
                sources.follow(self.settings)
                observer.record("settings_reloaded", file=self.loaded.config_path)

    async def _prune(self, store: "Store") -> None:
        while True:
            await anyio.sleep(PRUNE_EVERY)
            try:
                await store.desk.prune(wiring.now() - PRUNE_AFTER)
            except KubecaseError:
                continue  # told by the dispatcher's own sweep

    async def _queue(self, observer: Observer, alone: bool) -> Queue:
        from kubecase.store.queue import EmbeddedQueue

        at_once = self.settings.limits.at_once
        if alone:
            return EmbeddedQueue(at_once=at_once, observer=observer)
        from kubecase.store.queue import PostgresQueue

        return await PostgresQueue.connected(
            self.settings.store.url or "", at_once=at_once, observer=observer
        )

    def _observers(self, closing: ExitStack) -> tuple[Observer, RuntimeMetrics]:
        settings = self.settings
        logs = configure_logs(
            settings.store.data_dir / "kubecase.log",
            level=settings.agent_runtime.log_level,
            structured=settings.agent_runtime.structured_logging,
            secrets=settings.secrets,
        )
        closing.callback(logs.close)
        metrics = RuntimeMetrics(clusters=settings.clusters)
        observers: list[Observer] = [LogObserver(logs), metrics]
        if self.view is not None:
            observers.append(self.view)
        return ObserverGroup(*observers), metrics


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the right to serve from this data directory; raises KubecaseError if another has it."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / "serve.lock"
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KubecaseError(
                f"another kubecase serves from {data_dir} already",
                hint="Stop it, use another store.data_dir, or share a PostgreSQL by store.url.",
            ) from None
        yield
    finally:
        os.close(handle)
