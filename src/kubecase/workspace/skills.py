"""Skills: found in their source, checked, and copied into a workspace with a record of it."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kubecase.core.errors import SkillUnusable, WorkspaceError
from kubecase.workspace.checkout import commit_of
from kubecase.workspace.directory import Workspace
from kubecase.workspace.frontmatter import FrontMatter, parse_front_matter
from kubecase.workspace.handles import READING, below, kind, look, root_directory
from kubecase.workspace.names import is_plain, shown

MAX_SKILL_BYTES = 8 * 1024 * 1024
MAX_SKILL_FILES = 2000
MAX_SKILL_DEPTH = 16
RECORD = ".claude/skills.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillChoice:
    """Which skills an agent gets.

    `source` is a directory of skill folders, or one skill folder. `names` are those wanted, all
    of which must be there; None for every folder in `source`. `disabled` are left out in any case.
    """

    source: Path
    names: tuple[str, ...] | None = None
    disabled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillCopied:
    """What exactly a workspace was given: `tree_hash` changes with any name, content or exec bit.

    `commit` is that of the git checkout in which the source lies, if it lies in one; files that
    were changed since show in `tree_hash` only.
    """

    name: str
    version: str | None
    tree_hash: str
    commit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill that may be used: content by path relative to its folder, all of it in memory."""

    about: FrontMatter
    files: Mapping[str, bytes] = field(repr=False)
    executable: frozenset[str]
    tree_hash: str


def shipped_skills_source() -> Path:
    """The directory of the skills that come with kubecase."""
    from importlib.resources import files  # noqa: PLC0415 - only who asks pays for the import

    return Path(str(files("kubecase"))) / "skills_shipped"


def load_skills(choice: SkillChoice) -> tuple[Skill, ...]:
    """The chosen skills, checked, by name. Raises SkillUnusable with the first that will not do."""
    source = _real_source(choice.source)
    return tuple(load_skill(folder) for folder in _folders(source, choice))


def copy_skills(workspace: Workspace, choice: SkillChoice) -> tuple[SkillCopied, ...]:
    """Copy the chosen skills to `.claude/skills/<name>/` and record them in `.claude/skills.json`.

    Copies, never links: a later change of the source changes nothing. Executable files get 0700,
    others 0600. Nothing is written before all have been checked. Raises SkillUnusable and
    WorkspaceError.
    """
    skills = load_skills(choice)
    commit = commit_of(_real_source(choice.source))
    copied = tuple(
        SkillCopied(
            name=skill.about.name,
            version=skill.about.version,
            tree_hash=skill.tree_hash,
            commit=commit,
        )
        for skill in skills
    )
    for skill in skills:
        prefix = f".claude/skills/{skill.about.name}/"
        workspace.write(
            {prefix + relative: data for relative, data in skill.files.items()},
            executable={prefix + relative for relative in skill.executable},
        )
    record = json.dumps([asdict(each) for each in copied], indent=2) + "\n"
    workspace.write({RECORD: record.encode()})
    return copied


def _real_source(source: Path) -> Path:
    """`source` with its links resolved, once: the operator may well have named a link."""
    try:
        real = source.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise _no_source(source, getattr(error, "strerror", None) or "it leads nowhere") from error
    if not real.is_dir():
        raise _no_source(source, "it is not a directory")
    return real


def _no_source(source: Path, why: str) -> SkillUnusable:
    return SkillUnusable(
        f"cannot use skills from {shown(str(source))!r}: {why}",
        hint="Set agent_runtime.skills_source to a directory of skills that kubecase can read.",
    )


def _folders(source: Path, choice: SkillChoice) -> list[Path]:
    try:
        single = (source / "SKILL.md").is_file()
        # Called by the name it was given, should that be a link.
        found = (
            [choice.source.absolute()]
            if single
            else [p for p in source.iterdir() if _may_be_skill(p)]
        )
    except OSError as error:
        raise _no_source(choice.source, error.strerror or "it cannot be read") from error
    by_name = {folder.name: folder for folder in found}
    wanted = sorted(by_name) if choice.names is None else choice.names
    missing = [n for n in wanted if n not in by_name and n not in choice.disabled]
    if missing:
        raise SkillUnusable(
            f"cannot find skill {shown(missing[0])!r} in {shown(str(choice.source))!r}",
            hint="Put it there, or disable it in agent_runtime.skills.",
        )
    return [by_name[name] for name in wanted if name not in choice.disabled]


def _may_be_skill(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "_"))


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
