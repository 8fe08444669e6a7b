"""Model keys: from the environment, the settings file, or a file of their own."""

import stat
from collections.abc import Mapping
from pathlib import Path

from kubecase.app.settings.document import NotRegular, read_regular, shown
from kubecase.app.settings.values import Origin

MAX_BYTES = 16 * 1024

_RANK = {"default": 0, "file": 1, "environment": 2, "flag": 3}


class KeyUnusable(Exception):
    """Why a key cannot be had, in words for people and without the key."""


def read_key_file(path: Path) -> tuple[str, str | None]:
    """The key in the file at `path`, and a warning if others may read it too.

    Links are followed: that is how Kubernetes mounts a Secret. Raises KeyUnusable.
    """
    try:
        content, mode = read_regular(path, MAX_BYTES + 1)
    except NotRegular as error:
        raise KeyUnusable(f"{shown(path)} is {error}") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise KeyUnusable(f"cannot read {shown(path)}: {why}") from error
    content = content.strip()
    key = content.decode("ascii", errors="replace")
    if not key or len(content) > MAX_BYTES or any(not 33 <= ord(c) < 127 for c in key):
        raise KeyUnusable(f"{shown(path)} does not hold a key (one line of ASCII text, no blanks)")
    if mode & stat.S_IROTH:
        return key, f"{shown(path)} holds a key and can be read by every user (chmod o-r)"
    return key, None


def choose(option: str, origins: Mapping[str, Origin]) -> str | None:
    """Which of `option` and `<option>_file` counts: the one whose origin comes first.

    Both are dotted keys. `None` if neither is set. Raises KeyUnusable if one place sets both.
    """
    given = [key for key in (option, f"{option}_file") if key in origins]
    if len(given) == 2:
        ranks = [_RANK[origins[key].kind] for key in given]
        if ranks[0] == ranks[1]:
            raise KeyUnusable(f"is given twice: {given[0]} and {given[1]}")
        return given[0] if ranks[0] > ranks[1] else given[1]
    return given[0] if given else None
