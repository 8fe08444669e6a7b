"""`kubecase gc`: what retention says about each workspace, and deleting what is over."""

import json as jsonlib
from typing import Annotated

from cyclopts import Parameter

from kubecase.app.boundary import SUCCESS, printable
from kubecase.app.commands.options import DEFAULT, Json, Shared


def gc(
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """Delete workspaces whose retention is over; never an active one, never a foreign name.

    Parameters
    ----------
    dry_run
        Only say what would be done, and why.
    json
        Print each decision as a JSON array.
    """
    import anyio

    from kubecase.app.retention import collect_garbage

    settings = shared.settings().settings
    decisions = anyio.run(collect_garbage, settings, dry_run)
    if json:
        print(jsonlib.dumps([decision.as_json() for decision in decisions], indent=2))
        return SUCCESS
    for decision in decisions:
        print(printable(decision.in_words(dry_run=dry_run)))
    if not decisions:
        print(f"no workspaces below {printable(settings.agent_runtime.workspace_root)}")
    return SUCCESS
