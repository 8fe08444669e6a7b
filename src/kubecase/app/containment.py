"""Which layer agents run in, as which user, and what becomes of them without us: from the settings.

Never silently weaker: what was asked for and cannot be had is an error that names the remedy.
"""

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kubecase.app import plugins
from kubecase.app.settings import Settings
from kubecase.core.errors import RuntimeUnavailable

if TYPE_CHECKING:
    from kubecase.core.ports import Probe, Runtime
    from kubecase.runtime.container import ContainerOptions
    from kubecase.runtime.layers import AgentUser, LayerOptions
    from kubecase.runtime.registry import RuntimeOptions
    from kubecase.runtime.seccomp import Network
    from kubecase.runtime.supervise import Policy

USUAL_USER = "kubecase-agent"
"""The user that root uses for agents by itself, if there is one of this name."""

OF_AGENT = "{agent}"
"""In the name of an image: the agent that it is for."""

AS_ROOT = (
    "running as root: agents run as root too, without its capabilities; set "
    f"agent_runtime.agent_user, or create a user {USUAL_USER}"
)


@dataclass(frozen=True, kw_only=True)
class Containment:
    """What was decided. `warnings` are for whoever asked, and for the run's report."""

    runtime: "Runtime"
    user: "AgentUser | None"
    network: "Network" = "host"
    warnings: tuple[str, ...] = ()

    @property
    def own_network(self) -> bool:
        """Whether the agent's network is its own, and what serves it is handed out of there."""
        return self.network == "none" and self.runtime.name in ("bwrap", "container")


def contain(
    settings: Settings, *, trying: bool = True, served: bool = False, agent: str | None = None
) -> Containment:
    """The containment that the settings ask for. Raises RuntimeUnavailable where it cannot be had.

    Tries the mechanisms on this host, which takes some ten milliseconds; not so without `trying`,
    for those who start no agent. `served` is for an agent that is served all it has to reach;
    `agent` is its name, by which its image is chosen.
    """
    from kubecase.runtime.registry import RuntimeOptions

    if not trying:
        return Containment(runtime=plugins.runtime("process", RuntimeOptions()), user=None)
    from kubecase.runtime.protect import close_to_same_user

    close_to_same_user()
    options = layer_options(settings)
    made = RuntimeOptions(
        layer=options, container=container_options(settings, agent), policy=policy(settings)[0]
    )
    runtime, network, warnings = _strongest(settings, made, served=served)
    if options.user is not None:
        open_the_way(settings, options.user)
    elif os.geteuid() == 0:
        warnings = (*warnings, AS_ROOT)
    return Containment(runtime=runtime, user=options.user, network=network, warnings=warnings)


def layer_options(settings: Settings) -> "LayerOptions":
    """What every layer is told. Raises RuntimeUnavailable for a user that cannot be had."""
    from kubecase.runtime.layers import AgentUser, LayerOptions

    section = settings.agent_runtime
    name = section.agent_user
    if name is None and os.geteuid() == 0 and _exists(USUAL_USER):
        name = USUAL_USER
    return LayerOptions(
        user=None if name is None else AgentUser.named(name),
        network="none" if section.network == "none" else "host",
        read_only_paths=section.read_only_paths,
    )


def container_options(settings: Settings, agent: str | None = None) -> "ContainerOptions":
    """How containers of `agent` are made, by default of the chosen one.

    Raises RuntimeUnavailable for a mount that is refused.
    """
    from kubecase.runtime.container import ContainerOptions
    from kubecase.runtime.mounts import Mount

    section, runtime = settings.container, settings.agent_runtime
    mounts = []
    for text in section.mounts:
        try:
            mounts.append(Mount.parsed(text))
        except ValueError as error:
            raise RuntimeUnavailable(
                f"cannot mount {text!r}: {error}",
                hint="Correct container.mounts (KUBECASE_CONTAINER__MOUNTS).",
            ) from None
    longest = runtime.max_duration_seconds + runtime.graceful_shutdown_seconds
    return ContainerOptions(
        engine=section.engine,
        image=section.image and section.image.replace(OF_AGENT, agent or runtime.agent),
        memory_bytes=section.memory,
        cpus=section.cpus,
        processes=section.processes,
        tmp_bytes=section.tmp,
        stop_seconds=max(1, round(section.stop_timeout)),
        # The last wall, should both kubecase and the shim be gone.
        longest_seconds=round(longest) + 60,
        mounts=tuple(mounts),
        client_environment=settings.host.engine_variables,
    )


def policy(settings: Settings) -> "tuple[Policy, str]":
    """What becomes of an agent when this process is killed, and why."""
    wanted = settings.agent_runtime.when_supervisor_dies
    if wanted != "auto":
        return wanted, "as configured"
    if settings.store.url is not None and not settings.store.url.startswith("sqlite"):
        return "die_with_me", "the record is shared with other hosts"
    from kubecase.runtime.survival import survives

    does, why = survives()
    return ("survive" if does else "die_with_me"), why


def _strongest(
    settings: Settings, options: "RuntimeOptions", *, served: bool
) -> "tuple[Runtime, Network, tuple[str, ...]]":
    """The runtime of the layer that is asked for, or of the strongest that works, and whether its
    network is closed.
    """
    from kubecase.runtime.layers import STRENGTH

    section = settings.agent_runtime
    least = STRENGTH.index(section.isolation_min)
    closing = section.network == "auto" and served
    if section.isolation != "auto":
        if STRENGTH.index(section.isolation) < least:
            raise RuntimeUnavailable(
                f"cannot run agents with isolation {section.isolation}: isolation_min is "
                f"{section.isolation_min}",
                hint="Raise agent_runtime.isolation, or lower agent_runtime.isolation_min.",
            )
        runtime, network, found = _tried(section.isolation, options, closing)
        if not found.works:
            raise RuntimeUnavailable(
                f"cannot run agents with isolation {section.isolation}: {found.says}",
                hint=found.remedy,
            )
        return runtime, network, ()
    failed: list[str] = []
    # A container needs an image, so it is only ever used by name.
    for name in reversed(STRENGTH[least:-1] or STRENGTH[-1:]):
        runtime, network, found = _tried(name, options, closing)
        if found.works:
            return runtime, network, tuple(failed)
        failed.append(f"isolation {name} is not in force: {found.says}")
    raise RuntimeUnavailable(
        f"cannot run agents with isolation {section.isolation_min} or a stronger one: "
        + "; ".join(failed),
        hint="`kubecase doctor` says what each layer needs; or lower agent_runtime.isolation_min.",
    )


def _tried(name: str, options: "RuntimeOptions", closing: bool) -> "tuple[Runtime, Network, Probe]":
    """The runtime `name`, with its network closed if that is wanted and works."""
    if closing and (name != "container" or _joins_networks(options.container)):
        closed = replace(options, layer=replace(options.layer, network="none"))
        runtime = plugins.runtime(name, closed)
        if (found := runtime.probe()).works:
            return runtime, "none", found
    runtime = plugins.runtime(name, options)
    return runtime, options.layer.network, runtime.probe()


def _joins_networks(container: "ContainerOptions") -> bool:
    """Whether a container can have a network in which it is served, and no other."""
    from kubecase.runtime.container import ContainerLayer

    return ContainerLayer(container=container).closes_served_network


def open_the_way(settings: Settings, user: "AgentUser") -> None:
    """Make sure that `user` can reach a workspace and its private files, by the modes of the way.

    Our own directories are opened for passing through (0711), never for listing. Raises
    RuntimeUnavailable for a directory of somebody else's that is closed to that user.
    """
    roots = (settings.agent_runtime.workspace_root, settings.store.data_dir / "runs")
    for root in roots:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in _closed(root, user):
            ours = directory == root or directory in (settings.store.data_dir, root.parent)
            if not ours or directory.stat().st_uid != os.geteuid():
                raise RuntimeUnavailable(
                    f"cannot run agents as {user.name}: {directory} is closed to that user",
                    hint="Set agent_runtime.workspace_root and store.data_dir to directories that "
                    "it can reach, such as below /var/lib/kubecase.",
                )
            directory.chmod(directory.stat().st_mode | 0o011)


def _closed(root: Path, user: "AgentUser") -> Iterator[Path]:
    """The directories on the way to `root`, it included, that `user` may not pass."""
    for directory in (*reversed(root.parents), root):
        found = directory.stat()
        shift = 6 if found.st_uid == user.uid else 3 if found.st_gid == user.gid else 0
        if not found.st_mode >> shift & 1:
            yield directory


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
