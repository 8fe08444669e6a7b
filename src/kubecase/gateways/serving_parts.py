"""The parts that a run is served: its model, its cluster, its tools; and how they are opened."""

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio

from kubecase.clusters.credentials import Credentials
from kubecase.core.metering import GatewayRecord
from kubecase.core.ports import Offers
from kubecase.core.redact import Redactor
from kubecase.gateways.audit import AuditLog
from kubecase.gateways.authority import Identity
from kubecase.gateways.budget import Account
from kubecase.gateways.callers import AccessToken, Callers
from kubecase.gateways.cluster import ClusterGateway, Door
from kubecase.gateways.cluster_call import ClusterLimits, ClusterRecord
from kubecase.gateways.cluster_upstream import ClusterPatience, ClusterUpstream
from kubecase.gateways.kubeconfig import GatewayKubeconfig
from kubecase.gateways.kubectl import Kubectl
from kubecase.gateways.model import GatewayLimits, ModelGateway, Told
from kubecase.gateways.policy import Resources
from kubecase.gateways.prices import Prices
from kubecase.gateways.tools import CaseFiles, Toolbox
from kubecase.gateways.upstream import Upstream

NO_CLUSTER = (
    "no cluster is connected to this investigation: what is known lies in context/, see "
    "read_context"
)


@dataclass(frozen=True, kw_only=True)
class ModelPart:
    """The model of runs; `accounts` are those that a run, of a cluster, is charged to."""

    upstream: Upstream
    prices: Prices
    accounts: Callable[[str, str], Sequence[Account]]
    limits: GatewayLimits = field(default_factory=GatewayLimits)


@dataclass(frozen=True, kw_only=True)
class ClusterPart:
    """The cluster of runs. `again` is what a successor finds the credential by; no secret."""

    credentials: Credentials
    resources: Resources
    redactor: Redactor
    limits: ClusterLimits = field(default_factory=ClusterLimits)
    again: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ToolPart:
    """The tools of runs. `program` is kubectl's absolute path, None where there is none."""

    program: str | None
    resources: Resources
    redactor: Redactor


class Counted(Protocol):
    """Who keeps the counts of a run, the digests of its credentials, and what its CLI may offer."""

    record: GatewayRecord
    cluster_record: ClusterRecord
    digests: dict[str, str]
    offers: Offers | None

    def hear(self, told: Told) -> None:
        """What stands in the way of the model."""

    def count(self, record: GatewayRecord) -> None:
        """What was asked of the model."""

    def count_cluster(self, record: ClusterRecord) -> None:
        """What was asked of the cluster."""


@dataclass(kw_only=True)
class Serving:
    """Opens the parts of one run on their listeners, and keeps them open until cancelled."""

    audit: AuditLog
    identity: Identity
    run: str
    cluster: str
    files: CaseFiles | None
    access: Counted

    async def serve(self, parts: Mapping[str, Any], listeners: Mapping[str, socket.socket]) -> None:
        """Serve each part that there is a listener for; those of no part are closed."""
        async with AsyncExitStack() as stack:
            cluster, kubectl = parts.get("cluster"), None
            for name in listeners:
                if parts.get(name) is None:
                    listeners[name].close()
            if "model" in listeners and parts.get("model") is not None:
                await self._open_model(stack, parts["model"], listeners["model"])
            tools = parts.get("tools") if "tools" in listeners else None
            if cluster is not None:
                # The tools ask the cluster on a door of their own: in a network of the agent's own
                # we could not reach the agent's.
                program = None if tools is None else tools.program
                private = None if program is None else _private_listener()
                token = AccessToken.new()
                await self._open_cluster(stack, cluster, listeners.get("cluster"), private, token)
                if program is not None and private is not None:
                    config = self._own_kubeconfig(cluster, private, token)
                    kubectl = await stack.enter_async_context(Kubectl.ready(program, config))
            if tools is not None:
                await self._open_tools(stack, tools, listeners["tools"], cluster, kubectl)
            await anyio.sleep_forever()

    async def _open_model(
        self, stack: AsyncExitStack, part: ModelPart, listener: socket.socket
    ) -> None:
        gateway = ModelGateway(
            upstream=part.upstream,
            key_sha256=self.access.digests.get("model", ""),
            accounts=part.accounts(self.run, self.cluster),
            prices=part.prices,
            audit=self.audit,
            limits=part.limits,
            record=self.access.record,
            tell=self.access.hear,
            counted=self.access.count,
            offers=self.access.offers,
        )
        await stack.enter_async_context(gateway.serving(listener))

    async def _open_cluster(
        self,
        stack: AsyncExitStack,
        part: ClusterPart,
        listener: socket.socket | None,
        private: socket.socket | None,
        token: AccessToken,
    ) -> None:
        upstream = await stack.enter_async_context(
            ClusterUpstream(part.credentials, ClusterPatience())
        )
        gateway = ClusterGateway(
            upstream=upstream,
            resources=part.resources,
            redactor=part.redactor,
            audit=self.audit,
            limits=part.limits,
            record=self.access.cluster_record,
            counted=self.access.count_cluster,
        )
        tls = self.identity.server_context()
        known = {listener: {self.access.digests.get("cluster", ""): "agent"},
                 private: {token.sha256: "kubectl_read"}}  # fmt: skip
        doors = [
            Door(listener=each, callers=Callers(callers), tls=tls)
            for each, callers in known.items()
            if each is not None
        ]
        await stack.enter_async_context(gateway.serving(doors))

    def _own_kubeconfig(
        self, part: ClusterPart, listener: socket.socket, token: AccessToken
    ) -> bytes:
        port = int(listener.getsockname()[1])
        return GatewayKubeconfig(
            server=f"https://127.0.0.1:{port}",
            authority=self.identity.authority,
            token=token.text,
            namespace=part.credentials.namespace,
        ).as_bytes()

    async def _open_tools(
        self,
        stack: AsyncExitStack,
        part: ToolPart,
        listener: socket.socket,
        cluster: ClusterPart | None,
        kubectl: Kubectl | None,
    ) -> None:
        from kubecase.gateways.tool_server import serving_tools  # noqa: PLC0415 - slow to import

        toolbox = Toolbox(
            resources=part.resources if cluster is None else cluster.resources,
            redactor=part.redactor,
            audit=self.audit,
            kubectl=kubectl,
            why_no_cluster=(
                NO_CLUSTER if cluster is None else "there is no kubectl on kubecase's host"
            ),
            files=self.files,
        )
        callers = Callers({self.access.digests.get("tools", ""): "agent"})
        await stack.enter_async_context(serving_tools(toolbox, listener, callers))


def _private_listener() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.bind(("127.0.0.1", 0))
    made.listen(128)
    return made
