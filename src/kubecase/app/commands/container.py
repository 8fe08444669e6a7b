"""`kubecase container run`: one agent in a container of its own, in a workspace of yours."""

import json as jsonlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from kubecase.app.boundary import AGENT_FAILED, INTERRUPTED, SUCCESS, printable
from kubecase.app.commands.container_options import USUAL, Limits
from kubecase.app.commands.options import DEFAULT, Json, Shared
from kubecase.core.model import Status

if TYPE_CHECKING:
    from kubecase.app import container_run

app = App(name="container", help="Run an agent in a container, in a workspace of yours.")


@app.command
def run(
    *words: Annotated[str, Parameter(allow_leading_hyphen=False)],
    workspace: Annotated[Path, Parameter(alias="-w")],
    agent: str | None = None,
    model: str | None = None,
    kubeconfig: Path | None = None,
    cluster: str | None = None,
    allow_write_capable: Annotated[bool, Parameter(negative="")] = False,
    timeout: str | None = None,
    limits: Limits = USUAL,
    debug: Annotated[bool, Parameter(negative="")] = False,
    print_: Annotated[bool, Parameter(name="--print", negative="")] = False,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """Run one agent in a hardened container, with its workspace and nothing else of this machine.

    Its root is read-only, it has no capabilities, and its network holds only what kubecase serves
    it: its model, without the real key, the cluster, read-only, and tools. Skills lie where CLIs
    look for them, the log in output/ of the workspace, by its time. As root the workspace is handed
    over to the user that agents run as. Nothing is pulled: `make image-build` makes the images.

    Like this:

        kubecase container run -w /srv/case --agent claude -- Why does the pod api-0 restart?
        kubecase container run -w /srv/case --agent codex --kubeconfig ~/.kube/config --print
        kubecase container run -w /srv/case --agent command -- ls -l context
        kubecase container run -w /srv/case --agent claude --debug

    Exit code: 0 the agent finished, 1 it did not, 2 something you can put right, 130 interrupted.

    Parameters
    ----------
    words
        The prompt, behind `--`; else PROMPT.md of the workspace. For the agent `command`, and with
        --debug, the program and its arguments.
    workspace
        Directory for the agent to work in. Refused are git checkouts, home directories, the root,
        what holds one of these, and ways that lead through links.
    agent
        claude, codex, gemini, opencode, goose or command; else agent_runtime.agent.
    model
        Model to ask; else that of agents.NAME.model, else what the CLI takes by itself.
    kubeconfig
        Kubeconfig of the cluster that it is served, read-only; its credential stays outside.
    cluster
        Name of a configured cluster to be served instead.
    allow_write_capable
        Accept a credential that can write; the gateway lets the agent only read with it.
    timeout
        Time limit of the agent, such as 90s or 10m.
    debug
        A shell on this terminal in such a container instead of the agent, without key and network.
    print_
        Print what the engine would be told, and start nothing.
    json
        Print the result as JSON; with --print the arguments as a list.
    """
    import anyio

    from kubecase.app import container_run
    from kubecase.app.container_command import argv_of
    from kubecase.app.container_order import order_from, with_defaults

    is_command = agent == "command" and not debug
    loaded = shared.settings(
        **limits.settings(),
        **({} if agent is None or model is None else {f"agents__{agent}__model": model}),
        agent_runtime__agent=agent,
        agent_runtime__agent_command=list(words) if is_command and words else None,
        agent_runtime__isolation="container",
        agent_runtime__max_duration_minutes=timeout,
        agent_runtime__kubeconfig_path=kubeconfig,
        agent_runtime__allow_write_capable_credential=allow_write_capable or None,
    )
    order = order_from(with_defaults(loaded.settings), workspace, words, cluster)
    if print_:
        argv = argv_of(order)
        print(jsonlib.dumps(list(argv)) if json else shlex.join(argv))
        return SUCCESS
    if debug:
        return container_run.debug(order, words)
    ran = anyio.run(container_run.run, order, _tell)
    return _concluded(ran, json=json)


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
