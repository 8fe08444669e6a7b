"""`kubecase gc`: what retention says about each workspace, and carrying it out."""

from typing import Annotated

from cyclopts import Parameter

from kubecase.app.commands.options import DEFAULT, Json, Shared
from kubecase.core.errors import KubecaseError


def gc(
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    watch: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """Delete or archive workspaces whose retention is over; never an active one or a foreign name.

    Parameters
    ----------
    dry_run
        Only say what would be done, and why.
    watch
        Make a pass every agent_runtime.gc_interval until interrupted, and print only what goes.
    json
        Print each decision as a JSON array.
    """
    import anyio

    from kubecase.app import retention

    if watch and (dry_run or json):
        raise KubecaseError(
            "cannot watch with --dry-run or --json",
            hint="Leave out --watch for one pass; kubecase.log has every deletion as JSON.",
        )
    settings = shared.settings().settings
    if watch:
        return anyio.run(retention.watch, settings)
    return anyio.run(retention.collect_garbage, settings, dry_run, json)
