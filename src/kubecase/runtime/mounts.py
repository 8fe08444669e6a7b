"""Extra mounts of a container, as an operator writes them, and those that are refused."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

HOMES = (Path("/home"), Path("/root"), Path("/Users"))
SOCKETS = frozenset({"docker.sock", "podman.sock", "containerd.sock", "crio.sock"})
MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A path of the host at a path of the container, read-only unless said otherwise."""

    source: Path
    target: Path
    writable: bool = False

    @classmethod
    def parsed(cls, text: str) -> Self:
        """From `SOURCE:TARGET` with `:ro` (the default) or `:rw`.

        Raises ValueError that says why it is refused: not absolute, not there, the root, a home
        directory or what holds one, a git checkout or what holds one, an engine's socket.
        """
        parts = text.split(":")
        if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
            raise ValueError("is not SOURCE:TARGET, with :ro or :rw if wanted")
        source, target = Path(parts[0]), Path(parts[1])
        if not source.is_absolute() or not target.is_absolute():
            raise ValueError("must name absolute paths")
        if not source.exists():
            raise ValueError(f"{source} does not exist")
        refuse_precious(source.resolve())
        return cls(source=source, target=target, writable=len(parts) == 3 and parts[2] == "rw")

    def __str__(self) -> str:
        mode = "rw,nosuid,nodev" if self.writable else "ro"
        return f"{self.source}:{self.target}:{mode}"


def refuse_precious(path: Path) -> None:
    """Raise ValueError if `path` (absolute, without links) is nothing to hand to an agent."""
    if path == Path("/"):
        raise ValueError("the root directory is not given to an agent")
    if (
        any(home.is_relative_to(path) or path.parent == home for home in HOMES)
        or path == Path.home()
    ):
        raise ValueError(f"{path} is, or holds, a home directory")
    if path.name in SOCKETS:
        raise ValueError(f"{path} is the socket of a container engine")
    if checkout := _checkout(path):
        raise ValueError(f"{checkout} is a git checkout")


def _checkout(path: Path) -> Path | None:
    """The checkout that `path` is in, or one that lies in it, not looking very deep."""
    for each in (path, *path.parents):
        if (each / ".git").exists():
            return each
    if path.is_dir():
        for number, git in enumerate(path.glob("*/.git")):
            if number < MOST_ENTRIES:
                return git.parent
    return None
