"""What a launched container is given: its workspace's files, its command, its environment."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kubecase.app import wiring
from kubecase.app.container_order import ContainerOrder
from kubecase.app.containment import container_options, layer_options
from kubecase.app.model_access import is_served
from kubecase.app.serving import DRESSED, takes_tools
from kubecase.core.briefing import LANG, Briefing
from kubecase.core.model import Command
from kubecase.core.ports import Agent
from kubecase.core.prompt import SYSTEM_INSTRUCTIONS
from kubecase.workspace import load_skills

if TYPE_CHECKING:
    from kubecase.runtime.container import ContainerLayer


def prepare(order: ContainerOrder) -> None:
    """Make the directories of a workspace, and put the skills where CLIs look: below HOME, and
    below the workspace itself. Raises KubecaseError.
    """
    workspace = order.workspace
    for directory in ("context", "output/artifacts", order.home):
        workspace.make_directory(directory)
    choice = wiring.skill_choice(order.settings)
    for skill in load_skills(choice):
        for top in (".claude/skills", f"{order.home}/.claude/skills"):
            prefix = f"{top}/{skill.about.name}/"
            workspace.write(
                {prefix + relative: data for relative, data in skill.files.items()},
                executable={prefix + relative for relative in skill.executable},
            )


def command_of(order: ContainerOrder, agent: Agent, private: Path) -> Command:
    """What `agent` is to run; `private` is where its private files will lie."""
    briefing = Briefing(
        files={},
        environment=environment_of(order),
        system_prompt=SYSTEM_INSTRUCTIONS,
        user_prompt=order.prompt,
    )
    return agent.command(briefing, order.workspace.root, private)


def environment_of(order: ContainerOrder) -> Mapping[str, str]:
    """The variables that every agent has; none of them is a secret."""
    reached, root = order.reached, order.workspace.root
    seconds = order.settings.agent_runtime.limits.wall_clock
    return {
        "INCIDENT_ID": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{root}/{order.key}")),
        "INCIDENT_WORKSPACE": str(root),
        "KUBERNETES_CLUSTER": "" if reached is None else reached.cluster,
        "KUBERNETES_NAMESPACE": "",
        "CLAUDE_READ_ONLY_MODE": "true",
        "KUBECASE_DEADLINE": (order.at + timedelta(seconds=seconds)).isoformat(),
        "PATH": wiring.DEFAULT_PATH,
        "HOME": str(root / order.home),
        "LANG": LANG,
        "TMPDIR": "/tmp",  # noqa: S108 - the container's own
    }


def layer_of(order: ContainerOrder) -> "ContainerLayer":
    """The layer as it would wrap the command, without asking the engine."""
    from kubecase.runtime.container import ContainerLayer

    return ContainerLayer(
        options=layer_options(order.settings),
        container=container_options(order.settings, order.choice.name),
    )


def run_dir_of(order: ContainerOrder) -> Path:
    """Where the shim keeps what it knows, apart from the runs of the service."""
    return order.settings.store.data_dir / "containers" / order.key


def argv_of(order: ContainerOrder) -> tuple[str, ...]:
    """What the engine would be told; nothing is started or written for it.

    Raises RuntimeUnavailable where no engine is installed.
    """
    from kubecase.core.ports import ToolServer
    from kubecase.gateways.model import DummyKey
    from kubecase.gateways.serving import OWN_PORTS, Lead

    settings, choice = order.settings, order.choice
    has = {
        "model": is_served(choice, settings),
        "cluster": order.reached is not None,
        "tools": takes_tools(choice),
    }
    ports = {name: port for name, port in OWN_PORTS.items() if has[name]}
    url = f"http://127.0.0.1:{OWN_PORTS['tools']}/mcp"
    lead = Lead(
        model_key=DummyKey.new() if has["model"] else None,
        model_port=ports.get("model"),
        tools=ToolServer(url=url, token="of the run") if has["tools"] else None,  # noqa: S106
    )
    agent = DRESSED[choice.name](order.agent, lead) if choice.name in DRESSED else order.agent
    private = run_dir_of(order) / "private"
    command = command_of(order, agent, private)
    if order.reached is not None:
        environment = {**command.environment, "KUBECONFIG": str(private / "kubeconfig")}
        command = replace(command, environment=environment, private_files={"kubeconfig": b""})
    served = replace(command, ports=tuple(ports.values()))
    return layer_of(order).wrap(served, run_dir_of(order)).argv
