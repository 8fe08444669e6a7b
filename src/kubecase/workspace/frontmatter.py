"""The front matter of a skill: what `SKILL.md` says of itself between its first two `---` lines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubecase.core.errors import SkillUnusable
from kubecase.workspace.names import shown

MAX_FRONT_MATTER_CHARACTERS = 64 * 1024
MAX_DESCRIPTION_CHARACTERS = 1024

_NAME = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontMatter:
    """What a skill says of itself. `version` is its own word, from `version` or `metadata`,
    in one printable line.
    """

    name: str
    description: str
    version: str | None


def parse_front_matter(data: bytes, folder: str) -> FrontMatter:
    """The front matter of the `SKILL.md` whose content is `data`, in the folder called `folder`.

    UTF-8, with or without a byte order mark, lines ended in any way. Unknown keys are tolerated.
    Raises SkillUnusable with the first thing that is wrong.
    """
    values = values_of(split(data, folder)[0], folder)
    name, description = values.get("name"), values.get("description")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(folder, "name must be 1 to 64 of the characters a-z, 0-9 and -")
    if name != folder:
        raise _wrong(folder, f"name {name!r} is not that of its folder")
    if not isinstance(description, str) or not description.strip():
        raise _wrong(folder, "description is missing")
    if len(description) > MAX_DESCRIPTION_CHARACTERS:
        raise _wrong(folder, f"description is over {MAX_DESCRIPTION_CHARACTERS} characters long")
    _check_optional(values, folder)
    return FrontMatter(name=name, description=description, version=_version(values))


def _check_optional(values: Mapping[Any, Any], folder: str) -> None:
    for key in ("license", "compatibility"):
        if not isinstance(values.get(key), str | None):
            raise _wrong(folder, f"{key} is not a text")
    if not isinstance(values.get("metadata"), Mapping | None):
        raise _wrong(folder, "metadata is not a mapping")
    tools = values.get("allowed-tools")
    if isinstance(tools, list):
        if not all(isinstance(tool, str) for tool in tools):
            raise _wrong(folder, "allowed-tools holds something that is not a text")
    elif not isinstance(tools, str | None):
        raise _wrong(folder, "allowed-tools is neither a text nor a list")


def _version(values: Mapping[Any, Any]) -> str | None:
    metadata = values.get("metadata") or {}
    version = values.get("version", metadata.get("version"))
    return shown(str(version)[:64]) if isinstance(version, str | int | float) else None


def split(data: bytes, folder: str) -> tuple[str, str]:
    """The YAML between the first two `---` lines, and all that follows; lines end with LF.

    Raises SkillUnusable.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(folder, "not UTF-8") from error
    first, *rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if first.rstrip() != "---":
        raise _wrong(folder, "does not begin with a line '---'")
    for number, line in enumerate(rest):
        if line.rstrip() == "---":
            block = "\n".join(rest[:number])
            if len(block) > MAX_FRONT_MATTER_CHARACTERS:
                raise _wrong(folder, "front matter is too long")
            return block, "\n".join(rest[number + 1 :])
    raise _wrong(folder, "its front matter is not closed by a line '---'")


def values_of(block: str, folder: str) -> Mapping[Any, Any]:
    """What the YAML `block` says. Raises SkillUnusable if it is none, or no mapping."""
    # Only who loads skills pays for the import.
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        values = YAML(typ="safe", pure=True).load(block)
    except (YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f" in line {line + 2}"
        raise _wrong(folder, f"front matter is not valid YAML{where}") from error
    if not isinstance(values, Mapping):
        raise _wrong(folder, "front matter is not a mapping")
    return values


def _wrong(folder: str, what: str) -> SkillUnusable:
    return SkillUnusable(
        f"cannot use skill {folder!r}: SKILL.md: {what}",
        hint="See the section on skills in docs/formats.md for what SKILL.md must hold.",
    )
