"""Options that an operator may add to a CLI: by an allow-list for each, of what loosens nothing."""

import re
from collections.abc import Mapping

from kubecase.core.errors import AgentUnavailable

_EFFORT = "none|minimal|low|medium|high|xhigh"

OPTIONS: Mapping[str, Mapping[str, str | None]] = {
    "claude": {
        "--effort": r"[a-z]{1,20}",
        "--fallback-model": r"[A-Za-z0-9][^\s\0]{0,199}",
        "--include-partial-messages": None,
    },
    "codex": {
        "-c": rf"model_reasoning_effort=({_EFFORT})|model_verbosity=(low|medium|high)",
        "--config": rf"model_reasoning_effort=({_EFFORT})|model_verbosity=(low|medium|high)",
    },
    "gemini": {},
    "goose": {"--debug": None, "--max-tool-repetitions": r"[1-9]\d{0,3}"},
    "opencode": {"--thinking": None},
}
"""By CLI, its options with the pattern of their value; None for one without a value."""


def permitted_args(cli: str, extra: tuple[str, ...]) -> tuple[str, ...]:
    """`extra` if it holds only options that cannot loosen anything.

    An allow-list, since an option not known today may open a door tomorrow. Raises
    AgentUnavailable for any other option, and for a word that would be read as a prompt.
    """
    rest, options = list(extra), OPTIONS[cli]
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option not in options:
            raise _refused(cli, option)
        pattern = options[option]
        if pattern is None:
            if equals:
                raise _refused(cli, option)
            continue
        if not equals:
            value = rest.pop(0) if rest else ""
        if not re.fullmatch(pattern, value):
            raise _refused(cli, f"{option} {value}")
    return extra


def _refused(cli: str, option: str) -> AgentUnavailable:
    known = ", ".join(sorted(OPTIONS[cli]))
    return AgentUnavailable(
        f"cannot give the option {ascii(option)[:80]} to {cli}",
        hint=f"Beside the program of {cli}, agent_command may hold {known}."
        if known
        else f"No option of {cli} may be added: agent_command holds its program alone.",
    )
