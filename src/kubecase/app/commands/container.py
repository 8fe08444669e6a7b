"""`kubecase container run`: one agent in a container of its own, in a workspace of yours."""

import json as jsonlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from kubecase.app.boundary import AGENT_FAILED, INTERRUPTED, SUCCESS, printable
from kubecase.app.commands.container_options import NOBODY, USUAL, Limits, Whom
from kubecase.app.commands.options import DEFAULT, Json, Shared
from kubecase.core.model import Status

if TYPE_CHECKING:
    from kubecase.app import container_run
    from kubecase.app.container_order import ContainerOrder

app = App(name="container", help="Run an agent in a container, in a workspace of yours.")


@app.command
def run(
    *words: str,
    workspace: Annotated[Path, Parameter(alias="-w")],
    whom: Whom = NOBODY,
    limits: Limits = USUAL,
    debug: Annotated[bool, Parameter(negative="")] = False,
    print_: Annotated[bool, Parameter(name="--print", negative="")] = False,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """Run one agent in a hardened container, with its workspace and nothing else of this machine.

    Its network holds only what kubecase serves it: its model, without the real key, the cluster,
    read-only, and tools. The log lies in output/ of the workspace, which as root is handed over to
    the user that agents run as. Nothing is pulled: `make image-build` makes the images.

    Like this:

        kubecase container run -w /srv/case --agent claude -- Why does the pod api-0 restart?
        kubecase container run -w /srv/case --agent codex --kubeconfig ~/.kube/config --print

    Exit code: 0 the agent finished, 1 it did not, 2 something you can put right, 130 interrupted.

    Parameters
    ----------
    words
        The prompt, behind `--`; else PROMPT.md of the workspace. For the agent `command`, and with
        --debug, the program and its arguments.
    workspace
        Directory for the agent to work in; no git checkout, home directory, root or link.
    debug
        A shell on this terminal in such a container instead of the agent, without key and network.
    print_
        Print what the engine would be told, and start nothing.
    json
        Print the result as JSON; with --print the arguments as a list.
    """
    from kubecase.app.container_order import order_from, with_defaults

    asked = {**limits.settings(), **whom.settings(() if debug else words)}
    settings = with_defaults(shared.settings(**asked).settings)
    order = order_from(settings, workspace, words, cluster=whom.cluster, debugging=debug)
    return _printed(order, json=json) if print_ else _done(order, words if debug else None, json)


def _printed(order: "ContainerOrder", *, json: bool) -> int:
    from kubecase.app.container_command import argv_of

    argv = argv_of(order)
    print(jsonlib.dumps(list(argv)) if json else shlex.join(argv))
    return SUCCESS


def _done(order: "ContainerOrder", debugged: tuple[str, ...] | None, json: bool) -> int:
    import anyio

    from kubecase.app import container_run

    if debugged is not None:
        return container_run.debug(order, debugged)
    return _concluded(anyio.run(container_run.run, order, _tell), json=json)


def _concluded(ran: "container_run.Ran", *, json: bool) -> int:
    ended = ran.ended
    if json:
        value = {
            "status": ended.status,
            "reason": ended.reason,
            "error": ended.error,
            "exit_code": ran.exit.code,
            "seconds": round(ran.exit.seconds, 3),
            "clean": ran.exit.clean,
            "log": str(ran.log),
        }
        print(jsonlib.dumps(value, indent=2))
    _tell(f"{ended.status}{f': {ended.error}' if ended.error else ''}")
    if ended.status is Status.SUCCESS:
        return SUCCESS
    return INTERRUPTED if ended.status is Status.CANCELLED else AGENT_FAILED


def _tell(says: str) -> None:
    print(f"kubecase: {printable(says)}", file=sys.stderr, flush=True)
