"""The five real CLIs: where they are installed, and how kubecase is told of each."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes.kubectls import WHY_NOT as WHY_NO_KUBECTL
from fakes.kubectls import kubectls
from kubecase.app.recordings import recording_named

HERE = Path(__file__).parent
TOOLS = HERE.parent.parent / ".tools"
# As a plain user, a network namespace of one's own needs a user namespace around it.
UNSHARE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]

KEY = "sk-real-key-of-the-model-0123456789"
CREDENTIAL = "real-credential-of-the-cluster-0123456789"
REPORT = "# Kubernetes Incident Triage Report\n\n" + "The table orders_v2 is missing. " * 10
WORDS = "That is all there is to say about it, and the report holds every word of it. " * 2
READ = ["kubectl_read", {"command": "kubectl get events -n shop -o json"}]
SECRETS = ["kubectl_read", {"command": "kubectl get secrets -n shop"}]
WRITE = ["write_report", {"markdown": REPORT}]


@dataclass(frozen=True, kw_only=True)
class Cli:
    """One of them. `key` is the variable that makes `--agent auto` find it."""

    name: str
    program: Path
    key: str
    protocol: str
    model: str


CLIS = {
    cli.name: cli
    for cli in (
        Cli(name="claude", program=TOOLS / "bin/claude", key="ANTHROPIC_API_KEY",
            protocol="anthropic", model="claude-sonnet-4-5"),
        Cli(name="codex", program=TOOLS / "others/bin/codex", key="OPENAI_API_KEY",
            protocol="openai", model="gpt-5"),
        Cli(name="gemini", program=TOOLS / "others/bin/gemini", key="GEMINI_API_KEY",
            protocol="gemini", model="gemini-2.5-pro"),
        Cli(name="opencode", program=TOOLS / "others/bin/opencode", key="OPENAI_API_KEY",
            protocol="openai", model="gpt-x"),
        Cli(name="goose", program=TOOLS / "others/bin/goose", key="OPENAI_API_KEY",
            protocol="openai", model="gpt-x"),
    )
}  # fmt: skip


def why_not(name: str) -> str | None:
    """Why the real program `name` cannot be run here, if it cannot."""
    if not CLIS[name].program.exists():
        where = "real" if name == "claude" else "other"
        return f"{name} is not installed: scripts/install-{where}-clis"
    if not kubectls():
        return WHY_NO_KUBECTL
    if subprocess.run([*UNSHARE, "true"], capture_output=True).returncode != 0:
        return "network namespaces are not allowed here"
    return None


def each_cli() -> pytest.MarkDecorator:
    """A test for each of them; skipped by name where one is not installed."""
    return pytest.mark.parametrize(
        "cli",
        [
            pytest.param(
                cli, id=name,
                marks=pytest.mark.skipif(why_not(name) is not None, reason=str(why_not(name))),
            )
            for name, cli in CLIS.items()
        ],
    )  # fmt: skip


def investigate(root: Path, cli: Cli, *script: Any, **more: Any) -> dict[str, Any]:
    """Run the installed command with a model that follows `script`; `env` adds settings, the rest
    is what `investigating_all.py` takes.
    """
    env = {
        "AGENT_RUNTIME_RETRIES": "0",
        "AGENT_RUNTIME_GRACE": "5",
        "AGENT_RUNTIME_SELF_TEST": "off",
        **more.pop("env", {}),
    }
    task = {
        "root": str(root), "agent": cli.name, "program": str(cli.program.resolve()),
        "model": cli.model, "protocol": cli.protocol, "key_variable": cli.key, "key": KEY,
        "cluster": CREDENTIAL, "fault": str(recording_named("crashloop")),
        "modules": str(TOOLS), "script": script, "env": env, **more,
    }  # fmt: skip
    done = subprocess.run(
        [*UNSHARE, "--", sys.executable, HERE / "investigating_all.py"],
        input=json.dumps(task), capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ran = json.loads(done.stdout)
    assert isinstance(ran, dict)
    assert ran["left"] == [], "something of the agent is still alive"
    return ran


def result_of(ran: dict[str, Any]) -> dict[str, Any]:
    """The AgentResult that was printed."""
    assert ran["stdout"], ran["stderr"]
    value = json.loads(ran["stdout"])
    assert isinstance(value, dict)
    return value
