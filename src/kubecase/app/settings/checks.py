"""Whether what the settings name is there: looked up when it is about to be used."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kubecase.app.settings.document import shown
from kubecase.app.settings.values import PROGRAMS, Settings
from kubecase.core.errors import SettingsInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with one option, by which variable it is set too, and how to put it right."""

    key: str
    environment: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.key} ({self.environment}) - {self.problem}"


def check_agent_command(settings: Settings, search_path: str) -> tuple[Finding, ...]:
    """What keeps the chosen agent's program from being run; empty if nothing does.

    `search_path` is the PATH to look in. An agent that needs no program, and `auto`, which looks
    for itself, have no finding unless `agent_command` is set.
    """
    runtime = settings.agent_runtime
    argv = runtime.agent_command
    if argv is None and runtime.agent == "command":
        return (_command_finding("must be set for the agent `command`"),)
    program = argv[0] if argv is not None else PROGRAMS.get(runtime.agent)
    if program is None or shutil.which(program, path=search_path) is not None:
        return ()
    if runtime.isolation == "container" and "/" not in program:
        return ()  # it is looked for in the image
    name = ascii(program)
    if "/" not in program:
        return (_command_finding(f"{name} is not on PATH"),)
    if not os.path.exists(program):
        return (_command_finding(f"there is no file {name}"),)
    return (_command_finding(f"{name} is not an executable file"),)


def _command_finding(problem: str) -> Finding:
    return Finding(
        key="agent_runtime.agent_command",
        environment="AGENT_RUNTIME_COMMAND",
        problem=problem,
        remedy="Install the agent's program, or set agent_runtime.agent_command "
        "(AGENT_RUNTIME_COMMAND) to its name on PATH or to its path.",
    )


def check_workspace_root(settings: Settings) -> tuple[Finding, ...]:
    """What keeps workspaces from being created; empty if nothing does. Creates nothing itself."""
    root = settings.agent_runtime.workspace_root
    problem = _directory_problem(root)
    if problem is None:
        return ()
    return (
        Finding(
            key="agent_runtime.workspace_root",
            environment="AGENT_RUNTIME_WORKSPACE_ROOT",
            problem=problem,
            remedy="Set agent_runtime.workspace_root (AGENT_RUNTIME_WORKSPACE_ROOT) to a directory "
            "that this user may write, or that may be created.",
        ),
    )


def _directory_problem(root: Path) -> str | None:
    for directory in (root, *root.parents):
        if not os.path.lexists(directory):
            continue
        if not directory.is_dir():
            return f"{shown(directory)} is not a directory"
        if not os.access(directory, os.W_OK | os.X_OK):
            return f"{shown(directory)} cannot be written by this user"
        return None
    return None


def require(findings: Iterable[Finding]) -> None:
    """Raise SettingsInvalid with all of `findings`, one a line, unless there are none."""
    found = tuple(findings)
    if found:
        raise SettingsInvalid(
            "\n".join(str(each) for each in found),
            hint=" ".join(dict.fromkeys(each.remedy for each in found)),
        )
