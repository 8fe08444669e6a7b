"""The layer `landlock`: the kernel holds an agent to its workspace; works in a default pod."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Command
from kubecase.runtime import seccomp
from kubecase.runtime.layers import (
    AS_ROOT,
    DAEMONS,
    HOST_NETWORK,
    MEMORY,
    LayerName,
    LayerOptions,
    Probe,
    Wrapped,
    base_confinement,
)
from kubecase.runtime.reachable import SYSTEM, reachable_paths
from kubecase.runtime.records import PRIVATE
from kubecase.runtime.shim.landlock import version

OF_ETC = tuple(
    Path("/etc", name)
    for name in (
        "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs", "pki/tls/openssl.cnf",
        "pki/ca-trust/extracted", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
        "alternatives", "resolv.conf", "hosts", "host.conf", "nsswitch.conf", "gai.conf", "passwd",
        "group", "localtime", "timezone", "services", "protocols", "mime.types", "os-release",
    )
)  # fmt: skip
"""What programs look up in /etc; nothing of it is secret, so not the keys beside certificates."""

DEVICES = tuple(Path("/dev", name) for name in ("null", "zero", "full", "random", "urandom"))
KERNEL = (Path("/proc"), Path("/sys/devices/system/cpu"))
SINCE_NETWORK, SINCE_SCOPES = 4, 6
NAMES = (
    "names: under Landlock version {} it can be seen, not read, what files there are outside the "
    "workspace and which processes run"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LandlockLayer:
    """Files by Landlock, system calls by a filter; signals and TCP where the kernel knows how."""

    options: LayerOptions = field(default_factory=LayerOptions)

    @property
    def name(self) -> LayerName:
        """`landlock`."""
        return "landlock"

    def probe(self) -> Probe:
        """Ask the kernel for the version of its interface."""
        known = version()
        if not known:
            return Probe(
                works=False,
                says="this kernel has no Landlock, or it is not switched on",
                remedy="Use Linux 5.13 or later with landlock among the security modules "
                "(lsm=landlock,... on the kernel's command line).",
            )
        if not seccomp.supported():
            return Probe(works=False, says="no system call filter is known for this processor")
        if self.options.network == "none" and known < SINCE_NETWORK:
            return Probe(
                works=False,
                says=f"Landlock version {known} cannot close the network, which "
                "agent_runtime.network asks for",
                remedy="Use Linux 6.7 or later, isolation bwrap, or agent_runtime.network host.",
            )
        return Probe(works=True, says=f"Landlock version {known} and a system call filter")

    def wrap(self, command: Command, run_dir: Path) -> Wrapped:
        """The command itself, restricted before it begins."""
        found = self.probe()
        if not found.works:
            raise RuntimeUnavailable(
                f"cannot run agents with isolation landlock: {found.says}", hint=found.remedy
            )
        options = self.options
        reading = (*SYSTEM, *OF_ETC, *KERNEL, run_dir / PRIVATE, *options.read_only_paths)
        ports = list(command.ports) if options.network == "none" else None
        return Wrapped(
            argv=command.argv,
            environment=command.environment,
            confinement={
                **base_confinement(options),
                "landlock": {
                    "read": _encoded((*reading, *reachable_paths(command))),
                    "write": _encoded((command.cwd,)),
                    "devices": _encoded(DEVICES),
                    "ports": ports,
                },
                "seccomp": seccomp.program(options.network),
            },
            notes=self._notes(),
        )

    def _notes(self) -> tuple[str, ...]:
        known = version()
        notes = [
            NAMES.format(known),
            MEMORY,
        ]
        if known < SINCE_SCOPES:
            notes.append("signals: the agent may signal any process of the user that runs it")
        if self.options.network == "host":
            notes += [HOST_NETWORK, DAEMONS]
        if self.options.is_root:
            notes.append(AS_ROOT)
        return tuple(notes)


def _encoded(paths: Iterable[Path]) -> list[Any]:
    return [str(path).encode("utf-8", "surrogateescape") for path in paths]
