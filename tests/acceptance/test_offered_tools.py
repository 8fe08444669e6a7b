"""A CLI that offers its model a tool which it was not given: its run ends, whoever serves it."""

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubecase.gateways import audit
from kubecase.gateways.scripted_model import ScriptedModel

from .conftest import Home

KEY = "sk-real-key-of-the-model-0123456789"
CLI = """#!{python} -IS
import json, os, sys, time, urllib.error, urllib.request

if sys.argv[1:] == ["--version"]:
    sys.exit(print(" 1.34.0"))

def ask(*tools):
    body = {{"model": os.environ["GOOSE_MODEL"], "stream": False, "messages": [], "tools": [
        {{"type": "function", "function": {{"name": name}}}} for name in tools]}}
    request = urllib.request.Request(
        os.environ["OPENAI_HOST"] + "/v1/chat/completions", json.dumps(body).encode(),
        {{"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

sys.stdin.read()
open("first", "w").write(str(ask("k8s__kubectl_read", "k8s__write_report")))
while not os.path.exists("go"):
    time.sleep(0.02)
open("second", "w").write(str(ask("k8s__kubectl_read", "developer__shell")))
time.sleep(600)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """What passes for Goose: asks with our tools, waits for a file, asks with a shell beside."""
    path = tmp_path / "goose"
    path.write_text(CLI.format(python=sys.executable))
    path.chmod(0o755)
    return path


def settings(model: ScriptedModel, program: Path) -> dict[str, str]:
    return {
        "AGENT_RUNTIME_AGENT": "goose",
        "AGENT_RUNTIME_SELF_TEST": "off",
        "AGENT_RUNTIME_COMMAND": str(program),
        "AGENT_RUNTIME_ISOLATION": "process",
        "AGENT_RUNTIME_WHEN_SUPERVISOR_DIES": "survive",
        "OPENAI_API_KEY": "unused",
        "SCRIPTED_KEY": KEY,
        "KUBECASE_AGENTS__GOOSE__MODEL": "gpt-x",
        "KUBECASE_AGENTS__GOOSE__UPSTREAM": "scripted",
        "KUBECASE_MODELS__SCRIPTED__PROTOCOL": "openai",
        "KUBECASE_MODELS__SCRIPTED__BASE_URL": model.url,
        "KUBECASE_MODELS__SCRIPTED__KEY_ENV": "SCRIPTED_KEY",
    }


def is_ended_for_the_shell(home: Home, result: dict[str, Any]) -> None:
    assert (result["status"], result["reason"]) == ("failed", "start_error"), result
    assert "'developer__shell', which it was not given" in result["error"]
    record = home.data / "audit" / f"{result['incident_id']}-1.jsonl"
    lines = [line for line in audit.read_lines(record) if line["kind"] == "model"]
    assert [(line["decision"], line["trouble"]) for line in lines] == [
        ("allowed", None), ("refused", "tools"),
    ]  # fmt: skip
    assert audit.verify(record).holds
    machine = json.loads((Path(result["workspace_dir"]) / "output/final-report.json").read_text())
    run = machine["run"]
    assert (run["agent"], run["model"], run["models"]) == ("goose", "gpt-x", ["gpt-x"])
    assert (run["version"], run["denials"]) == ("1.34.0", 0)
    assert machine["outcome"]["words"].endswith(
        "did not start as it was asked to, and was stopped."
    )


def until(promise: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := promise()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def reached(home: Home, name: str) -> Path | None:
    return next(home.data.glob(f"workspaces/*/{name}"), None)


def test_another_tool_ends_the_run_at_once(home: Home, program: Path) -> None:
    """The request with a shell among its tools never reaches the model, and the run is over."""
    with ScriptedModel(["Fine."]) as model:
        process = home.start(
            "investigate", str(home.fault()), "--agent", "goose", "--json",
            env=settings(model, program),
        )  # fmt: skip
        (until(lambda: reached(home, "first")).parent / "go").touch()
        stdout, stderr = process.communicate(timeout=60)

    assert process.returncode == 2, stderr.decode()
    assert "docs/agents.md names" in stderr.decode()
    is_ended_for_the_shell(home, json.loads(stdout))
    assert [each.tools for each in model.asked] == [("k8s__kubectl_read", "k8s__write_report")]
    assert KEY not in (stdout + stderr).decode()


def test_who_takes_over_knows_what_was_given(home: Home, program: Path) -> None:
    """A kubecase that goes on with the run of a killed one lets no other tool pass either."""
    with ScriptedModel(["Fine."]) as model:
        env = settings(model, program)
        process = home.start("investigate", str(home.fault()), "--agent", "goose", env=env)
        workspace = until(lambda: reached(home, "first")).parent
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (workspace / "go").touch()
        done = home.run("recover", "--json", env=env)

    (recovered,) = json.loads(done.stdout)
    is_ended_for_the_shell(home, recovered["result"])
    assert len(model.asked) == 1
