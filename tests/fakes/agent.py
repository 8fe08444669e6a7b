"""Agents for tests: a briefing, recorded transcripts, plans, and a program that plays a CLI."""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from kubecase.agents.scripted import Scripted
from kubecase.core.briefing import Briefing
from kubecase.core.model import Cause, Exit

TRANSCRIPTS = Path(__file__).parent.parent / "data" / "agent-transcripts"
INCIDENT = "11111111-2222-4333-8444-555555555555"
PROMPT = "Read context/incident.json and say what is wrong.\n"
RULE = (
    "You are in READ-ONLY triage mode. Do NOT attempt to modify cluster state, apply changes, or "
    "run remediation commands. Your role is ANALYSIS ONLY.\n"
)

PLAYER = """#!{python} -IS
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
prompt = sys.stdin.buffer.read()
with open(os.path.join(here, "seen.json"), "w") as file:
    json.dump({{"argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd(),
               "prompt": prompt.decode("utf-8", "replace")}}, file)
with open(os.path.join(here, "transcript.jsonl"), "rb") as file:
    sys.stdout.buffer.write(file.read())
sys.exit({code})
"""


def a_briefing(
    workspace: Path,
    *,
    home: Path | None = None,
    prompt: str = PROMPT,
    path: str | None = None,
    skills: tuple[str, ...] = (),
) -> Briefing:
    """What an agent working in `workspace` is told, with the common environment of all agents."""
    return Briefing(
        files={
            "PROMPT.md": prompt.encode("utf-8", "replace"),
            "context/incident.json": json.dumps({"id": INCIDENT}).encode(),
            "context/system-instructions.txt": RULE.encode(),
        },
        environment={
            "INCIDENT_ID": INCIDENT,
            "INCIDENT_WORKSPACE": str(workspace),
            "KUBERNETES_CLUSTER": "dev",
            "KUBERNETES_NAMESPACE": "shop",
            "CLAUDE_READ_ONLY_MODE": "true",
            "KUBECASE_DEADLINE": "2026-01-02T03:14:05Z",
            "PATH": path or os.defpath,
            "HOME": str(home or workspace / ".home"),
            "LANG": "C.UTF-8",
            "TMPDIR": str(workspace / ".tmp"),
        },
        system_prompt=RULE,
        user_prompt=prompt,
        skills=skills,
    )


def an_exit(code: int | None = 0, *, signal: int | None = None) -> Exit:
    """A process that ended by itself."""
    return Exit(
        cause=Cause.EXITED,
        code=None if signal is not None else code,
        signal=signal,
        seconds=1.0,
        clean=True,
    )


def recorded(cli: str, scenario: str) -> list[bytes]:
    """The lines of standard output of one recorded run of a real CLI."""
    return (TRANSCRIPTS / cli / f"{scenario}.jsonl").read_bytes().splitlines()


def following(*steps: dict[str, Any]) -> Scripted:
    """A scripted agent that does `steps`, listed at the head of `scripted_program.py`."""
    return Scripted(python=sys.executable, plan={"steps": list(steps)})


def a_player(directory: Path, name: str, transcript: list[bytes], *, code: int = 0) -> Path:
    """A program called `name` in `directory` that keeps how it was called and prints `transcript`.

    It writes `seen.json` beside itself: argv, env, cwd and prompt.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "transcript.jsonl").write_bytes(b"".join(line + b"\n" for line in transcript))
    program = directory / name
    program.write_text(PLAYER.format(python=sys.executable, code=code))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program
