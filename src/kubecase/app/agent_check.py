"""What doctor says of the agents: which are there, in which version, and what each can do."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from kubecase.app import plugins, wiring
from kubecase.app.findings import Finding, State
from kubecase.app.model_access import unserved
from kubecase.app.settings import Settings
from kubecase.app.versions import versions_of
from kubecase.core.errors import AgentUnavailable

if TYPE_CHECKING:
    from kubecase.core.ports import Agent, Capabilities

OWN = "its program is part of kubecase"
LIMITS = {"max_turns": "turns", "max_budget_usd": "budget"}
"""By setting of `agents.<name>` what a CLI must be able to do for it to have an effect."""


def agent_findings(settings: Settings) -> Iterator[Finding]:
    """Who would be asked, and what is known of each agent."""
    choice = wiring.choose_agent(settings)
    yield Finding(what="agent", state="ok", says=f"{choice.name} would be asked: {choice.why}")
    yield Finding(what="agent builtin", state="ok", says="always there: no model, no key")
    for name in plugins.names("agents"):
        if name != plugins.TEST_AGENT:
            needed = name == settings.agent_runtime.agent
            yield from _findings(name, settings, needed=needed)


def unlimited(name: str, agent: "Agent | None", settings: Settings) -> tuple[str, ...]:
    """A warning for each limit that is set for an agent whose CLI knows no such limit."""
    options = settings.agent_options(name)
    wanted = [key for key in LIMITS if getattr(options, key) is not None]
    if agent is None or not wanted:
        return ()
    can = asdict(agent.capabilities)
    return tuple(
        f"agents.{name}.{key} has no effect: {name} knows no such limit; set one under budgets.run "
        "instead, which the model gateway keeps"
        for key in wanted
        if not can[LIMITS[key]]
    )


def warnings_of(choice: "wiring.Choice", settings: Settings) -> tuple[str, ...]:
    """What has to be said of this agent before it is asked, and in its report."""
    return (*unserved(choice, settings), *unlimited(choice.name, choice.agent, settings))


def version_reader(choice: "wiring.Choice", settings: Settings) -> Callable[[], str | None]:
    """What tells the version of this agent's program, if it is one of the known CLIs."""
    program = getattr(choice.agent, "program", None)
    if (
        choice.name not in wiring.KEYS
        or not isinstance(program, str)
        or not program.startswith("/")
    ):
        return lambda: None
    versions = versions_of(settings)
    return lambda: versions.of(program)


def _findings(name: str, settings: Settings, *, needed: bool) -> Iterator[Finding]:
    what = f"agent {name}"
    state: State = "missing" if needed else "note"
    try:
        options = wiring.agent_settings(name, settings)
        agent = plugins.agent(name, options)
    except AgentUnavailable as error:
        yield Finding(what=what, state=state, says=str(error), remedy=error.hint, needed=needed)
        return
    key = wiring.KEYS.get(name)
    can = agent.capabilities
    if key is not None and key not in settings.model_keys:
        yield Finding(
            what=what,
            state=state,
            says=f"{options.program} is there, its key is not",
            remedy=f"Set {key}.",
            needed=needed,
            capabilities=can,
        )
        return
    version = ""
    if options.program and key:
        version = f", version {versions_of(settings).of(options.program) or 'unknown'}"
    yield Finding(
        what=what, state="ok", says=f"{options.program or OWN}{version}", capabilities=can
    )
    yield from _shortcomings(name, agent, can, settings)


def _shortcomings(
    name: str, agent: "Agent", can: "Capabilities", settings: Settings
) -> Iterator[Finding]:
    path = settings.host.search_path or wiring.DEFAULT_PATH
    if can.needs_node and shutil.which("node", path=path) is None:
        yield Finding(
            what=f"agent {name}", state="note",
            says="its program is run by node, which is not on PATH",
            remedy="Install Node 20 or later, and put `node` on the service's PATH.",
        )  # fmt: skip
    for warning in unlimited(name, agent, settings):
        yield Finding(what=f"agent {name}", state="note", says=warning)
