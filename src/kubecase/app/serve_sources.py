"""The sources of the service: made from the settings, and anew where those change."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskStatus

from kubecase.app.settings import Settings
from kubecase.app.settings.values import SourceOptions
from kubecase.channels.sources.reconnecting import BackOff
from kubecase.core.errors import KubecaseError
from kubecase.core.model import Fault
from kubecase.core.ports import Observer, Source
from kubecase.service.intake import Draining, Intake, QueueFull

STORE_PAUSE = 2.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One source that the settings ask for. `options` are what it is made of: where they change,
    it is made anew. `tells` are the names under which it tells of its state.
    """

    name: str
    cluster: str
    options: Any
    tells: tuple[str, ...]
    make: Callable[[], Source] = field(compare=False)


@dataclass(kw_only=True)
class Sources:
    """Runs what is wanted, and takes in what comes. None of them can end another."""

    intake: Intake
    observer: Observer
    back_off: Callable[[], BackOff] = BackOff
    _running: dict[str, tuple[Wanted, anyio.CancelScope]] = field(default_factory=dict)
    _group: anyio.abc.TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep room for sources until cancelled."""
        async with anyio.create_task_group() as self._group:
            task_status.started()
            await anyio.sleep_forever()

    def follow(self, settings: Settings) -> None:
        """Begin what is wanted by now, and end what is not."""
        wanted = {each.name: each for each in wanted_sources(settings, self.observer)}
        for name, (known, scope) in list(self._running.items()):
            if wanted.get(name) != known:
                scope.cancel()
                del self._running[name]
                if name not in wanted:
                    self._tell_removed(known)
        for name, each in wanted.items():
            if name not in self._running and self._group is not None:
                scope = anyio.CancelScope()
                self._running[name] = (each, scope)
                self._group.start_soon(self._keep, each, scope)

    def _tell_removed(self, known: Wanted) -> None:
        for source in {*known.tells, known.name}:
            self.observer.record(
                "source_state", cluster=known.cluster, source=source, state="removed"
            )

    def stop(self) -> None:
        """End all of them: nothing more is taken in."""
        for _, scope in self._running.values():
            scope.cancel()
        self._running.clear()

    async def _keep(self, wanted: Wanted, scope: anyio.CancelScope) -> None:
        """Run one source until it is ended; whatever it raises, it is made anew after a pause."""
        back_off = self.back_off()
        with scope:
            while True:
                try:
                    if await self._drawn(wanted, back_off):
                        return
                    # One that has come to its end, which those that watch never do.
                    error: object = "it came to its end"
                except KubecaseError as raised:
                    error = raised
                except Exception as raised:  # noqa: BLE001 - the boundary of each source
                    # A bug of ours with this source; the others, and the service, go on.
                    self.observer.record(
                        "error", cluster=wanted.cluster, error_type="internal", error=raised
                    )
                    error = f"{type(raised).__name__}: {raised}"
                seconds = back_off.failed()
                self.observer.record(
                    "source_state", cluster=wanted.cluster, source=wanted.name, state="failed",
                    error=str(error), retry_in=round(seconds, 1),
                )  # fmt: skip
                await anyio.sleep(seconds)
                # What it says of itself from now on counts, under whichever names it does so.
                self.observer.record(
                    "source_state", cluster=wanted.cluster, source=wanted.name, state="removed"
                )

    async def _drawn(self, wanted: Wanted, back_off: BackOff) -> bool:
        """Take in all that a new source gives; True when nothing more is taken."""
        faults = wanted.make().faults()
        try:
            async for fault in faults:
                if not await self._take(fault):
                    return True
                back_off.worked()
        finally:
            # Here and now: one that is only forgotten goes on until it is collected.
            if isinstance(faults, AsyncGenerator):
                with anyio.CancelScope(shield=True):
                    await faults.aclose()
        return False

    async def _take(self, fault: Fault) -> bool:
        """Take `fault` in, however long that takes; False when nothing more is taken."""
        while True:
            try:
                await self.intake.accept([fault])
            except Draining:
                return False
            except QueueFull as error:
                # The source holds it for us: nothing is lost, and the cluster is asked no more
                # meanwhile.
                await anyio.sleep(error.retry_after)
            except KubecaseError as error:
                self.observer.record(
                    "error", cluster=fault.cluster, error_type="store", error=error
                )
                await anyio.sleep(STORE_PAUSE)
            else:
                return True


def wanted_sources(settings: Settings, observer: Observer) -> list[Wanted]:
    """What the settings ask for: the watched clusters, and the entries of `sources`."""
    found = []
    for name, cluster in settings.clusters.items():
        if cluster.watch and (cluster.kubeconfig or cluster.in_cluster):
            found.append(_cluster(settings, name, observer))
    for name, each in settings.sources.items():
        found.append(_named(settings, name, each, observer))
    return found


def _cluster(settings: Settings, name: str, observer: Observer) -> Wanted:
    def make() -> Source:
        from kubecase.app.source_parts import kubernetes_source

        return kubernetes_source(settings, name, observer)

    own = settings.clusters[name]
    options = (own.kubeconfig, own.context, own.in_cluster, own.namespaces)
    tells = ("kubernetes:watch", "kubernetes:poll")
    return Wanted(name=f"kubernetes:{name}", cluster=name, options=options, tells=tells, make=make)


def _named(settings: Settings, name: str, options: SourceOptions, observer: Observer) -> Wanted:
    def make() -> Source:
        from kubecase.app.source_parts import named_source

        return named_source(name, options, observer)

    cluster = options.cluster or "default"
    return Wanted(name=name, cluster=cluster, options=options, tells=(name,), make=make)
