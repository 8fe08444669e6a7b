"""Two real CLIs on one incident at the same time: one report with both opinions."""

import json
from pathlib import Path
from typing import Any

import pytest
from clis import CLIS, Cli, investigate, result_of, why_not

WHY_NOT = why_not("claude") or why_not("codex")

pytestmark = [pytest.mark.real, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]

FORM = {
    "summary": "The api exits since the table orders_v2 is missing.",
    "hypotheses": [
        {
            "category": "app.crash",
            "root_cause": "The table orders_v2 does not exist.",
            "culprit": {"kind": "Deployment", "namespace": "shop", "name": "crashloop"},
            "confidence": 0.8,
            "evidence": [],
            "next_steps": ["apply the migration"],
        }
    ],
}
ANSWER = (
    "# Kubernetes Incident Triage Report\n\nThe api exits since the table orders_v2 is missing.\n\n"
    f"```json\n{json.dumps(FORM)}\n```\n"
)


def beside(cli: Cli, **changes: str) -> dict[str, str]:
    """One of two, as `investigating_all.py` takes it."""
    return {
        "name": cli.name, "program": str(cli.program.resolve()), "model": cli.model,
        "protocol": cli.protocol, "key_variable": cli.key, **changes,
    }  # fmt: skip


def machine_of(ran: dict[str, Any]) -> dict[str, Any]:
    value = json.loads(Path(result_of(ran)["reports"]["json"]).read_text())
    assert isinstance(value, dict)
    return value


def test_both_opinions_stand_in_one_report(tmp_path: Path) -> None:
    """Claude Code and Codex come to the same cause and culprit, and the report says that they do;
    each is named with its model and its version.
    """
    both = [beside(CLIS["claude"]), beside(CLIS["codex"])]

    ran = investigate(tmp_path, CLIS["claude"], ANSWER, several=both)

    assert ran["code"] == 0, ran["stderr"]
    machine = machine_of(ran)
    (opinion,) = machine["opinions"]
    assert {machine["run"]["agent"], opinion["agent"]} == {"claude", "codex"}
    assert (opinion["status"], opinion["agreement"]["cause"]) == ("success", "same")
    assert opinion["agreement"]["culprit"] == "same"
    assert machine["run"]["model"]
    assert machine["run"]["version"]
    assert not any(ran["exposed"])


def test_one_that_fails_leaves_the_opinion_of_the_other(tmp_path: Path) -> None:
    """With a Codex that cannot run, Claude Code's report stands and says how the other ended."""
    both = [beside(CLIS["claude"]), beside(CLIS["codex"], program="/bin/false")]

    ran = investigate(tmp_path, CLIS["claude"], ANSWER, several=both)

    assert ran["code"] == 0, ran["stderr"]
    machine = machine_of(ran)
    assert machine["run"]["agent"] == "claude"
    (opinion,) = machine["opinions"]
    assert (opinion["agent"], opinion["status"]) == ("codex", "failed")
