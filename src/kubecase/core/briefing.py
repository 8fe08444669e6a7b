"""From an incident to what its agent is given: files, environment, prompt. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """Everything an agent is told (the `ContextBundle` of docs/requirements.md).

    `files` is content by path relative to the workspace, PROMPT.md included. `environment` is the
    part that all agents share. `system_prompt` and `user_prompt` are the texts of
    `context/system-instructions.txt` and `PROMPT.md`.
    """

    files: Mapping[str, bytes] = field(repr=False)
    environment: Mapping[str, str]
    system_prompt: str = field(repr=False)
    user_prompt: str = field(repr=False)
