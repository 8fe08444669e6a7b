"""Names of files and workspaces: which are taken, and how foreign ones are shown."""

import os
import re

from kubecase.core.errors import OutsideWorkspace
from kubecase.core.model import IncidentId, parse_incident_id

SHOWN_CHARACTERS = 300
DOOMED = ".deleting-"
"""What the name of a workspace begins with once its deletion has begun."""

_WORKSPACE = re.compile(
    r"incident-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:-attempt-([1-9][0-9]{0,8}))?"
)


def shown(name: str) -> str:
    """`name`, found on disk and so written by anyone, as text that is safe in a log or terminal.

    One line; what does not print (control characters, bytes that are not UTF-8, marks that turn
    the direction of text) and the backslash appear as escapes. The middle of a long name is left
    out. HTML is not escaped here: that is the business of whoever writes HTML.
    """
    cut = name
    if len(name) > SHOWN_CHARACTERS:
        half = SHOWN_CHARACTERS // 2
        cut = f"{name[:half]}...{name[-half:]}"
    return "".join(c if c.isprintable() and c != "\\" else _escape(c) for c in cut)


def _escape(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:
        # How Python carries a byte that was not UTF-8.
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def is_plain(name: str) -> bool:
    """Whether `name` is printable text throughout, so that it survives every store and encoding."""
    return name.isprintable()


def parts_of(relative: str) -> tuple[str, ...]:
    """The components of `relative`, a path below a workspace with `/` between them.

    Raises OutsideWorkspace for what is absolute, empty, or holds an empty component, `.`, `..`,
    a NUL, or characters that no file name can have.
    """
    parts = tuple(relative.split("/"))
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise OutsideWorkspace(f"cannot use {shown(relative)!r}: not a path inside a workspace")
    try:
        os.fsencode(relative)
    except UnicodeEncodeError as error:
        raise OutsideWorkspace(f"cannot use {shown(relative)!r}: not a file name") from error
    return parts


def directory_name(incident_id: str, attempt: int) -> str:
    """The name of the workspace of one attempt. Raises InvalidIncidentId for a foreign id."""
    name = f"incident-{parse_incident_id(incident_id)}"
    if attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt}")
    return name if attempt == 1 else f"{name}-attempt-{attempt}"


def parse_directory_name(name: str) -> tuple[IncidentId, int] | None:
    """Whose workspace is called `name`: incident and attempt, or None if no workspace is."""
    match = _WORKSPACE.fullmatch(name)
    if match is None:
        return None
    attempt = int(match[2] or 1)
    if match[2] is not None and attempt == 1:
        return None
    return IncidentId(match[1]), attempt
