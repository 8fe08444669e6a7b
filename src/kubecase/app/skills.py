"""What `kubecase skills` does: skills as they are, as they are meant, and what is wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kubecase.app.findings import Finding
from kubecase.app.settings import Settings
from kubecase.app.wiring import skill_choice
from kubecase.core.errors import KubecaseError, SkillUnusable
from kubecase.workspace import (
    Pin,
    Place,
    Skill,
    SkillChoice,
    SkillFinding,
    SkillLock,
    Use,
    acting_keys,
    findings_in,
    load_skill,
    places,
)

NO_EFFECT = "no effect (a skill widens nothing that an agent may do; its copies are without)"
"""What is said of `allowed-tools` and its like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One skill, as it is now. `tree_hash` and `version` are those that new runs would get, None
    where it cannot be used; then `problem` says why. `no_effect` are keys of its front matter.
    """

    name: str
    version: str | None
    tree_hash: str | None
    source: str
    enabled: bool
    pinned: str | None
    versions: tuple[str, ...]
    no_effect: tuple[str, ...]
    problem: str | None
    hint: str | None
    findings: tuple[SkillFinding, ...]

    def as_json(self, *, findings: bool) -> Mapping[str, Any]:
        """For machines; with the findings in its scripts, if these were looked for."""
        value = asdict(self)
        if not findings:
            del value["findings"]
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Skills:
    """All that the settings name, and all that was added."""

    choice: SkillChoice
    lock: SkillLock

    @classmethod
    def of(cls, settings: Settings) -> "Skills":
        """The skills of these settings; sources and pins are read when they are asked for."""
        data = settings.store.data_dir
        return cls(choice=skill_choice(settings), lock=SkillLock(data=data))

    def seen(self, names: tuple[str, ...] = ()) -> tuple[Seen, ...]:
        """Each skill, or those that are named, by name. Raises SkillUnusable for a source that is
        none, for a name in two places, and for a name that is not there.
        """
        known = places(self.choice)
        wanted = dict.fromkeys(names) if names else dict.fromkeys(sorted(known))
        seen = [self._one(self._place(known, name)) for name in wanted]
        absent = [] if names else self._absent(known)
        return (*seen, *absent)

    def pin(self, names: tuple[str, ...]) -> Mapping[str, Pin]:
        """Mean what the sources hold now: of the named skills, or of all that are enabled."""
        known = places(self.choice)
        wanted = names or tuple(n for n in sorted(known) if self._is_enabled(n))
        pinned: dict[str, Pin] = {}
        skills: list[Skill] = []
        for name in dict.fromkeys(wanted):
            place = self._place(known, name)
            if place.folder is not None:
                skills.append(load_skill(place.folder))
            elif place.pin is not None and place.pin.use is not Use.SOURCE:
                # What is kept is meant already.
                pinned[name] = place.pin
            else:
                place.load(self.lock)
        return pinned | {each.about.name: self.lock.pin(each, Use.SOURCE) for each in skills}

    def add(self, folder: Path) -> tuple[Skill, Pin]:
        """Keep the skill in `folder` and mean it. Raises SkillUnusable, also where a source has a
        skill of that name.
        """
        skill = load_skill(folder.absolute())
        place = places(self.choice).get(skill.about.name)
        if place is not None and place.folder is not None:
            raise SkillUnusable(
                f"skill {place.name!r} is in a source already: {place.folder}",
                hint="Change it there, then kubecase skills pin "
                f"{place.name}; or give yours another name (of folder and SKILL.md).",
            )
        return skill, self.lock.pin(skill, Use.ADDED)

    def _absent(self, known: Mapping[str, Place]) -> list[Seen]:
        """Those that the settings want and that lie nowhere."""
        return [
            Seen(
                name=name, version=None, tree_hash=None, source="nowhere", enabled=True,
                pinned=None, versions=(), no_effect=(), problem="it is in no source", findings=(),
                hint="Put it into a source, add it, or take it out of agent_runtime.skills.",
            )
            for name in sorted(set(self.choice.names or ()) - set(known))
        ]  # fmt: skip

    def _place(self, known: Mapping[str, Place], name: str) -> Place:
        if name not in known:
            raise SkillUnusable(
                f"there is no skill {name[:64]!a}",
                hint="There are: " + (", ".join(sorted(known)) or "none") + ".",
            )
        return known[name]

    def _is_enabled(self, name: str) -> bool:
        wanted = self.choice.names
        return name not in self.choice.disabled and (wanted is None or name in wanted)

    def _one(self, place: Place) -> Seen:
        skill: Skill | None = None
        problem = hint = None
        try:
            skill = place.load(self.lock)
        except KubecaseError as error:
            problem, hint = str(error), error.hint
            skill = _as_it_is(place)
        keys = () if skill is None else acting_keys(skill.files["SKILL.md"], place.name)
        return Seen(
            name=place.name,
            version=skill.about.version if skill else None,
            tree_hash=skill.tree_hash if skill else None,
            source=place.told,
            enabled=self._is_enabled(place.name),
            pinned=place.pin.tree_hash if place.pin else None,
            versions=place.pin.versions if place.pin else (),
            no_effect=keys,
            problem=problem,
            hint=hint,
            findings=findings_in(skill) if skill else (),
        )


def skill_findings(settings: Settings) -> Iterator[Finding]:
    """For `kubecase doctor`: whether new runs get the skills that are meant for them."""
    try:
        seen = [each for each in Skills.of(settings).seen() if each.enabled]
    except KubecaseError as error:
        yield _unusable(str(error), error.hint)
        return
    for each in seen:
        if each.problem is not None:
            yield _unusable(each.problem, each.hint)
    usable = [each for each in seen if each.problem is None]
    if usable:
        names = (f"{s.name} {s.version or '-'}{', pinned' if s.pinned else ''}" for s in usable)
        yield Finding(what="skills", state="ok", says="; ".join(names))


def _unusable(says: str, remedy: str | None) -> Finding:
    return Finding(what="skills", state="missing", says=says, remedy=remedy, needed=True)


def _as_it_is(place: Place) -> Skill | None:
    """What the source holds, although it is not what is meant: that is what is to be looked at."""
    if place.folder is None:
        return None
    try:
        return load_skill(place.folder)
    except KubecaseError:
        return None
