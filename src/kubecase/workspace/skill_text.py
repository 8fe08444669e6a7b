"""A `SKILL.md` without what a CLI might obey: the copy that agents are given.

A skill is text for kubecase. Some CLIs read more into it: tools that it may use without being asked
for, hooks, commands whose output takes the place of a line. None of it gets into a workspace.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubecase.workspace.frontmatter import FrontMatter, split, values_of

HARMLESS = ("name", "description", "license", "compatibility", "metadata", "version")
"""The keys of the front matter that say what a skill is and change nothing."""

COMMANDS = "commands (!`...`)"
"""What is said of commands that were made text."""

_LINE_OF_HARMLESS = re.compile(rf"(?:{'|'.join(HARMLESS)}):(?:\s|$)")
# Written wider than any CLI reads it: what looks like a command is one.
_COMMAND = re.compile(r"!(?=`)")
_COMMAND_BLOCK = re.compile(r"(?<=```)[ \t]*!")


@dataclass(frozen=True, slots=True, kw_only=True)
class Harmless:
    """The text for the copy, and what was taken out of it, in words; nothing for most skills."""

    data: bytes
    taken_out: tuple[str, ...]


def harmless(data: bytes, about: FrontMatter) -> Harmless:
    """The `SKILL.md` with the content `data` and the front matter `about`, made harmless.

    Byte for byte what it was unless its front matter has a key that does more than describe, or its
    text has a command for the CLI to run. Then the front matter is written anew from the name, the
    description and the version, `!` is parted from its command, and is gone from a block of them.
    """
    block, body = split(data, about.name)
    keys = _acting_keys(values_of(block, about.name))
    # A parser that is laxer than ours may find a key where we see text: one line per key, or none.
    plain = "---" not in block and all(map(_is_plain, block.split("\n")))
    text, commands = _COMMAND.subn("! ", body)
    text, blocks = _COMMAND_BLOCK.subn("text ", text)
    commands += blocks
    if not keys and plain and not commands:
        return Harmless(data=data, taken_out=())
    kept = block if not keys and plain else _rewritten(about)
    taken_out = (*keys, COMMANDS) if commands else keys
    return Harmless(data=f"---\n{kept}\n---\n{text}".encode(), taken_out=taken_out)


def acting_keys(data: bytes, folder: str) -> tuple[str, ...]:
    """The keys of the front matter that do more than describe, such as allowed-tools, sorted."""
    block, _ = split(data, folder)
    return _acting_keys(values_of(block, folder))


def _acting_keys(values: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(sorted(str(key)[:64] for key in values if key not in HARMLESS))


def _is_plain(line: str) -> bool:
    return not line.strip() or line[0] in " \t#" or _LINE_OF_HARMLESS.match(line) is not None


def _rewritten(about: FrontMatter) -> str:
    """Front matter that every parser reads alike: a quoted text in each line."""
    values = {"name": about.name, "description": about.description, "version": about.version}
    return "\n".join(f"{key}: {_quoted(text)}" for key, text in values.items() if text is not None)


def _quoted(text: str) -> str:
    # Some programs end the front matter at the first three dashes, wherever they are.
    plain = "".join(map(_escaped, " ".join(text.split()))).replace("---", r"\x2d\x2d\x2d")
    return f'"{plain}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
