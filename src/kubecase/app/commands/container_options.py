"""The options of `kubecase container run`: who is asked, and how the container is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

CONTAINER = Group("Container", sort_key=50)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Whom:
    """Which agent is asked, and which cluster it is served."""

    agent: str | None = None
    "claude, codex, gemini, opencode, goose or command; else agent_runtime.agent."

    model: str | None = None
    "Model to ask; else that of agents.NAME.model, else what the CLI takes by itself."

    kubeconfig: Path | None = None
    "Kubeconfig of the cluster that it is served, read-only; its credential stays outside."

    cluster: str | None = None
    "Name of a configured cluster to be served instead."

    allow_write_capable: Annotated[bool, Parameter(negative="")] = False
    "Accept a credential that can write; the gateway lets the agent only read with it."

    timeout: str | None = None
    "Time limit of the agent, such as 90s or 10m."

    def settings(self, words: tuple[str, ...]) -> dict[str, object]:
        """The settings that these stand for; for the agent `command` its `words` are one too."""
        found: dict[str, object] = {
            "agent_runtime__agent": self.agent,
            "agent_runtime__isolation": "container",
            "agent_runtime__max_duration_minutes": self.timeout,
            "agent_runtime__kubeconfig_path": self.kubeconfig,
            "agent_runtime__allow_write_capable_credential": self.allow_write_capable or None,
        }
        if self.agent == "command" and words:
            found["agent_runtime__agent_command"] = list(words)
        if self.agent is not None and self.model is not None:
            found[f"agents__{self.agent}__model"] = self.model
        return found


@Parameter(name="*", group=CONTAINER)
@dataclass(frozen=True, kw_only=True)
class Limits:
    """Each stands before the setting of the same meaning."""

    engine: str | None = None
    "podman, docker, or auto."

    image: str | None = None
    "Image that holds the agent; `{agent}` stands for its name. Else localhost/kubecase-{agent}:1."

    memory: str | None = None
    "Memory of the whole container, such as 2GiB."

    cpus: float | None = None
    "Processors that it may use."

    pids: int | None = None
    "How many processes may be in it at once."

    network: str | None = None
    "none (the default): only what kubecase serves it; host: whatever this host reaches."

    user: str | None = None
    "User that the agent runs as, by name or number; never root's."

    tmpfs: str | None = None
    "Size of its /tmp, such as 128MiB."

    stop_timeout: str | None = None
    "How long the engine itself waits when it has to stop one, such as 10s."

    mount: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    "One more path for it, SOURCE:TARGET, read-only unless `:rw` is added; may be repeated."

    def settings(self) -> dict[str, object]:
        """The settings that these stand for."""
        return {
            "container__engine": self.engine,
            "container__image": self.image,
            "container__memory": self.memory,
            "container__cpus": self.cpus,
            "container__processes": self.pids,
            "container__tmp": self.tmpfs,
            "container__stop_timeout": self.stop_timeout,
            "container__mounts": list(self.mount) or None,
            "agent_runtime__network": self.network,
            "agent_runtime__agent_user": self.user,
        }


USUAL = Limits()
NOBODY = Whom()
