"""What contains agents on this host: every layer tried, and a real process in the chosen one."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kubecase.app import plugins, wiring
from kubecase.app.containment import (
    USUAL_USER,
    Containment,
    contain,
    container_options,
    layer_options,
    policy,
)
from kubecase.app.findings import Finding
from kubecase.app.settings import Settings
from kubecase.core.errors import KubecaseError
from kubecase.core.model import Command, Exit, Limits
from kubecase.core.ports import Started, Stream


@dataclass
class _Trial:
    """A watcher that keeps what the runtime said of itself."""

    started_as: Started | None = None

    async def started(self, started: Started) -> None:
        """Keep it."""
        self.started_as = started

    def output(self, stream: Stream, data: bytes) -> None:
        """Of no interest here."""

    def listening(self, listeners: tuple[int, ...]) -> None:
        """A trial has none."""


async def isolation_findings(settings: Settings) -> list[Finding]:
    """The layers one by one, the user, the chosen layer on trial, and what a crash would mean."""
    findings = list(_layers(settings))
    try:
        contained = contain(settings, agent=_asked(settings))
    except KubecaseError as error:
        refused = Finding(
            what="isolation", state="missing", says=str(error), remedy=error.hint, needed=True
        )
        return [*findings, refused]
    findings.append(_user(contained))
    findings.append(await _chosen(contained))
    wanted, why = policy(settings)
    words = {"survive": "goes on and is taken over later", "die_with_me": "is ended with it"}
    says = f"when kubecase is killed, an agent {words[wanted]}: {why}"
    return [*findings, Finding(what="crash", state="ok", says=says)]


def _asked(settings: Settings) -> str:
    """The agent whose image it would be."""
    return wiring.choose_agent(settings).name


def _layers(settings: Settings) -> Iterator[Finding]:
    from kubecase.runtime.layers import STRENGTH
    from kubecase.runtime.registry import RuntimeOptions

    try:
        options = RuntimeOptions(
            layer=layer_options(settings), container=container_options(settings, _asked(settings))
        )
    except KubecaseError:
        return  # told once, as what hinders the chosen layer
    known = plugins.names("runtimes")
    for name in (*STRENGTH, *(each for each in known if each not in STRENGTH)):
        if name not in known:
            continue
        found = plugins.runtime(name, options).probe()
        needed = settings.agent_runtime.isolation == name
        yield Finding(
            what=f"layer {name}",
            state="ok" if found.works else "missing" if needed else "note",
            says=found.says,
            remedy=None if found.works else found.remedy,
            needed=needed,
        )


def _user(contained: Containment) -> Finding:
    if contained.user is not None:
        return Finding(what="agent user", state="ok", says=f"agents run as {contained.user.name}")
    if os.geteuid() != 0:
        return Finding(what="agent user", state="ok", says="agents run as the user of kubecase")
    return Finding(
        what="agent user",
        state="note",
        says="running as root: agents run as root too, without its capabilities, so file modes do "
        "not hold them back",
        remedy=f"Set agent_runtime.agent_user, or create {USUAL_USER}: useradd --system "
        f"--no-create-home {USUAL_USER}",
    )


async def _chosen(contained: Containment) -> Finding:
    """Start a real process in the layer that agents would get."""
    name = contained.runtime.name
    try:
        exit, trial = await _try(contained)
    except KubecaseError as error:
        return Finding(
            what="isolation", state="missing", says=str(error), remedy=error.hint, needed=True
        )
    if exit.code != 0 or not exit.clean or trial.started_as is None:
        return Finding(
            what="isolation",
            state="missing",
            says=f"{name}: a trial process ended by {exit.cause} {exit.error or ''}".rstrip(),
            remedy="Set agent_runtime.isolation to another layer.",
            needed=True,
        )
    lacks = "; ".join(trial.started_as.notes)
    weaker = "".join(f" ({warning})" for warning in contained.warnings if "isolation" in warning)
    return Finding(
        what="isolation",
        state="ok",
        says=f"{name}: a trial process was supervised and left nothing{weaker}"
        + (f". It does not defend against: {lacks}" if lacks else ""),
    )


async def _try(contained: Containment) -> tuple[Exit, _Trial]:
    import anyio

    trial = _Trial()
    with tempfile.TemporaryDirectory(prefix="kubecase-doctor-") as folder:
        workspace = Path(folder) / "workspace"
        workspace.mkdir(mode=0o700)
        if contained.user is not None and os.geteuid() == 0:
            Path(folder).chmod(0o711)
            os.chown(workspace, contained.user.uid, contained.user.gid)
        limits = Limits(wall_clock=10, grace=1, idle=None, output_bytes=1 << 20, disk_bytes=1 << 20)
        command = Command(
            argv=("/bin/sh", "-c", "echo here"),
            environment={"PATH": wiring.DEFAULT_PATH},
            cwd=workspace,
        )
        exit = await contained.runtime.run(
            command, limits, run_dir=Path(folder) / "run", stop=anyio.Event(), watcher=trial
        )
    return exit, trial
