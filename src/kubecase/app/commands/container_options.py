"""The options of `kubecase container run` that say how its container is made."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

CONTAINER = Group("Container", sort_key=50)


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
