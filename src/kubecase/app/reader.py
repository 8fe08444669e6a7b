"""Makes the kubeconfig of a reader: a token of its ServiceAccount, in a file of its own."""

from pathlib import Path

import anyio

from kubecase.app.gateway import credentials_from
from kubecase.app.settings import Settings
from kubecase.app.settings.units import parse_duration
from kubecase.core.errors import KubecaseError

SHORTEST_SECONDS = 600
"""What a cluster gives at least."""


def reader_from(
    settings: Settings, *, out: Path, context: str | None, namespace: str, account: str,
    duration: str, force: bool,
) -> str:  # fmt: skip
    """Write the kubeconfig to `out` and say what it is. Raises KubecaseError."""
    from kubecase.clusters.mint import Minted, mint
    from kubecase.gateways.kubeconfig import refuse_existing, write_private

    seconds = _seconds(duration)
    credentials = credentials_from(settings, context)
    refuse_existing(out, replace=force)

    async def ask() -> Minted:
        return await mint(credentials, namespace=namespace, account=account, seconds=seconds)

    made = anyio.run(ask)
    write_private(out, made.content, replace=force)
    until = made.expires.isoformat()
    return f"{out} reads {credentials.context} as {namespace}/{account} until {until}"


def _seconds(duration: str) -> int:
    try:
        seconds = int(parse_duration(duration))
    except ValueError as error:
        raise KubecaseError(f"--duration: {error}", hint="Say for instance 24h.") from None
    if seconds < SHORTEST_SECONDS:
        raise KubecaseError(
            "--duration: a token is good for at least 10m", hint="Say for instance 24h."
        )
    return seconds
