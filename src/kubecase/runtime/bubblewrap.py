"""The layer `bwrap`: namespaces of an agent's own, made by bubblewrap, under the same shim."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Command
from kubecase.runtime import seccomp
from kubecase.runtime.landlock import OF_ETC
from kubecase.runtime.layers import (
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

PROGRAM = "bwrap"
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
TMP_BYTES, SHM_BYTES = 64 * 1024 * 1024, 16 * 1024 * 1024
PROCESSES = 512
TRIAL_SECONDS = 10
INSIDE_UID = 1000
_PASSWD, _GROUP, _HOSTS = 0, 1, 2
_STATUS = -1
_GENERATED = {Path("/etc/passwd"): _PASSWD, Path("/etc/group"): _GROUP, Path("/etc/hosts"): _HOSTS}

EXIT_CODES = (
    "exit codes: one of 129 to 192 cannot be told from a death by a signal, and is read as that"
)

Option = str | int
"""A word, or the number of a descriptor: an entry of the data, or the status pipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BubblewrapLayer:
    """Mounts, processes, and if asked for the network, each in a namespace of the run's own."""

    options: LayerOptions = field(default_factory=LayerOptions)
    program: str | None = None

    @property
    def name(self) -> LayerName:
        """`bwrap`."""
        return "bwrap"

    def probe(self) -> Probe:
        """Start `true` in a sandbox like the one that agents get."""
        program = self._found()
        if program is None:
            return Probe(
                works=False,
                says="bubblewrap is not installed: no bwrap in " + SEARCH_PATH,
                remedy="Install it: apt-get install bubblewrap.",
            )
        error = _trial(program)
        if error is None:
            return Probe(works=True, says=f"{program} makes namespaces here")
        return Probe(
            works=False,
            says=f"{program} cannot make namespaces here: {error}",
            remedy="User namespaces must be allowed (sysctl kernel.unprivileged_userns_clone, "
            "user.max_user_namespaces; on Ubuntu an AppArmor profile with `userns`); a default pod "
            "has none: use isolation landlock there.",
        )

    def wrap(self, command: Command, run_dir: Path) -> Wrapped:
        """The command in a sandbox that holds its workspace and what it needs, nothing else."""
        program = self._found()
        if program is None:
            found = self.probe()
            raise RuntimeUnavailable(
                f"cannot run agents with isolation bwrap: {found.says}", hint=found.remedy
            )
        options = self.options
        hidden = options.network == "none"
        uid = INSIDE_UID if options.is_root else self._uid()
        return Wrapped(
            argv=command.argv,
            environment=command.environment,
            confinement={
                **base_confinement(options),
                "keeps_capabilities": options.is_root,
                "bwrap": {
                    "program": program.encode(),
                    "options": [
                        each if isinstance(each, int) else os.fsencode(each)
                        for each in self._options(command, run_dir, uid)
                    ],
                    "data": _data(uid),
                },
                "listen": list(command.ports) if hidden and command.ports else None,
                "seccomp": seccomp.program(options.network) if seccomp.supported() else None,
            },
            # Counts for the namespace alone, unlike without one; the kernel exempts root from it.
            limits={"NPROC": PROCESSES},
            notes=self._notes(),
        )

    def _found(self) -> str | None:
        return self.program or shutil.which(PROGRAM, path=SEARCH_PATH)

    def _uid(self) -> int:
        return self.options.user.uid if self.options.user else os.geteuid()

    def _options(self, command: Command, run_dir: Path, uid: int) -> Iterator[Option]:
        yield from ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts")
        yield from ("--unshare-cgroup-try", "--disable-userns", "--die-with-parent")
        yield from ("--new-session", "--cap-drop", "ALL", "--hostname", "agent")
        yield from ("--uid", str(uid), "--gid", str(uid))
        yield from ("--json-status-fd", _STATUS)
        if self.options.network == "none" and not command.ports:
            yield "--unshare-net"
        for directory in SYSTEM:
            if directory.is_symlink():
                yield from ("--symlink", os.readlink(directory), str(directory))
            elif directory.is_dir():
                yield from ("--ro-bind", str(directory), str(directory))
        yield from ("--dir", "/etc")
        for path in OF_ETC:
            if path in _GENERATED:
                yield from ("--ro-bind-data", _GENERATED[path], str(path))
            elif path.exists():
                yield from ("--ro-bind", str(path), str(path))
        yield from ("--proc", "/proc", "--dev", "/dev")
        yield from ("--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", "/tmp")  # noqa: S108
        yield from ("--size", str(SHM_BYTES), "--tmpfs", "/dev/shm", "--tmpfs", "/run")  # noqa: S108
        extra = {*reachable_paths(command)}
        extra |= {path for path in self.options.read_only_paths if path.exists()}
        if command.private_files:
            extra.add(run_dir / PRIVATE)
        # What lies below another is there already, and a link could not be bound over itself.
        for path in sorted(p for p in extra if extra.isdisjoint(p.parents)):
            yield from ("--ro-bind", str(path), str(path))
        workspace = str(command.cwd)
        yield from ("--bind", workspace, workspace, "--chdir", workspace, "--remount-ro", "/")

    def _notes(self) -> tuple[str, ...]:
        notes = [MEMORY, EXIT_CODES]
        if self.options.network == "host":
            notes.append(HOST_NETWORK)
        if self.options.is_root:
            notes.append(
                "root: outside its sandbox the agent counts as uid 0, which the kernel exempts "
                "from the limit of processes"
            )
        return tuple(notes)


def _data(uid: int) -> list[bytes]:
    return [
        b"agent:x:%d:%d::/nonexistent:/bin/sh\n" % (uid, uid),
        b"agent:x:%d:\n" % uid,
        b"127.0.0.1 localhost\n::1 localhost\n",
    ]


def _trial(program: str) -> str | None:
    """What is wrong, if a sandbox cannot be made."""
    argv = [program, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net"]
    argv += ["--disable-userns", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc"]
    argv += ["--dev", "/dev", "--", "/bin/true"]
    try:
        done = subprocess.run(
            argv,
            env={"PATH": SEARCH_PATH},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    if done.returncode == 0:
        return None
    words = done.stderr.decode("utf-8", "replace").strip().removeprefix("bwrap: ")
    return words.partition("\n")[0][:300] or f"exit code {done.returncode}"
