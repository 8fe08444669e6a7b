"""What an agent does can be followed from another terminal, in the same words for all of them."""

import json
import time
from collections.abc import Callable

from .conftest import Home

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


def test_what_an_agent_does_can_be_followed_while_it_runs(home: Home) -> None:
    """Tool calls with their arguments come as they happen, with secrets masked (req 21.1)."""
    plan = {
        "steps": [
            {"do": "emit", "lines": [
                {"moment": "started", "text": "here"},
                {"moment": "tool_call", "tool": "kubectl_read", "text": f'{{"token": "{TOKEN}"}}'},
                "no event at all",
            ]},
            {"do": "write", "path": "here"},
            {"do": "wait_for", "path": "go", "seconds": 60},
            {"do": "report"},
            {"do": "emit", "lines": [{"moment": "finished", "text": "done"}]},
        ]
    }  # fmt: skip
    path = home.root / "plan.json"
    path.write_text(json.dumps(plan))
    path.chmod(0o755)
    running = home.start(
        "investigate", "--agent", "scripted", str(home.fault()),
        env={"AGENT_RUNTIME_COMMAND": str(path)},
    )  # fmt: skip
    _wait_for(lambda: bool(list(home.data.glob("workspaces/*/here"))))

    follower = home.start("tail", "@last", "--json", "--follow")
    first = json.loads(follower.stdout.readline())
    next(home.data.glob("workspaces/*")).joinpath("go").touch()
    out = follower.stdout.read()
    assert follower.wait(timeout=60) == 0
    running.communicate(timeout=60)

    assert first == {"moment": "started", "tool": None, "text": "here"}
    rest = [json.loads(line) for line in out.splitlines()]
    assert [each["moment"] for each in rest] == ["tool_call", "garbage", "finished"]
    assert rest[0]["tool"] == "kubectl_read"
    assert TOKEN not in json.dumps(rest)
    for_people = home.run("tail", "@last", "--events", "-n", "1").stdout.decode()
    assert for_people == "finished: done\n"


def test_an_agent_without_events_says_so(home: Home) -> None:
    """The built-in investigator starts no process: there is nothing to tell, and exit code 1."""
    home.result("--agent", "builtin", str(home.fault()))

    done = home.run("tail", "@last", "--events")

    assert done.returncode == 1
    assert b"tells of no events" in done.stderr


def _wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)
