"""One run of the real CLI behind the model gateway, in a namespace that holds nothing but loopback.

Started by the tests beside it as `unshare --net -- python behind_gateway.py`: reads what to do as
JSON from stdin and prints what happened as JSON.
"""

import asyncio
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from inside import TURNS, raise_loopback

from fakes.agent import a_briefing
from fakes.model_rig import REAL_KEY, Rig, rig
from fakes.model_server import ModelServer
from kubecase.agents.claude import Claude
from kubecase.core.ports import Credential
from kubecase.gateways.budget import Budget
from kubecase.gateways.model import base_url


def exposed() -> bool:
    """Whether any process that this one has started can read the real key about itself."""
    found = b""
    for child in psutil.Process().children(recursive=True):
        for name in ("environ", "cmdline"):
            found += Path(f"/proc/{child.pid}/{name}").read_bytes()
    assert found, "no process was looked at"
    return REAL_KEY.encode() in found


async def converse(task: dict[str, Any], root: Path, ran: Rig) -> dict[str, Any]:
    """Let the CLI work with the gateway of `ran`."""
    workspace, private = root / "incident-1", root / "private"
    agent = Claude(
        program=task["program"],
        model="claude-sonnet-4-5",
        credential=Credential(variable="ANTHROPIC_API_KEY", value=ran.key.text),
        base_url=base_url("claude", int(ran.url.rsplit(":", 1)[1])),
    )
    command = agent.command(a_briefing(workspace), workspace, private)
    for name, data in command.private_files.items():
        (private / name).write_bytes(data)
    process = await asyncio.create_subprocess_exec(
        *command.argv, cwd=command.cwd, env=dict(command.environment), start_new_session=True,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(command.stdin), 60)
    return {
        "code": process.returncode,
        "stdout": out.decode("utf-8", "replace"),
        "stderr": err.decode("utf-8", "replace"),
    }


async def run(task: dict[str, Any]) -> dict[str, Any]:
    """One conversation, and what the gateway made of it."""
    root = Path(task["root"])
    seen: list[bool] = []
    script = [TURNS[kind](*arguments) for kind, *arguments in task["script"]]
    with ModelServer(script) as server:
        async with rig(
            root, server.url, budget=Budget(**task["budget"]),
            counted=lambda _: seen.append(exposed()),
        ) as ran:  # fmt: skip
            done = await converse(task, root, ran)
    record = ran.record
    return {
        **done,
        "exposed": seen,
        "record": dataclasses.asdict(record),
        "lines": ran.lines,
        "told": [dataclasses.asdict(told) for told in ran.told],
        "requests": len(server.requests),
        "has_key": [request.has_key for request in server.requests],
        "others": server.others,
        "dummy": ran.key.text,
        "files": sum(len(files) for _, _, files in os.walk(root)),
    }


if __name__ == "__main__":
    raise_loopback()
    json.dump(asyncio.run(run(json.load(sys.stdin))), sys.stdout)
