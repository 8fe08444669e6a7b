"""The skill that comes with kubecase, which every agent gets unless told otherwise."""

import json
import re

import pytest

from kubecase.core.categories import CATEGORIES
from kubecase.core.kubectl import Refused, parse_line
from kubecase.core.report import report_from_json
from kubecase.gateways.families import shipped_resources
from kubecase.workspace import Skill, SkillChoice, load_skills, shipped_skills_source


@pytest.fixture
def skill() -> Skill:
    """The shipped skill, loaded as any other."""
    (skill,) = load_skills(SkillChoice(sources=(shipped_skills_source(),)))
    return skill


def text(skill: Skill, name: str) -> str:
    return skill.files[name].decode()


def test_the_shipped_skill_passes_its_own_checks(skill: Skill) -> None:
    """It is there, valid, versioned, and runs nothing."""
    assert skill.about.name == "kubernetes-triage"
    assert skill.about.version
    assert skill.executable == frozenset()
    assert {name.partition("/")[0] for name in skill.files} == {"SKILL.md", "references"}


def test_every_page_that_is_linked_is_there(skill: Skill) -> None:
    """No link of SKILL.md leads nowhere, and no page is left unmentioned."""
    linked = set(re.findall(r"\]\((references/[a-z-]+\.md)\)", text(skill, "SKILL.md")))

    assert linked == set(skill.files) - {"SKILL.md"}


def test_its_list_of_categories_is_the_list(skill: Skill) -> None:
    """An agent is told exactly the causes that a report may name."""
    rows = re.findall(
        r"^\| `([a-z.0-9_]+)` \| (.*) \|$", text(skill, "references/categories.md"), re.MULTILINE
    )

    assert dict(rows) == dict(CATEGORIES)


def test_its_example_of_a_report_is_accepted(skill: Skill) -> None:
    """The machine form that the skill teaches satisfies the schema."""
    (block,) = re.findall(r"```json\n(.*?)```", text(skill, "references/report.md"), re.DOTALL)

    report, findings = report_from_json(json.loads(block))

    assert findings == ()
    assert report is not None
    assert report.best is not None
    assert report.best.next_steps


def test_its_report_has_the_agreed_headings(skill: Skill) -> None:
    """The Markdown that the skill teaches is the one that kubecase reads (formats section 3)."""
    page = text(skill, "references/report.md")

    for heading in (
        "# Kubernetes Incident Triage Report",
        "## 0. Executive Triage Card",
        "## 1. Problem Statement",
        "## 2. Assessment & Findings",
        "## 3. Root Cause Analysis",
        "## 4. Remediation Plan",
        "## 5. Proof of Work",
        "## 6. Supporting Evidence",
    ):
        assert f"\n{heading}\n" in page


def test_every_command_it_shows_is_one_that_an_agent_can_run(skill: Skill) -> None:
    """What the skill advises is taken by kubectl_read as it stands, placeholders filled in."""
    shown = []
    for page, data in skill.files.items():
        text = data.decode()
        for found in re.finditer(r"`(kubectl [^`]*)`|^(kubectl [^#\n]*)", text, re.MULTILINE):
            line = " ".join((found[1] or found[2]).split())
            shown.append((page, re.sub(r"\b[A-Z]{2,}\b", lambda m: m[0].lower(), line)))

    refused = [
        (page, line, call.says)
        for page, line in shown
        if isinstance(call := parse_line(_filled(line), shipped_resources()), Refused)
    ]

    assert refused == []
    assert len(shown) >= 15


def _filled(line: str) -> str:
    """`line` with a verb and a type where it only says that there is one."""
    return line.replace(" verb type", " list pods").replace(" selector ", " app=api ")


def test_every_command_it_shows_only_reads(skill: Skill) -> None:
    """No page shows a kubectl command that could change anything or show a secret's value."""
    everything = "\n".join(data.decode() for data in skill.files.values())
    commands = re.findall(r"kubectl((?: -{1,2}[\w-]+(?: [A-Z]+)?)*) ([a-z-]+)", everything)

    verbs = {verb for options, verb in commands} - {"shop"}
    assert verbs <= {"get", "logs", "describe", "events", "top", "auth"}
    assert len(commands) >= 8
    assert "get secret" not in everything
