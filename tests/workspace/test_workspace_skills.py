"""Skills: found, checked, copied, recorded."""

import json
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubecase.core.errors import SkillUnusable, WorkspaceError
from kubecase.workspace import SkillChoice, Workspace, copy_skills, load_skills
from kubecase.workspace.frontmatter import parse_front_matter

ID = "6b1d0f3a-0000-4000-8000-0000000000a1"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def front(name: str, more: str = "") -> str:
    return f"---\nname: {name}\ndescription: Looks at things.\n{more}---\n\n# {name}\n"


def make_skill(source: Path, name: str, more: str = "") -> Path:
    folder = source / name
    (folder / "references").mkdir(parents=True)
    (folder / "scripts").mkdir()
    (folder / "SKILL.md").write_text(front(name, more))
    (folder / "references/guide.md").write_text("guide")
    (folder / "scripts/look.sh").write_text("#!/bin/sh\n")
    (folder / "scripts/look.sh").chmod(0o755)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source with two skills."""
    source = tmp_path.resolve() / "skills"
    make_skill(source, "alpha", "version: 1.2.0\nmetadata:\n  owner: sre\n")
    make_skill(source, "beta", 'metadata:\n  version: "7"\n')
    return source


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(folder)): (stat.S_IMODE(p.lstat().st_mode), p.read_bytes())
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_a_skill_is_copied_whole_and_never_linked(workspace: Workspace, source: Path) -> None:
    """Every file is there with its exec bit; a later change of the source is not (req 4.2, 4.3)."""
    copy_skills(workspace, SkillChoice(sources=(source,)))
    (source / "alpha/references/guide.md").write_text("changed")

    copied = tree(workspace.root / ".claude/skills/alpha")
    assert {
        "SKILL.md": (0o600, (source / "alpha/SKILL.md").read_bytes()),
        "references/guide.md": (0o600, b"guide"),
        "scripts/look.sh": (0o700, b"#!/bin/sh\n"),
    } == copied
    assert {"alpha", "beta"} == set(os.listdir(workspace.root / ".claude/skills"))
    everything = (workspace.root / ".claude").rglob("*")
    assert not [p for p in everything if p.is_symlink() or p.lstat().st_mode & 0o077]


def test_what_was_copied_is_on_record(workspace: Workspace, source: Path) -> None:
    """Name, version and tree hash stand in the workspace, as the caller is told (req 4.5)."""
    copied = copy_skills(workspace, SkillChoice(sources=(source,)))

    record = json.loads((workspace.root / ".claude/skills.json").read_text())
    assert record == json.loads(json.dumps([asdict(each) for each in copied]))
    assert [(c.name, c.version) for c in copied] == [("alpha", "1.2.0"), ("beta", "7")]
    assert all(len(c.tree_hash) == 64 for c in copied)


@pytest.mark.parametrize("change", ["content", "name", "exec bit", "new file"])
def test_the_tree_hash_changes_with_whatever_matters(source: Path, change: str) -> None:
    """Any change of a skill shows in its hash; reading it twice does not (req 4.5)."""
    choice = SkillChoice(sources=(source,), names=("alpha",))
    before = load_skills(choice)[0].tree_hash
    again = load_skills(choice)[0].tree_hash
    folder = source / "alpha"
    match change:
        case "content":
            (folder / "references/guide.md").write_text("guidf")
        case "name":
            (folder / "references/guide.md").rename(folder / "references/guidf.md")
        case "exec bit":
            (folder / "scripts/look.sh").chmod(0o644)
        case _:
            (folder / "empty").touch()

    assert before == again
    assert before != load_skills(choice)[0].tree_hash


def test_the_tree_hash_does_not_depend_on_place_or_time(source: Path, tmp_path: Path) -> None:
    """The same skill has the same hash on every machine."""
    elsewhere = tmp_path.resolve() / "elsewhere"
    folder = make_skill(elsewhere, "alpha", "version: 1.2.0\nmetadata:\n  owner: sre\n")
    os.utime(folder / "SKILL.md", (0, 0))
    (folder / "SKILL.md").chmod(0o640)

    (here,) = load_skills(SkillChoice(sources=(source,), names=("alpha",)))
    (there,) = load_skills(SkillChoice(sources=(elsewhere,)))

    assert here.tree_hash == there.tree_hash


def test_disabled_skills_are_left_out(workspace: Workspace, source: Path) -> None:
    """A skill that is switched off is not copied, not even looked at (req 4.1)."""
    (source / "beta/SKILL.md").unlink()

    copied = copy_skills(workspace, SkillChoice(sources=(source,), disabled=frozenset({"beta"})))

    assert [c.name for c in copied] == ["alpha"]
    assert os.listdir(workspace.root / ".claude/skills") == ["alpha"]


@pytest.mark.parametrize("way", ["its folder", "a link to its folder"])
def test_the_source_may_be_one_skill(source: Path, tmp_path: Path, way: str) -> None:
    """The path of a single skill's folder is a source as well."""
    place = source / "alpha"
    if way != "its folder":
        place = tmp_path.resolve() / "alpha"
        place.symlink_to(source / "alpha")

    assert [s.about.name for s in load_skills(SkillChoice(sources=(place,)))] == ["alpha"]


@pytest.mark.parametrize("kind", ["absent", "a file", "a dangling link"])
def test_a_source_that_is_none_is_named(workspace: Workspace, tmp_path: Path, kind: str) -> None:
    """A wrong source is an error that names it and the setting (req 4.1)."""
    place = tmp_path / "wrong"
    if kind == "a file":
        place.write_text("x")
    elif kind == "a dangling link":
        place.symlink_to("nowhere")

    with pytest.raises(SkillUnusable, match="wrong") as raised:
        copy_skills(workspace, SkillChoice(sources=(place,)))

    assert "skills_source" in str(raised.value.hint)
    assert os.listdir(workspace.root / ".claude") == []


def test_a_skill_that_is_wanted_and_missing_is_named(workspace: Workspace, source: Path) -> None:
    """A chosen skill that went away is an error with its name, nothing is copied (req 4.4)."""
    with pytest.raises(SkillUnusable, match="cannot find skill 'gamma'"):
        copy_skills(workspace, SkillChoice(sources=(source,), names=("alpha", "gamma")))

    assert os.listdir(workspace.root / ".claude") == []


def test_a_skill_without_its_main_file_is_refused(workspace: Workspace, source: Path) -> None:
    """A folder without SKILL.md is an error, and no skill at all is copied (req 4.3)."""
    (source / "beta/SKILL.md").unlink()

    with pytest.raises(SkillUnusable, match=r"beta.* holds no SKILL\.md"):
        copy_skills(workspace, SkillChoice(sources=(source,)))

    assert os.listdir(workspace.root / ".claude") == []


@pytest.mark.parametrize("what", ["SKILL.md", "references/guide.md", "references", "."])
def test_an_unreadable_skill_is_named(
    unprivileged: tuple[Path, Callable[[], AbstractContextManager[None]]], what: str
) -> None:
    """What cannot be read is an error that says which skill and what to do (req 4.6)."""
    directory, acting = unprivileged
    with acting():
        make_skill(directory, "alpha")
        (directory / "alpha" / what).chmod(0)

        with pytest.raises(SkillUnusable, match=r"alpha.*Permission denied") as raised:
            load_skills(SkillChoice(sources=(directory,), names=("alpha",)))

    assert "right to read" in str(raised.value.hint)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside/secret.txt", "../beta/SKILL.md"])
def test_a_link_that_leaves_the_skill_is_refused(
    workspace: Workspace, source: Path, outside: Path, target: str
) -> None:
    """No link takes a file of somebody else's into a workspace (req 4.3)."""
    (source / "alpha/leak").symlink_to(target)

    with pytest.raises(SkillUnusable, match="leads out of it: 'leak'"):
        copy_skills(workspace, SkillChoice(sources=(source,)))

    assert os.listdir(workspace.root / ".claude") == []


def test_a_link_that_stays_in_the_skill_becomes_a_file(workspace: Workspace, source: Path) -> None:
    """Links inside, as when a ConfigMap is mounted, are copied as what they lead to."""
    folder = source / "alpha"
    (folder / "..data-1").mkdir()
    (folder / "..data-1/deep.md").write_text("deep")
    (folder / "..data").symlink_to("..data-1")
    (folder / "deep.md").symlink_to("..data/deep.md")
    (folder / "more").symlink_to("references")
    (folder / "run").symlink_to("scripts/look.sh")

    copy_skills(workspace, SkillChoice(sources=(source,)))

    copied = tree(workspace.root / ".claude/skills/alpha")
    assert copied["deep.md"] == (0o600, b"deep")
    assert copied["more/guide.md"] == (0o600, b"guide")
    assert copied["run"] == (0o700, b"#!/bin/sh\n")
    assert not [name for name in copied if name.startswith("..")]


@pytest.mark.parametrize("kind", ["loop", "itself", "fifo", "many", "huge", "deep"])
def test_a_skill_without_measure_is_refused(source: Path, kind: str) -> None:
    """Loops, special files and trees beyond the limits end in an error, soon (req 4.6)."""
    folder = source / "alpha"
    match kind:
        case "loop":
            (folder / "loop").symlink_to(".")
        case "itself":
            (folder / "loop").symlink_to("loop")
        case "fifo":
            os.mkfifo(folder / "pipe")
        case "many":
            for n in range(2001):
                (folder / str(n)).touch()
        case "huge":
            os.truncate(folder / "references/guide.md", 1 << 40)
        case _:
            folder.joinpath(*["d"] * 20).mkdir(parents=True)

    with pytest.raises(SkillUnusable, match=r"cannot (use|read) skill 'alpha'"):
        load_skills(SkillChoice(sources=(source,)))


def test_a_disk_that_fills_up_is_told_as_such(
    small_disk: Callable[[str], Path], source: Path
) -> None:
    """A skill that does not fit is a trouble of the disk, not of the skill."""
    (source / "alpha/big").write_bytes(b"x" * 200_000)
    workspace = Workspace.create(small_disk("size=64k"), ID, 1)

    with pytest.raises(WorkspaceError, match="No space left"):
        copy_skills(workspace, SkillChoice(sources=(source,)))


GOOD = {
    "plain": b"---\nname: s\ndescription: d\n---\nbody",
    "CRLF": b"---\r\nname: s\r\ndescription: d\r\n---\r\nbody\r\n",
    "BOM": b"\xef\xbb\xbf---\nname: s\ndescription: d\n---\n",
    "BOM and CRLF": b"\xef\xbb\xbf---\r\nname: s\r\ndescription: d\r\n---\r\n",
    "unknown keys": b"---\nname: s\ndescription: d\nversion: 3\nauthor: [a]\n---\n",
    "all keys": b"---\nname: s\ndescription: d\nlicense: MIT\ncompatibility: any\n"
    b"metadata: {a: b}\nallowed-tools: [Read, Grep]\n---\n",
    "tools as text": b"---\nname: s\ndescription: d\nallowed-tools: Read Grep\n---\n",
    "blanks after the marks": b"--- \nname: s\ndescription: d\n---  \n",
    "longest description": b"---\nname: s\ndescription: " + b"d" * 1024 + b"\n---\n",
}


@pytest.mark.parametrize("case", GOOD)
def test_front_matter_of_every_kind_is_read(case: str) -> None:
    """Line ends, marks and unknown keys do not matter (docs/formats.md section 3)."""
    about = parse_front_matter(GOOD[case], "s")

    assert about.name == "s"
    assert about.description in {"d", "d" * 1024}


BAD = {
    "no front matter": (b"# title", "does not begin"),
    "empty": (b"", "does not begin"),
    "not closed": (b"---\nname: s\n", "not closed"),
    "no name": (b"---\ndescription: d\n---\n", "name must be"),
    "other name": (b"---\nname: t\ndescription: d\n---\n", "not that of its folder"),
    "capitals": (b"---\nname: S\ndescription: d\n---\n", "name must be"),
    "climbing": (b"---\nname: ../s\ndescription: d\n---\n", "name must be"),
    "long name": (b"---\nname: " + b"s" * 65 + b"\ndescription: d\n---\n", "name must be"),
    "name is a number": (b"---\nname: 7\ndescription: d\n---\n", "name must be"),
    "no description": (b"---\nname: s\n---\n", "description is missing"),
    "blank description": (b"---\nname: s\ndescription: ' '\n---\n", "description is missing"),
    "long description": (
        b"---\nname: s\ndescription: " + b"d" * 1025 + b"\n---\n", "over 1024 characters",
    ),
    "metadata is a list": (b"---\nname: s\ndescription: d\nmetadata: [a]\n---\n", "metadata"),
    "license is a map": (b"---\nname: s\ndescription: d\nlicense: {}\n---\n", "license"),
    "tools is a map": (b"---\nname: s\ndescription: d\nallowed-tools: {}\n---\n", "allowed-tools"),
    "tools of numbers": (b"---\nname: s\ndescription: d\nallowed-tools: [1]\n---\n", "holds some"),
    "broken YAML": (b"---\nname: s\ndescription: [\n---\n", "not valid YAML"),
    "same key twice": (b"---\nname: s\nname: s\ndescription: d\n---\n", "not valid YAML"),
    "a list": (b"---\n- name\n---\n", "not a mapping"),
    "code": (b"---\nname: !!python/object/apply:os.getcwd []\ndescription: d\n---\n", "not valid"),
    "nested without end": (b"---\na: " + b"[" * 1500 + b"\n---\n", "not valid YAML"),
    "too long": (b"---\na: " + b"x" * 70_000 + b"\n---\n", "too long"),
    "not UTF-8": (b"---\nname: \xff\n---\n", "not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_front_matter_that_will_not_do_is_explained(case: str) -> None:
    """Each mistake in SKILL.md is an error that says what is wrong with it."""
    data, words = BAD[case]

    with pytest.raises(SkillUnusable, match=words) as raised:
        parse_front_matter(data, "s")

    assert "'s'" in str(raised.value)
    assert raised.value.hint


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=200) | st.binary(max_size=200).map(lambda b: b"---\n" + b + b"\n---\n")
)
def test_front_matter_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    """Whatever bytes stand in SKILL.md, the answer is a value or a SkillUnusable."""
    try:
        about = parse_front_matter(data, "s")
    except SkillUnusable:
        return
    assert about.name == "s"


@pytest.mark.parametrize(
    "layout", ["branch", "packed", "detached", "worktree", "unborn", "none", "nonsense"]
)
def test_the_commit_of_a_checkout_is_recorded(
    workspace: Workspace, source: Path, layout: str
) -> None:
    """A source in a git checkout is recorded with its commit, without running git (req 4.5)."""
    git = source.parent / ".git"
    if layout != "none":
        (git / "refs/heads").mkdir(parents=True)
        (git / "HEAD").write_text("ref: refs/heads/main\n")
    match layout:
        case "branch":
            (git / "refs/heads/main").write_text(COMMIT + "\n")
        case "packed":
            (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n^{COMMIT}\n")
        case "detached":
            (git / "HEAD").write_text(COMMIT)
        case "nonsense":
            (git / "HEAD").write_text("ref: refs/../../skills/alpha/SKILL.md")
        case "worktree":
            own = git / "worktrees/one"
            own.mkdir(parents=True)
            (own / "HEAD").write_text("ref: refs/heads/topic\n")
            (own / "commondir").write_text("../..\n")
            (git / "refs/heads/topic").write_text(COMMIT + "\n")
            (source / ".git").write_text(f"gitdir: {own}\n")
        case _:
            pass

    copied = copy_skills(workspace, SkillChoice(sources=(source,)))

    known = layout in {"branch", "packed", "detached", "worktree"}
    assert {COMMIT if known else None} == {c.commit for c in copied}
    assert not list((workspace.root / ".claude").rglob(".git"))
