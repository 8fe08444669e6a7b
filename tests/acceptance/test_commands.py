"""The command line itself: help, errors, completion, configuration, the demo."""

import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from kubecase.app.cli import COMMANDS

from .conftest import Home

NAMES = [name for group in COMMANDS.values() for name, _, _ in group]
CHROMIUM = Path("/usr/bin/chromium")


def test_help_names_every_command_and_needs_no_library(home: Home) -> None:
    """The first help a newcomer asks for lists each command with what it does."""
    text = home.run("--help").stdout.decode()

    for name in NAMES:
        assert re.search(rf"^  {name}\s+\w", text, re.MULTILINE), name
    assert "kubecase demo" in text
    assert home.run().stdout.decode() == text


@pytest.mark.parametrize("name", NAMES)
def test_each_command_teaches_itself(home: Home, name: str) -> None:
    """`--help` of every command explains it and each of its options."""
    done = home.run(name, "--help")

    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert f"kubecase {name}" in text
    undocumented = re.findall(r"^\s*│?\s+--[\w-]+(?: --no-[\w-]+)?\s*│?$", text, re.MULTILINE)
    assert undocumented == []


@pytest.mark.parametrize(
    "words",
    [["no-such-command"], ["investigate"], ["list", "--no-such-flag"], ["list", "--limit", "x"]],
)
def test_a_wrong_word_is_the_operators_turn(home: Home, words: list[str]) -> None:
    """A usage error is exit code 2 with a message on standard error, and nothing on the other."""
    done = home.run(*words)

    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_offers_the_commands(home: Home, shell: str) -> None:
    """The completion script of each shell knows every command."""
    script = home.run("completion", shell).stdout.decode()

    for name in NAMES:
        assert name in script


def test_the_bash_completion_is_a_valid_script(home: Home) -> None:
    """Bash reads its completion script without an error."""
    script = home.run("completion", "bash").stdout

    assert subprocess.run(["bash", "-n"], input=script, capture_output=True).returncode == 0


def test_settings_show_their_origin(home: Home) -> None:
    """The effective value of a key is printed with where it came from (req 2.3)."""
    done = home.run("config", "show", "--json", env={"AGENT_RUNTIME_GRACE": "5s"})

    shown = json.loads(done.stdout)["agent_runtime.graceful_shutdown_seconds"]
    assert "AGENT_RUNTIME_GRACE" in shown["origin"]


def test_a_key_is_never_printed(home: Home) -> None:
    """A model key is shown as set, and its value is in no output and no file (req 16.6)."""
    secret = "sk-ant-canary-0123456789abcdef"
    env = {"ANTHROPIC_API_KEY": secret}

    shown = home.run("config", "show", env=env)
    checked = home.run("doctor", env=env)
    home.run("investigate", str(home.fault(message=f"failed with {secret}")), "--agent", "builtin",
             env=env)  # fmt: skip

    assert b"ANTHROPIC_API_KEY" in shown.stdout
    assert secret.encode() not in shown.stdout + shown.stderr + checked.stdout + checked.stderr
    for path in home.data.rglob("*"):
        if path.is_file() and "kubecase.db" not in path.name:
            assert secret.encode() not in path.read_bytes(), path


def test_all_wrong_settings_are_told_at_once(home: Home) -> None:
    """A file with several mistakes gets one message with file, line and nearest key (req 2.1)."""
    (home.root / "kubecase.yaml").write_text(
        "agent_runtime:\n  agent_commnd: x\n  max_duration_minutes: 0\n  log_level: loud\n"
    )

    done = home.run("list")

    words = done.stderr.decode()
    assert done.returncode == 2
    for word in ("kubecase.yaml:2", "kubecase.yaml:3", "kubecase.yaml:4", "agent_command"):
        assert word in words


def test_doctor_says_what_works_and_what_does_not(home: Home) -> None:
    """Isolation is tried for real, and an agent that was asked for and is missing is code 2."""
    fine = home.run("doctor", "--json")
    missing = home.run(
        "doctor", env={"AGENT_RUNTIME_AGENT": "command", "AGENT_RUNTIME_COMMAND": "/no/such"}
    )

    findings = {finding["what"]: finding for finding in json.loads(fine.stdout)}
    assert fine.returncode == 0, fine.stdout.decode()
    assert findings["isolation"]["state"] == "ok"
    assert "does not defend" in findings["isolation"]["says"]
    assert missing.returncode == 2
    assert "AGENT_RUNTIME_COMMAND" in missing.stdout.decode()


def test_the_demo_finds_the_cause_and_prints_where_the_reports_are(home: Home) -> None:
    """A newcomer sees a recorded crash loop end in its cause and three reports."""
    done = home.run("demo")

    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert "orders_v2" in text
    paths = [Path(p) for p in re.findall(r"\S+/final-report\.\w+", text)]
    assert len(paths) == 3
    assert all(path.stat().st_size > 1000 for path in paths)
    assert "running → success" in done.stderr.decode()


@pytest.mark.parametrize(
    "recording", ["oomkilled", "rollout-stuck", "missing-secret-key", "unschedulable-memory"]
)
def test_every_recording_has_its_demo(home: Home, recording: str) -> None:
    """Each shipped recording is worked to a success; an unknown one names those there are."""
    assert home.run("demo", recording, "--json").returncode == 0
    assert recording in home.run("demo", "nothing").stderr.decode()


@pytest.mark.browser
def test_the_demos_report_opens_without_a_console_error(home: Home) -> None:
    """The HTML report of the demo opens in a browser, phone or desk, asking for nothing else."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    result = json.loads(home.run("demo", "--json").stdout)
    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking",
                  "--disable-component-update", "--disable-sync", "--no-first-run"],
        )  # fmt: skip
        for width in (390, 1200):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(Path(result["reports"]["html"]).as_uri())
            assert "orders_v2" in page.inner_text("body")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.close()
        browser.close()

    assert said == []
    assert {url.split(":")[0] for url in asked} == {"file"}
    assert len(asked) == 2


def test_metrics_are_served_while_an_agent_runs(home: Home) -> None:
    """With --metrics-port the active agent is seen on loopback (req 14.4, 14.8)."""
    port = _free_port()
    agent = home.agent("touch here\nsleep 300")
    running = home.start(
        "investigate", "--agent", "command", str(home.fault()), "--metrics-port", str(port),
        env={"AGENT_RUNTIME_COMMAND": str(agent)},
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not list(home.data.glob("workspaces/*/here")):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    home.run("cancel", "@last")
    running.communicate(timeout=60)

    active = re.compile(r'^agent_runtime_active_agents\{cluster="[\w-]+"\} (\S+)$', re.MULTILINE)
    assert sum(map(float, active.findall(text))) == 1
    written = (home.data / "kubecase.prom").read_text()
    assert sum(map(float, active.findall(written))) == 0
    assert re.search(r'invocations_total\{.*status="cancelled".*\} 1\.0', written)


def test_the_log_has_one_record_for_each_transition(home: Home) -> None:
    """Each log line is JSON with the agreed fields, one for each transition (req 9.3, 15.*)."""
    _, result = home.result("--agent", "builtin", str(home.fault()))

    records = [json.loads(line) for line in (home.data / "kubecase.log").read_text().splitlines()]
    for record in records:
        assert {"timestamp", "level", "component", "event"} <= set(record)
        assert record["component"] == "agent-runtime"
    changes = [r for r in records if r["event"] == "state_changed"]
    assert [(r["from"], r["to"]) for r in changes] == [
        ("created", "starting"), ("starting", "running"), ("running", "success"),
    ]  # fmt: skip
    assert {r["incident_id"] for r in changes} == {result["incident_id"]}
    assert {"workspace_created", "agent_completed"} <= {r["event"] for r in records}


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_auto_passes_over_an_agent_that_lacks_a_setting(home: Home) -> None:
    """A CLI whose model nobody has named is not chosen by itself; with one it is."""
    program = home.root / "bin/goose"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    env = {"PATH": f"{program.parent}:/usr/bin:/bin", "OPENAI_API_KEY": "sk-made-up-0123456789"}

    without = home.run("doctor", env=env).stdout.decode()
    named = home.run(
        "doctor", env={**env, "KUBECASE_AGENTS__GOOSE__MODEL": "gpt-x"}
    ).stdout.decode()

    assert "builtin would be asked" in without
    assert "goose would be asked" in named
