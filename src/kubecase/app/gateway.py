"""From the settings to the cluster gateway by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from kubecase.app.settings import Settings
from kubecase.app.settings.units import parse_duration
from kubecase.app.wiring import DEFAULT_PATH, now
from kubecase.core.errors import KubecaseError
from kubecase.core.ports import Silence
from kubecase.core.redact import Redactor

if TYPE_CHECKING:
    from kubecase.clusters import Credentials
    from kubecase.gateways.cluster_call import ClusterRecord
    from kubecase.gateways.policy import Resources
    from kubecase.gateways.standalone import Standalone


@dataclass(frozen=True, kw_only=True)
class GatewayOrder:
    """What was asked for, checked: `seconds` is None until somebody stops it."""

    gateway: "Standalone"
    host: str
    port: int
    out: Path
    replace: bool
    seconds: float | None
    cluster: str
    notes: tuple[str, ...]
    counts: "Counts"


class Counts:
    """What was asked so far, for the last line."""

    def __init__(self) -> None:
        self.now: ClusterRecord | None = None

    def hear(self, record: "ClusterRecord") -> None:
        """Remember the newest."""
        self.now = record

    def in_words(self) -> str:
        """For the operator."""
        if self.now is None:
            return "nothing was asked"
        return (
            f"{self.now.requests} requests, {self.now.denied} of them denied, {self.now.bytes} "
            f"bytes given, {self.now.masked} values masked"
        )


def order_from(
    settings: Settings, *, out: Path, context: str | None, listen: str, extra: tuple[str, ...],
    until: str | None, force: bool,
) -> GatewayOrder:  # fmt: skip
    """What the command was given, checked as far as it can be without serving anything.

    Raises KubecaseError with what is wrong and how to put it right.
    """
    from kubecase.gateways.kubeconfig import refuse_existing

    real = settings.agent_runtime.kubeconfig_path
    refuse_existing(out, replace=force and not (real and out.exists() and out.samefile(real)))
    host, port = _address(listen)
    counts = Counts()
    gateway = standalone(settings, context=context, extra=extra, counted=counts.hear)
    credentials = gateway.credentials
    return GatewayOrder(
        gateway=gateway, host=host, port=port, out=out, replace=force, seconds=_seconds(until),
        cluster=credentials.context, notes=credentials.notes, counts=counts,
    )  # fmt: skip


def standalone(
    settings: Settings, *, context: str | None, extra: tuple[str, ...],
    counted: "Callable[[ClusterRecord], None]", name: str = "gateway",
) -> "Standalone":  # fmt: skip
    """A gateway to the cluster that the settings name, with a record of its own that begins with
    `name`. Raises KubecaseError.
    """
    from kubecase.gateways.cluster_call import ClusterLimits
    from kubecase.gateways.standalone import Standalone

    credentials = credentials_from(settings, context)
    data, unlimited = settings.store.data_dir, 2**62
    return Standalone(
        credentials=credentials,
        resources=extended(extra, "--extra-resources"),
        redactor=Redactor((*settings.secrets, *credentials.secrets)),
        limits=ClusterLimits(requests=unlimited, total_bytes=unlimited, denials=100_000),
        record=data / "audit" / f"{name}-{now().strftime('%Y%m%dT%H%M%S.%fZ')}.jsonl",
        answers=data / "answers",
        counted=counted,
    )


def credentials_from(settings: Settings, context: str | None) -> "Credentials":
    """The credential of the kubeconfig that is named by flag or setting; raises KubecaseError."""
    from kubecase.clusters import from_kubeconfig

    path = settings.agent_runtime.kubeconfig_path
    if path is None:
        raise KubecaseError(
            "no kubeconfig with a real credential is named", hint="Give one with --kubeconfig FILE."
        )
    return from_kubeconfig(
        path,
        context=context,
        plugin_environment={
            "PATH": settings.host.search_path or DEFAULT_PATH,
            "HOME": str(settings.host.home or "/"),
        },
    )


def extended(extra: tuple[str, ...], key: str) -> "Resources":
    """The shipped resources and `extra`, which stand under `key`; raises KubecaseError."""
    from kubecase.gateways.families import resources_with

    try:
        return resources_with(extra)
    except ValueError as error:
        raise KubecaseError(
            f"{key}: {error}", hint="Name resources as PLURAL.GROUP, for instance widgets.shop.io."
        ) from None


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or not host:
        raise KubecaseError(
            f"--listen {listen}: this is no address and port",
            hint="Give both, such as 127.0.0.1:0 (any free port) or [::1]:6443.",
        )
    host = host.strip("[]")
    if host in {"0.0.0.0", "::", "*"}:  # noqa: S104 - it is refused
        raise KubecaseError(
            f"--listen {listen}: the kubeconfig has to name one address",
            hint="Give the address by which others reach this machine, such as 10.0.0.5:6443.",
        )
    return host, int(port)


def _seconds(until: str | None) -> float | None:
    if until is None:
        return None
    try:
        return parse_duration(until)
    except ValueError as error:
        raise KubecaseError(f"--for: {error}", hint="Say for instance 30m or 8h.") from None


async def serve(order: GatewayOrder, tell: Callable[[str], None]) -> None:
    """Serve until Ctrl-C, SIGTERM or the end of its time; `tell` is for the operator's eyes.

    Raises KubecaseError where it cannot begin.
    """
    from kubecase.app.session import stopped_by_signals
    from kubecase.gateways.kubeconfig import write_private

    for note in order.notes:
        tell(f"note: {note}")
    stop = anyio.Event()
    async with (
        order.gateway.serving(order.host, order.port) as opened,
        stopped_by_signals(stop, Silence(), 0),
    ):
        write_private(order.out, opened.config.as_bytes(), replace=order.replace)
        try:
            tell(f"serving {order.cluster} read-only at {opened.config.server}")
            tell(f"use it with: kubectl --kubeconfig {order.out} get pods")
            tell(f"on record in {order.gateway.record}; Ctrl-C ends it")
            with anyio.move_on_after(order.seconds):
                await stop.wait()
        finally:
            order.out.unlink(missing_ok=True)
    tell(f"ended: {order.counts.in_words()}")
