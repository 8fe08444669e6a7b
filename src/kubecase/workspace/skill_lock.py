"""Which version of each skill is meant: the file `skills.lock`, and every version that was.

    <data_dir>/skills.lock                       JSON: by name, where from, tree hash, earlier ones
    <data_dir>/skills/<tree hash>/<name>/        the skill as it was when it had that hash

A version is never changed once it is kept, and is compared with its name each time it is used.
"""

import fcntl
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from kubecase.core.errors import SkillUnusable
from kubecase.workspace.handles import (
    EXECUTABLE_MODE,
    FILE_MODE,
    below,
    put_file,
    root_directory,
)
from kubecase.workspace.names import shown
from kubecase.workspace.removal import remove_entry
from kubecase.workspace.skill_folder import Skill, load_skill

FILE = "skills.lock"
KEPT = "skills"
MOST_VERSIONS = 20
MAX_LOCK_BYTES = 1024 * 1024

_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9-]{1,64}")


class Use(StrEnum):
    """Where new runs take a skill from."""

    SOURCE = "source"
    """From its source, as long as that has the hash that was pinned."""
    ADDED = "added"
    """From what `kubecase skills add` has kept; no source has it."""
    KEPT = "kept"
    """From what was kept, in place of its source: after a rollback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The version of one skill that is meant. `versions` are all that are kept, newest first."""

    use: Use
    tree_hash: str
    version: str | None
    versions: tuple[str, ...]

    def older(self) -> str | None:
        """The version that was pinned before this one, if it is kept."""
        later = self.versions[self.versions.index(self.tree_hash) + 1 :]
        return later[0] if later else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillLock:
    """The pins in `data`, the service's own directory, which no agent can reach."""

    data: Path

    def pins(self) -> Mapping[str, Pin]:
        """What is pinned, by name; nothing where there is no lock. Raises SkillUnusable."""
        path = self.data / FILE
        try:
            with path.open("rb") as file:
                found = json.loads(file.read(MAX_LOCK_BYTES))
            return {name: _pin(name, each) for name, each in found["skills"].items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._broken(error.strerror or "it cannot be read") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._broken("it is not what kubecase wrote") from error

    def kept(self, name: str, tree_hash: str) -> Skill:
        """A version that is kept. Raises SkillUnusable if it is gone or was changed."""
        folder = self._folder(tree_hash) / name
        skill = load_skill(folder)
        if skill.tree_hash != tree_hash:
            raise SkillUnusable(
                f"cannot use skill {name!r}: {shown(str(folder))!r} was changed since it was kept",
                hint=f"Add it anew (kubecase skills add), or kubecase skills rollback {name}.",
            )
        return skill

    def pin(self, skill: Skill, use: Use) -> Pin:
        """Keep `skill` and mean this version of it from now on. Raises SkillUnusable."""
        name = skill.about.name
        with self._changing() as pins:
            self._keep(skill)
            before = pins[name].versions if name in pins else ()
            versions = (skill.tree_hash, *(v for v in before if v != skill.tree_hash))
            pins[name] = Pin(
                use=use,
                tree_hash=skill.tree_hash,
                version=skill.about.version,
                versions=versions[:MOST_VERSIONS],
            )
            return pins[name]

    def roll_back(self, name: str, to: str | None) -> Pin:
        """Mean the version before, or the one whose hash begins with `to`; raises SkillUnusable."""
        with self._changing() as pins:
            pin = pins.get(name)
            if pin is None:
                raise not_pinned(name)
            wanted = _version(name, pin, to)
            skill = self.kept(name, wanted)
            use = Use.ADDED if pin.use is Use.ADDED else Use.KEPT
            pins[name] = replace(pin, use=use, tree_hash=wanted, version=skill.about.version)
            return pins[name]

    def forget(self, name: str) -> Pin:
        """Take the pin away, and what was kept for it; raises SkillUnusable if there is none."""
        with self._changing() as pins:
            if name not in pins:
                raise not_pinned(name)
            return pins.pop(name)

    def _folder(self, tree_hash: str) -> Path:
        return (self.data / KEPT).absolute() / tree_hash

    def _keep(self, skill: Skill) -> None:
        with suppress(SkillUnusable):
            self.kept(skill.about.name, skill.tree_hash)
            return
        place = self.data.resolve() / KEPT
        with root_directory(place, create=True) as top:
            with suppress(FileNotFoundError):
                remove_entry(skill.tree_hash, top)
            for relative, data in skill.files.items():
                *parents, file = relative.split("/")
                mode = EXECUTABLE_MODE if relative in skill.executable else FILE_MODE
                path = (skill.tree_hash, skill.about.name, *parents)
                with below(top, path, create=True) as directory:
                    put_file(file, directory, data, mode=mode, durable=True)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Pin]]:
        """The pins to change, alone; they are written when the block ends without an error."""
        try:
            with root_directory(self.data.resolve(), create=True) as top:
                fcntl.flock(top, fcntl.LOCK_EX)
                pins = dict(self.pins())
                before = _all_versions(pins)
                yield pins
                put_file(FILE, top, _text(pins), durable=True)
                for each in before - _all_versions(pins):
                    with suppress(FileNotFoundError), below(top, (KEPT,)) as kept:
                        remove_entry(each, kept)
        except OSError as error:
            raise SkillUnusable(
                f"cannot write the pins of skills in {shown(str(self.data))!r}: {error.strerror}",
                hint="Give the user that kubecase runs as the right to write there.",
            ) from error

    def _broken(self, why: str) -> SkillUnusable:
        return SkillUnusable(
            f"cannot read {shown(str(self.data / FILE))!r}: {why}",
            hint="Restore it from a backup; or remove it, then add and pin the skills anew.",
        )


def not_pinned(name: str) -> SkillUnusable:
    """The error for a skill that has no pin."""
    return SkillUnusable(
        f"skill {shown(name)!r} is not pinned", hint="See what is: kubecase skills list."
    )


def _version(name: str, pin: Pin, to: str | None) -> str:
    if to is None:
        older = pin.older()
        if older is None:
            raise SkillUnusable(
                f"no version of skill {name!r} before {pin.tree_hash[:12]} is kept",
                hint="Versions are kept from the first pin on; --to takes one by its hash.",
            )
        return older
    fitting = [each for each in pin.versions if to and each.startswith(to)]
    if len(fitting) != 1:
        known = ", ".join(each[:12] for each in pin.versions)
        raise SkillUnusable(
            f"{'several versions' if fitting else 'no version'} of skill {name!r} "
            f"begin with {to[:64]!a}",
            hint=f"Kept are, newest first: {known}.",
        )
    return fitting[0]


def _all_versions(pins: Mapping[str, Pin]) -> set[str]:
    return {version for pin in pins.values() for version in pin.versions}


def _pin(name: str, value: Mapping[str, Any]) -> Pin:
    pin = Pin(
        use=Use(value["use"]),
        tree_hash=value["tree_hash"],
        version=value["version"],
        versions=tuple(map(str, value["versions"])),
    )
    hashes = all(map(_HASH.fullmatch, pin.versions))
    if not _NAME.fullmatch(name) or not hashes or pin.tree_hash not in pin.versions:
        raise ValueError("a pin is not what it must be")
    if not isinstance(pin.version, str | None):
        raise ValueError("a version is not a text")
    return pin


def _text(pins: Mapping[str, Pin]) -> bytes:
    skills = {name: asdict(pin) for name, pin in sorted(pins.items())}
    return (json.dumps({"format": 1, "skills": skills}, indent=2) + "\n").encode()
