"""The agents' tool for anybody's agent: over stdio, before a gateway of its own."""

from typing import TYPE_CHECKING

from kubecase.app.gateway import standalone
from kubecase.app.serving import kubectl_of
from kubecase.app.settings import Settings
from kubecase.core.errors import KubecaseError

if TYPE_CHECKING:
    from kubecase.gateways.standalone import Standalone


def order_from(
    settings: Settings, *, context: str | None, extra: tuple[str, ...]
) -> "tuple[Standalone, str]":
    """The gateway, and the kubectl that is run; raises KubecaseError where one is missing."""
    program = kubectl_of(settings)
    if program is None:
        raise KubecaseError(
            "there is no kubectl on PATH, which the tool runs",
            hint="Install it: apt-get install kubernetes-client, or from your distribution.",
        )
    made = standalone(settings, context=context, extra=extra, counted=lambda _: None, name="mcp")
    return made, program


async def serve(gateway: "Standalone", program: str) -> None:
    """Offer the tool on standard input and output until the former ends."""
    from kubecase.gateways.kubectl import Kubectl
    from kubecase.gateways.tool_server import serve_over_stdio
    from kubecase.gateways.tools import Toolbox

    async with (
        gateway.serving("127.0.0.1", 0) as opened,
        Kubectl.ready(program, opened.config.as_bytes()) as kubectl,
    ):
        toolbox = Toolbox(
            resources=gateway.resources,
            redactor=gateway.redactor,
            audit=opened.audit,
            kubectl=kubectl,
            why_no_cluster="",
            files=None,
            most_calls=2**31,
        )
        await serve_over_stdio(toolbox)
