"""`kubecase serve`, put together: sources, intake, queue, work, notices, HTTP, an orderly end.

One process with one file, or many with one PostgreSQL: what differs is the queue alone.
"""

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import anyio

from kubecase.app import wiring
from kubecase.app.logs import LogObserver, configure_logs
from kubecase.app.metrics import ObserverGroup, RuntimeMetrics
from kubecase.app.serve_backend import ServiceBackend
from kubecase.app.serve_notices import Telling
from kubecase.app.serve_rules import limits_of, rules_of
from kubecase.app.serve_sources import Sources
from kubecase.app.serve_states import States
from kubecase.app.serve_work import Workshop
from kubecase.app.settings import Loaded, Settings
from kubecase.core.errors import KubecaseError, SettingsInvalid
from kubecase.core.ports import Observer, Queue
from kubecase.service.dispatch import Dispatcher
from kubecase.service.groups import unwrapped
from kubecase.service.intake import Intake
from kubecase.store import Store

SUCCESS, LEFT_BEHIND = 0, 1
PRUNE_EVERY = 3600.0
PRUNE_AFTER = timedelta(days=7)
CHECK_EVERY = 5.0
TICK = 0.05


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that serves, once the record is open."""

    store: Store
    queue: Queue
    observer: Observer
    dispatcher: Dispatcher
    intake: Intake
    sources: Sources
    telling: Telling


@dataclass(kw_only=True)
class Service:
    """The service, while it runs. `read` reads the settings anew; `view` is told what people want
    to see.
    """

    loaded: Loaded
    read: Callable[[], Loaded]
    view: Observer | None = None
    stop: anyio.Event = field(default_factory=anyio.Event)
    code: int = SUCCESS
    states: States = field(default_factory=States)

    @property
    def settings(self) -> Settings:
        """Those that are in force."""
        return self.loaded.settings

    @property
    def alone(self) -> bool:
        """Whether no other process can share the record."""
        return not (self.settings.store.url or "").startswith("postgres")

    async def run(self) -> int:
        """Serve until a signal; 0 if all that was begun has ended or was handed over, else 1."""
        with unwrapped(), ExitStack() as closing:
            if self.alone:
                closing.enter_context(only_one(self.settings.store.data_dir))
            observer, metrics = self._observers(closing)
            async with wiring.opened_store(self.settings, observer) as store:
                parts = self._parts(store, await self._queue(observer), observer)
                await self._serve(parts, metrics)
        return self.code

    async def _serve(self, parts: Parts, metrics: RuntimeMetrics) -> None:
        async with anyio.create_task_group() as group, AsyncExitStack() as serving:
            group.start_soon(self._obey, parts)
            group.start_soon(self._work, parts.dispatcher)
            group.start_soon(self._look_after, parts)
            group.start_soon(parts.telling.run)
            await self._serve_web(serving, parts, metrics)
            await group.start(parts.sources.run)
            parts.sources.follow(self.settings)
            parts.observer.record("service_started", pid=os.getpid())
            await self.stop.wait()
            parts.intake.draining = True
            parts.sources.stop()
            await self._drain(parts.dispatcher, parts.observer)
            await serving.aclose()
            group.cancel_scope.cancel()

    async def _serve_web(
        self, serving: AsyncExitStack, parts: Parts, metrics: RuntimeMetrics
    ) -> None:
        from kubecase.app.web.server import serving_web

        backend = ServiceBackend(
            settings=lambda: self.settings,
            store=parts.store,
            intake=parts.intake,
            dispatcher=parts.dispatcher,
            queue=parts.queue,
            states=self.states,
        )
        await serving.enter_async_context(
            serving_web(
                self.settings, backend=backend, store=parts.store, metrics=metrics,
                observer=parts.observer,
            )
        )  # fmt: skip

    def _parts(self, store: Store, queue: Queue, observer: Observer) -> Parts:
        workshop = Workshop(
            loaded=lambda: self.loaded, store=store, observer=observer, alone=self.alone
        )
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
            healed=workshop.healed,
            concluded=telling.concluded,
        )
        intake = Intake(
            desk=store.desk,
            rules=lambda cluster: rules_of(self.settings, cluster),
            observer=observer,
            begin=dispatcher.begin,
        )
        return Parts(
            store=store, queue=queue, observer=observer, dispatcher=dispatcher, intake=intake,
            sources=Sources(intake=intake, observer=observer), telling=telling,
        )  # fmt: skip

    async def _work(self, dispatcher: Dispatcher) -> None:
        clusters = {name: limits_of(self.settings, name).at_once for name in self.settings.clusters}
        await dispatcher.run(clusters, self.stop)

    async def _drain(self, dispatcher: Dispatcher, observer: Observer) -> None:
        """Let what runs end within its time; what does not is handed over, or ended."""
        with anyio.move_on_after(self.settings.limits.shutdown_timeout):
            await _until_idle(dispatcher)
            return
        left = dispatcher.running
        if self._survive():
            # As after a kill: the agents go on under their shims, and the next service takes them
            # over. Nothing is unwound, since that would end them.
            observer.record("handed_over", count=len(left))
            os._exit(SUCCESS)
        observer.record("stopping", why=f"{len(left)} investigations are ended")
        dispatcher.stop_all()
        with anyio.move_on_after(self.settings.agent_runtime.graceful_shutdown_seconds + 10):
            await _until_idle(dispatcher)
        self.code = LEFT_BEHIND

    def _survive(self) -> bool:
        from kubecase.app.containment import policy

        return policy(self.settings)[0] == "survive"

    async def _obey(self, parts: Parts) -> None:
        """End at SIGINT or SIGTERM; read the settings anew at SIGHUP."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                if number is not signal.SIGHUP:
                    parts.observer.record("stopping", why=number.name)
                    self.stop.set()
                    continue
                try:
                    self.loaded = self.read()
                except SettingsInvalid as error:
                    # What is in force stays in force: a typing error must not stop anything.
                    parts.observer.record("error", error_type="settings", error=error)
                    continue
                parts.sources.follow(self.settings)
                parts.observer.record("settings_reloaded", file=self.loaded.config_path)

    async def _look_after(self, parts: Parts) -> None:
        """See whether the record can be used, and forget what is of no use, until cancelled."""
        pruned = wiring.now()
        while True:
            try:
                await parts.store.desk.depth()
                if wiring.now() - pruned > timedelta(seconds=PRUNE_EVERY):
                    pruned = wiring.now()
                    await parts.store.desk.prune(pruned - PRUNE_AFTER)
                self.states.record("store_checked", error=None)
            except KubecaseError as error:
                self.states.record("store_checked", error=error)
            await anyio.sleep(CHECK_EVERY)

    async def _queue(self, observer: Observer) -> Queue:
        from kubecase.store.queue import EmbeddedQueue, PostgresQueue

        at_once, url = self.settings.limits.at_once, self.settings.store.url
        if self.alone or url is None:
            return EmbeddedQueue(at_once=at_once, observer=observer)
        return await PostgresQueue.connected(url, at_once=at_once, observer=observer)

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
        observers: list[Observer] = [LogObserver(logs), metrics, self.states]
        if self.view is not None:
            observers.append(self.view)
        return ObserverGroup(*observers), metrics


async def _until_idle(dispatcher: Dispatcher) -> None:
    while dispatcher.running:
        await anyio.sleep(TICK)


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
