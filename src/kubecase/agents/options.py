"""What an adapter may be told by the configuration, in one shape for all of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kubecase.core.errors import AgentUnavailable
from kubecase.core.ports import Credential

SHARED_VARIABLES = frozenset(
    {
        "INCIDENT_ID", "INCIDENT_WORKSPACE", "KUBERNETES_CLUSTER", "KUBERNETES_NAMESPACE",
        "CLAUDE_READ_ONLY_MODE", "KUBECASE_DEADLINE", "PATH", "HOME", "LANG", "TMPDIR",
        "KUBECONFIG",
    }
)  # fmt: skip
"""The names of docs/formats.md section 2; no adapter may set or declare one of them."""

_LONGEST_MODEL = 200
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOADER = re.compile(r"(LD|DYLD)_.*|PYTHON(PATH|STARTUP|HOME)|BASH_ENV|ENV|NODE_OPTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Everything the wiring may hand to `configured` of an adapter; each takes what it uses.

    `program` is a name on PATH or a path, `argv` a whole command (the `command` agent).
    `upstream` is the entry of `models` that serves its model.
    `variables` are added to the environment of the `command` agent. `python` is the interpreter
    and `script` the plan of the `scripted` agent. What is `None` or empty takes the adapter's
    default.
    """

    program: str | None = None
    argv: tuple[str, ...] = ()
    model: str | None = None
    max_turns: int | None = None
    max_budget_usd: float | None = None
    credential: Credential | None = None
    base_url: str | None = None
    upstream: str | None = None
    extra_args: tuple[str, ...] = ()
    allowed_tools: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    python: str | None = None
    script: Path | None = None


def missing_command(agent: str, what: str) -> AgentUnavailable:
    """The error for an agent whose program is not configured; `what` says what it would be."""
    return AgentUnavailable(
        f"cannot use the agent {agent}: agent_command is not set",
        hint=f"Set agent_runtime.agent_command or AGENT_RUNTIME_COMMAND to {what}.",
    )


def unusable(agent: str, why: str, key: str) -> AgentUnavailable:
    """The error for an agent that cannot be used because of the setting `key`."""
    variable = "AGENT_RUNTIME_" + key.removeprefix("agent_").upper()
    return AgentUnavailable(
        f"cannot use the agent {agent}: {why}",
        hint=f"Correct agent_runtime.{key} (or {variable}).",
    )


def require_argument(agent: str, value: str, key: str) -> None:
    """Raise AgentUnavailable unless `value` can be an argument of a process."""
    if not value.strip():
        raise unusable(agent, f"{key} is empty", key)
    if "\0" in value:
        raise unusable(agent, f"{key} holds a zero byte", key)


def require_model(agent: str, model: str | None) -> None:
    """Raise AgentUnavailable unless `model` can be handed to a CLI as it is.

    Some CLIs take an empty name and send it; one that begins with a hyphen would be an option.
    """
    if model is None:
        return
    if not model.strip():
        raise _wrong_model(agent, "model is empty")
    if model.startswith("-"):
        raise _wrong_model(agent, "model looks like an option")
    if len(model) > _LONGEST_MODEL or not model.isprintable() or " " in model:
        raise _wrong_model(agent, "model is not a plain name")


def _wrong_model(agent: str, why: str) -> AgentUnavailable:
    return AgentUnavailable(
        f"cannot use the agent {agent}: {why}", hint=f"Correct agents.{agent}.model."
    )


def require_variables(agent: str, variables: Mapping[str, str]) -> None:
    """Raise AgentUnavailable unless each of `variables` may be added to an agent's environment.

    Refused are names that are no names, names that every agent is given anyway, and names that
    make a program load foreign code. A value is never part of the message.
    """
    for name, value in variables.items():
        if not _NAME.fullmatch(name) or "\0" in value:
            raise unusable(agent, f"{ascii(name)[:80]} cannot be a variable", "variables")
        if name in SHARED_VARIABLES or _LOADER.fullmatch(name):
            raise unusable(agent, f"the variable {name} may not be set for it", "variables")
