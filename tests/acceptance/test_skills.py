"""`kubecase skills` as a user meets it: list, add, pin, verify, remove, rollback."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import Home

LOOKALIKE = Path(__file__).parent.parent / "data" / "skills" / "cluster-doctor"


def told(home: Home, *words: str, code: int = 0) -> Any:
    """What a command says with --json."""
    done = home.run("skills", *words, "--json")
    assert done.returncode == code, done.stderr.decode()
    return json.loads(done.stdout)


def given(home: Home) -> dict[str, dict[str, Any]]:
    """The skills that a new investigation is given, by name, as its workspace records them."""
    done = home.run("demo", "--json")
    assert done.returncode == 0, done.stderr.decode()
    workspace = Path(json.loads(done.stdout)["workspace_dir"])
    records = json.loads((workspace / ".claude/skills.json").read_text())
    for each in records:
        assert (workspace / ".claude/skills" / each["name"] / "SKILL.md").is_file()
    return {each["name"]: each for each in records}


@pytest.fixture
def folder(home: Home) -> Path:
    """A local copy of a published skill."""
    return Path(shutil.copytree(LOOKALIKE, home.root / "cluster-doctor"))


def test_the_shipped_skill_is_listed(home: Home) -> None:
    """Without any setting there is one skill, enabled and not pinned."""
    text = home.run("skills", "list").stdout.decode()
    (only,) = told(home, "list")

    assert "kubernetes-triage" in text
    assert (only["name"], only["enabled"], only["pinned"], only["problem"]) == (
        "kubernetes-triage", True, None, None,
    )  # fmt: skip
    assert only["tree_hash"][:12] in text


def test_an_added_skill_is_given_to_new_runs_and_can_be_rolled_back(
    home: Home, folder: Path
) -> None:
    """Update by adding anew, rollback by one word; earlier workspaces stay (req 21.3)."""
    (first,) = told(home, "add", str(folder))
    before = given(home)
    (folder / "references/symptoms.md").write_text("# Other symptoms\n")
    (second,) = told(home, "add", "cluster-doctor")
    shutil.rmtree(folder)
    after = given(home)
    (back,) = told(home, "rollback", "cluster-doctor")

    assert set(before) == {"cluster-doctor", "kubernetes-triage"}
    assert before["cluster-doctor"]["tree_hash"] == first["tree_hash"] == back["tree_hash"]
    assert after["cluster-doctor"]["tree_hash"] == second["tree_hash"] != first["tree_hash"]
    assert back["versions"] == [second["tree_hash"], first["tree_hash"]]
    assert given(home)["cluster-doctor"]["tree_hash"] == first["tree_hash"]
    assert told(home, "remove", "cluster-doctor")["removed"] == "skill"
    assert [each["name"] for each in told(home, "list")] == ["kubernetes-triage"]


def test_a_source_that_changed_fails_a_run_with_the_remedy(home: Home, folder: Path) -> None:
    """A pinned source that changed is refused, by name and with what to do (req 4.4, 21.3)."""
    (home.root / "kubecase.yaml").write_text(
        f"agent_runtime:\n  skills_sources: [shipped, {folder}]\n"
    )
    told(home, "pin", "cluster-doctor")
    assert given(home)["cluster-doctor"]["pinned"]
    (folder / "references/symptoms.md").write_text("# Other symptoms\n")

    refused = home.run("demo", "--json")
    verified = {each["name"]: each for each in told(home, "verify", code=2)}
    told(home, "pin")

    result = json.loads(refused.stdout)
    assert result["status"] == "failed"
    assert "cluster-doctor" in str(result["error"])
    assert "was changed since it was pinned" in str(result["error"])
    assert verified["kubernetes-triage"]["problem"] is None
    assert "kubecase skills pin cluster-doctor" in verified["cluster-doctor"]["hint"]
    assert given(home)["cluster-doctor"]["pinned"]


def test_verify_points_out_the_scripts_that_change_a_cluster(home: Home, folder: Path) -> None:
    """What a skill's scripts would do is told by file and line, and that its keys do nothing."""
    added = home.run("skills", "add", str(folder)).stdout.decode()
    text = home.run("skills", "verify", "cluster-doctor").stdout.decode()

    assert "7 line(s) of its scripts to look at" in added
    assert "scripts/repair.sh:9: changes the cluster: kubectl delete" in text
    assert "allowed-tools, author, hooks: no effect" in text
    assert home.run("skills", "verify", "cluster-doctor").returncode == 0
    assert home.run("skills", "verify", "cluster-doctor", "--strict").returncode == 2
    assert home.run("skills", "verify", "kubernetes-triage", "--strict").returncode == 0


def test_a_name_in_two_sources_is_told_with_both(home: Home, folder: Path) -> None:
    """Two skills of one name are the operator's turn, and both places are named (req 4.1)."""
    other = shutil.copytree(folder, home.root / "more" / "cluster-doctor")
    (home.root / "kubecase.yaml").write_text(
        f"agent_runtime:\n  skills_source: {folder}\n  skills_sources: [{other.parent}]\n"
    )

    done = home.run("skills", "list")

    assert done.returncode == 2
    assert str(folder) in done.stderr.decode()
    assert str(other) in done.stderr.decode()


def test_doctor_says_whether_the_skills_can_be_used(home: Home, folder: Path) -> None:
    """A source that is none is found before a run needs it, and named (req 4.1)."""
    good = home.run("doctor").stdout.decode()
    (home.root / "kubecase.yaml").write_text(
        f"agent_runtime:\n  skills_source: {folder.parent}/nowhere\n"
    )
    bad = home.run("doctor")

    assert "kubernetes-triage 1." in good
    assert bad.returncode == 2
    assert f"{folder.parent}/nowhere" in bad.stdout.decode()


def test_a_list_that_only_disables_leaves_the_others(home: Home, folder: Path) -> None:
    """Skills are switched off one by one, or chosen by a complete list (req 4.1)."""
    told(home, "add", str(folder))
    for entry, expected in (
        ("{name: kubernetes-triage, enabled: false}", {"cluster-doctor"}),
        ("{name: kubernetes-triage}", {"kubernetes-triage"}),
    ):
        (home.root / "kubecase.yaml").write_text(f"agent_runtime:\n  skills: [{entry}]\n")
        assert set(given(home)) == expected
        listed = {each["name"] for each in told(home, "list") if each["enabled"]}
        assert listed == expected


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "nowhere"), "nowhere"),
        (("add", "."), "SKILL.md"),
        (("remove", "absent"), "not pinned"),
        (("rollback", "absent"), "not pinned"),
        (("pin", "absent"), "no skill"),
        (("verify", "absent"), "no skill"),
    ],
)
def test_what_is_not_there_is_the_operators_turn(
    home: Home, words: tuple[str, ...], says: str
) -> None:
    """Every mistake is exit code 2 with a sentence and a remedy."""
    done = home.run("skills", *words)

    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert "→" in done.stderr.decode()
