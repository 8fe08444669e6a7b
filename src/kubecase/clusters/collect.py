"""Everything that a live cluster says about a fault, read-only and within a bound of time."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

import anyio

from kubecase.clusters.credentials import Credentials, from_kubeconfig
from kubecase.clusters.trigger import trigger_about
from kubecase.core.errors import ClusterUnavailable
from kubecase.core.model import Collection, Fault, Gap
from kubecase.core.permissions import Permissions

SECONDS = 20.0


class ClusterCollector:
    """Collects from one cluster with GET requests only; implements `core.ports.Collector`.

    `seconds` bounds a whole collection, `request_seconds` one answer. What fails is a gap. `path`
    is the kubeconfig that the credentials are from.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        clock: Callable[[], datetime],
        seconds: float = SECONDS,
        request_seconds: float = 5.0,
        path: Path | None = None,
        cluster: str | None = None,
    ) -> None:
        self.credentials = credentials
        self.path = path
        self.cluster = cluster or credentials.context
        self._clock = clock
        self._seconds = seconds
        self._request_seconds = request_seconds

    @classmethod
    def from_kubeconfig(
        cls,
        path: Path,
        *,
        clock: Callable[[], datetime],
        context: str | None = None,
        allow_plugins: bool = True,
        plugin_environment: Mapping[str, str] | None = None,
        cluster: str | None = None,
    ) -> Self:
        """The collector for a context of the kubeconfig at `path`, which is read at once.

        `cluster` is what we call it, the name of the context by default.
        Raises ClusterUnavailable for a kubeconfig that cannot be used.
        """
        credentials = from_kubeconfig(
            path,
            context=context,
            allow_plugins=allow_plugins,
            plugin_environment=plugin_environment,
        )
        return cls(credentials, clock=clock, path=path.absolute(), cluster=cluster)

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know about the credential."""
        return self.credentials.notes

    @property
    def context(self) -> str:
        """The name of the kubeconfig's context: what the cluster is called if nothing else is."""
        return self.credentials.context

    @property
    def namespace(self) -> str:
        """The namespace that the kubeconfig's context names, `default` if none."""
        return self.credentials.namespace

    async def permissions(self, namespace: str | None) -> Permissions:
        """What the credential may do in `namespace`; whatever the cluster does, an answer."""
        from kubecase.clusters.client import ClusterClient  # noqa: PLC0415
        from kubecase.clusters.preflight import preflight  # noqa: PLC0415

        at = self._clock()
        try:
            client = ClusterClient(self.credentials, request_seconds=self._request_seconds)
        except ClusterUnavailable as error:
            warning = f"not everything was validated: {error}"
            return Permissions(
                cluster=self.cluster, at=at, answers={}, warnings=(warning,), unproven=str(error)
            )
        async with client:
            return await preflight(client, cluster=self.cluster, namespace=namespace, at=at)

    async def collect(self, fault: Fault) -> Collection:
        """What the cluster says about `fault`; returns within the bound, whatever the cluster does.

        Never raises for what the cluster, its credential or its network does: that is a gap.
        """
        # Here, so that `kubecase --help` need not wait for an HTTP library.
        from kubecase.clusters.client import ClusterClient  # noqa: PLC0415
        from kubecase.clusters.gathering import Gathering  # noqa: PLC0415
        from kubecase.clusters.walk import walk  # noqa: PLC0415

        origin = f"cluster {fault.cluster}, by GET requests"
        at, trigger = self._clock(), trigger_about(fault)
        try:
            client = ClusterClient(self.credentials, request_seconds=self._request_seconds)
        except ClusterUnavailable as error:
            gap = Gap(what="everything", why=str(error))
            return Collection(collected_at=at, trigger=trigger, gaps=(gap,), origin=origin)
        gathering = Gathering(client)
        with anyio.move_on_after(self._seconds) as bound:
            async with client:
                try:
                    await client.sign_in()
                    await walk(gathering, fault)
                except ClusterUnavailable as error:
                    gathering.gaps["everything"] = str(error)
        if bound.cancelled_caught:
            gathering.gaps["the rest"] = f"not collected within {self._seconds:g} s"
        return Collection(
            collected_at=at,
            trigger=trigger,
            objects=tuple(gathering.objects.values()),
            events=tuple(gathering.events.values()),
            logs=gathering.logs,
            gaps=gathering.gap_list(),
            origin=origin,
        )
