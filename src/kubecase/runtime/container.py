"""The layer `container`: one hardened container for each run, by podman or docker, under the shim.

The shim wraps the engine's client, and after every end has the engine remove the container; its
success is part of what "clean" means. A container whose shim was killed is removed by whoever takes
over, and what nobody knows any more is found by its label.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Command
from kubecase.runtime.layers import (
    AS_ROOT,
    HOST_NETWORK,
    LayerName,
    LayerOptions,
    Probe,
    Wrapped,
)
from kubecase.runtime.mounts import Mount
from kubecase.runtime.reachable import reachable_paths
from kubecase.runtime.records import PRIVATE

Engine = Literal["auto", "podman", "docker"]
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
QUESTION_SECONDS = 20
LABEL, OWNER = "kubecase.run", "kubecase.data"
PLAIN = frozenset(
    {
        "PATH", "HOME", "TMPDIR", "LANG", "INCIDENT_ID", "INCIDENT_WORKSPACE", "KUBECONFIG",
        "KUBERNETES_CLUSTER", "KUBERNETES_NAMESPACE", "CLAUDE_READ_ONLY_MODE", "KUBECASE_DEADLINE",
    }
)  # fmt: skip
"""Variables whose values are no secret: given on the command line, where the client's own of the
same name cannot be mistaken for them. All others go by name alone, through the client.
"""

NOT_JOINED = "that takes podman as root, whose containers can join a network that kubecase has made"
NO_IMAGE = "no image is set: container.image"
EXIT_CODES = "exit codes: 129 to 192 cannot be told from a death by a signal, and are read as that"
DISK = "disk: what the agent writes is watched and ended at the limit, not bounded by the engine"
STOP = "stopping: the engine hands a request to stop to the agent's first process only"
KERNEL = "kernel: containers share the kernel of the host"
COMPLAINTS = ("Error: ", "ERROR (catatonit", "docker: ")
"""How the engines begin when they could not start the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOptions:
    """How containers are made. Sizes are bytes, durations seconds.

    `engine_arguments` stand before the engine's command. `client_environment` is what the client
    needs to find its engine (HOME, XDG_RUNTIME_DIR, CONTAINERS_CONF, DOCKER_HOST).
    """

    engine: Engine = "auto"
    image: str | None = None
    memory_bytes: int = 1024**3
    cpus: float = 1.0
    processes: int = 256
    tmp_bytes: int = 64 * 1024**2
    stop_seconds: int = 10
    longest_seconds: int = 3600
    mounts: tuple[Mount, ...] = ()
    engine_arguments: tuple[str, ...] = ()
    client_environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLayer:
    """Everything of the run in a container of its own: files, processes, network, memory."""

    options: LayerOptions = field(default_factory=LayerOptions)
    container: ContainerOptions = field(default_factory=ContainerOptions)

    @property
    def name(self) -> LayerName:
        """`container`."""
        return "container"

    @property
    def closes_served_network(self) -> bool:
        """Whether what kubecase serves can be reached from a container that has no other network.

        Docker and a podman of elsewhere start containers by a daemon, and podman without root makes
        a namespace of its own: all of these leave the network of their client.
        """
        program = self._program()
        if program is None or program.endswith("docker") or os.geteuid() != 0:
            return False
        # Asked, since variables and files of configuration may both lead it elsewhere.
        done = self._ask("info", "--format", "{{.Host.ServiceIsRemote}}")
        return done is not None and done.returncode == 0 and done.stdout.strip() == b"false"

    def probe(self) -> Probe:
        """Ask the engine for the image."""
        program = self._program()
        if program is None:
            return Probe(
                works=False,
                says="neither podman nor docker is installed",
                remedy="Install one: apt-get install podman crun catatonit.",
            )
        image = self.container.image
        if image is None:
            return Probe(
                works=False,
                says=NO_IMAGE,
                remedy="Set container.image (KUBECASE_CONTAINER__IMAGE) to an image that holds the "
                "agent's program; it must be there already, nothing is pulled at run time.",
            )
        done = self._ask("image", "inspect", "--format", "{{.Id}}", image)
        if done is None or done.returncode != 0:
            why = "no answer" if done is None else _first_line(done.stderr)
            return Probe(
                works=False,
                says=f"{program} does not have the image {image}: {why}",
                remedy="Build or load it first; nothing is pulled at run time.",
            )
        return Probe(works=True, says=f"{program} with the image {image}")

    def wrap(self, command: Command, run_dir: Path) -> Wrapped:
        """The engine's client, started so that it runs `command` in a container of its own."""
        program, image = self._program(), self.container.image
        if program is None or image is None:
            found = self.probe()
            raise RuntimeUnavailable(
                f"cannot run agents with isolation container: {found.says}", hint=found.remedy
            )
        served = self.options.network == "none" and bool(command.ports)
        if served and not self.closes_served_network:
            raise RuntimeUnavailable(
                f"cannot serve an agent in a container of a closed network: {NOT_JOINED}",
                hint="Run kubecase as root with container.engine podman, or set "
                "agent_runtime.network to host, or agent_runtime.isolation to bwrap or landlock.",
            )
        client = {"PATH": SEARCH_PATH, **self.container.client_environment}
        secret = {n: v for n, v in command.environment.items() if n not in PLAIN}
        if clash := sorted(secret.keys() & client.keys()):
            raise RuntimeUnavailable(
                f"cannot give an agent in a container the variable {clash[0]}: the engine's client "
                "needs it for itself",
                hint="Remove it from the agent's variables.",
            )
        name = container_name(run_dir)
        base = (program, *self.container.engine_arguments)
        return Wrapped(
            argv=(*base, *self._run(command, run_dir, name, program), image, *command.argv),
            environment={**client, **secret},
            confinement={
                "keeps_capabilities": True,
                "engine": {"complaints": [each.encode() for each in COMPLAINTS]},
                "listen": list(command.ports) if served else None,
            },
            cleanup=((*base, *_removal(program, name)), client),
            notes=self._notes(),
        )

    def reconcile(self, runs: Path, unfinished: Collection[str]) -> tuple[str, ...]:
        """Remove the containers of runs below `runs` that are not among `unfinished` (the names of
        run directories); the names of those that were removed.
        """
        filters = ("--filter", f"label={OWNER}={_digest(runs)}")
        listed = self._ask("ps", "--all", *filters, "--format", "{{.Names}}")
        names = listed.stdout.decode("utf-8", "replace").split() if listed else []
        known = {container_name(runs / name) for name in unfinished}
        program = self._program()
        removed = []
        for name in names:
            if program is not None and name.startswith("kubecase-") and name not in known:
                done = self._ask(*_removal(program, name))
                if done is not None and done.returncode == 0:
                    removed.append(name)
        return tuple(removed)

    def _program(self) -> str | None:
        engine = self.container.engine
        for each in ("podman", "docker") if engine == "auto" else (engine,):
            if found := shutil.which(each, path=SEARCH_PATH):
                return found
        return None

    def _run(self, command: Command, run_dir: Path, name: str, program: str) -> Iterator[str]:
        made, podman = self.container, not program.endswith("docker")
        yield from ("run", "--rm", "--interactive", "--name", name, "--pull", "never")
        yield from (
            "--label",
            f"{LABEL}={run_dir.name}",
            "--label",
            f"{OWNER}={_digest(run_dir.parent)}",
        )
        # With ports to be served, "host" is the network that the shim has made for the client.
        joins = self.options.network == "host" or bool(command.ports)
        yield from ("--network", "host" if joins else "none")
        yield from ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
        yield from ("--init", "--log-driver", "none", "--hostname", "agent")
        yield from ("--pids-limit", str(made.processes), "--cpus", f"{made.cpus:g}")
        yield from ("--memory", str(made.memory_bytes), "--memory-swap", str(made.memory_bytes))
        yield from ("--stop-timeout", str(made.stop_seconds), "--user", self._user())
        yield from ("--tmpfs", f"/tmp:rw,size={made.tmp_bytes},mode=1777,nosuid,nodev")  # noqa: S108
        if podman:
            # Without it half of the memory each would be given to /tmp, /run and /var/tmp.
            yield "--read-only-tmpfs=false"
            yield from ("--timeout", str(made.longest_seconds))
            # Below the hard limits that may be in force here, or the runtime refuses.
            yield from ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1000:1000")
        workspace = str(command.cwd)
        yield from ("--volume", f"{workspace}:{workspace}:rw,nosuid,nodev", "--workdir", workspace)
        for path in self._read_only(command, run_dir):
            yield from ("--volume", f"{path}:{path}:ro")
        for mount in made.mounts:
            yield from ("--volume", str(mount))
        for variable, value in command.environment.items():
            yield from ("--env", f"{variable}={value}" if variable in PLAIN else variable)

    def _read_only(self, command: Command, run_dir: Path) -> tuple[Path, ...]:
        # A mere name is a program of the image.
        paths = {*reachable_paths(command, names=False)}
        paths |= {path for path in self.options.read_only_paths if path.exists()}
        if command.private_files:
            paths.add(run_dir / PRIVATE)
        return tuple(sorted(path for path in paths if ":" not in str(path)))

    def _user(self) -> str:
        user = self.options.user
        return f"{user.uid}:{user.gid}" if user else f"{os.geteuid()}:{os.getegid()}"

    def _notes(self) -> tuple[str, ...]:
        notes = [EXIT_CODES, DISK, KERNEL, STOP]
        if self.options.network == "host":
            notes.append(HOST_NETWORK)
        if self.options.is_root:
            notes.append(AS_ROOT)
        return tuple(notes)

    def _ask(self, *words: str) -> "subprocess.CompletedProcess[bytes] | None":
        """One question to the engine; None without an answer."""
        program = self._program()
        if program is None:
            return None
        try:
            return subprocess.run(
                [program, *self.container.engine_arguments, *words],
                env={"PATH": SEARCH_PATH, **self.container.client_environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=QUESTION_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None


def container_name(run_dir: Path) -> str:
    """The name of the container of the run in `run_dir`, which is named after the attempt.

    Those of another data directory have other names.
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in run_dir.name)
    return f"kubecase-{_digest(run_dir.parent)}-{plain}"


def _digest(directory: Path) -> str:
    return hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]


def _removal(program: str, name: str) -> tuple[str, ...]:
    if program.endswith("docker"):
        return ("rm", "--force", name)
    return ("rm", "--force", "--ignore", "--time", "0", name)


def _first_line(text: Any) -> str:
    return bytes(text).decode("utf-8", "replace").strip().partition("\n")[0][:300]
