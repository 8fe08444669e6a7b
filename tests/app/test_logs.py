"""What stands in the log, and what never does."""

import io
import json
import logging
import os
import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubecase.app.log_values import Masker, inert
from kubecase.app.logs import LogObserver, Logs, configure_logs
from kubecase.core.errors import KubecaseError
from kubecase.core.model import Status

CANARY = "canary-7f3a9b1c5d"
KEYS = ["timestamp", "level", "component", "incident_id", "cluster", "event"]


def logged(work: Callable[[Logs], None], **options: Any) -> str:
    out = io.StringIO()
    logs = configure_logs(stream=out, **{"level": "debug", **options})
    try:
        work(logs)
    finally:
        logs.close()
    return out.getvalue()


def records(work: Callable[[Logs], None], **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(work, **options).splitlines()]


def test_each_record_is_one_json_object_with_the_agreed_fields() -> None:
    """Every line parses and begins with the six agreed fields (req 15.1, 15.2)."""

    def work(logs: Logs) -> None:
        observer = LogObserver(logs)
        observer.record("workspace_created", incident_id="i", cluster="c", workspace=Path("/w"))
        observer.record("stopping", why="line one\nline two")
        logging.getLogger("library").warning("a library's %s", "word")

    found = records(work)

    assert len(found) == 3
    for record in found:
        assert list(record)[:6] == KEYS
        assert record["component"] == "agent-runtime"
        assert datetime.fromisoformat(record["timestamp"]).tzinfo == UTC
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", record["timestamp"])
    assert found[0]["workspace"] == "/w"
    assert found[2]["event"] == "a library's word"
    assert found[2]["logger"] == "library"


def test_a_run_is_told_step_by_step() -> None:
    """Start, each change of state and the end are told, with their details (req 15.3 to 15.6)."""

    def work(logs: Logs) -> None:
        observer = LogObserver(logs)
        observer.record(
            "agent_started", incident_id="i", cluster="c", command=("claude", "-p"),
            cwd=Path("/w"), pid=42,
        )  # fmt: skip
        observer.record(
            "state_changed", incident_id="i", cluster="c", attempt=1,
            **{"from": Status.CREATED, "to": Status.STARTING},
        )  # fmt: skip
        observer.record(
            "agent_completed", incident_id="i", cluster="c", status=Status.TIMEOUT, duration=1.5
        )

    started, changed, completed = records(work)

    assert (started["command"], started["cwd"], started["pid"]) == (["claude", "-p"], "/w", 42)
    assert (changed["from"], changed["to"]) == ("created", "starting")
    assert (completed["status"], completed["duration"]) == ("timeout", 1.5)
    assert [r["level"] for r in (started, changed, completed)] == ["info", "info", "warn"]


@pytest.mark.parametrize("structured", [True, False])
def test_a_key_is_in_no_record_wherever_it_was_put(structured: bool) -> None:
    """A canary in environments, arguments, texts and stacks never reaches the log (req 15.7)."""

    def work(logs: Logs) -> None:
        observer = LogObserver(logs)
        observer.record("agent_started", environment={"ANTHROPIC_API_KEY": CANARY, "PATH": "/bin"})
        observer.record("agent_started", command=["x", f"--token={CANARY}", "--api-key", CANARY])
        observer.record("agent_started", nested=[{"deep": ({"db_password": [CANARY]},)}])
        observer.record("agent_event", text=f"export MY_SECRET={CANARY} then --token {CANARY}")
        observer.record("agent_event", **{f"field {CANARY}": 1, "plain": f"says {CANARY}."})
        observer.record(f"event {CANARY}", path=Path(f"/tmp/{CANARY}"), raw=CANARY.encode())
        try:
            raise ValueError(f"refused {CANARY}") from OSError(f"because of {CANARY}")
        except ValueError as error:
            observer.record("error", error_type="run", error=error)
            logging.getLogger("library").exception("failed with %s", CANARY)

    text = logged(work, secrets=[CANARY], structured=structured)

    assert CANARY not in text
    assert text.count("[redacted]") >= 12
    assert "/bin" in text


def test_values_are_masked_by_name_without_being_known() -> None:
    """KEY, TOKEN, SECRET and PASSWORD hide what stands under them, also in argv (req 15.7)."""

    def work(logs: Logs) -> None:
        LogObserver(logs).record(
            "agent_started",
            env={
                "API_KEY": "a1",
                "Token": "b2",
                "x_secret_y": "c3",
                "dbPassword": "d4",
                "HOME": "/h",
            },
            command=["prog", "--api-key", "e5", "--token=f6", "API_KEY=g7", "--verbose", "h8"],
            usage={"input_tokens": 12},
        )

    (record,) = records(work)

    hidden = "[redacted]"
    assert record["env"] == {
        "API_KEY": hidden, "Token": hidden, "x_secret_y": hidden, "dbPassword": hidden,
        "HOME": "/h",
    }  # fmt: skip
    assert record["command"] == [
        "prog", "--api-key", hidden, f"--token={hidden}", f"API_KEY={hidden}", "--verbose", "h8",
    ]  # fmt: skip
    assert record["usage"] == {"input_tokens": 12}


def test_an_error_has_its_type_and_stack() -> None:
    """An error is logged with type, message and stack, its cause included (req 15.7)."""

    def work(logs: Logs) -> None:
        try:
            try:
                raise OSError(13, "Permission denied")
            except OSError as cause:
                raise KubecaseError("cannot create the workspace") from cause
        except KubecaseError as error:
            LogObserver(logs).record("error", incident_id="i", error_type="workspace", error=error)

    (record,) = records(work)

    assert record["level"] == "error"
    assert record["type"] == "kubecase.core.errors.KubecaseError"
    assert record["error"] == "cannot create the workspace"
    assert "Permission denied" in record["stack"]
    assert "test_logs.py" in record["stack"]


@pytest.mark.parametrize("structured", [True, False])
def test_nothing_in_the_log_acts_on_a_terminal_or_forges_a_line(structured: bool) -> None:
    """Escapes, direction marks and line ends of an agent's text are made visible."""
    hostile = "a\x1b]0;title\x07b\u202egnp\x9b31m\ud800\r\n2026-01-01T00:00:00Z error forged"

    text = logged(
        lambda logs: LogObserver(logs).record("agent_event", text=hostile), structured=structured
    )

    assert len(text.splitlines()) == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)
    text.encode("utf-8")


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=20)
        | st.text(st.characters(exclude_categories=()), max_size=30),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=12,
    )
)  # fmt: skip
def test_whatever_is_told_becomes_one_line_of_json(value: Any) -> None:
    """No value at all breaks a record, its line, or its encoding."""
    masked = Masker().fields({"value": value})

    line = json.dumps(masked, allow_nan=False)

    assert "\n" not in line
    line.encode("ascii")


def test_text_that_is_safe_stays_as_it_is() -> None:
    """What people write, in any language, is not altered."""
    text = "Pod »api-0« restarted 5 times\n\tsince 12:00 – Грешка 故障 KeyError: 'name'"

    assert inert(text) == text
    assert Masker().text(text) == text


def test_a_record_is_bounded() -> None:
    """A megabyte from an agent becomes a record of some kilobytes that says what it left out."""
    (record,) = records(
        lambda logs: LogObserver(logs).record(
            "agent_event", text="x" * 1_000_000, command=["y" * 5000], many=list(range(1000))
        )
    )

    assert len(json.dumps(record)) < 25_000
    assert record["text"].endswith("(984000 more characters)")
    assert record["command"][0].endswith("more characters)")
    assert len(record["many"]) == 101


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["agent_event", "case_opened", "agent_completed", "error"]),
        ("info", ["case_opened", "agent_completed", "error"]),
        ("warn", ["agent_completed", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_decides_what_is_logged(level: str, seen: list[str]) -> None:
    """At each level its own records and the graver ones are there, of libraries too (req 15.8)."""

    def work(logs: Logs) -> None:
        for event in ("agent_event", "case_opened", "agent_completed", "error"):
            LogObserver(logs).record(event, status="failed")
        logging.getLogger("library").info("chatter")

    found = [record["event"] for record in records(work, level=level)]

    assert [event for event in found if event != "chatter"] == seen
    assert ("chatter" in found) == (level in {"debug", "info"})


def test_plain_records_are_for_people() -> None:
    """Without structured logging a record is a readable line, and a stack follows indented."""

    def work(logs: Logs) -> None:
        observer = LogObserver(logs)
        observer.record("case_opened", incident_id="i", cluster="prod", what="CrashLoop of api-0")
        observer.record("error", error=ValueError("no"))

    lines = logged(work, structured=False).splitlines()

    assert lines[0].endswith(
        ' info  case_opened incident_id=i cluster=prod what="CrashLoop of api-0"'
    )
    assert lines[-1] == "    ValueError: no"


def test_the_log_file_is_private_and_grows(tmp_path: Path) -> None:
    """The file is the owner's alone, is appended to, and its directory is made (req 15.1)."""
    path = tmp_path / "data" / "kubecase.log"

    for _ in range(2):
        logs = configure_logs(path)
        LogObserver(logs).record("case_opened")
        logs.close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().splitlines()) == 2


def test_a_log_that_grew_large_is_put_aside(tmp_path: Path) -> None:
    """A file over 64 MiB becomes `.1` when the next process opens it, so the disk is bounded."""
    path = tmp_path / "kubecase.log"
    with path.open("wb") as file:
        file.truncate(65 * 1024 * 1024)

    configure_logs(path).close()

    assert (path.stat().st_size, (tmp_path / "kubecase.log.1").stat().st_size) == (0, 65 << 20)


def test_a_link_in_place_of_the_log_is_refused(tmp_path: Path) -> None:
    """A log is never written through a link that somebody left there."""
    (tmp_path / "kubecase.log").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(KubecaseError, match="cannot open the log") as refused:
        configure_logs(tmp_path / "kubecase.log")

    assert refused.value.hint
    assert not (tmp_path / "elsewhere").exists()


def test_a_log_that_cannot_be_written_is_counted_not_raised() -> None:
    """A full disk loses records, never an investigation."""
    with open("/dev/full", "w") as full:
        logs = configure_logs(stream=full)
        LogObserver(logs).record("case_opened")
        logs.close()

        assert logs.lost == 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_closing_gives_the_libraries_back_their_logging() -> None:
    """Once closed, the log takes no more records of libraries and their level is as before."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    out = io.StringIO()

    configure_logs(stream=out, level="debug").close()
    logging.getLogger("library").error("afterwards")

    assert (root.level, list(root.handlers)) == before
    assert out.getvalue() == ""
