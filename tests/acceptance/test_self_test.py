"""An agent's CLI is tried before it is used: by a program that passes for Goose, and obeys or not.

The real programs are tried in tests/real.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from kubecase.gateways.scripted_model import ScriptedModel

from .conftest import REPORT, Home

CLI = """#!{python} -IS
import json, os, pathlib, subprocess, sys, urllib.request

if sys.argv[1:] == ["--version"]:
    sys.exit(print(" {version}"))
prompt, kind, said = sys.stdin.read(), "{kind}", []
with open("{log}", "a") as log:
    log.write("started\\n")

def obey(call):
    asked = json.loads(call["arguments"])
    if kind == "shell" and call["name"].endswith("shell"):
        done = subprocess.run(["/bin/sh", "-c", asked["command"]], capture_output=True, text=True)
        return done.stdout
    if kind == "quiet shell" and call["name"].endswith("shell"):
        subprocess.run(["/bin/sh", "-c", asked["command"]], capture_output=True)
    if kind == "writer" and asked.get("command") == "write":
        pathlib.Path(asked["path"]).write_text("x")
    if kind == "reader" and asked.get("command") == "view":
        return pathlib.Path(asked["path"]).read_text()
    if kind == "browser" and "url" in asked:
        urllib.request.urlopen(asked["url"], timeout=10).read()
    return "no such tool"

tools = ["k8s__kubectl_read", "k8s__read_context", "k8s__write_report"]
tools += ["developer__shell"] if kind == "offering" else []
while True:
    body = {{"model": os.environ["GOOSE_MODEL"], "stream": False, "messages": said, "tools": [
        {{"type": "function", "function": {{"name": name}}}} for name in tools]}}
    request = urllib.request.Request(
        os.environ["OPENAI_HOST"] + "/v1/chat/completions", json.dumps(body).encode(),
        {{"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}})
    with urllib.request.urlopen(request, timeout=60) as answer:
        message = json.load(answer)["choices"][0]["message"]
    if message.get("content"):
        break
    said.append(message)
    for call in message["tool_calls"]:
        try:
            text = obey(call["function"])
        except (OSError, ValueError) as error:
            text = str(error)
        said.append({{"role": "tool", "tool_call_id": call["id"], "content": text}})
    if kind == "quitter":
        sys.exit(3)
words = [{{"type": "text", "text": message["content"]}}]
print(json.dumps({{"type": "message", "message": {{"role": "assistant", "content": words}}}}))
print(json.dumps({{"type": "complete", "total_tokens": 9, "input_tokens": 5, "output_tokens": 4}}))
"""


def goose(home: Home, kind: str, version: str = "1.34.0") -> Path:
    """What passes for Goose; each start of a run leaves a line in `started`."""
    path = home.root / "goose"
    path.write_text(
        CLI.format(python=sys.executable, kind=kind, version=version, log=home.root / "started")
    )
    path.chmod(0o755)
    return path


def starts(home: Home) -> int:
    log = home.root / "started"
    return len(log.read_text().splitlines()) if log.exists() else 0


def settings(program: Path, url: str = "http://127.0.0.1:9") -> dict[str, str]:
    return {
        "AGENT_RUNTIME_COMMAND": str(program),
        "AGENT_RUNTIME_AGENT": "goose",
        "AGENT_RUNTIME_ISOLATION": "process",
        "AGENT_RUNTIME_RETRIES": "0",
        "OPENAI_API_KEY": "unused",
        "KUBECASE_AGENTS__GOOSE__MODEL": "gpt-x",
        "KUBECASE_AGENTS__GOOSE__BASE_URL": url,
    }


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        ("shell", "a shell command ran, and its output was sent to the model"),
        ("quiet shell", "a shell command ran, and wrote a file outside of the workspace"),
        ("writer", "a file was written in the workspace"),
        ("reader", "a foreign file was read, and sent to the model (id_ed25519)"),
        ("browser", "a web page was fetched by a tool"),
        ("offering", "the CLI offers its model 'developer__shell', which it was not given"),
    ],
)
def test_a_cli_that_obeys_is_refused_by_the_name_of_the_act(
    home: Home, kind: str, act: str
) -> None:
    """A program through which anything forbidden happens is never asked about the incident; its
    case ends with a report that says what it did, and with the built-in findings (req 13.5, 21.6).
    """
    with ScriptedModel([REPORT]) as model:
        env = settings(goose(home, kind), model.url)
        code, result = home.result(str(home.fault()), env=env)
        again, _ = home.result(str(home.fault()), env=env)

    assert (code, again) == (2, 2)
    assert (result["status"], result["reason"]) == ("failed", "start_error")
    assert act in result["error"]
    assert "did what is forbidden in its self-test" in Path(result["reports"]["md"]).read_text()
    assert model.asked == [], "it was asked about the incident"
    assert starts(home) == 1, "it was tried again, although nothing about it has changed"
    metrics = (home.data / "kubecase.prom").read_text()
    lines = [each for each in metrics.splitlines() if 'error_type="preflight"' in each]
    assert sum(float(each.split()[-1]) for each in lines) == 1


def test_a_cli_that_obeys_nobody_is_tried_once_and_used(home: Home) -> None:
    """An honest program is tried once, and again only when its file has changed (req 21.6)."""
    with ScriptedModel([REPORT]) as model:
        program = goose(home, "honest")
        first = home.run("investigate", str(home.fault()), env=settings(program, model.url))
        again = home.run("investigate", str(home.fault()), env=settings(program, model.url))
        assert starts(home) == 3
        program.write_text(program.read_text() + "# changed\n")
        home.run("investigate", str(home.fault()), env=settings(program, model.url))

    assert (first.returncode, again.returncode) == (0, 0), first.stderr.decode()
    assert b"self-test of goose, once for this program" in first.stderr
    assert b"self-test of goose" not in again.stderr
    assert starts(home) == 5
    assert len(model.asked) == 3


def test_a_self_test_that_proves_nothing_refuses(home: Home) -> None:
    """A program that ends before it was asked for everything is not trusted, unless that is off."""
    with ScriptedModel([REPORT]) as model:
        env = settings(goose(home, "quitter"), model.url)
        code, result = home.result(str(home.fault()), env=env)
        off = home.run(
            "investigate", str(home.fault()), env={**env, "AGENT_RUNTIME_SELF_TEST": "off"}
        )

    assert (code, result["reason"]) == (2, "start_error")
    assert "proves nothing" in result["error"]
    assert "exit code 3" in result["error"]
    assert off.returncode == 0, off.stderr.decode()


def test_doctor_tells_what_came_of_it(home: Home) -> None:
    """`kubecase doctor --self-test --agent NAME` tries it without a key, and its exit code says."""
    env = settings(goose(home, "honest"))
    del env["OPENAI_API_KEY"]
    good = home.run("doctor", "--self-test", "--agent", "goose", "--json", env=env)
    goose(home, "shell")
    bad = home.run("doctor", "--agent", "goose", "--json", env=env)
    unknown = home.run("doctor", "--agent", "command", env=env)

    (found,) = json.loads(good.stdout)
    assert (good.returncode, found["state"]) == (0, "ok")
    assert "nothing of 16 forbidden acts happened" in found["says"]
    (found,) = json.loads(bad.stdout)
    assert (bad.returncode, found["state"]) == (2, "missing")
    assert "a shell command ran" in found["says"]
    assert found["remedy"]
    assert unknown.returncode == 2
    assert b"it has no self-test" in unknown.stderr


@pytest.mark.parametrize("version", ["1.33.9", "2.0.0"])
def test_a_version_that_was_not_proven_is_refused(home: Home, version: str) -> None:
    """A program older than what was proven, or of another main version, is not asked (req 21.6)."""
    with ScriptedModel([REPORT]) as model:
        env = settings(goose(home, "honest", version), model.url)
        code, result = home.result(str(home.fault()), env=env)

    assert (code, result["reason"]) == (2, "start_error")
    assert f"its version {version} is not one" in result["error"]
    assert starts(home) == 0


def test_a_model_that_cannot_be_reached_is_found_before_the_run(home: Home) -> None:
    """Where nobody listens at the model's address nothing is started, and the report names the
    setting (req 21.6).
    """
    with ScriptedModel([REPORT]) as model:
        url = model.url
    code, result = home.result(str(home.fault()), env=settings(goose(home, "honest"), url))

    assert (code, result["reason"]) == (2, "start_error")
    assert "cannot be reached" in result["error"]
    assert starts(home) == 0
    assert os.path.exists(result["reports"]["md"])
