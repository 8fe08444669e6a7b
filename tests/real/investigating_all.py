"""A whole investigation with one of the real CLIs, in a network namespace with loopback only.

Started as `unshare --net -- python investigating_all.py`: serves the scripted model and the fake
cluster inside, runs `kubecase investigate`, does to it what the task asks for, and prints what
happened as JSON.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from inside import raise_loopback

from fakes.kube_api import FakeCluster, recorded
from kubecase.gateways.scripted_model import Act, Fault, ScriptedModel, Turn

KUBECASE = Path(sys.executable).with_name("kubecase")


def turn_of(value: Any) -> Turn:
    """One turn of a script as it came in JSON."""
    if isinstance(value, list):
        return Act(*value)
    return Fault[value] if value in Fault.__members__ else value


def of_agents(root: str) -> Iterator[tuple[int, bytes]]:
    """Every process that runs in a workspace below `root`, with all it can read of itself."""
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        try:
            told = (process / "environ").read_bytes() + b"\0" + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"INCIDENT_WORKSPACE={root}".encode() in told:
            yield int(process.name), told


def kill_the_cli(root: str) -> None:
    """Kill the CLI itself, not what contains it."""
    for pid, _ in of_agents(root):
        if Path(os.readlink(f"/proc/{pid}/exe")).name not in ("bwrap", "python3", "python3.11"):
            os.kill(pid, signal.SIGKILL)


def interfere(task: dict[str, Any], model: ScriptedModel, env: dict[str, str]) -> list[bool]:
    """Once the model was asked: look for the key, and do what the task says."""
    exposed = []
    while not model.asked and not model.over.is_set():
        time.sleep(0.02)
    for _, told in of_agents(task["root"]):
        exposed.append(task["key"].encode() in told or task["cluster"].encode() in told)
    if task.get("do") == "cancel":
        subprocess.run([KUBECASE, "cancel", "@last"], env=env, capture_output=True, timeout=60)
    elif task.get("do") == "kill":
        kill_the_cli(task["root"])
    return exposed


def settings(task: dict[str, Any], url: str) -> dict[str, str]:
    """The environment of kubecase."""
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COVERAGE", "COV_"))}
    section = f"KUBECASE_AGENTS__{task['agent'].upper()}"
    return {
        **kept,
        "PATH": f"{Path(task['modules']) / 'node/bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": task["root"],
        task["key_variable"]: "unused",
        "SCRIPTED_KEY": task["key"],
        "AGENT_RUNTIME_COMMAND": task["program"],
        "KUBECASE_AGENT_RUNTIME__READ_ONLY_PATHS": task["modules"],
        f"{section}__MODEL": task["model"],
        f"{section}__UPSTREAM": "scripted",
        "KUBECASE_MODELS__SCRIPTED__PROTOCOL": task["protocol"],
        "KUBECASE_MODELS__SCRIPTED__BASE_URL": url,
        "KUBECASE_MODELS__SCRIPTED__KEY_ENV": "SCRIPTED_KEY",
        **{k: v for each in task.get("several", []) for k, v in one_of_several(each, url).items()},
        **task.get("env", {}),
    }


def one_of_several(each: dict[str, str], url: str) -> dict[str, str]:
    """What tells kubecase of one of the agents that are asked at once."""
    section, model = f"KUBECASE_AGENTS__{each['name'].upper()}", f"scripted_{each['name']}"
    served = f"KUBECASE_MODELS__{model.upper()}"
    return {
        each["key_variable"]: "unused",
        f"{section}__COMMAND": each["program"],
        f"{section}__MODEL": each["model"],
        f"{section}__UPSTREAM": model,
        f"{served}__PROTOCOL": each["protocol"],
        f"{served}__BASE_URL": url,
        f"{served}__KEY_ENV": "SCRIPTED_KEY",
    }


def asked(task: dict[str, Any]) -> str:
    """The agents by name."""
    several = [each["name"] for each in task.get("several", [])]
    return ",".join(several) or str(task["agent"])


def run(task: dict[str, Any]) -> dict[str, Any]:
    """One investigation of `task["fault"]` in the home `task["root"]`."""
    cluster = FakeCluster(recorded("crashloop"), token=task["cluster"])
    script = [turn_of(each) for each in task["script"]]
    exposed: list[bool] = []
    began = time.monotonic()
    with ScriptedModel(script, key=task["key"]) as model, cluster:
        real = cluster.kubeconfig(Path(task["root"]) / "real.kubeconfig")
        env = settings(task, model.url)
        words = ["investigate", task["fault"], "--kubeconfig", str(real)]
        process = subprocess.Popen(
            [KUBECASE, *words, "--agent", asked(task), "--json"], cwd=task["root"], env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        watching = threading.Thread(
            target=lambda: exposed.extend(interfere(task, model, env)), daemon=True
        )
        watching.start()
        stdout, stderr = process.communicate(timeout=100)
    watching.join(timeout=10)
    return {
        "code": process.returncode,
        "seconds": time.monotonic() - began,
        "stdout": stdout.decode("utf-8", "replace"),
        "stderr": stderr.decode("utf-8", "replace"),
        "asked": [dataclasses.asdict(each) for each in model.asked],
        "taken": model.taken,
        "fetched": model.fetched,
        "exposed": exposed,
        "reached": cluster.reached,
        "left": [pid for pid, _ in of_agents(task["root"])],
    }


if __name__ == "__main__":
    raise_loopback()
    json.dump(run(json.load(sys.stdin)), sys.stdout)
