"""`kubecase doctor`: what works on this machine, one line each with the remedy."""

import json as jsonlib
import shutil
import sys
import textwrap
from typing import Annotated

from cyclopts import Parameter

from kubecase.app.boundary import OPERATOR, SUCCESS, printable
from kubecase.app.commands.options import DEFAULT, Json, Shared

MARKS = {"ok": "✓", "missing": "✗", "note": "·"}


def doctor(
    *,
    self_test: Annotated[bool, Parameter(negative="")] = False,
    agent: str | None = None,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """Say what works here: settings, storage, isolation, agents, credentials, with each remedy.

    With --self-test each agent's CLI that is installed is run, by a scripted model on loopback that
    asks it for everything that is forbidden; no key and no cluster is needed for that.

    Exit code 2 when something that the settings ask for does not work, or when a self-test failed.

    Parameters
    ----------
    self_test
        Only try the CLIs of agents, and say what came of it.
    agent
        Try this agent's alone; implies --self-test.
    json
        Print the findings as a JSON array.
    """
    import anyio

    from kubecase.app.checkup import checkup
    from kubecase.app.self_test_check import self_test_findings

    loaded = shared.settings()
    if self_test or agent is not None:
        findings = anyio.run(self_test_findings, loaded.settings, agent)
    else:
        findings = anyio.run(checkup, loaded)
    if json:
        print(jsonlib.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            _print(f"{MARKS[finding.state]} {finding.what}: {finding.says}", "    ")
            if finding.remedy:
                _print(f"    → {finding.remedy}", "      ")
    return OPERATOR if any(f.state == "missing" and f.needed for f in findings) else SUCCESS


def _print(text: str, indent: str) -> None:
    """Whole words on a terminal, one line each otherwise."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    print(textwrap.fill(printable(text), width, subsequent_indent=indent, break_long_words=False))
