"""`kubecase mcp`: the read-only tool for any agent that speaks MCP over stdio."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kubecase.app.boundary import SUCCESS
from kubecase.app.commands.options import DEFAULT, Shared


def mcp(
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
    extra_resources: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    shared: Shared = DEFAULT,
) -> int:
    """Offer the tool `kubectl_read` to any agent, as an MCP server on standard input and output.

    It reads a cluster with kubectl command lines: get, describe, logs, events, top and so on. No
    shell is behind it, no Secret is readable, nothing can be changed, and each call is on record.
    Tell an agent to start it as: kubecase mcp --kubeconfig FILE

    Parameters
    ----------
    kubeconfig
        Kubeconfig with the real credential; else that of agent_runtime.kubeconfig_path.
    context
        Context of it; the current one by default.
    extra_resources
        More resources that may be read, as PLURAL.GROUP, for instance widgets.shop.io.
    """
    import anyio

    from kubecase.app.tools import order_from, serve

    settings = shared.settings(agent_runtime__kubeconfig_path=kubeconfig).settings
    gateway, program = order_from(settings, context=context, extra=extra_resources)
    anyio.run(serve, gateway, program)
    return SUCCESS
