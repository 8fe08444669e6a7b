"""The only place that knows which implementation is behind which name."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kubecase.app import plugins
from kubecase.app.settings import PROGRAMS, Settings
from kubecase.core.errors import AgentUnavailable, KubecaseError
from kubecase.core.ports import Agent, Collector, Observer

if TYPE_CHECKING:
    from kubecase.agents.options import AgentSettings
    from kubecase.app.containment import Containment
    from kubecase.clusters import ClusterCollector
    from kubecase.service import Investigator, Recovery
    from kubecase.store import Attempt, Store
    from kubecase.workspace import SkillChoice

BUILTIN = "builtin"
COMMAND = "command"
KEYS = {
    "claude": "ANTHROPIC_API_KEY",
    "codex": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "goose": "OPENAI_API_KEY",
    "opencode": "OPENAI_API_KEY",
}
CHAT = "openai_chat"
"""The agent that is no CLI: it needs a server of models, and not everybody's needs a key."""

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def now() -> datetime:
    """The clock of everything that is wired here: UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which agent will be asked, and why. `agent` is None for the built-in investigator.

    `chosen` is true when the settings left the choice open.
    """

    name: str
    agent: Agent | None
    why: str
    chosen: bool = True


def choose_agent(settings: Settings) -> Choice:
    """The agent that the settings name, or with `auto` the first that is configured and healthy.

    An agent that cannot be used is still chosen when it was named: its case is opened and ends
    with a report that says what is missing.
    """
    from kubecase.app.unavailable import UnavailableAgent

    wanted = settings.agent_runtime.agent
    if wanted != "auto":
        return named_choice(wanted, settings, "as configured")
    if settings.agent_runtime.agent_command:
        return Choice(name=COMMAND, agent=_named(COMMAND, settings), why="agent_command is set")
    for name, key in KEYS.items():
        program = _found(name, settings)
        if program and key in settings.model_keys:
            agent = _named(name, settings)
            # One that lacks a setting, such as its model, is passed over: nobody asked for it.
            if not isinstance(agent, UnavailableAgent):
                why = f"{key} and {program} are there"
                return Choice(name=name, agent=agent, why=why)
    own = settings.agent_options(CHAT)
    if own.model and (own.upstream or own.base_url):
        why = f"agents.{CHAT} names a model and its server"
        return Choice(name=CHAT, agent=_named(CHAT, settings), why=why)
    return Choice(
        name=BUILTIN,
        agent=None,
        why="no agent is configured: no program with its key was found",
    )


def named_choice(name: str, settings: Settings, why: str) -> Choice:
    """The agent called `name`, usable or not. Raises AgentUnavailable for a name of no adapter."""
    if name == BUILTIN:
        return Choice(name=BUILTIN, agent=None, why=why, chosen=False)
    if name not in plugins.names("agents"):
        raise plugins.unknown_agent(name)
    return Choice(name=name, agent=_named(name, settings), why=why, chosen=False)


def _named(name: str, settings: Settings) -> Agent:
    try:
        return plugins.agent(name, agent_settings(name, settings))
    except AgentUnavailable as error:
        from kubecase.app.unavailable import UnavailableAgent

        return UnavailableAgent(name=name, error=error)


def agent_settings(name: str, settings: Settings) -> "AgentSettings":
    """What the adapter `name` is told; raises AgentUnavailable when its program is not there."""
    from kubecase.agents.options import AgentSettings

    own = settings.agent_options(name)
    command = own.command or _command_of(name, settings)
    argv = _resolved(name, command, settings)
    key = KEYS["codex"] if name == CHAT else KEYS.get(name)
    return AgentSettings(
        program=argv[0] if argv else None,
        argv=argv,
        model=own.model,
        max_turns=own.max_turns,
        max_budget_usd=own.max_budget_usd,
        base_url=own.base_url,
        upstream=own.upstream,
        credential=settings.model_keys.get(key) if key else None,
        extra_args=() if name == COMMAND else argv[1:],
        allowed_tools=settings.agent_runtime.allowed_tools or (),
        python=sys.executable,
    )


def _command_of(name: str, settings: Settings) -> tuple[str, ...]:
    """`agent_command`, which is for the chosen agent alone."""
    chosen = settings.agent_runtime.agent
    is_chosen = name == chosen or (chosen == "auto" and name == COMMAND)
    return (settings.agent_runtime.agent_command or ()) if is_chosen else ()


def _found(program: str, settings: Settings) -> str | None:
    """Where `program` is on this host; with containers a mere name is one in their image."""
    if settings.agent_runtime.isolation == "container" and "/" not in program:
        return program
    return shutil.which(program, path=settings.host.search_path)


def _resolved(name: str, command: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """`command` with its program as an absolute path, since an agent's working directory is its
    workspace; one of an image keeps its name. Raises AgentUnavailable when there is no such one.
    """
    if not command and name not in PROGRAMS:
        return ()
    program, *rest = command or (PROGRAMS[name],)
    found = _found(program, settings)
    if found is None:
        exists = Path(program).exists()
        raise AgentUnavailable(
            f"cannot use the agent {name}: {program!r} "
            + ("is not executable" if exists else "is not on PATH and is no file"),
            hint="Install it, or set agent_runtime.agent_command (AGENT_RUNTIME_COMMAND) to the "
            "program's name on PATH or to its path. `kubecase doctor` shows what was found.",
        )
    return (str(Path(found).absolute()) if "/" in found else found, *rest)


def cluster_collector(
    settings: Settings, cluster: str | None, kubeconfig: Path | None
) -> "ClusterCollector | None":
    """What reads the cluster that the flags or settings name, GET only; None if none is named."""
    context = None
    if cluster is not None:
        if cluster not in settings.clusters:
            known = ", ".join(sorted(settings.clusters)) or "none"
            raise KubecaseError(
                f"no cluster {cluster!r} is configured",
                hint=f"Configured under `clusters` are: {known}. Or use --kubeconfig FILE.",
            )
        if kubeconfig is None and settings.clusters[cluster].in_cluster:
            return reached_inside(settings, cluster)
        kubeconfig = kubeconfig or settings.clusters[cluster].kubeconfig
        context = settings.clusters[cluster].context
    kubeconfig = kubeconfig or settings.agent_runtime.kubeconfig_path
    if kubeconfig is None:
        return None
    return reached_by(settings, kubeconfig, context, cluster)


def reached_inside(settings: Settings, cluster: str) -> "ClusterCollector":
    """What reads the cluster that kubecase runs in, as its pod's service account.

    Raises ClusterUnavailable outside of a pod, or without a mounted account.
    """
    from kubecase.clusters import ClusterCollector, in_cluster
    from kubecase.core.errors import ClusterUnavailable

    if settings.host.api_server is None:
        raise ClusterUnavailable(
            f"clusters.{cluster}.in_cluster is on, and kubecase does not run in a pod",
            hint=f"Set clusters.{cluster}.kubeconfig instead, or run kubecase in the cluster.",
        )
    host, port = settings.host.api_server
    return ClusterCollector(in_cluster(host, port), clock=now, cluster=cluster)


def reached_by(
    settings: Settings, kubeconfig: Path, context: str | None, cluster: str | None
) -> "ClusterCollector":
    """What reads the cluster of this kubeconfig's context, which we call `cluster`.

    Raises ClusterUnavailable for a kubeconfig that cannot be used.
    """
    from kubecase.clusters import ClusterCollector

    host = settings.host
    return ClusterCollector.from_kubeconfig(
        kubeconfig,
        context=context,
        cluster=cluster,
        clock=now,
        # What a credential plug-in of the kubeconfig needs to find itself and its own log-in.
        plugin_environment={
            "PATH": host.search_path or DEFAULT_PATH,
            "HOME": str(host.home or "/"),
        },
    )


def record_place(settings: Settings) -> str | Path:
    """Where the record is: the address of `store.url`, else a file in the data directory."""
    return settings.store.url or settings.store.data_dir / "kubecase.db"


@asynccontextmanager
async def opened_store(settings: Settings, observer: Observer) -> AsyncIterator["Store"]:
    """The record, open; its directory is created if absent."""
    from kubecase.store import Owner, Store

    place = record_place(settings)
    async with Store.open(place, owner=Owner.current(), observer=observer, clock=now) as store:
        yield store


def investigator(
    settings: Settings,
    *,
    choice: Choice,
    store: "Store",
    collector: Collector,
    observer: Observer,
    contained: "Containment | None" = None,
    reached: "ClusterCollector | None" = None,
    again: bool = False,
) -> "Investigator":
    """Everything one investigation needs. Raises KubecaseError for a layer that cannot be had;
    `contained` is for who has tried that before. `reached` is the cluster that agents are served,
    with `again` the runs of another process.
    """
    from kubecase.app.agent_check import version_reader, warnings_of
    from kubecase.app.containment import contain
    from kubecase.app.model_access import is_served
    from kubecase.app.notices import routes_of
    from kubecase.app.readiness import checked_before
    from kubecase.app.serving import run_server
    from kubecase.core.redact import Redactor
    from kubecase.service import Investigator
    from kubecase.workspace import CleanupPolicy

    runtime, asks = settings.agent_runtime, choice.agent is not None
    contained = contained or contain(
        settings, trying=asks, served=is_served(choice, settings), agent=choice.name
    )
    server = run_server(choice, settings, contained, reached, again=again)
    return Investigator(
        agent=choice.agent, runtime=contained.runtime,
        store=store, collector=collector, observer=observer,
        redactor=Redactor(settings.secrets),
        workspaces=runtime.workspace_root,
        data=settings.store.data_dir, limits=runtime.limits,
        skills=skill_choice(settings),
        path=_agents_path(settings),
        clock=now,
        require_report=runtime.require_report,
        exit_classes=settings.agent_options(choice.name).exit_classes,
        cleanup=CleanupPolicy(runtime.cleanup_policy),
        warnings=(*contained.warnings, *warnings_of(choice, settings)),
        program_version=version_reader(choice, settings),
        server=server,
        preflight=checked_before(settings, choice, contained, observer, reached,
                                 served=server is not None, again=again),
        agent_ids=_agent_ids(contained),
        routes=routes_of(settings),
    )  # fmt: skip


def _agents_path(settings: Settings) -> str:
    """The PATH of agents: ours; with containers also where an image has its programs."""
    found = settings.host.search_path or DEFAULT_PATH
    if settings.agent_runtime.isolation != "container":
        return found
    return ":".join(dict.fromkeys((*found.split(":"), *DEFAULT_PATH.split(":"))))


def _agent_ids(contained: "Containment") -> tuple[int, int] | None:
    """User and group of the agents, if those are not our own."""
    user = contained.user
    return None if user is None or user.uid == os.geteuid() else (user.uid, user.gid)


def recovery(settings: Settings, store: "Store", observer: Observer) -> "Recovery":
    """What concludes investigations whose kubecase was killed, each with the agent it had."""
    from kubecase.app.containment import contain
    from kubecase.app.unavailable import UnavailableAgent
    from kubecase.clusters.recorded import NothingCollector
    from kubecase.service import Investigator, Recovery

    # Runs are taken over in whatever layer they were started; that is not decided again.
    contained = contain(settings, trying=False)

    def made(attempt: "Attempt") -> Investigator:
        name = attempt.investigation.agent
        agent = None
        if name != BUILTIN and name in plugins.names("agents"):
            agent = _named(name, settings)
            if isinstance(agent, UnavailableAgent):
                agent = plugins.reader(name) or agent
        return investigator(
            settings,
            choice=Choice(name=name, agent=agent, why="as it was", chosen=False),
            store=store,
            collector=NothingCollector(clock=now),
            observer=observer,
            contained=contained,
            again=True,
        )

    return Recovery(store=store, made=made)


def skill_choice(settings: Settings) -> "SkillChoice":
    """The skills that the settings name: the shipped ones unless told otherwise, and the added."""
    from kubecase.workspace import SkillChoice, shipped_skills_source

    runtime = settings.agent_runtime
    named = runtime.skills_sources
    sources = [shipped_skills_source() if each == "shipped" else each for each in named]
    if runtime.skills_source is not None:
        sources.insert(0, runtime.skills_source)
    return SkillChoice(
        sources=tuple(sources) or (shipped_skills_source(),),
        names=tuple(skill.name for skill in runtime.skills if skill.enabled) or None,
        disabled=frozenset(skill.name for skill in runtime.skills if not skill.enabled),
        data=settings.store.data_dir,
    )
