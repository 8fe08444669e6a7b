"""Skills of several sources, and the versions of them that are meant."""

import json
import shutil
from pathlib import Path

import pytest

from kubecase.core.errors import SkillUnusable
from kubecase.workspace import (
    Place,
    Skill,
    SkillChoice,
    SkillLock,
    Use,
    Workspace,
    copy_skills,
    load_skill,
    load_skills,
    places,
)

GUIDE = "references/guide.md"


def make_skill(source: Path, name: str, guide: str = "guide") -> Path:
    folder = source / name
    (folder / "references").mkdir(parents=True)
    (folder / "SKILL.md").write_text(f"---\nname: {name}\ndescription: d\nversion: 1.0\n---\n")
    (folder / GUIDE).write_text(guide)
    return folder


def pin_of(name: str, use: str, tree_hash: object) -> str:
    pin = {"use": use, "tree_hash": tree_hash, "version": None, "versions": [tree_hash]}
    return json.dumps({"format": 1, "skills": {name: pin}})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The service's own directory, which does not exist yet."""
    return tmp_path.resolve() / "data"


@pytest.fixture
def lock(data: Path) -> SkillLock:
    """The pins in it."""
    return SkillLock(data=data)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source with one skill."""
    source = tmp_path.resolve() / "one"
    make_skill(source, "alpha")
    return source


def the_one(choice: SkillChoice) -> Skill:
    (skill,) = load_skills(choice)
    return skill


def place_of(choice: SkillChoice, name: str = "alpha") -> Place:
    return places(choice)[name]


def test_skills_come_from_all_sources(source: Path, tmp_path: Path) -> None:
    """Directories of skills and single skills may be given side by side (req 4.1)."""
    other = tmp_path.resolve() / "two"
    make_skill(other, "beta")
    single = make_skill(tmp_path.resolve() / "three", "gamma")

    everything = SkillChoice(sources=(source, other, single))
    some = SkillChoice(sources=(source, other, single), names=("gamma", "alpha"))

    assert [s.about.name for s in load_skills(everything)] == ["alpha", "beta", "gamma"]
    assert [s.about.name for s in load_skills(some)] == ["gamma", "alpha"]


def test_a_name_in_two_sources_is_an_error_that_names_both(source: Path, tmp_path: Path) -> None:
    """Which of two skills of one name is meant is never guessed (req 4.1)."""
    other = make_skill(tmp_path.resolve() / "two", "alpha")

    with pytest.raises(SkillUnusable, match="in two places") as raised:
        load_skills(SkillChoice(sources=(source, other.parent)))

    assert str(source / "alpha") in str(raised.value)
    assert str(other) in str(raised.value)


def test_an_added_name_that_a_source_has_too_is_an_error(source: Path, lock: SkillLock) -> None:
    """What was added does not silently take the place of a source's skill (req 4.1)."""
    lock.pin(load_skill(source / "alpha"), Use.ADDED)

    with pytest.raises(SkillUnusable, match="in two places") as raised:
        load_skills(SkillChoice(sources=(source,), data=lock.data))

    assert str(source / "alpha") in str(raised.value)
    assert str(lock.data) in str(raised.value)


def test_a_source_that_changed_after_its_pin_is_refused_until_it_is_pinned_anew(
    source: Path, lock: SkillLock, workspace: Workspace
) -> None:
    """A changed skill reaches no new run by itself, and an old copy stays as it was (req 21.3)."""
    choice = SkillChoice(sources=(source,), data=lock.data)
    lock.pin(the_one(choice), Use.SOURCE)
    (before,) = copy_skills(workspace, choice)
    (source / "alpha" / GUIDE).write_text("changed")

    with pytest.raises(SkillUnusable, match="was changed since it was pinned") as raised:
        load_skills(choice)
    lock.pin(load_skill(source / "alpha"), Use.SOURCE)
    after = the_one(choice)

    assert "kubecase skills pin alpha" in str(raised.value.hint)
    assert before.pinned
    assert after.tree_hash != before.tree_hash
    assert (workspace.root / ".claude/skills/alpha" / GUIDE).read_text() == "guide"


def test_a_rollback_gives_the_version_before_whatever_the_source_holds(
    source: Path, lock: SkillLock
) -> None:
    """Earlier versions are kept and can be gone back to, step by step or by hash (req 21.3)."""
    choice = SkillChoice(sources=(source,), data=lock.data)
    hashes = []
    for guide in ("first", "second", "third"):
        (source / "alpha" / GUIDE).write_text(guide)
        hashes.append(lock.pin(load_skill(source / "alpha"), Use.SOURCE).tree_hash)
    shutil.rmtree(source / "alpha" / "references")

    seen = []
    for to in (None, None, hashes[2][:10]):
        lock.roll_back("alpha", to)
        seen.append(the_one(choice).files[GUIDE].decode())

    assert seen == ["second", "first", "third"]
    assert place_of(choice).pin is not None
    with pytest.raises(SkillUnusable, match=r"no version .* begin with"):
        lock.roll_back("alpha", "zzz")


def test_a_pin_after_a_rollback_means_the_source_again(source: Path, lock: SkillLock) -> None:
    """Going back is no dead end."""
    choice = SkillChoice(sources=(source,), data=lock.data)
    lock.pin(the_one(choice), Use.SOURCE)
    (source / "alpha" / GUIDE).write_text("second")
    lock.pin(load_skill(source / "alpha"), Use.SOURCE)
    lock.roll_back("alpha", None)
    (source / "alpha" / GUIDE).write_text("third")

    kept = the_one(choice).files[GUIDE]
    lock.pin(load_skill(source / "alpha"), Use.SOURCE)

    assert (kept, the_one(choice).files[GUIDE]) == (b"guide", b"third")


def test_a_pinned_skill_that_went_away_is_not_left_out_in_silence(
    source: Path, lock: SkillLock
) -> None:
    """Without its source a pinned skill is an error, until it is rolled back or removed (4.4)."""
    choice = SkillChoice(sources=(source,), data=lock.data)
    first = lock.pin(the_one(choice), Use.SOURCE)
    shutil.rmtree(source / "alpha")

    with pytest.raises(SkillUnusable, match="no source has it any more") as raised:
        load_skills(choice)
    lock.roll_back("alpha", first.tree_hash)
    kept = the_one(choice)
    lock.forget("alpha")

    assert "kubecase skills remove alpha" in str(raised.value.hint)
    assert kept.tree_hash == first.tree_hash
    assert load_skills(choice) == ()


def test_an_added_skill_needs_its_folder_no_more(source: Path, lock: SkillLock) -> None:
    """What was added is kept with its exec bits, and a damaged copy is refused."""
    (source / "alpha" / GUIDE).chmod(0o755)
    pin = lock.pin(load_skill(source / "alpha"), Use.ADDED)
    shutil.rmtree(source / "alpha")
    choice = SkillChoice(sources=(source,), data=lock.data)

    whole = the_one(choice)
    (lock.data / "skills" / pin.tree_hash / "alpha" / GUIDE).write_text("forged")

    assert whole.executable == {GUIDE}
    with pytest.raises(SkillUnusable, match="changed since it was kept"):
        load_skills(choice)


def test_adding_the_same_again_mends_what_was_kept(source: Path, lock: SkillLock) -> None:
    """A damaged copy is replaced by the same version, added once more."""
    skill = load_skill(source / "alpha")
    pin = lock.pin(skill, Use.ADDED)
    (lock.data / "skills" / pin.tree_hash / "alpha" / GUIDE).write_text("forged")

    lock.pin(skill, Use.ADDED)

    assert lock.kept("alpha", pin.tree_hash).files[GUIDE] == b"guide"


def test_what_is_removed_leaves_nothing_and_the_source_alone(source: Path, lock: SkillLock) -> None:
    """A removed pin takes its kept versions with it; the source is never touched."""
    lock.pin(load_skill(source / "alpha"), Use.SOURCE)

    lock.forget("alpha")

    assert lock.pins() == {}
    assert list((lock.data / "skills").iterdir()) == []
    assert (source / "alpha" / GUIDE).read_text() == "guide"
    with pytest.raises(SkillUnusable, match="not pinned"):
        lock.forget("alpha")


def test_a_number_of_versions_is_kept_and_no_more(source: Path, lock: SkillLock) -> None:
    """The twenty newest versions are kept; the disk does not fill with the others."""
    for number in range(25):
        (source / "alpha" / GUIDE).write_text(str(number))
        pin = lock.pin(load_skill(source / "alpha"), Use.SOURCE)

    assert len(pin.versions) == 20
    assert {p.name for p in (lock.data / "skills").iterdir()} == set(pin.versions)
    assert (lock.data / "skills.lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", '{"skills": []}', '{"skills": {"alpha": {}}}', '{"skills": {"alpha": 1}}',
        pin_of("../x", "added", "HASH"), pin_of("alpha", "added", ".."),
        pin_of("alpha", "magic", "HASH"), pin_of("alpha", "source", 1),
    ],
)  # fmt: skip
def test_a_damaged_lock_is_an_error_and_not_an_empty_one(
    source: Path, lock: SkillLock, content: str
) -> None:
    """Pins that cannot be read are never taken for none."""
    lock.data.mkdir()
    (lock.data / "skills.lock").write_text(content.replace("HASH", "0" * 64))

    with pytest.raises(SkillUnusable, match=r"skills\.lock"):
        load_skills(SkillChoice(sources=(source,), data=lock.data))


def test_the_lock_can_be_read_by_people(source: Path, lock: SkillLock) -> None:
    """The lock is JSON with name, use, hash, version and the versions that are kept."""
    pin = lock.pin(load_skill(source / "alpha"), Use.ADDED)

    written = json.loads((lock.data / "skills.lock").read_text())

    assert written == {
        "format": 1,
        "skills": {
            "alpha": {
                "use": "added",
                "tree_hash": pin.tree_hash,
                "version": "1.0",
                "versions": [pin.tree_hash],
            }
        },
    }
