"""The layers of isolation: what each asks of the shim for a command, and what it leaves open."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Command
from kubecase.core.ports import Probe as Probe  # noqa: PLC0414 - every layer answers with one
from kubecase.runtime.seccomp import Network

LayerName = Literal["process", "landlock", "bwrap", "container"]
STRENGTH: tuple[LayerName, ...] = ("process", "landlock", "bwrap", "container")
"""The layers from the weakest to the strongest."""

MEMORY = "memory: bounded for each process, not for the agent as a whole"
DAEMONS = "foreign daemons: what the agent has another program start for it is not found"
HOST_NETWORK = "network: the agent may reach whatever this host reaches"
AS_ROOT = (
    "root: the agent runs as uid 0, without capabilities; what belongs to root is not closed to it "
    "by file modes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentUser:
    """The user that agents run as."""

    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> Self:
        """The user called `name` (or its number). Raises RuntimeUnavailable, and for root."""
        try:
            found = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
        except (KeyError, OverflowError):
            raise RuntimeUnavailable(
                f"cannot run agents as {name!r}: there is no such user",
                hint="Create it (useradd --system --no-create-home kubecase-agent), or correct "
                "agent_runtime.agent_user (AGENT_RUNTIME_AGENT_USER).",
            ) from None
        if found.pw_uid == 0:
            raise RuntimeUnavailable(
                f"cannot run agents as {name!r}: that is root",
                hint="Set agent_runtime.agent_user to a user without rights of its own.",
            )
        if os.geteuid() not in (0, found.pw_uid):
            raise RuntimeUnavailable(
                f"cannot run agents as {name!r}: only root may start processes of another user",
                hint="Run kubecase as root for that, or remove agent_runtime.agent_user.",
            )
        return cls(name=found.pw_name, uid=found.pw_uid, gid=found.pw_gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOptions:
    """What the operator may say about every layer.

    `user` is who agents run as, None for whoever runs kubecase. `network` is "host" or "none":
    nothing but the listeners of the command. `read_only_paths` are let in beside the command's own.
    """

    user: AgentUser | None = None
    network: Network = "host"
    read_only_paths: tuple[Path, ...] = ()

    @property
    def switched_user(self) -> AgentUser | None:
        """The user, unless kubecase runs as that one already."""
        return None if self.user is None or self.user.uid == os.geteuid() else self.user

    @property
    def is_root(self) -> bool:
        """Whether agents run as root."""
        return self.user is None and os.geteuid() == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """What the shim is asked to start for a command, and how to confine it.

    `confinement` has the keys of `shim.confine.Confinement`. `cleanup` is a command that removes
    what an engine keeps of the run, with its environment. `limits` are resource limits beside the
    usual ones, by their names without RLIMIT_. `notes` say what is not defended against.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    confinement: Mapping[str, Any] = field(default_factory=dict, repr=False)
    cleanup: tuple[tuple[str, ...], Mapping[str, str]] | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Layer(Protocol):
    """One way to contain a command."""

    @property
    def name(self) -> LayerName:
        """The name in settings and in the run's record."""

    def probe(self) -> Probe:
        """Try the mechanism on this host; nothing of the trial is left. Takes at most seconds."""

    def wrap(self, command: Command, run_dir: Path) -> Wrapped:
        """What the shim is to start. Raises RuntimeUnavailable when this layer cannot hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLayer:
    """No more than supervision: a process of this user, or of `agent_user`."""

    options: LayerOptions = field(default_factory=LayerOptions)

    @property
    def name(self) -> LayerName:
        """`process`."""
        return "process"

    def probe(self) -> Probe:
        """Works wherever agents can be supervised at all, but closes nothing."""
        if self.options.network == "none":
            return Probe(
                works=False,
                says="it cannot close the network, which agent_runtime.network asks for",
                remedy="Use isolation landlock or bwrap, or agent_runtime.network host.",
            )
        return Probe(works=True, says="processes are supervised, nothing more")

    def wrap(self, command: Command, run_dir: Path) -> Wrapped:
        """The command itself. Refuses to promise a closed network."""
        if self.options.network == "none":
            raise RuntimeUnavailable(
                "cannot close the network with isolation process",
                hint="Set agent_runtime.isolation to landlock or bwrap, or agent_runtime.network "
                "to host.",
            )
        return Wrapped(
            argv=command.argv,
            environment=command.environment,
            confinement=base_confinement(self.options),
            notes=self._notes(),
        )

    def _notes(self) -> tuple[str, ...]:
        user = self.options.user
        if user is not None:
            return (
                f"same user: agents may signal and inspect one another, as {user.name}",
                f"files: the agent may read and write whatever {user.name} may",
                f"credentials: it is given none, but may find what {user.name} has",
                HOST_NETWORK,
                MEMORY,
                DAEMONS,
            )
        own = (
            "same user: the agent may signal and inspect any process of the user that runs it",
            "files: the agent may read and write whatever that user may",
            "credentials: the agent is given none, but may find a kubeconfig or key of that user's",
            HOST_NETWORK,
            MEMORY,
            DAEMONS,
        )
        return (AS_ROOT, *own) if self.options.is_root else own


def base_confinement(options: LayerOptions) -> dict[str, Any]:
    """What every layer asks for: no capabilities, and another user if there is one."""
    user = options.switched_user
    return {"user": None if user is None else (user.uid, user.gid)}
