"""What is on record: listing, showing, following and cancelling, and many at once."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Home

SAME_ID = "7f1d2c3b-4a59-4e68-9c77-0123456789ab"


def test_ten_at_once_do_not_disturb_one_another(
    home: Home, leaves_report: str, reports_exist: Callable[[dict[str, Any]], None]
) -> None:
    """Ten investigations on one new store all succeed, each in its workspace (req 19.10)."""
    agent = home.agent(f'{leaves_report}\nprintf %s "$INCIDENT_ID" >output/artifacts/id')
    fault = home.fault()

    running = [
        home.start(
            "investigate", "--agent", "command", str(fault), "--json",
            env={"AGENT_RUNTIME_COMMAND": str(agent)},
        )
        for _ in range(10)
    ]  # fmt: skip
    finished = [process.communicate(timeout=90) for process in running]

    for _, err in finished:
        assert b"error" not in err.lower(), err.decode()
    results = [json.loads(out) for out, _ in finished]
    assert [process.returncode for process in running] == [0] * 10
    assert len({result["incident_id"] for result in results}) == 10
    for result in results:
        reports_exist(result)
        artifact = Path(result["artifacts"][0]["path"])
        assert artifact.read_text() == result["incident_id"]
    rows = json.loads(home.run("list", "--json").stdout)
    assert {row["status"] for row in rows} == {"success"}
    assert len(rows) == 10


def test_a_second_investigation_of_the_same_incident_is_refused(
    home: Home, leaves_report: str
) -> None:
    """An incident id that is on record is refused and the first stays as it was (req 3.4)."""
    fault = home.fault(id=SAME_ID)
    agent = home.agent(leaves_report)
    env = {"AGENT_RUNTIME_COMMAND": str(agent)}
    code, first = home.result("--agent", "command", str(fault), env=env)
    before = _snapshot(Path(first["workspace_dir"]))

    again = home.run("investigate", "--agent", "command", str(fault), env=env)

    assert code == 0
    assert first["incident_id"] == SAME_ID
    assert again.returncode == 2
    assert SAME_ID in again.stderr.decode()
    assert _snapshot(Path(first["workspace_dir"])) == before
    assert len(json.loads(home.run("list", "--json").stdout)) == 1


def test_a_workspace_that_is_there_already_is_left_untouched(home: Home) -> None:
    """A directory in the workspace's place is an error, and what is in it stays (req 3.4)."""
    fault = home.fault(id=SAME_ID)
    there = home.data / "workspaces" / f"incident-{SAME_ID}"
    there.mkdir(parents=True)
    (there / "mine").write_text("keep")
    (home.data / "workspaces").chmod(0o700)

    code, result = home.result("--agent", "builtin", str(fault))

    assert (code, result["status"], result["reason"]) == (2, "failed", "internal")
    assert [path.name for path in there.iterdir()] == ["mine"]


def test_cancel_from_another_process_stops_the_agent(home: Home) -> None:
    """`kubecase cancel` ends a run that another process started, and waits for it (req 9.6)."""
    agent = home.agent("touch here\nsetsid sleep 300 &\nsleep 300")
    running = home.start(
        "investigate", "--agent", "command", str(home.fault()), "--json",
        env={"AGENT_RUNTIME_COMMAND": str(agent)},
    )  # fmt: skip
    _wait_for(lambda: list(home.data.glob("workspaces/*/here")))

    done = home.run("cancel", "@last", "--json")
    out, _ = running.communicate(timeout=60)
    again = home.run("cancel", "@last")

    assert json.loads(done.stdout)["status"] == "cancelled", done.stderr.decode()
    assert json.loads(done.stdout)["gone"] is True
    assert done.returncode == 0
    assert json.loads(out)["status"] == "cancelled"
    assert running.returncode == 1
    assert again.returncode == 1
    assert "had ended already" in again.stdout.decode()
    assert home.processes_below() == []


def test_the_duration_grows_while_it_runs_and_then_stands_still(home: Home) -> None:
    """A running incident is listed as running, with its workspace and time (req 1.7, 9.1, 9.5)."""
    agent = home.agent("touch here\nsleep 300")
    running = home.start(
        "investigate", "--agent", "command", str(home.fault()),
        env={"AGENT_RUNTIME_COMMAND": str(agent)},
    )  # fmt: skip
    _wait_for(lambda: _row(home) and _row(home)["status"] == "running")

    first, second = _row(home), _row(home)
    home.run("cancel", "@last")
    running.communicate(timeout=60)
    third, fourth = _row(home), _row(home)

    assert 0 < first["duration_seconds"] < second["duration_seconds"] <= third["duration_seconds"]
    assert third["duration_seconds"] == fourth["duration_seconds"]


def test_show_tells_the_whole_story(home: Home, leaves_report: str) -> None:
    """An incident is found by a beginning of its id, with every transition once (req 9.3, 9.4)."""
    agent = home.agent(leaves_report)
    _, result = home.result(
        "--agent", "command", str(home.fault()), env={"AGENT_RUNTIME_COMMAND": str(agent)}
    )

    shown = json.loads(home.run("show", result["incident_id"][:6], "--json").stdout)
    text = home.run("show", "@last").stdout.decode()
    unknown = home.run("show", "00000000-0000-4000-8000-000000000000")

    steps = [(t["from"], t["to"]) for t in shown["transitions"]]
    assert steps == [("created", "starting"), ("starting", "running"), ("running", "success")]
    assert shown["incident"]["resource"] == "Pod/api-0"
    assert "running → success" in text
    assert unknown.returncode == 2
    assert "→" in unknown.stderr.decode()


def test_tail_prints_the_log_also_while_the_agent_runs(home: Home) -> None:
    """The log can be followed from another terminal until the agent has ended (req 8.8, 8.10)."""
    agent = home.agent(
        "echo first line\necho to stderr >&2\ntouch here\n"
        "while [ ! -e go ]; do sleep 0.05; done\necho last line"
    )
    running = home.start(
        "investigate", "--agent", "command", str(home.fault()),
        env={"AGENT_RUNTIME_COMMAND": str(agent)},
    )  # fmt: skip
    _wait_for(lambda: list(home.data.glob("workspaces/*/here")))
    _wait_for(lambda: b"to stderr" in home.run("tail", "@last").stdout)

    follower = home.start("tail", "@last", "--follow")
    next(home.data.glob("workspaces/*")).joinpath("go").touch()
    out, _ = follower.communicate(timeout=60)
    running.communicate(timeout=60)

    assert out.decode().splitlines() == ["first line", "to stderr", "last line"]
    log = next(home.data.glob("workspaces/*/output/agent.log")).read_text()
    assert log == "first line\nto stderr\nlast line\n"


def test_garbage_collection_spares_what_is_young(home: Home) -> None:
    """A dry run names each workspace with its reason, and deletes nothing (req 3.5, 21.4)."""
    home.result("--agent", "builtin", str(home.fault()))

    decisions = json.loads(home.run("gc", "--dry-run", "--json").stdout)

    assert len(decisions) == 1
    assert decisions[0]["delete"] is False
    assert decisions[0]["why"]


def test_garbage_collection_deletes_what_is_over(home: Home) -> None:
    """Past its retention a finished workspace is deleted, an unknown name never (req 12.6)."""
    _, result = home.result("--agent", "builtin", str(home.fault()))
    foreign = home.data / "workspaces" / "not-ours"
    foreign.mkdir()

    env = {"AGENT_RUNTIME_RETENTION_HOURS": "0.000001"}
    dry = json.loads(home.run("gc", "--dry-run", "--json", env=env).stdout)
    assert Path(result["workspace_dir"]).exists()
    home.run("gc", env=env)

    assert [d["delete"] for d in dry if d["path"] == result["workspace_dir"]] == [True]
    assert not Path(result["workspace_dir"]).exists()
    assert foreign.exists()


@pytest.mark.parametrize("policy", ["keep_always", "delete_now", "keep_on_failure"])
def test_each_cleanup_policy_leaves_what_it_says(home: Home, policy: str) -> None:
    """The reports outlive the workspace when the policy is to delete it at once (req 1.10)."""
    _, result = home.result(
        "--agent", "builtin", str(home.fault()), env={"AGENT_RUNTIME_CLEANUP_POLICY": policy}
    )

    assert Path(result["workspace_dir"]).exists() == (policy == "keep_always")
    assert Path(result["reports"]["html"]).stat().st_size > 300


def _row(home: Home) -> Any:
    rows = json.loads(home.run("list", "--json").stdout)
    return rows[0] if rows else None


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.rglob("*")
    }


def _wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_nothing_is_contacted_without_a_cluster(home: Home) -> None:
    """Without --cluster or a kubeconfig an investigation works with no network at all."""
    done = subprocess.run(
        ["unshare", "--net", "--map-root-user", "kubecase", "investigate", str(home.fault()),
         "--agent", "builtin"],
        env=home.environment, cwd=home.root, capture_output=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr.decode()


ANSWER = """# Kubernetes Incident Triage Report

## 0. Executive Triage Card

The image tag 9.9.9 was never pushed, so no pod of checkout can start.

## 3. Root Cause Analysis

### H1: The image tag 9.9.9 does not exist in the registry

Confidence: High
"""


def test_the_agents_answer_is_what_people_see_first(home: Home) -> None:
    """An agent's conclusion leads on the terminal, in the list and in the story of an incident."""
    (home.root / "answer.md").write_text(ANSWER)
    agent = home.agent(f"cat >/dev/null\ncp {home.root}/answer.md output/investigation.md")

    done = home.run(
        "investigate", "--agent", "command", str(home.fault()),
        env={
            "AGENT_RUNTIME_COMMAND": str(agent),
            "KUBECASE_AGENT_RUNTIME__READ_ONLY_PATHS": str(home.root / "answer.md"),
        },
    )  # fmt: skip

    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert "by the agent command" in text
    assert text.index("9.9.9") < text.index("the built-in rules say")
    assert "9.9.9" in home.run("list").stdout.decode()
    assert "9.9.9" in home.run("show", "@last").stdout.decode()


def test_a_secret_in_a_fault_is_shown_nowhere(home: Home) -> None:
    """What looks like a password in a fault's message is masked wherever people read it."""
    fault = home.fault(message="login failed: password=hunter2-canary for user app")

    done = home.run("investigate", "--agent", "builtin", str(fault))

    shown = [home.run(*words) for words in (
        ("show", "@last"), ("show", "@last", "--json"), ("list",), ("list", "--json"),
    )]  # fmt: skip
    for each in (done, *shown):
        assert b"hunter2-canary" not in each.stdout + each.stderr
    for path in home.data.rglob("*"):
        if path.is_file() and "kubecase.db" not in path.name:
            assert b"hunter2-canary" not in path.read_bytes(), path


def test_a_list_through_a_pipe_is_not_cut(home: Home) -> None:
    """Each line of a piped list begins with an id that `show` takes."""
    home.result("--agent", "builtin", str(home.fault()))

    head, line = home.run("list").stdout.decode().splitlines()

    assert head.split()[:3] == ["incident", "status", "age"]
    assert home.run("show", line.split()[0]).returncode == 0


def test_an_error_is_told_to_machines_too(home: Home) -> None:
    """With --json an operator's error is JSON on standard output, with its remedy."""
    done = home.run("investigate", "--json", "no-such-file.json")

    said = json.loads(done.stdout)
    assert done.returncode == 2 == said["exit_code"]
    assert "no-such-file.json" in said["error"]
    assert said["hint"]


def test_an_unknown_agent_opens_no_case(home: Home) -> None:
    """A misspelt agent is the operator's turn before anything is put on record."""
    done = home.run("investigate", "--agent", "cluade", str(home.fault()))

    assert done.returncode == 2
    assert "claude" in done.stderr.decode()
    assert json.loads(home.run("list", "--json").stdout) == []
