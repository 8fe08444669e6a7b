"""What a workspace's copy of a skill is without."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubecase.core.errors import SkillUnusable
from kubecase.workspace import SkillChoice, Workspace, copy_skills
from kubecase.workspace.frontmatter import parse_front_matter
from kubecase.workspace.skill_text import COMMANDS, harmless

SKILLS = Path(__file__).parent.parent / "data" / "skills"


def made(front: str, body: str = "text\n") -> tuple[str, tuple[str, ...]]:
    """The text of the copy of a skill `s`, and what it lacks."""
    data = f"---\nname: s\ndescription: Looks at things.\n{front}---\n{body}".encode()
    result = harmless(data, parse_front_matter(data, "s"))
    return result.data.decode(), result.taken_out


@pytest.mark.parametrize(
    "front",
    [
        "", "version: 2\n",
        "license: MIT\n# a comment\n\nmetadata:\n  allowed-tools: only a word\n",
        "metadata: {version: '1'}\ncompatibility: any\n",
    ],
)  # fmt: skip
def test_a_skill_that_only_describes_itself_is_copied_byte_for_byte(front: str) -> None:
    """Nothing is changed where nothing acts, line ends and marks included (req 4.3)."""
    data = f"---\nname: s\ndescription: d\n{front}---\nUse `kubectl get pods`! `x`\n".encode()
    marked = b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")

    for each in (data, marked):
        assert harmless(each, parse_front_matter(each, "s")).data == each


@pytest.mark.parametrize(
    ("front", "key"),
    [
        ("allowed-tools: Bash(kubectl delete:*)\n", "allowed-tools"),
        ("'allowed-tools': [Bash]\n", "allowed-tools"),
        ("allowed-tools:\n  - Bash\n", "allowed-tools"),
        ("? allowed-tools\n: Bash\n", "allowed-tools"),
        ("hooks:\n  Stop:\n    - hooks: [{type: command, command: x}]\n", "hooks"),
        ("Allowed-Tools: Bash\n", "Allowed-Tools"),
        ("model: big\n", "model"),
        ("author: me\n", "author"),
    ],
)  # fmt: skip
def test_what_a_cli_might_obey_is_taken_out(front: str, key: str) -> None:
    """Only what describes a skill is left of its front matter; the rest is named (req 13.5)."""
    text, taken_out = made(front)

    assert taken_out == (key,)
    assert text == '---\nname: "s"\ndescription: "Looks at things."\n---\ntext\n'


@pytest.mark.parametrize(
    "front",
    [
        'license: "a\nallowed-tools: Bash\nb"\n',
        'license: "a --- \nb"\n',
        "license: 'x'\nmetadata: {a: '\n\nallowed-tools: Bash'}\n",
        "license: a --- b\n",
    ],
)
def test_what_a_laxer_parser_might_find_is_taken_out_too(front: str) -> None:
    """Text that looks like a key to a line-wise reader does not reach the copy."""
    text, _ = made(front)

    assert "allowed-tools" not in text
    assert text.count("---") == 2


@pytest.mark.parametrize(
    "body", ["!`touch x`\n", "see: !`touch x`\n", "```!\ntouch x\n```\n", "``` !\ntouch x\n```\n"]
)
def test_a_command_in_the_text_is_made_text(body: str) -> None:
    """A line that a CLI would replace by the output of a command reads as it stands."""
    text, taken_out = made("", body)

    assert not re.search(r"!`|```\s*!", text)
    assert "touch x" in text
    assert taken_out == (COMMANDS,)


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_description_survives_being_rewritten(description: str, body: str) -> None:
    """Whatever a description holds, the new front matter says the same to a parser of YAML."""
    quoted = "".join(f"\\U{ord(c):08x}" for c in description if not 0xD800 <= ord(c) <= 0xDFFF)
    data = f'---\nname: s\ndescription: "{quoted}"\nhooks: x\n---\n'.encode()
    try:
        before = parse_front_matter(data + body.encode("utf-8", "replace"), "s")
    except SkillUnusable:
        return

    copied = harmless(data + body.encode("utf-8", "replace"), before)

    after = parse_front_matter(copied.data, "s")
    assert after.description == " ".join(before.description.split())
    assert copied.taken_out[0] == "hooks"


def test_the_copy_in_the_workspace_is_the_harmless_one(workspace: Workspace) -> None:
    """The record has the hash of the source and says what the copy lacks (req 4.5)."""
    (copied,) = copy_skills(workspace, SkillChoice(sources=(SKILLS,)))

    main = (workspace.root / ".claude/skills/cluster-doctor/SKILL.md").read_text()
    scripts = workspace.root / ".claude/skills/cluster-doctor/scripts"
    assert copied.taken_out == ("allowed-tools", "author", "hooks", COMMANDS)
    assert not re.search("allowed-tools|hooks|touch hook-ran|!`", main)
    assert "# Cluster doctor" in main
    assert (scripts / "repair.sh").stat().st_mode & 0o777 == 0o700
    assert (scripts / "cleanup.py").stat().st_mode & 0o777 == 0o600
