"""From the settings to what a run is served: its model, its cluster, its tools."""

import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubecase.app.model_access import PROTOCOLS, is_served, model_part
from kubecase.app.settings import Settings
from kubecase.app.unavailable import UnavailableAgent
from kubecase.core.errors import KubecaseError

if TYPE_CHECKING:
    from kubecase.app.containment import Containment
    from kubecase.app.wiring import Choice
    from kubecase.clusters import ClusterCollector
    from kubecase.core.model import Fault
    from kubecase.core.permissions import Permissions
    from kubecase.core.ports import Agent
    from kubecase.gateways.cluster_call import ClusterLimits
    from kubecase.gateways.policy import Resources
    from kubecase.gateways.serving import Lead, RunServer
    from kubecase.gateways.serving_parts import ClusterPart, ToolPart
    from kubecase.service.preflight import Preflight


def run_server(
    choice: "Choice",
    settings: Settings,
    contained: "Containment",
    reached: "ClusterCollector | None",
    *,
    again: bool = False,
) -> "RunServer | None":
    """What serves this agent; None where there is nothing to serve.

    `reached` is the cluster that the investigation is about, if one was named; with `again` it is
    found in what the run's first process put down. Raises KubecaseError for settings that cannot
    work.
    """
    from kubecase.gateways.serving import RunServer

    if choice.agent is None or isinstance(choice.agent, UnavailableAgent):
        return None
    models = model_part(choice, settings) if is_served(choice, settings) else None
    clusters = None if reached is None else cluster_part(reached, settings)
    tools = tool_part(settings) if takes_tools(choice) else None
    if models is None and clusters is None and tools is None and not again:
        return None
    data = settings.store.data_dir
    return RunServer(
        models=models,
        clusters=clusters,
        tools=tools,
        dress=DRESSED.get(choice.name, _undressed),
        records=data / "audit",
        answers=data / "answers",
        own_network=contained.own_network,
        closed=contained.network == "none",
        cluster_again=lambda reach: _cluster_again(reach, settings),
        remember=_remembered,
        recall=_recalled,
    )


def _remembered(agent: "Agent") -> dict[str, Any]:
    """What the start of this agent is compared with."""
    from kubecase.agents.claude import Claude
    from kubecase.agents.gemini import Gemini

    match agent:
        case Claude():
            return {"tools": agent.tools}
        case Gemini():
            return {"model": agent.model}
    return {}


def _recalled(agent: "Agent", asked: Mapping[str, Any]) -> "Agent":
    """The agent as it was asked by the process before: the settings may be others by now."""
    from kubecase.agents.claude import Claude
    from kubecase.agents.gemini import Gemini

    try:
        match agent, asked:
            case Claude(), {"tools": [*tools]}:
                return replace(agent, tools=tuple(map(str, tools)))
            case Gemini(), {"model": str() | None as model}:
                return replace(agent, model=model)
    except KubecaseError:
        pass
    return agent


def takes_tools(choice: "Choice") -> bool:
    """Whether this agent can be told of a tool server."""
    return choice.agent is not None and choice.name in DRESSED


def resources_of(settings: Settings, cluster: str) -> "Resources":
    """What may be read of this cluster: the shipped list and its `extra_resources`."""
    from kubecase.gateways.families import resources_with

    options = settings.clusters.get(cluster)
    return resources_with(() if options is None else options.extra_resources)


def cluster_limits(settings: Settings, cluster: str) -> "ClusterLimits":
    """How much one run may ask of this cluster."""
    from kubecase.app.settings.values import ClusterOptions
    from kubecase.gateways.cluster_call import ClusterLimits

    options = settings.clusters.get(cluster) or ClusterOptions()
    return ClusterLimits(requests=options.max_requests, total_bytes=options.max_answers)


def cluster_part(reached: "ClusterCollector", settings: Settings) -> "ClusterPart":
    """The gateway to the cluster that this collector reads."""
    from kubecase.core.redact import Redactor
    from kubecase.gateways.serving_parts import ClusterPart

    return ClusterPart(
        credentials=reached.credentials,
        resources=resources_of(settings, reached.cluster),
        redactor=Redactor((*settings.secrets, *reached.credentials.secrets)),
        limits=cluster_limits(settings, reached.cluster),
        again={
            "kubeconfig": None if reached.path is None else str(reached.path),
            "context": reached.context,
            "cluster": reached.cluster,
        },
    )


def preflight_of(
    reached: "ClusterCollector | None",
    settings: Settings,
    *,
    asks_agent: bool,
    served: bool,
    ready: "Callable[[], Awaitable[Sequence[str]]] | None" = None,
) -> "Preflight":
    """What asks the cluster about our credential; for agents it is refused when it can write.
    `ready` finds out whether the agent can work.

    The built-in investigator is no agent: it has what kubecase has read itself.
    """
    from kubecase.clusters.preflight import write_capable
    from kubecase.service.preflight import Preflight

    runtime = settings.agent_runtime
    refuses = runtime.read_only_mode and not runtime.allow_write_capable_credential
    return Preflight(
        ask=None if reached is None else _asking(reached),
        refusal=write_capable if refuses and asks_agent else None,
        served=served,
        ready=ready,
    )


def _asking(reached: "ClusterCollector") -> "Callable[[Fault], Awaitable[Permissions]]":
    return lambda fault: reached.permissions(fault.resource.namespace)


def _cluster_again(reach: Mapping[str, Any], settings: Settings) -> "ClusterPart | None":
    """The same for a run that another process began."""
    from kubecase.app.wiring import reached_by, reached_inside

    path, cluster = reach.get("kubeconfig"), str(reach.get("cluster"))
    try:
        if isinstance(path, str):
            reached = reached_by(settings, Path(path), str(reach.get("context")), cluster)
        else:
            reached = reached_inside(settings, cluster)
    except KubecaseError:
        # Its agent is told that there is no cluster any more; that is better than no end at all.
        return None
    return cluster_part(reached, settings)


def tool_part(settings: Settings) -> "ToolPart":
    """The tools; kubectl is looked for where agents' programs are."""
    from kubecase.core.redact import Redactor
    from kubecase.gateways.families import shipped_resources
    from kubecase.gateways.serving_parts import ToolPart

    return ToolPart(
        program=kubectl_of(settings),
        resources=shipped_resources(),
        redactor=Redactor(settings.secrets),
    )


def kubectl_of(settings: Settings) -> str | None:
    """The kubectl that the tool runs, as an absolute path; None if there is none."""
    found = shutil.which("kubectl", path=settings.host.search_path)
    return None if found is None else str(Path(found).resolve())


def _undressed(agent: "Agent", lead: "Lead") -> "Agent":
    """An agent that is told by its environment alone."""
    return agent


def _dressed(agent: "Agent", lead: "Lead") -> "Agent":
    """A CLI with the key of its run, our address, and our tools."""
    from kubecase.agents.claude import Claude
    from kubecase.agents.codex import Codex
    from kubecase.agents.gemini import Gemini
    from kubecase.agents.goose import Goose
    from kubecase.agents.openai_chat import OpenaiChat
    from kubecase.agents.opencode import Opencode
    from kubecase.core.ports import Credential
    from kubecase.gateways.model import base_url

    if not isinstance(agent, Claude | Codex | Gemini | Goose | OpenaiChat | Opencode):
        raise TypeError("not an adapter that this is for")
    if lead.tools is not None:
        agent = replace(agent, tool_server=lead.tools)
    if lead.model_key is None or lead.model_port is None:
        return agent
    variable = "model key" if agent.credential is None else agent.credential.variable
    credential = Credential(variable=variable, value=lead.model_key.text)
    return replace(agent, credential=credential, base_url=base_url(agent.name, lead.model_port))


DRESSED: "Mapping[str, Callable[[Agent, Lead], Agent]]" = dict.fromkeys(PROTOCOLS, _dressed)
"""The agents that can be served all of it, and how each is told where it is."""
