"""A whole investigation by the installed command and the real CLI, in an empty network namespace.

Started as `unshare --net -- python investigating.py`: serves the scripted model inside the
namespace, runs `kubecase investigate --agent claude`, and prints what happened as JSON.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from inside import TURNS, raise_loopback

from fakes.kube_api import FakeCluster, recorded
from fakes.model_server import ModelServer


def run(task: dict[str, Any]) -> dict[str, Any]:
    """One investigation of `task["fault"]` in the home `task["root"]`."""
    kubecase = Path(sys.executable).with_name("kubecase")
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COVERAGE", "COV_"))}
    turns = [TURNS[kind](*arguments) for kind, *arguments in task["script"]]
    with ExitStack() as stack:
        server = stack.enter_context(ModelServer(turns))
        words = [task["fault"]]
        cluster = FakeCluster(recorded("crashloop"), token=task.get("cluster"))
        if task.get("cluster"):
            stack.enter_context(cluster)
            real = cluster.kubeconfig(Path(task["root"]) / "real.kubeconfig")
            words += ["--kubeconfig", str(real)]
        env = {
            **kept,
            "PATH": "/usr/bin:/bin",
            "HOME": task["root"],
            "ANTHROPIC_API_KEY": task["key"],
            "AGENT_RUNTIME_COMMAND": task["program"],
            "AGENT_RUNTIME_SELF_TEST": "off",
            "KUBECASE_AGENTS__CLAUDE__BASE_URL": server.url,
            "KUBECASE_AGENTS__CLAUDE__MODEL": "claude-sonnet-4-5",
            **task.get("env", {}),
        }

        def start(*words: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [kubecase, *words], cwd=task["root"], env=env, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip

        process = start("investigate", *words, "--agent", "claude", "--json")
        if task.get("kill"):
            while not server.requests:
                time.sleep(0.01)
        if slow := task.get("kill_in_tool_call"):
            cluster.hang(slow)
            while not any(re.search(slow, path) for path in cluster.paths):
                time.sleep(0.01)
        if task.get("kill") or task.get("kill_in_tool_call"):
            process.kill()
            process.communicate()
            process = start("recover", "--json")
        stdout, stderr = process.communicate(timeout=100)
    return {
        "code": process.returncode,
        "stdout": stdout.decode("utf-8", "replace"),
        "stderr": stderr.decode("utf-8", "replace"),
        "requests": [dataclasses.asdict(request) for request in server.requests],
        "others": server.others,
        "reached": cluster.reached,
        "asked": [f"{method} {path}" for method, path in cluster.requests],
    }


if __name__ == "__main__":
    raise_loopback()
    json.dump(run(json.load(sys.stdin)), sys.stdout)
