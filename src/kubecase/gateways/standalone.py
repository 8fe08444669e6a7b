"""The cluster gateway by itself: for any agent, script or person, without an investigation."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kubecase.clusters.credentials import Credentials
from kubecase.core.errors import KubecaseError
from kubecase.core.redact import Redactor
from kubecase.gateways.audit import AuditLog
from kubecase.gateways.authority import Identity
from kubecase.gateways.callers import AccessToken, Callers
from kubecase.gateways.cluster import ClusterGateway, Door
from kubecase.gateways.cluster_call import ClusterLimits, ClusterRecord
from kubecase.gateways.cluster_upstream import ClusterPatience, ClusterUpstream
from kubecase.gateways.kubeconfig import GatewayKubeconfig
from kubecase.gateways.policy import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A gateway that is being served: the kubeconfig that leads there, and its record."""

    config: GatewayKubeconfig
    audit: AuditLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Standalone:
    """What such a gateway needs. `record` is the file of its record, `answers` where answers are
    kept; `counted` is told after each request.
    """

    credentials: Credentials
    resources: Resources
    redactor: Redactor
    limits: ClusterLimits
    record: Path
    answers: Path
    counted: Callable[[ClusterRecord], None]

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[Opened]:
        """Serve on this address until the block is left.

        Raises KubecaseError for an address that cannot be listened on, ClusterUnavailable for a
        credential that cannot be used, OSError where no record can be kept.
        """
        listener = listen(host, port)
        bound = int(listener.getsockname()[1])
        identity, token = Identity.new(addresses=(host,)), AccessToken.new()
        audit = AuditLog.open(self.record, self.answers)
        try:
            async with ClusterUpstream(self.credentials, ClusterPatience()) as upstream:
                gateway = ClusterGateway(
                    upstream=upstream,
                    resources=self.resources,
                    redactor=self.redactor,
                    audit=audit,
                    limits=self.limits,
                    counted=self.counted,
                )
                door = Door(
                    listener=listener,
                    callers=Callers({token.sha256: "kubeconfig"}),
                    tls=identity.server_context(),
                )
                async with gateway.serving([door]):
                    config = GatewayKubeconfig(
                        server=f"https://{_in_url(host)}:{bound}",
                        authority=identity.authority,
                        token=token.text,
                        namespace=self.credentials.namespace,
                    )
                    yield Opened(config=config, audit=audit)
        finally:
            listener.close()
            audit.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on `host`, an address of this machine, and `port`, 0 for any.

    Raises KubecaseError.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise KubecaseError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="Give an address of this machine with --listen, such as 127.0.0.1:0.",
        ) from error
    return listener


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
