"""What an agent may do: the tools of each CLI that only read, and the rules that say so twice.

The first line of defence is that nothing else exists: an agent is given the tools named here and
no other. The deny rules repeat it for the day on which that fails. Neither is the promise of
kubecase: authorisation happens outside the CLI, in the gateways and in the cluster.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from kubecase.core.errors import AgentUnavailable

READING_TOOLS: Mapping[str, frozenset[str]] = {"claude": frozenset({"Read", "Grep", "Glob"})}
"""By CLI, the built-in tools that read files below the workspace and do nothing else."""

DEFAULT_TOOLS: Mapping[str, tuple[str, ...]] = {"claude": ("Read",)}
"""By CLI, what an agent is given unless the configuration chooses others of the above."""

DENIED_TOOLS: Mapping[str, tuple[str, ...]] = {
    "claude": (
        "Agent", "Bash", "CronCreate", "CronDelete", "Edit", "EnterWorktree", "ExitWorktree",
        "Monitor", "NotebookEdit", "ScheduleWakeup", "SendMessage", "Skill", "Task", "WebFetch",
        "WebSearch", "Workflow", "Write",
    ),
}  # fmt: skip
"""By CLI, tools that change something, start something or leave the machine."""

SKILL = "Skill"
"""The tool of claude that puts a skill's text into the conversation, and does no more."""

_OWN_SKILLS = ("Skill(doctor)", "Skill(plugin-authoring)")
"""Skills of claude's own that no switch takes away; they are about claude, not about a case."""

_PRIVATE_PLACES = ("/etc", "/proc", "/sys", "/dev", "/boot", "/root", "/home", "/run", "/var/run")

_RULE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\([^()]+\))?")


def reading_tools(cli: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """`wanted`, or the default tools of `cli` if nothing is wanted.

    Raises AgentUnavailable for a tool that is not known to read only.
    """
    for tool in wanted:
        if tool not in READING_TOOLS[cli]:
            raise AgentUnavailable(
                f"cannot give the tool {ascii(tool)[:80]} to {cli}: it does not only read",
                hint="Choose allowed_tools (AGENT_RUNTIME_ALLOWED_TOOLS) from "
                + ", ".join(sorted(READING_TOOLS[cli])) + ".",
            )  # fmt: skip
    return wanted or DEFAULT_TOOLS[cli]


def claude_denied(*, skills: bool) -> tuple[str, ...]:
    """The tools that are denied to claude; where it has `skills`, not the one that reads them."""
    denied = DENIED_TOOLS["claude"]
    return tuple(each for each in denied if each != SKILL) if skills else denied


def claude_settings(
    workspace: Path, home: PurePath | None, *, skills: bool = False
) -> dict[str, Any]:
    """The settings file for claude: deny rules, and no way to switch the checks off.

    A rule for a place that holds the workspace itself is left out, since deny rules win over
    everything; `home` is the agent's own, fresh home.
    """
    places = [place for place in _PRIVATE_PLACES if not workspace.is_relative_to(place)]
    rules = [f"Read(/{place}/**)" for place in places]
    if home is not None and not workspace.is_relative_to(home):
        rules.append("Read(~/**)")
    return {
        "permissions": {
            "allow": [],
            "deny": [*claude_denied(skills=skills), *(_OWN_SKILLS if skills else ()), *rules],
            "defaultMode": "dontAsk",
            "disableBypassPermissionsMode": "disable",
        }
    }


def claude_settings_findings(settings: Any) -> tuple[str, ...]:
    """What is wrong with `settings` for claude; empty if it is as it must be.

    The CLI drops a whole settings file, deny rules included and without a word, for one value
    that it does not like. Hence every value is checked here, and unknown keys are findings.
    """
    if not isinstance(settings, Mapping) or set(settings) != {"permissions"}:
        return ("settings are not an object with the one key permissions",)
    permissions = settings["permissions"]
    keys = {"allow", "deny", "defaultMode", "disableBypassPermissionsMode"}
    if not isinstance(permissions, Mapping) or set(permissions) != keys:
        return (f"permissions are not an object with the keys {', '.join(sorted(keys))}",)
    findings = []
    for key in ("allow", "deny"):
        rules = permissions[key]
        if not isinstance(rules, list):
            findings.append(f"{key} is not a list")
            continue
        wrong = (r for r in rules if not isinstance(r, str) or not _RULE.fullmatch(r))
        findings += [f"{key} holds {ascii(rule)[:80]}, which is no rule" for rule in wrong]
    if permissions["defaultMode"] != "dontAsk":
        findings.append("defaultMode is not dontAsk")
    if permissions["disableBypassPermissionsMode"] != "disable":
        findings.append("disableBypassPermissionsMode is not disable")
    return tuple(findings)
