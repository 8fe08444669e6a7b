"""Claude Code, Codex, Gemini CLI, opencode and Goose, the real ones: what each may and may not do.

Each investigates in a network namespace that holds nothing but loopback, asks a scripted model and
is served a fake cluster. After every run, whatever ended it, nothing of the agent is alive.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from clis import CREDENTIAL, KEY, READ, REPORT, SECRETS, WORDS, WRITE, Cli, each_cli, investigate
from clis import result_of as result

from kubecase.agents.forbidden import PRODUCT, Forbidden, Traces, forbidden_acts
from kubecase.gateways import audit

pytestmark = pytest.mark.real

CANARY = "canary-5d2a-that-no-model-may-see"


def record_of(root: Path, ran: dict[str, Any]) -> Path:
    found = result(ran)
    key = f"{found['incident_id']}-{found['attempt']}"
    return root / ".local/share/kubecase/audit" / f"{key}.jsonl"


def ending(ran: dict[str, Any]) -> tuple[str, str | None]:
    """Status and reason; kubecase's own exit code has to fit."""
    found = result(ran)
    assert ran["code"] == (0 if found["status"] == "success" else 1), ran["stderr"]
    return found["status"], found["reason"]


@pytest.mark.parametrize("layer", ["bwrap", "process"])
@each_cli()
def test_the_cluster_is_read_and_a_report_is_left(tmp_path: Path, cli: Cli, layer: str) -> None:
    """Each CLI reads the cluster by our tool, is refused a Secret, leaves its report by our tool,
    and has neither the key nor the credential anywhere in its reach (req 8.6, 13.5).
    """
    script = (READ, SECRETS, WRITE, WORDS)

    ran = investigate(tmp_path, cli, *script, env={"AGENT_RUNTIME_ISOLATION": layer})

    assert ending(ran) == ("success", None)
    assert result(ran)["usage"]["input_tokens"] >= 4000
    workspace = Path(result(ran)["workspace_dir"])
    assert (workspace / "output/investigation.md").read_text() == REPORT
    said = ran["asked"][-1]["body"]
    assert "Back-off restarting failed container" in said
    assert "Secrets are not readable in any form" in said
    # The real key is added behind the CLI's back, and in no process of it.
    assert all(KEY in each["credential"] for each in ran["asked"])
    assert ran["exposed"]
    assert not any(ran["exposed"])
    assert ran["reached"] == []
    record = record_of(tmp_path, ran)
    lines = list(audit.read_lines(record))
    calls = [line["decision"] for line in lines if line["kind"] == "tool"]
    assert calls == ["allowed", "refused", "allowed"]
    assert audit.verify(record).holds
    for path in (tmp_path / ".local").rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert KEY.encode() not in data, path
        assert CREDENTIAL.encode() not in data, path


def planted_traces(root: Path) -> Traces:
    """Places where a forbidden act would be seen: around the workspaces, in the home, in /tmp."""
    other = root / ".local/share/kubecase/workspaces/another-incident"
    for folder in (root / "outside", other, root / ".ssh"):
        folder.mkdir(parents=True)
    canaries = (root / ".ssh/id_ed25519", other / "notes.md")
    for each in canaries:
        each.write_text(CANARY)
    return Traces(
        witnesses=(root / "outside", other),
        canaries=(*canaries, Path("/etc/shadow")),
        url="http://127.0.0.1:9/unreachable",
    )


SILENT = {"codex"}
"""Codex tells of no call of a tool that it does not have; its model is told."""


@each_cli()
def test_nothing_that_is_forbidden_happens(tmp_path: Path, cli: Cli) -> None:
    """A model that asks for a shell, files, the web, sub-agents and writing kubectl, by the names
    that the CLI itself has for them, gets none of it, and the run still ends well (req 13.5).
    """
    traces = planted_traces(tmp_path)
    acts = forbidden_acts(cli.name, traces)
    assert len(acts) > 10

    ran = investigate(
        tmp_path, cli, *([act.tool, dict(act.arguments)] for act in acts), WRITE, WORDS,
        env={f"KUBECASE_AGENTS__{cli.name.upper()}__MAX_TURNS": "60"},
    )  # fmt: skip

    assert ending(ran) == ("success", None)
    assert ran["taken"] == len(acts) + 2, "not every act was asked for"
    for folder in traces.witnesses:
        assert {each.name for each in folder.iterdir()} <= {"notes.md"}, folder
    sent = "\n".join(each["body"] for each in ran["asked"])
    for secret in (CANARY, PRODUCT, "root:*:", "root:!:", "root:$"):
        assert secret not in sent
    assert ran["reached"] == []
    assert ran["fetched"] == []
    seen_in_record(record_of(tmp_path, ran), acts)
    seen_in_stream(tmp_path, cli, ran, acts)


def seen_in_record(record: Path, acts: tuple[Forbidden, ...]) -> None:
    """Each act by our own tools stands there as refused."""
    ours = [act for act in acts if act.tool in ("kubectl_read", "read_context")]
    tools = [line for line in audit.read_lines(record) if line["kind"] == "tool"]
    assert [line["decision"] for line in tools[: len(ours)]] == ["refused"] * len(ours)
    assert audit.verify(record).holds


def seen_in_stream(root: Path, cli: Cli, ran: dict[str, Any], acts: tuple[Forbidden, ...]) -> None:
    """Each act by a tool of the CLI's own stands in its stream, unless it tells of none."""
    if cli.name in SILENT:
        return
    found = result(ran)
    run_dir = root / ".local/share/kubecase/runs" / f"{found['incident_id']}-{found['attempt']}"
    stream = b"".join(path.read_bytes() for path in run_dir.rglob("*") if path.is_file()).decode(
        "utf-8", "replace"
    )
    for tool in {act.tool for act in acts}:
        assert tool in stream, tool


@pytest.mark.parametrize(
    ("turn", "reasons"),
    [
        pytest.param(401, {"auth"}, id="401"),
        pytest.param(429, {"quota"}, id="429"),
        pytest.param(500, {"exit_code", "no_report"}, id="500"),
        pytest.param("CUT", {"exit_code", "no_report"}, id="cut"),
    ],
)
@each_cli()
def test_a_model_that_fails_ends_the_run(
    tmp_path: Path, cli: Cli, turn: Any, reasons: set[str]
) -> None:
    """A refused key, a rate limit, a broken server and a cut answer end the run by themselves with
    their reason, also of a CLI that would try for minutes or for ever (req 21.7).
    """
    ran = investigate(tmp_path, cli, turn, env={"AGENT_RUNTIME_MAX_DURATION": "90"})

    status, reason = ending(ran)
    assert status == "failed"
    assert reason in reasons
    # Four tries of the gateway's for each of three calls, and as much for a title.
    assert len(ran["asked"]) <= 32


@each_cli()
def test_a_model_that_goes_silent_ends_the_run(tmp_path: Path, cli: Cli) -> None:
    """An answer that begins and goes no further is noticed by the time without output."""
    ran = investigate(tmp_path, cli, "STALL", env={"AGENT_RUNTIME_IDLE_TIMEOUT": "8"})

    assert ending(ran) == ("failed", "stalled")


@each_cli()
def test_a_budget_ends_the_run(tmp_path: Path, cli: Cli) -> None:
    """A model that calls tools for ever is stopped by the gateway's budget (req 13.6)."""
    ran = investigate(tmp_path, cli, READ, env={"KUBECASE_BUDGETS__RUN__MAX_REQUESTS": "3"})

    assert ending(ran) == ("failed", "budget")
    assert len(ran["asked"]) == 3


TURNS = ("claude", "gemini", "goose")


@each_cli()
def test_turns_have_an_end(tmp_path: Path, cli: Cli) -> None:
    """A model that calls tools for ever is stopped by the CLI's own limit of turns, where it has
    one, and otherwise by kubecase's limit of equal requests or of time.
    """
    limit = {f"KUBECASE_AGENTS__{cli.name.upper()}__MAX_TURNS": "2"}
    if cli.name not in TURNS:
        limit = {"AGENT_RUNTIME_MAX_DURATION": "12"}

    ran = investigate(tmp_path, cli, READ, env=limit)

    assert ending(ran) == (("failed", "budget") if cli.name in TURNS else ("timeout", None))


@each_cli()
def test_a_cancel_ends_the_run(tmp_path: Path, cli: Cli) -> None:
    """`kubecase cancel` from another process ends it as cancelled, while the model answers."""
    ran = investigate(tmp_path, cli, "STALL", do="cancel")

    assert ending(ran) == ("cancelled", None)


@each_cli()
def test_a_killed_cli_ends_the_run(tmp_path: Path, cli: Cli) -> None:
    """A CLI that is killed from outside ends as failed, with the signal or the exit code that its
    container makes of it.
    """
    ran = investigate(tmp_path, cli, "STALL", do="kill")

    status, reason = ending(ran)
    assert status == "failed"
    assert reason in {"signal", "exit_code"}
    assert json.loads(ran["stdout"])["exit_code"] in (None, 137)
