"""One run of the real CLI in a network namespace that holds nothing but loopback.

Started by the tests beside it as `unshare --net -- python inside.py`: reads what to do as JSON from
stdin, serves the scripted model inside the namespace, runs the adapter's own command, and prints
what happened as JSON.
"""

import dataclasses
import fcntl
import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from fakes.agent import a_briefing
from fakes.model_server import HttpError, ModelServer, Text, ToolUse
from kubecase.agents.claude import Claude
from kubecase.core.ports import Credential

SIOCSIFFLAGS = 0x8914
UP_AND_RUNNING = 0x1 | 0x40
TURNS = {"text": Text, "tool": ToolUse, "error": HttpError}


def raise_loopback() -> None:
    """Bring up `lo`, and refuse to go on where any other interface exists."""
    names = [name for _, name in socket.if_nameindex()]
    if names != ["lo"]:
        raise SystemExit(f"not in an empty network namespace: {names}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", UP_AND_RUNNING))


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Run one conversation below `task["root"]`, whose directories exist already."""
    root = Path(task["root"])
    workspace, private = root / "incident-1", root / "private"
    key = task.get("key")
    with ModelServer([TURNS[kind](*arguments) for kind, *arguments in task["script"]]) as server:
        agent = Claude(
            program=task["program"],
            model="claude-sonnet-4-5",
            credential=Credential(variable="ANTHROPIC_API_KEY", value=key) if key else None,
            base_url=server.url,
            **{name: tuple(v) if isinstance(v, list) else v for name, v in task["agent"].items()},
        )
        skills = tuple(task.get("skills", ()))
        briefing = a_briefing(workspace, prompt=task["prompt"], skills=skills)
        command = agent.command(briefing, workspace, private)
        for name, data in command.files.items():
            (workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (workspace / name).write_bytes(data)
        for name, data in command.private_files.items():
            (private / name).write_bytes(data)
        began = time.monotonic()
        ended = subprocess.run(
            command.argv,
            cwd=command.cwd,
            env=dict(command.environment),
            input=command.stdin,
            capture_output=True,
            timeout=60,
            start_new_session=True,
        )
        seconds = time.monotonic() - began
    return {
        "code": ended.returncode,
        "seconds": seconds,
        "stdout": ended.stdout.decode("utf-8", "replace"),
        "stderr": ended.stderr.decode("utf-8", "replace"),
        "requests": [dataclasses.asdict(request) for request in server.requests],
        "others": server.others,
    }


if __name__ == "__main__":
    raise_loopback()
    json.dump(run(json.load(sys.stdin)), sys.stdout)
