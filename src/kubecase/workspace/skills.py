"""Skills: found in their sources, held against their pins, and copied with a record of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from kubecase.core.errors import SkillUnusable
from kubecase.workspace.checkout import commit_of
from kubecase.workspace.directory import Workspace
from kubecase.workspace.names import shown
from kubecase.workspace.skill_folder import Skill, load_skill
from kubecase.workspace.skill_lock import KEPT, Pin, SkillLock, Use
from kubecase.workspace.skill_text import harmless

RECORD = ".claude/skills.json"
COPIES = ".claude/skills"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillChoice:
    """Which skills an agent gets.

    Each of `sources` is a directory of skill folders, or one skill folder; a name may be in one of
    them only. `names` are those wanted, all of which must be there; None for all that there are.
    `disabled` are left out in any case. `data` is where the pins and the added skills are, if
    anywhere.
    """

    sources: tuple[Path, ...]
    names: tuple[str, ...] | None = None
    disabled: frozenset[str] = frozenset()
    data: Path | None = None

    @property
    def lock(self) -> SkillLock | None:
        """The pins that count for this choice."""
        return None if self.data is None else SkillLock(data=self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one skill comes from. `folder` is that in its source, None where no source has it;
    `pin` says which version of it is meant, if that was said.
    """

    name: str
    folder: Path | None
    pin: Pin | None

    def load(self, lock: SkillLock | None) -> Skill:
        """The skill as new runs get it. Raises SkillUnusable, also where it is not as pinned."""
        if lock is not None and self.pin is not None and self.pin.use is not Use.SOURCE:
            return lock.kept(self.name, self.pin.tree_hash)
        if self.folder is None:
            raise SkillUnusable(
                f"cannot use skill {self.name!r}: it is pinned, and no source has it any more",
                hint=f"Put it back; or kubecase skills remove {self.name}, if it is not meant any "
                "more.",
            )
        skill = load_skill(self.folder)
        if self.pin is not None and skill.tree_hash != self.pin.tree_hash:
            raise SkillUnusable(
                f"cannot use skill {self.name!r}: {shown(str(self.folder))!r} was changed since "
                f"it was pinned ({self.pin.tree_hash[:12]} then, {skill.tree_hash[:12]} now)",
                hint=f"Look at it: kubecase skills verify {self.name}. Then accept it: kubecase "
                f"skills pin {self.name}. Or keep to the old one: kubecase skills rollback "
                f"{self.name} --to {self.pin.tree_hash[:12]}.",
            )
        return skill

    @property
    def told(self) -> str:
        """Where it comes from, in words."""
        if self.folder is None:
            added = self.pin is not None and self.pin.use is Use.ADDED
            return "added by kubecase skills add" if added else "no source any more"
        kept = self.pin is not None and self.pin.use is Use.KEPT
        return f"{self.folder} (an earlier version of it)" if kept else str(self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillCopied:
    """What exactly a workspace was given: `tree_hash` changes with any name, content or exec bit.

    `commit` is that of the git checkout in which the source lies, if it lies in one; files that
    were changed since show in `tree_hash` only. `tree_hash` is that of the source; `taken_out` says
    what the copy lacks of it: what a CLI might have obeyed. `pinned` says that this version was
    the one that is meant.
    """

    name: str
    description: str
    version: str | None
    tree_hash: str
    commit: str | None
    pinned: bool = False
    taken_out: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """Name, version if it has one, and the beginning of the hash, for reports."""
        return " ".join(filter(None, (self.name, self.version, self.tree_hash[:12])))


def shipped_skills_source() -> Path:
    """The directory of the skills that come with kubecase."""
    from importlib.resources import files  # noqa: PLC0415 - only who asks pays for the import

    return Path(str(files("kubecase"))) / "skills_shipped"


def load_skills(choice: SkillChoice) -> tuple[Skill, ...]:
    """The chosen skills, checked, by name. Raises SkillUnusable with the first that will not do."""
    lock = choice.lock
    return tuple(place.load(lock) for place in chosen(choice))


def copy_skills(workspace: Workspace, choice: SkillChoice) -> tuple[SkillCopied, ...]:
    """Copy the chosen skills to `.claude/skills/<name>/` and record them in `.claude/skills.json`.

    Copies, never links: a later change of the source changes nothing. Executable files get 0700,
    others 0600; `SKILL.md` loses what a CLI might obey (`skill_text`). Nothing is written before
    all have been checked. Raises SkillUnusable and WorkspaceError.
    """
    lock, copied = choice.lock, []
    skills = [(place, place.load(lock)) for place in chosen(choice)]
    for place, skill in skills:
        main = harmless(skill.files["SKILL.md"], skill.about)
        prefix = f"{COPIES}/{skill.about.name}/"
        files = {**skill.files, "SKILL.md": main.data}
        workspace.write(
            {prefix + relative: data for relative, data in files.items()},
            executable={prefix + relative for relative in skill.executable},
        )
        from_source = place.folder is not None and (
            place.pin is None or place.pin.use is Use.SOURCE
        )
        copied.append(
            SkillCopied(
                name=skill.about.name,
                description=skill.about.description,
                version=skill.about.version,
                tree_hash=skill.tree_hash,
                commit=commit_of(place.folder.resolve()) if from_source and place.folder else None,
                pinned=place.pin is not None,
                taken_out=main.taken_out,
            )
        )
    record = json.dumps([asdict(each) for each in copied], indent=2) + "\n"
    workspace.write({RECORD: record.encode()})
    return tuple(copied)


def chosen(choice: SkillChoice) -> tuple[Place, ...]:
    """Where each of the chosen skills comes from. Raises SkillUnusable where one is nowhere."""
    known = places(choice)
    wanted = sorted(known) if choice.names is None else choice.names
    missing = [n for n in wanted if n not in known and n not in choice.disabled]
    if missing:
        sources = ", ".join(repr(shown(str(each))) for each in choice.sources)
        raise SkillUnusable(
            f"cannot find skill {shown(missing[0])!r} in {sources}",
            hint="Put it there, add it (kubecase skills add), or disable it in "
            "agent_runtime.skills.",
        )
    return tuple(known[name] for name in dict.fromkeys(wanted) if name not in choice.disabled)


def places(choice: SkillChoice) -> Mapping[str, Place]:
    """Every skill that there is, by name, disabled or not; none of them has been looked into.

    Raises SkillUnusable for a source that is none, and for a name in two places.
    """
    pins = choice.lock.pins() if choice.lock is not None else {}
    found: dict[str, Place] = {}
    for source in choice.sources:
        for folder in _folders(source):
            name = folder.name
            if name in found:
                raise _twice(name, str(found[name].folder), str(folder))
            found[name] = Place(name=name, folder=folder, pin=pins.get(name))
    for name, pin in pins.items():
        if name in found and pin.use is not Use.ADDED:
            continue
        if name in found:
            raise _twice(name, str(found[name].folder), f"{choice.data}/{KEPT}, where it was added")
        found[name] = Place(name=name, folder=None, pin=pin)
    return found


def _twice(name: str, one: str, other: str) -> SkillUnusable:
    return SkillUnusable(
        f"skill {shown(name)!r} is in two places: {shown(one)} and {shown(other)}",
        hint="Rename one (its folder and its name), take one source out of "
        "agent_runtime.skills_sources, or kubecase skills remove the added one.",
    )


def _folders(source: Path) -> list[Path]:
    """The folders in `source` that are to be skills; itself if it is one, as it was named."""
    real = _real_source(source)
    try:
        if (real / "SKILL.md").is_file():
            return [source.absolute()]
        return sorted(_candidates(real))
    except OSError as error:
        raise _no_source(source, error.strerror or "it cannot be read") from error


def _candidates(source: Path) -> Iterator[Path]:
    return (p for p in source.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))


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
        hint="Set agent_runtime.skills_source (or skills_sources) to directories of skills that "
        "kubecase can read.",
    )
