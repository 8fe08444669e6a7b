"""Files that would change a CLI's rules, lying where it works: none of the five takes them up.

The adapter's own command is started in a workspace in which they have been planted, as a skill or
an earlier attempt could leave them, behind the same gateways and with the script of the self-test.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from clis import HERE, TOOLS, UNSHARE, Cli, each_cli

pytestmark = pytest.mark.real

READS_INSTRUCTIONS = {"codex", "gemini", "goose"}
"""These tell their model of instructions or skills of a working directory: words, and no power."""


@each_cli()
def test_a_hostile_directory_loosens_nothing(tmp_path: Path, cli: Cli) -> None:
    """Rules, hooks, servers, instructions, agents and skills of a working directory, and links out
    of it, loosen nothing: everything forbidden is refused and nothing of it is started; of Claude
    Code nothing of it even reaches the model (req 13.5).
    """
    task = {
        "root": str(tmp_path), "agent": cli.name, "program": str(cli.program.resolve()),
        "model": cli.model, "key_variable": cli.key, "modules": str(TOOLS),
    }  # fmt: skip
    done = subprocess.run(
        [*UNSHARE, "--", sys.executable, HERE / "in_hostile_directory.py"],
        input=json.dumps(task), capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ran = json.loads(done.stdout)

    assert ran["planted"] > 15
    assert ran["unproven"] is None
    assert ran["happened"] == []
    assert ran["started"] == [], "something that was planted has been started"
    if cli.name not in READS_INSTRUCTIONS:
        assert ran["sent"] == [], "something that was planted has reached the model"
