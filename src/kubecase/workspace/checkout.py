"""Which commit a directory was checked out at, read from `.git` without running git."""

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REFERENCE = re.compile(r"refs/[A-Za-z0-9._/+@-]+")
_MAX_CHARACTERS = 4 * 1024 * 1024


def commit_of(directory: Path) -> str | None:
    """The commit of the git checkout that `directory` lies in, 40 or 64 hex digits.

    None outside of a checkout, before the first commit, or when it cannot be read: what is known
    of a skill does not depend on it, for there is the tree hash. Linked worktrees are understood.
    """
    for place in (directory, *directory.parents):
        git = place / ".git"
        try:
            if git.is_file():
                git = place / _text(git).removeprefix("gitdir:").strip()
            if (git / "HEAD").is_file():
                return _head(git)
        except (OSError, ValueError):
            return None
    return None


def _head(git: Path) -> str | None:
    head = _text(git / "HEAD").strip()
    if _COMMIT.fullmatch(head):
        return head
    name = head.removeprefix("ref:").strip()
    if not _REFERENCE.fullmatch(name) or ".." in name:
        return None
    shared = git / "commondir"
    common = git / _text(shared).strip() if shared.is_file() else git
    for place in (git, common):
        if (place / name).is_file():
            value = _text(place / name).strip()
            return value if _COMMIT.fullmatch(value) else None
    return _packed(common, name)


def _packed(common: Path, name: str) -> str | None:
    packed = common / "packed-refs"
    if not packed.is_file():
        return None
    for line in _text(packed).splitlines():
        value, _, of = line.partition(" ")
        if of.strip() == name and _COMMIT.fullmatch(value):
            return value
    return None


def _text(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_MAX_CHARACTERS)
