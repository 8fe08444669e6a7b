"""What works on this machine, found by trying rather than by asking which system it is."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kubecase import __version__
from kubecase.app import wiring
from kubecase.app.agent_check import agent_findings
from kubecase.app.findings import Finding
from kubecase.app.isolation_check import isolation_findings
from kubecase.app.model_access import model_findings
from kubecase.app.settings import Loaded, Settings
from kubecase.app.skills import skill_findings
from kubecase.core.errors import KubecaseError
from kubecase.core.ports import Silence

if TYPE_CHECKING:
    from kubecase.clusters import ClusterCollector


async def checkup(loaded: Loaded) -> list[Finding]:
    """Everything that was found out, in the order in which a newcomer needs it."""
    settings = loaded.settings
    return [
        Finding(
            what="kubecase",
            state="ok",
            says=f"{__version__}, Python {platform.python_version()}, {platform.system()} "
            f"{platform.release()}",
        ),
        *_settings(loaded),
        *_directories(settings),
        await _store(settings),
        *await isolation_findings(settings),
        *agent_findings(settings),
        *model_findings(settings),
        *skill_findings(settings),
        _kubectl(settings),
        *await _clusters(settings),
    ]


def _settings(loaded: Loaded) -> Iterator[Finding]:
    where = str(loaded.config_path) if loaded.config_path else "no file, defaults only"
    yield Finding(what="settings", state="ok", says=where)
    for warning in loaded.warnings:
        yield Finding(what="settings", state="note", says=warning)


def _directories(settings: Settings) -> Iterator[Finding]:
    for what, path in (
        ("workspaces", settings.agent_runtime.workspace_root),
        ("records", settings.store.data_dir),
    ):
        existing = next(p for p in (path, *path.parents) if p.exists())
        if not os.access(existing, os.W_OK):
            yield Finding(
                what=what,
                state="missing",
                says=f"{path} cannot be written",
                remedy=f"Give this user {existing}, or set another directory.",
                needed=True,
            )
            continue
        free = shutil.disk_usage(existing).free
        yield Finding(what=what, state="ok", says=f"{path}, {free / 2**30:.1f} GiB free")


async def _store(settings: Settings) -> Finding:
    try:
        async with wiring.opened_store(settings, Silence()) as store:
            count = len(await store.list_investigations(limit=1000))
    except KubecaseError as error:
        return Finding(
            what="store", state="missing", says=str(error), remedy=error.hint, needed=True
        )
    return Finding(what="store", state="ok", says=f"opens; {count} investigations on record")


def _kubectl(settings: Settings) -> Finding:
    """The program that the agents' tool runs."""
    from kubecase.app.serving import kubectl_of

    program = kubectl_of(settings)
    if program is None:
        return Finding(
            what="kubectl", state="note", says="not on PATH: agents are not served `kubectl_read`",
            remedy="apt-get install kubernetes-client, or put kubectl on the service's PATH",
        )  # fmt: skip
    return Finding(what="kubectl", state="ok", says=program)


async def _clusters(settings: Settings) -> list[Finding]:
    """Each configured credential: whether it can be used, and what it may do."""
    path = settings.agent_runtime.kubeconfig_path
    named: dict[str, tuple[Path, str | None, str | None]] = {}
    if path is not None:
        named["agent_runtime.kubeconfig_path"] = (path, None, None)
    for name, options in settings.clusters.items():
        if options.kubeconfig is not None:
            named[f"clusters.{name}"] = (options.kubeconfig, options.context, name)
    inside = [name for name, options in settings.clusters.items() if options.in_cluster]
    if not named and not inside:
        return [
            Finding(
                what="cluster", state="note", says="none configured: faults from files only",
                remedy="Try: kubecase investigate pod/NAME -n NS --kubeconfig FILE",
            )
        ]  # fmt: skip
    by_file = {
        f"{key}: {each[0]}": partial(wiring.reached_by, settings, *each)
        for key, each in named.items()
    }
    by_pod = {
        f"clusters.{name}: the pod's service account": partial(
            wiring.reached_inside, settings, name
        )
        for name in inside
    }
    return [await _cluster(key, reach) for key, reach in {**by_file, **by_pod}.items()]


async def _cluster(key: str, reach: "Callable[[], ClusterCollector]") -> Finding:
    try:
        reached = reach()
    except KubecaseError as error:
        return Finding(
            what="cluster", state="missing", says=f"{key}: {error}", remedy=error.hint, needed=True
        )
    says = "; ".join([f"{key} is usable", *reached.notes])
    may = await reached.permissions(None)
    if may.can_write:
        return Finding(
            what="cluster", state="note", says=f"{says}; it can write: {', '.join(may.can_write)}",
            remedy="kubecase rbac | kubectl apply -f -, then kubecase kubeconfig --out FILE",
        )  # fmt: skip
    told = "; ".join(may.warnings) or "it reads, and can write nothing"
    return Finding(what="cluster", state="ok", says=f"{says}; {told}")
