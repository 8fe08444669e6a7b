"""Closed descriptors, readers that leave, odd terminals, and words that cannot be meant."""

import json
import os
import signal
import subprocess
import time

import pytest

from .conftest import KUBECASE, Home


def shell(home: Home, line: str) -> subprocess.CompletedProcess[bytes]:
    """`line` run by bash in `home`, with the command as $K and pipefail on."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=home.root,
        env={**home.environment, "K": str(KUBECASE)},
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "2>&- <&-"])
def test_a_closed_descriptor_costs_nothing(home: Home, closed: str) -> None:
    """With standard error or input closed, an investigation works and its result is JSON."""
    home.fault()

    done = shell(home, f'"$K" investigate fault.json --agent builtin --json {closed}')

    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["status"] == "success"


@pytest.mark.parametrize(("program", "code"), [("exit 3", 1), (None, 0)])
@pytest.mark.parametrize("form", ["--json -q", "-q"])
def test_a_reader_that_leaves_changes_no_exit_code(
    home: Home, leaves_report: str, program: str | None, code: int, form: str
) -> None:
    """Through `| head -c 0` the exit code is still the investigation's own."""
    home.fault()
    agent = home.agent(program or leaves_report)

    command = f'"$K" investigate --agent command fault.json {form}'

    done = shell(
        home,
        f'export AGENT_RUNTIME_COMMAND={agent}; ({command}; echo "code $?" >&2) | head -c 0',
    )

    assert f"code {code}".encode() in done.stderr, done.stderr.decode()
    assert b"Exception" not in done.stderr


def test_an_interrupt_among_several_faults_names_what_was_left_out(home: Home) -> None:
    """Ctrl-C with more faults waiting is exit code 130 and says how many were not opened."""
    one = json.loads(home.fault().read_text())
    (home.root / "several.jsonl").write_text("\n".join(json.dumps(one) for _ in range(3)))
    agent = home.agent("touch here\nsleep 300")
    running = home.start(
        "investigate", "--agent", "command", "several.jsonl", "--json",
        env={"AGENT_RUNTIME_COMMAND": str(agent)},
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not list(home.data.glob("workspaces/*/here")):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)

    assert running.returncode == 130
    assert [result["status"] for result in json.loads(out)] == ["cancelled"]
    assert "2 more faults were left out" in err.decode()


@pytest.mark.parametrize(
    "words",
    [
        ["doctor"], ["demo"], ["list"], ["show", "@last"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_plain_terminal_is_enough(home: Home, words: list[str]) -> None:
    """Where only ASCII can be written, what is no ASCII is written in another way."""
    home.run("demo", "--json")

    done = home.run(*words, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})

    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        ["cancel", "@last", "--wait", "nan"],
        ["investigate", "pod/" + "b" * 5000],
        ["diagnose", "b" * 5000],
        ["diagnose", "fault.json", "--out", "/proc/nowhere"],
        ["diagnose", "fault.json", "--out", "fault.json/x"],
        ["investigate", "widget/x", "-n", "shop"],
    ],
    ids=["wait", "long name", "long path", "out", "out below a file", "kind"],
)
def test_what_cannot_be_meant_is_the_operators_turn(home: Home, words: list[str]) -> None:
    """Impossible words get one clear error with a remedy, never a trace or a bug report."""
    home.fault()
    home.run("demo", "--json")

    done = home.run(*words)

    assert done.returncode == 2, done.stderr.decode()
    assert "bug" not in done.stderr.decode()


def test_tail_shows_a_last_line_that_has_no_end(home: Home) -> None:
    """A program's last words often come without a newline, and are shown all the same."""
    agent = home.agent("cat >/dev/null; echo first; printf 'fatal: last words'; exit 1")
    home.result("--agent", "command", str(home.fault()), env={"AGENT_RUNTIME_COMMAND": str(agent)})

    for words in (("tail", "@last"), ("tail", "@last", "-f"), ("tail", "@last", "-n", "-1")):
        done = home.run(*words)
        assert done.returncode == 0, done.stderr.decode()
    assert home.run("tail", "@last").stdout.decode().splitlines() == ["first", "fatal: last words"]


def test_a_fifo_among_cases_does_not_hold_up_a_diagnosis(home: Home) -> None:
    """A FIFO called like a case is passed over."""
    folder = home.root / "cases"
    folder.mkdir()
    os.mkfifo(folder / "a.json")

    done = home.run("diagnose", str(folder))

    assert done.returncode == 2
