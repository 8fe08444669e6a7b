"""What a program needs beside the system's own directories: itself, its interpreter, its library.

A sandbox lets in exactly these. Never a home directory as a whole: of an installation's prefix only
`lib` is taken, of a tree of packages the tree.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kubecase.core.model import Command

SYSTEM = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32")))
_SHEBANG_BYTES = 256
_LONGEST_CHAIN = 8


def reachable_paths(command: Command, *, names: bool = True) -> tuple[Path, ...]:
    """What has to be readable for `command` to run, in an order that does not matter. Without
    `names` a program that is a mere name is somewhere else, and not looked for.

    Paths as they are spelled and as they really are; those within the system's directories are left
    out, and so is what does not exist.
    """
    found: dict[Path, None] = {}
    program = None
    if names or "/" in command.argv[0]:
        program = shutil.which(command.argv[0], path=command.environment.get("PATH"))
    asked = [Path(program).absolute()] if program else []
    for path in (*command.read_only_paths, *asked):
        for each in _with_companions(path, command.environment.get("PATH"), _LONGEST_CHAIN):
            found[each] = None
    return tuple(path for path in found if not is_of_the_system(path) and path.exists())


def is_of_the_system(path: Path) -> bool:
    """Whether `path` lies in a directory that every sandbox lets in."""
    return any(path.is_relative_to(directory) for directory in SYSTEM)


def _with_companions(path: Path, search_path: str | None, left: int) -> Iterator[Path]:
    if left == 0:
        return
    yield path
    if path.is_dir():
        return
    for link in _chain(path):
        yield link
        yield from _of_installation(link)
    interpreter = _interpreter(path, search_path)
    if interpreter is not None:
        yield from _with_companions(interpreter, search_path, left - 1)


def _chain(path: Path) -> Iterator[Path]:
    """`path` and each name that it leads to, down to the real one."""
    for _ in range(_LONGEST_CHAIN):
        yield path
        if not path.is_symlink():
            break
        path = Path(os.path.normpath(path.parent / os.readlink(path)))
    yield path.resolve()


def _of_installation(path: Path) -> Iterator[Path]:
    for parent in reversed(path.parents):
        if parent.name == "node_modules":
            yield parent
            return
    if path.parent.name == "bin" and not is_of_the_system(path):
        prefix = path.parent.parent
        yield from (prefix / "lib", prefix / "lib64", prefix / "pyvenv.cfg")


def _interpreter(path: Path, search_path: str | None) -> Path | None:
    """The program that the kernel would start for a script."""
    try:
        with open(path, "rb") as file:
            head = file.read(_SHEBANG_BYTES)
    except OSError:
        return None
    if not head.startswith(b"#!"):
        return None
    words = os.fsdecode(head[2:].partition(b"\n")[0]).split()
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        found = shutil.which(words[0], path=search_path) if words else None
        return Path(found).absolute() if found else None
    return Path(words[0]) if words else None
