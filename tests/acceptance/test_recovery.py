"""The installed command is killed, and the next one finds out what became of its agent."""

import json
import signal
import sqlite3
import time
from typing import Any

import pytest

from acceptance.conftest import Home

FOLLOWED = 'while ! [ -e go ]; do sleep 0.02; done; exit "$(cat go)"'


class Killed:
    """An investigation whose kubecase was killed while its agent waits for the file `go`."""

    def __init__(self, home: Home, leaves_report: str) -> None:
        self.home = home
        self.env = {"AGENT_RUNTIME_COMMAND": str(home.agent(f"{leaves_report}\n{FOLLOWED}"))}
        process = home.start(
            "investigate", "--agent", "command", str(home.fault()), "--quiet", env=self.env
        )
        self.until(lambda: self.row() is not None and self.row()["status"] == "running")
        self.until(lambda: list(home.data.glob("runs/*/started")))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (self.workspace,) = (home.data / "workspaces").iterdir()

    def row(self) -> Any:
        """The row of the attempt, as an outsider reads it."""
        path = self.home.data / "kubecase.db"
        if not path.exists():
            return None
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            database.row_factory = sqlite3.Row
            try:
                return database.execute(
                    "SELECT * FROM investigation ORDER BY created_at LIMIT 1"
                ).fetchone()
            except sqlite3.OperationalError:
                return None

    def until(self, promise: Any) -> None:
        deadline = time.monotonic() + 30
        while not promise():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def let_end(self, code: int) -> None:
        """Have the agent end with `code`."""
        (self.workspace / "go.new").write_text(str(code))
        (self.workspace / "go.new").rename(self.workspace / "go")
        self.until(lambda: list(self.home.data.glob("runs/*/exit")))


@pytest.fixture
def killed(home: Home, leaves_report: str) -> Killed:
    return Killed(home, leaves_report)


def test_reading_adopts_nothing(killed: Killed) -> None:
    """List and show tell of an orphan and leave it as it is, also while they are asked in a loop
    (design 4).
    """
    before = dict(killed.row())

    for _ in range(3):
        listed = killed.home.run("list", "--json")
        assert json.loads(listed.stdout)[0]["orphan"] is True
        assert "kubecase recover" in listed.stderr.decode()
    assert b"running (orphan)" in killed.home.run("list").stdout
    assert killed.home.run("show", "@last").returncode == 0

    assert dict(killed.row()) == before
    killed.let_end(0)
    assert killed.home.run("recover").returncode == 0


def test_what_ended_alone_is_concluded_by_recover(killed: Killed, reports_exist: Any) -> None:
    """Recover judges by the exit that the shim put on record, writes the reports, and says so."""
    killed.let_end(5)

    done = killed.home.run("recover", "--json", env=killed.env)

    (found,) = json.loads(done.stdout)
    assert (found["result"]["status"], found["result"]["exit_code"]) == ("failed", 5)
    reports_exist({**found["result"], "reports": found["reports"]})
    again = killed.home.run("recover")
    assert (again.returncode, again.stdout) == (0, b"")
    assert "no investigation has lost its kubecase" in again.stderr.decode()


def test_an_agent_that_runs_is_followed_by_recover(killed: Killed) -> None:
    """Recover waits for an agent that still runs and puts its success on record."""
    follower = killed.home.start("recover", env=killed.env)
    killed.until(lambda: killed.row()["epoch"] == 2)
    killed.let_end(0)

    out, _ = follower.communicate(timeout=30)

    assert follower.returncode == 0
    assert b"ended: success" in out
    assert killed.home.processes_below() == []


def test_ctrl_c_of_recover_ends_what_it_follows(killed: Killed) -> None:
    """Interrupted, recover stops the agents it has taken over, and nothing is left of them."""
    follower = killed.home.start("recover", env=killed.env)
    killed.until(lambda: killed.row()["epoch"] == 2)
    killed.until(lambda: "agent_reattached" in (killed.home.data / "kubecase.log").read_text())
    follower.send_signal(signal.SIGINT)

    out, _ = follower.communicate(timeout=60)

    assert follower.returncode == 130
    assert b"ended: cancelled" in out
    assert killed.home.processes_below() == []


def test_cancel_ends_an_orphan_and_concludes_it(killed: Killed) -> None:
    """Cancel works though nobody supervises the agent any more; nothing of it is left (req 9.6)."""
    done = killed.home.run("cancel", "@last", "--json", env=killed.env)

    found = json.loads(done.stdout)
    assert (done.returncode, found["status"], found["gone"]) == (0, "cancelled", True)
    assert killed.home.processes_below() == []


def test_the_next_investigation_concludes_what_has_ended(killed: Killed) -> None:
    """New work first settles what a killed kubecase has left, and waits for no agent of it."""
    new = ("investigate", "--agent", "builtin", str(killed.home.fault()), "--quiet")
    beside = killed.home.run(*new)
    assert "go on whose kubecase was killed" in beside.stderr.decode()
    assert killed.row()["status"] == "running"
    killed.let_end(0)

    done = killed.home.run(*new, env=killed.env)

    assert done.returncode == 0
    assert "ended: success" in done.stderr.decode()


def test_an_incident_on_record_can_be_tried_again(home: Home, leaves_report: str) -> None:
    """Retry makes attempt 2 in a directory of its own and leaves the first as it was (req 21.7)."""
    env = {"AGENT_RUNTIME_COMMAND": str(home.agent("exit 3"))}
    home.run("investigate", "--agent", "command", str(home.fault()), env=env)
    home.agent(leaves_report)

    done = home.run("retry", "@last", "--agent", "command", "--json", env=env)

    result = json.loads(done.stdout)
    assert (done.returncode, result["attempt"], result["status"]) == (0, 2, "success")
    assert result["workspace_dir"].endswith("-attempt-2")
    story = json.loads(home.run("show", "@last", "--json").stdout)
    assert [each["status"] for each in story["attempts"]] == ["failed", "success"]


def test_what_is_being_worked_is_not_tried_again(killed: Killed) -> None:
    """Retry refuses an incident whose last attempt has not ended, and names the way out."""
    done = killed.home.run("retry", "@last")

    assert done.returncode == 2
    assert "its last attempt is running" in done.stderr.decode()
    assert "kubecase recover" in done.stderr.decode()
    killed.home.run("cancel", "@last")


def test_failures_that_may_pass_are_tried_again(home: Home, leaves_report: str) -> None:
    """With exit classes an agent out of quota is asked again, as often as `retries` (req 21.7)."""
    (home.root / "kubecase.yaml").write_text(
        "agent_runtime: {isolation: process, retry_delay: 0s, retries: 2}\n"
        "agents: {command: {exit_classes: true}}\n"
    )
    count = home.root / "count"
    agent = home.agent(f"echo >>{count}; [ $(wc -l <{count}) -lt 3 ] && exit 10\n{leaves_report}")

    code, result = home.result(
        "--agent", "command", str(home.fault()), env={"AGENT_RUNTIME_COMMAND": str(agent)}
    )

    assert (code, result["attempt"], result["status"]) == (0, 3, "success")
