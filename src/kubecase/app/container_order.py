"""What `kubecase container run` is asked to do: checked settings, a checked workspace, a prompt."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kubecase.app import wiring
from kubecase.app.settings import Settings
from kubecase.app.unavailable import UnavailableAgent
from kubecase.core.errors import AgentUnavailable, KubecaseError, WorkspaceError
from kubecase.core.ports import Agent
from kubecase.workspace import Workspace

if TYPE_CHECKING:
    from kubecase.clusters import ClusterCollector

USUAL_IMAGE = "localhost/kubecase-{agent}:1"
"""What `make image-build` calls the image of an agent."""

PROMPT = "PROMPT.md"
MAX_PROMPT = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ContainerOrder:
    """One agent, one workspace, one prompt. `reached` is the cluster that it is served."""

    settings: Settings
    choice: wiring.Choice
    agent: Agent
    workspace: Workspace
    prompt: str
    reached: "ClusterCollector | None"
    at: datetime

    @property
    def key(self) -> str:
        """The name of the run, after the moment in UTC at which it was ordered."""
        return self.at.strftime("%Y%m%dT%H%M%S.%fZ")

    @property
    def log(self) -> str:
        """Where its log lies in the workspace."""
        return f"output/{self.choice.name}-{self.key}.log"

    @property
    def home(self) -> str:
        """Its HOME in the workspace: a new one, since an earlier agent may have left a trap."""
        return f".home/{self.key}"


def with_defaults(settings: Settings) -> Settings:
    """`settings` with what a launched container has unless it is told otherwise: a closed network,
    and the image that is built for its agent. It ends with its launcher: no record leads to it.
    """
    container = settings.container
    runtime = replace(settings.agent_runtime, when_supervisor_dies="die_with_me")
    if runtime.network == "auto":
        runtime = replace(runtime, network="none")
    if container.image is None:
        container = replace(container, image=USUAL_IMAGE)
    return replace(settings, agent_runtime=runtime, container=container)


def order_from(
    settings: Settings,
    workspace: Path,
    words: tuple[str, ...],
    *,
    cluster: str | None = None,
    debugging: bool = False,
) -> ContainerOrder:
    """The order for the agent that `settings` name; `words` are its prompt. For `debugging` it may
    lack its key, and needs no prompt.

    Raises KubecaseError for a workspace that is refused, an agent that cannot be used, and where
    there is no prompt.
    """
    adopted = checked_workspace(workspace, settings.store.data_dir)
    choice = wiring.choose_agent(settings)
    if isinstance(choice.agent, UnavailableAgent) and not debugging:
        raise choice.agent.error
    if choice.agent is None:
        raise AgentUnavailable(
            "cannot run the built-in investigator in a container: it is no program",
            hint="Name an agent: --agent claude, codex, gemini, opencode, goose or command.",
        )
    promptless = debugging or choice.name == wiring.COMMAND
    return ContainerOrder(
        settings=settings,
        choice=choice,
        agent=choice.agent,
        workspace=adopted,
        prompt=_prompt(adopted, () if promptless else words, needed=not promptless),
        reached=wiring.cluster_collector(settings, cluster, None),
        at=wiring.now(),
    )


def checked_workspace(path: Path, data: Path) -> Workspace:
    """The directory `path` as a workspace; `data` is our own, which is not handed out.

    Raises KubecaseError for a git checkout, a home directory, the root, what holds one of these,
    our own data, a link on the way, and a name that an engine would not take.
    """
    from kubecase.runtime.mounts import refuse_precious

    found = Workspace.adopt(path)
    try:
        refuse_precious(found.root)
        if ":" in str(found.root):
            raise ValueError("engines take no colon in the name of a directory")
        if found.root.is_relative_to(data) or data.is_relative_to(found.root):
            raise ValueError(f"it is, or holds, the data of kubecase ({data})")
    except ValueError as error:
        raise WorkspaceError(
            f"cannot give {found.root} to an agent: {error}",
            hint="Make a directory for it alone, such as with `mktemp -d`, and name that with -w.",
        ) from None
    return found


def _prompt(workspace: Workspace, words: tuple[str, ...], *, needed: bool) -> str:
    if words:
        return " ".join(words)
    try:
        return workspace.read(PROMPT, MAX_PROMPT).decode("utf-8", "replace")
    except FileNotFoundError:
        if not needed:
            return ""
    raise KubecaseError(
        f"there is no prompt: {workspace.root} holds no {PROMPT}",
        hint=f"Give it behind `--`, or put it into {PROMPT} of the workspace.",
    )
