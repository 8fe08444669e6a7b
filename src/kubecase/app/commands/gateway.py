"""`kubecase gateway`: a read-only, redacted, recorded kubeconfig for anybody, in one command."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kubecase.app.boundary import SUCCESS, printable
from kubecase.app.commands.options import DEFAULT, Shared

if TYPE_CHECKING:
    from kubecase.app.gateway import GatewayOrder


def gateway(
    *,
    out: Path,
    kubeconfig: Path | None = None,
    context: str | None = None,
    listen: str = "127.0.0.1:0",
    extra_resources: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    until: Annotated[str | None, Parameter(name="--for")] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    shared: Shared = DEFAULT,
) -> int:
    """Serve a cluster read-only, and write the kubeconfig that leads there.

    Whoever has that file can get, list and watch what is listed, read logs, and ask what they may
    do; and nothing else: no Secrets in any form, no exec, no port-forward, no write, not even as a
    dry run. Values that look secret are masked, and every request goes on record. The credential of
    the cluster stays in this process. Runs until Ctrl-C, then the file leads nowhere.

    Parameters
    ----------
    out
        Where to write the read-only kubeconfig; 0600.
    kubeconfig
        Kubeconfig with the real credential; else that of agent_runtime.kubeconfig_path.
    context
        Context of it; the current one by default.
    listen
        Address and port. Loopback by default; the token of the file is needed at any address.
    extra_resources
        More resources that may be read, as PLURAL.GROUP, for instance widgets.shop.io.
    until
        Stop by itself after this time, such as 30m or 8h.
    force
        Replace an existing file at --out.
    """
    import anyio

    from kubecase.app.gateway import order_from, serve

    order: GatewayOrder = order_from(
        shared.settings(agent_runtime__kubeconfig_path=kubeconfig).settings,
        out=out, context=context, listen=listen, extra=extra_resources, until=until, force=force,
    )  # fmt: skip

    def tell(says: str) -> None:
        print(f"kubecase: {printable(says)}", file=sys.stderr, flush=True)

    anyio.run(serve, order, tell)
    return SUCCESS
