"""The real Claude Code behind the model gateway: it never holds the key, and is counted right."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_claude import HERE, PROGRAM, REPORT, UNSHARE, WHY_NOT

from fakes.agent import an_exit
from fakes.model_rig import REAL_KEY
from kubecase.agents.claude import Claude
from kubecase.core.metering import GatewayRecord, Tokens, corrected
from kubecase.core.model import Reason, Verdict

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]
READ = ["tool", "Read", {"file_path": "context/incident.json"}]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("incident-1/context", "incident-1/.home", "incident-1/.tmp", "private"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "incident-1/context/incident.json").write_text("{}")
    return tmp_path


def converse(root: Path, *script: list[Any], **budget: Any) -> dict[str, Any]:
    """Run the CLI with a model that follows `script`."""
    task = {"root": str(root), "program": str(PROGRAM), "script": script, "budget": budget}
    done = subprocess.run(
        [*UNSHARE, "--", sys.executable, str(HERE / "behind_gateway.py")],
        input=json.dumps(task), capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ran: dict[str, Any] = json.loads(done.stdout)
    return ran


def judged(ran: dict[str, Any]) -> Verdict:
    """The CLI's claim, corrected by the gateway's record."""
    claim = Claude().verdict(ran["stdout"].encode().splitlines(), an_exit(ran["code"]))
    record = GatewayRecord(**{**ran["record"], "tokens": Tokens(**ran["record"]["tokens"])})
    return corrected(claim, record)


def test_the_cli_never_holds_the_key_and_is_counted_right(root: Path) -> None:
    """No process and no file of the CLI's has the real key, and usage is what the model said."""
    ran = converse(root, READ, ["text", REPORT])

    assert ran["code"] == 0, ran["stderr"]
    assert (ran["requests"], ran["has_key"], ran["others"]) == (2, [True, True], [])
    assert ran["exposed"] == [False, False]
    assert ran["dummy"] not in ran["stdout"] + ran["stderr"]
    assert REAL_KEY not in ran["stdout"] + ran["stderr"]
    for path in root.rglob("*"):
        assert not path.is_file() or REAL_KEY.encode() not in path.read_bytes(), path
    verdict = judged(ran)
    assert (verdict.reason, str(verdict.report).strip()) == (None, REPORT.strip())
    assert verdict.usage is not None
    assert (verdict.usage.input_tokens, verdict.usage.output_tokens) == (2000, 100)
    assert verdict.usage.turns == 2
    assert verdict.usage.cost_usd == pytest.approx((2000 * 3 + 100 * 15) / 1e6)
    assert [line["status"] for line in ran["lines"]] == [200, 200]


def test_the_budget_ends_a_conversation_that_would_go_on(root: Path) -> None:
    """A model that reads for ever is stopped by the gateway, at once and for that reason."""
    ran = converse(root, READ, max_requests=3)

    assert ran["requests"] == 3
    assert ran["record"]["refused"] == 1
    assert [(told["trouble"], told["ends_run"]) for told in ran["told"]] == [("budget", True)]
    assert judged(ran).reason is Reason.BUDGET


def test_a_refused_key_is_the_services_own(root: Path) -> None:
    """A 401 of the vendor's ends as `auth`, whatever the CLI makes of it."""
    ran = converse(root, ["error", 401])

    assert judged(ran).reason is Reason.AUTH
    assert ran["record"]["last_trouble"] == "auth"
