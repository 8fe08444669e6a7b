"""A whole investigation with one of the other CLIs, in a network namespace with loopback only.

Started as `unshare --net -- python investigating_others.py`: serves the scripted model and the fake
cluster inside, runs `kubecase investigate`, and prints what happened as JSON.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from inside import raise_loopback

from fakes.kube_api import FakeCluster, recorded
from fakes.tool_models import Call, ToolModel

KEYS = {"codex": "OPENAI_API_KEY", "gemini": "GEMINI_API_KEY", "opencode": "OPENAI_API_KEY",
        "goose": "OPENAI_API_KEY"}  # fmt: skip


def run(task: dict[str, Any]) -> dict[str, Any]:
    agent = task["agent"]
    script = [Call(*turn) if isinstance(turn, list) else turn for turn in task["script"]]
    cluster = FakeCluster(recorded("crashloop"), token=task["cluster"])
    kubecase = Path(sys.executable).with_name("kubecase")
    with ToolModel(script) as model, cluster:
        real = cluster.kubeconfig(Path(task["root"]) / "real.kubeconfig")
        protocol = "gemini" if agent == "gemini" else "openai"
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": task["root"],
            KEYS[agent]: "unused",
            "SCRIPTED_KEY": task["key"],
            "AGENT_RUNTIME_COMMAND": task["program"],
            f"KUBECASE_AGENTS__{agent.upper()}__MODEL": task["model"],
            f"KUBECASE_AGENTS__{agent.upper()}__UPSTREAM": "scripted",
            "KUBECASE_MODELS__SCRIPTED__PROTOCOL": protocol,
            "KUBECASE_MODELS__SCRIPTED__BASE_URL": model.url,
            "KUBECASE_MODELS__SCRIPTED__KEY_ENV": "SCRIPTED_KEY",
            **task.get("env", {}),
        }
        words = [
            "investigate",
            task["fault"],
            "--kubeconfig",
            str(real),
            "--agent",
            agent,
            "--json",
        ]
        done = subprocess.run(
            [kubecase, *words], cwd=task["root"], env=env, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=150,
        )  # fmt: skip
    return {
        "code": done.returncode,
        "stdout": done.stdout.decode("utf-8", "replace"),
        "stderr": done.stderr.decode("utf-8", "replace"),
        "asked": [dataclasses.asdict(each) for each in model.asked],
        "reached": cluster.reached,
    }


if __name__ == "__main__":
    raise_loopback()
    json.dump(run(json.load(sys.stdin)), sys.stdout)
