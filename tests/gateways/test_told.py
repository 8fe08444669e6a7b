"""Which answers on record prove that a cluster has said something."""

from pathlib import Path
from typing import Any

import pytest

from kubecase.gateways.audit import AuditLog
from kubecase.gateways.told import told_by


def told(directory: Path, kind: str, answer: bytes = b"the words", **line: Any) -> list[bytes]:
    audit = AuditLog.open(directory / "record.jsonl", directory / "answers")
    audit.record(kind, **line, answer=audit.keep(answer))
    audit.close()
    return list(told_by(directory / "record.jsonl", directory / "answers"))


GET = {"method": "GET", "status": 200, "decision": "allowed"}
READ = {"tool": "kubectl_read", "decision": "allowed"}


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("cluster", GET),
        ("tool", {**READ, "arguments": {"command": "get pods -o json"}}),
        ("given", {"file": "context/logs.txt"}),
    ],
)
def test_what_a_cluster_said_counts(tmp_path: Path, kind: str, line: dict[str, Any]) -> None:
    """Answers of the cluster, of kubectl, and the context that the agent was given."""
    assert told(tmp_path, kind, **line) == [b"the words"]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("cluster", {**GET, "method": "POST"}),
        ("cluster", {**GET, "status": 404}),
        ("cluster", {**GET, "decision": "denied"}),
        ("tool", {**READ, "decision": "refused", "arguments": {"command": "x"}}),
        ("tool", {**READ, "tool": "write_report", "arguments": {}}),
        ("tool", {**READ, "arguments": {"command": "get pods", "jsonpath": "the words"}}),
        ("tool", {**READ, "arguments": {"command": "get pods -o go-template='the words'"}}),
        ("tool", {**READ, "arguments": {"command": "get pods -o custom-columns=A:.b"}}),
        ("tool", {**READ, "arguments": {"command": "get pods -ojsonpath='the words'"}}),
        ("given", {"file": "PROMPT.md"}),
        ("model", {"decision": "allowed"}),
    ],
)
def test_what_an_agent_could_have_said_itself_does_not(
    tmp_path: Path, kind: str, line: dict[str, Any]
) -> None:
    """An agent proves nothing by its own words, told back by a template, a review or an error."""
    assert told(tmp_path, kind, **line) == []


def test_errors_of_kubectl_do_not_count(tmp_path: Path) -> None:
    """What kubectl says on its error stream may be the agent's own words."""
    line = {**READ, "arguments": {"command": "get pods"}}
    answer = b"NAME\napi-0\n[stderr]\nerror: the words"
    assert told(tmp_path, "tool", answer, **line) == [b"NAME\napi-0"]


def test_an_answer_that_was_changed_does_not_count(tmp_path: Path) -> None:
    """A kept answer that is not what its digest says proves nothing."""
    assert told(tmp_path, "cluster", **GET)
    (kept,) = (tmp_path / "answers").iterdir()
    kept.write_bytes(b"other words")
    assert list(told_by(tmp_path / "record.jsonl", tmp_path / "answers")) == []
