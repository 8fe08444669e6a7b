"""One skill's folder, read whole and checked: what is in it, and the hash of all of it."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kubecase.core.errors import SkillUnusable, WorkspaceError
from kubecase.workspace.frontmatter import FrontMatter, parse_front_matter
from kubecase.workspace.handles import READING, below, kind, look, root_directory
from kubecase.workspace.names import is_plain, shown

MAX_SKILL_BYTES = 8 * 1024 * 1024
MAX_SKILL_FILES = 2000
MAX_SKILL_DEPTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill that may be used: content by path relative to its folder, all of it in memory."""

    about: FrontMatter
    files: Mapping[str, bytes] = field(repr=False)
    executable: frozenset[str]
    tree_hash: str


def load_skill(folder: Path) -> Skill:
    """The skill in `folder`, an absolute path; it may be a link, which is resolved once.

    Raises SkillUnusable: absent, without SKILL.md, with front matter that will not do, too large,
    unreadable, or with a link that leads out of the folder. A link that stays inside is read as
    what it leads to. `.git` and names that begin with `..` (how Kubernetes mounts a ConfigMap) are
    left out.
    """
    name = folder.name
    try:
        reading = _Reading(name=name, real=folder.resolve(strict=True))
        with root_directory(reading.real) as top:
            reading.run(top)
    except OSError as error:
        raise SkillUnusable(
            f"cannot read skill {shown(name)!r} in {shown(str(folder.parent))!r}: {error.strerror}",
            hint="Give the user that kubecase runs as the right to read the whole skill.",
        ) from error
    except WorkspaceError as error:
        raise SkillUnusable(f"cannot use skill {shown(name)!r}: {error}") from error
    if "SKILL.md" not in reading.files:
        raise SkillUnusable(
            f"cannot use skill {shown(name)!r}: {shown(str(folder))!r} holds no SKILL.md",
            hint="Restore its SKILL.md, or disable it in agent_runtime.skills.",
        )
    executable = frozenset(reading.executable)
    return Skill(
        about=parse_front_matter(reading.files["SKILL.md"], name),
        files=dict(sorted(reading.files.items())),
        executable=executable,
        tree_hash=tree_hash(reading.files, executable),
    )


def tree_hash(files: Mapping[str, bytes], executable: frozenset[str]) -> str:
    """SHA-256 in hex over sorted relative paths, exec bits and contents; no time, no owner."""
    digest = hashlib.sha256()
    for relative, data in sorted(files.items()):
        path = relative.encode("utf-8", "surrogateescape")
        digest.update(f"{len(path)}:".encode() + path)
        digest.update(b"x" if relative in executable else b"-")
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()


@dataclass(slots=True, kw_only=True)
class _Reading:
    """Reads the skill `name` from its real directory. What is to be read next is in `todo`.

    Each item says where the copy goes and where the original lies, both relative to the folder.
    """

    name: str
    real: Path
    files: dict[str, bytes] = field(default_factory=dict)
    executable: set[str] = field(default_factory=set)
    todo: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    bytes_left: int = MAX_SKILL_BYTES
    entries_left: int = MAX_SKILL_FILES

    def run(self, top: int) -> None:
        self.todo.append(((), ()))
        while self.todo:
            copy, original = self.todo.pop()
            if len(copy) > MAX_SKILL_DEPTH:
                raise self._wrong("is nested too deep, or a link leads back into itself")
            with below(top, original) as directory:
                for name in self._names(directory):
                    self._entry((*copy, name), (*original, name), directory, top)

    def _names(self, directory: int) -> Iterator[str]:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name == ".git" or entry.name.startswith(".."):
                    continue
                self.entries_left -= 1
                if self.entries_left < 0:
                    raise self._wrong(f"has more than {MAX_SKILL_FILES} files")
                if not is_plain(entry.name):
                    raise self._wrong(f"holds a name that does not print: {shown(entry.name)!r}")
                yield entry.name

    def _entry(
        self, copy: tuple[str, ...], original: tuple[str, ...], directory: int, top: int
    ) -> None:
        status = look(original[-1], directory)
        if stat.S_ISLNK(status.st_mode):
            original = self._inside(original)
            with below(top, original[:-1]) as at:
                status = look(original[-1], at) if original else os.fstat(top)
                self._take(copy, original, status, at)
        else:
            self._take(copy, original, status, directory)

    def _inside(self, original: tuple[str, ...]) -> tuple[str, ...]:
        """Where the link at `original` leads to, if that is inside the folder."""
        target = Path(os.path.realpath(self.real.joinpath(*original)))
        if not target.is_relative_to(self.real):
            raise self._wrong(f"has a link that leads out of it: {shown('/'.join(original))!r}")
        return target.relative_to(self.real).parts

    def _take(
        self, copy: tuple[str, ...], original: tuple[str, ...], status: os.stat_result, at: int
    ) -> None:
        relative = "/".join(copy)
        if stat.S_ISDIR(status.st_mode):
            self.todo.append((copy, original))
        elif stat.S_ISREG(status.st_mode):
            self.files[relative] = self._content(original[-1], at)
            if status.st_mode & 0o111:
                self.executable.add(relative)
        else:
            raise self._wrong(f"holds {kind(status)}: {shown(relative)!r}")

    def _content(self, name: str, directory: int) -> bytes:
        with open(os.open(name, READING, dir_fd=directory), "rb") as file:
            data = file.read(self.bytes_left + 1)
        self.bytes_left -= len(data)
        if self.bytes_left < 0:
            raise self._wrong(f"is larger than {MAX_SKILL_BYTES} bytes")
        return data

    def _wrong(self, what: str) -> SkillUnusable:
        return SkillUnusable(
            f"cannot use skill {shown(self.name)!r}: it {what}",
            hint="Put right the skill's folder, or disable the skill in agent_runtime.skills.",
        )
