"""What doctor and the reports say of agents: versions, abilities, and limits without effect."""

import json
from pathlib import Path

import pytest

from kubecase.agents.claude import Claude
from kubecase.agents.codex import Codex
from kubecase.agents.gemini import Gemini
from kubecase.agents.goose import Goose
from kubecase.agents.openai_chat import OpenaiChat
from kubecase.agents.opencode import Opencode
from kubecase.app.agent_check import agent_findings, unlimited, version_reader
from kubecase.app.settings import Settings, load
from kubecase.app.versions import Versions
from kubecase.app.wiring import Choice
from kubecase.core.ports import Agent

DOCS = Path(__file__).parent.parent.parent / "docs" / "agents.md"
AGENTS: dict[str, Agent] = {
    "claude": Claude(), "codex": Codex(), "gemini": Gemini(), "goose": Goose(),
    "openai_chat": OpenaiChat(), "opencode": Opencode(),
}  # fmt: skip
SAYS = """#!/bin/sh
echo asked >> "{count}"
echo "{words}"
exit {code}
"""


def a_program(directory: Path, words: str, code: int = 0, name: str = "codex") -> Path:
    program = directory / name
    program.write_text(SAYS.format(count=directory / "count", words=words, code=code))
    program.chmod(0o755)
    return program


def asked(directory: Path) -> int:
    count = directory / "count"
    return count.read_text().count("asked") if count.exists() else 0


def settings(tmp_path: Path, text: str, **environ: str) -> Settings:
    (tmp_path / "kubecase.yaml").write_text(text)
    given = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin", **environ}
    return load({}, given, None, tmp_path).settings


@pytest.mark.parametrize(
    ("words", "version"),
    [
        ("codex-cli 0.169.0", "0.169.0"),
        ("2.1.330 (Claude Code)", "2.1.330"),
        (" 1.34.0", "1.34.0"),
        ("v0.61.0-nightly.7", "0.61.0-nightly.7"),
        ("no version here", None),
        ("a.1.2.3", None),
        ("", None),
    ],
)
def test_a_version_is_read_from_what_a_program_says(
    tmp_path: Path, words: str, version: str | None
) -> None:
    """Each CLI says its version in its own way; what is none is not taken for one."""
    program = a_program(tmp_path, words)

    assert Versions(file=tmp_path / "v.json", path="/usr/bin:/bin").of(str(program)) == version


def test_a_program_is_asked_once_for_as_long_as_it_is_the_same(tmp_path: Path) -> None:
    """The version is remembered over processes, and asked again when the file has changed."""
    program, file = a_program(tmp_path, "codex-cli 0.1.0"), tmp_path / "v.json"

    for _ in range(3):
        assert Versions(file=file, path="/usr/bin:/bin").of(str(program)) == "0.1.0"
    assert asked(tmp_path) == 1

    a_program(tmp_path, "codex-cli 0.20.0")
    assert Versions(file=file, path="/usr/bin:/bin").of(str(program)) == "0.20.0"
    assert asked(tmp_path) == 2


@pytest.mark.parametrize("kept", [b"", b"[]", b"{", b'{"x": 1}', b"\xff"])
def test_a_broken_memory_is_no_memory(tmp_path: Path, kept: bytes) -> None:
    """Whatever lies where versions are remembered, the program is asked."""
    (tmp_path / "v.json").write_bytes(kept)

    found = Versions(file=tmp_path / "v.json", path="/usr/bin:/bin")

    assert found.of(str(a_program(tmp_path, "1.2.3"))) == "1.2.3"
    assert found.of("/nonexistent") is None
    assert found.of(str(a_program(tmp_path, "1.2.3", code=1, name="other"))) is None


def test_a_program_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A program that never answers has no version, and holds nobody up for long."""
    program = tmp_path / "codex"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)

    versions = Versions(file=tmp_path / "v.json", path="/usr/bin:/bin", seconds=0.2)

    assert versions.of(str(program)) is None


def test_the_question_leaves_nothing(tmp_path: Path) -> None:
    """A program that lays out its directories does so in a home that is gone afterwards, and is
    told nothing of this process.
    """
    program = tmp_path / "codex"
    program.write_text(
        '#!/bin/sh\nmkdir -p "$HOME/.codex/tmp"\necho "$HOME" > "$0.home"\nenv > "$0.env"\n'
        "echo codex-cli 1.2.3\n"
    )
    program.chmod(0o755)

    versions = Versions(file=tmp_path / "v.json", path="/usr/bin:/bin")

    assert versions.of(str(program)) == "1.2.3"
    assert not Path((tmp_path / "codex.home").read_text().strip()).exists()
    names = {line.partition("=")[0] for line in (tmp_path / "codex.env").read_text().splitlines()}
    assert names <= {"PATH", "HOME", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"}


def test_only_known_programs_are_asked(tmp_path: Path) -> None:
    """A program of the operator's own is not started for the sake of its version."""
    found = settings(tmp_path, f"store: {{data_dir: {tmp_path}}}")
    program = a_program(tmp_path, "codex-cli 0.169.0")
    known = Choice(name="codex", agent=Codex(program=str(program)), why="")
    other = Choice(name="mine", agent=Codex(program=str(program)), why="")

    assert version_reader(other, found)() is None
    assert asked(tmp_path) == 0
    assert version_reader(known, found)() == "0.169.0"


def test_a_limit_that_no_cli_keeps_is_told(tmp_path: Path) -> None:
    """Turns or a budget for a CLI that knows neither are warned of, with the way that works."""
    text = "agents: {%s: {max_turns: 5, max_budget_usd: 1}}"
    expected = {"claude": 0, "codex": 2, "gemini": 1, "goose": 1, "openai_chat": 1, "opencode": 2}
    for name, agent in AGENTS.items():
        warnings = unlimited(name, agent, settings(tmp_path, text % name))
        assert len(warnings) == expected[name], name
        assert all(f"agents.{name}.max_" in each for each in warnings)
        assert all("budgets.run" in each for each in warnings)
        assert unlimited(name, agent, settings(tmp_path, "{}")) == ()


def test_doctor_shows_what_each_cli_can_do(tmp_path: Path) -> None:
    """Abilities are in the machine form of the finding, limits without effect beside it."""
    a_program(tmp_path, "codex-cli 0.169.0")
    text = f"store: {{data_dir: {tmp_path}}}\nagents: {{codex: {{max_turns: 5}}}}"
    found = [
        each.as_json()
        for each in agent_findings(settings(tmp_path, text, OPENAI_API_KEY="sk-000-111-222"))
        if each.what == "agent codex"
    ]

    first, second = found
    assert first["says"].endswith("codex, version 0.169.0")
    assert first["capabilities"] == {
        "stream": True, "cost": False, "budget": False, "turns": False, "denials": False,
        "needs_node": False,
    }  # fmt: skip
    assert (second["state"], "capabilities" in second) == ("note", False)
    assert "agents.codex.max_turns has no effect" in second["says"]
    json.dumps(found)


def test_the_table_in_the_docs_is_what_the_adapters_say() -> None:
    """What docs/agents.md promises of each CLI is what its adapter declares."""
    rows = {}
    for line in DOCS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[0].strip("`") in AGENTS and set(cells[1:]) <= {"yes", "no"}:
            rows[cells[0].strip("`")] = [cell == "yes" for cell in cells[1:]]

    names = ("stream", "cost", "budget", "turns", "denials", "needs_node")
    assert rows == {
        name: [getattr(agent.capabilities, each) for each in names]
        for name, agent in AGENTS.items()
    }
