"""`kubecase serve`: the service."""

import sys
from typing import Annotated

from cyclopts import Parameter

from kubecase.app.commands.options import DEFAULT, Shared
from kubecase.app.progress import PlainProgress


def serve(
    *,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    shared: Shared = DEFAULT,
) -> int:
    """Watch clusters, take alerts, and work through what comes in, until stopped.

    Faults come from the clusters of the settings, from `sources`, and over HTTP. Each is durable
    before it is acknowledged; a storm costs one investigation; what runs is ended or handed over in
    `limits.shutdown_timeout` after SIGINT or SIGTERM. SIGHUP reads the settings anew.

    Exit code: 0 when all that was begun has ended or goes on for the next service, 1 when something
    had to be ended, 2 something you can put right, 3 a bug of ours.

    Like this:

        kubecase serve --config kubecase.yaml
        kubecase config example > kubecase.yaml

    Parameters
    ----------
    quiet
        Nothing on standard error but errors; kubecase.log in the data directory has all of it.
    """
    import anyio

    from kubecase.app.serve import Service

    loaded = shared.service_settings()
    for warning in loaded.warnings:
        print(f"kubecase: warning: {warning}", file=sys.stderr)
    service = Service(
        loaded=loaded,
        read=shared.service_settings,
        view=None if quiet else PlainProgress(sys.stderr),
    )
    return anyio.run(service.run)
