"""The installed command where something is missing, and as another user: never silently weaker."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.conftest import KUBECASE, Home

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="arranges this as root")

WITHOUT_LANDLOCK = """
import ctypes, os, struct, sys
lines = [(0x20, 0, 0, 0)]
lines += [(0x15, 3 - at, 0, 444 + at) for at in range(3)] + [(0x06, 0, 0, 0x7FFF0000)]
lines += [(0x06, 0, 0, 0x00050000 | 38)]
code = b"".join(struct.pack("HBBI", *line) for line in lines)
buffer = ctypes.create_string_buffer(code, len(code))
header = ctypes.create_string_buffer(struct.pack("HP", len(lines), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None)
zero = ctypes.c_ulong(0)
assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
assert libc.prctl(22, ctypes.c_ulong(2), header, zero, zero) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program on a kernel that seems to have no Landlock."""

HOSTS: dict[str, tuple[str, ...]] = {
    "no bubblewrap": (
        "unshare", "--mount", "sh", "-c",
        'mount --bind /dev/null "$(command -v bwrap)" && exec "$@"', "sh",
    ),
    "no user namespaces": (
        "unshare", "--user", "--map-root-user", "sh", "-c",
        'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"', "sh",
    ),
    "no Landlock": (sys.executable, "-c", WITHOUT_LANDLOCK),
}  # fmt: skip


def on(host: str, home: Home, *words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """`kubecase` with `words` on a host that lacks something."""
    return subprocess.run(
        [*HOSTS[host], str(KUBECASE), *words],
        cwd=home.root,
        env={**home.environment, **env},
        capture_output=True,
        timeout=90,
    )


def findings(done: subprocess.CompletedProcess[bytes]) -> dict[str, dict[str, Any]]:
    return {each["what"]: each for each in json.loads(done.stdout)}


@AS_ROOT
@pytest.mark.parametrize(
    ("host", "layer", "words", "remedy"),
    [
        ("no bubblewrap", "bwrap", "bubblewrap is not installed", "apt-get install bubblewrap"),
        ("no user namespaces", "bwrap", "cannot make namespaces here", "User namespaces must be"),
        ("no Landlock", "landlock", "this kernel has no Landlock", "Use Linux 5.13 or later"),
    ],
)
def test_what_is_missing_gets_one_clear_sentence(
    home: Home, host: str, layer: str, words: str, remedy: str
) -> None:
    """Doctor names the missing mechanism and its remedy; asked for by name, it is refused with the
    same words, before anything runs.
    """
    found = findings(on(host, home, "doctor", "--json"))[f"layer {layer}"]

    assert found["state"] == "note"
    assert words in found["says"]
    assert remedy in found["remedy"]
    fault, agent = str(home.fault()), str(home.agent("touch ran"))
    asked = {"AGENT_RUNTIME_COMMAND": agent, "AGENT_RUNTIME_ISOLATION": layer}
    refused = on(host, home, "investigate", "--agent", "command", fault, **asked)
    assert refused.returncode == 2
    assert f"cannot run agents with isolation {layer}: " in refused.stderr.decode()
    assert words in refused.stderr.decode()
    assert not list(home.root.rglob("ran"))


@AS_ROOT
@pytest.mark.parametrize(
    ("host", "layer"), [("no bubblewrap", "landlock"), ("no user namespaces", "landlock")]
)
def test_the_next_layer_is_taken_and_that_is_said(
    home: Home, leaves_report: str, host: str, layer: str
) -> None:
    """Where the strongest layer does not work the next one is in force, and the report says so."""
    agent = home.agent(leaves_report)
    words = ("investigate", "--agent", "command", str(home.fault()), "--json")

    done = on(host, home, *words, AGENT_RUNTIME_COMMAND=str(agent))

    assert done.returncode == 0, done.stderr
    machine = json.loads(Path(json.loads(done.stdout)["reports"]["json"]).read_text())
    assert machine["run"]["isolation"] == layer
    assert any("isolation bwrap is not in force" in note for note in machine["notes"])


@AS_ROOT
def test_below_the_least_layer_nothing_is_run(home: Home) -> None:
    """With isolation_min bwrap and no bubblewrap the case is refused with the reason."""
    agent = home.agent("touch ran")
    words = ("investigate", "--agent", "command", str(home.fault()))

    done = on(
        "no bubblewrap", home, *words,
        AGENT_RUNTIME_COMMAND=str(agent), AGENT_RUNTIME_ISOLATION_MIN="bwrap",
    )  # fmt: skip

    assert done.returncode == 2
    assert "isolation bwrap or a stronger one" in done.stderr.decode()
    assert "bubblewrap is not installed" in done.stderr.decode()
    assert not list(home.root.rglob("ran"))


def test_a_layer_below_the_least_one_is_a_contradiction(home: Home) -> None:
    """Asking for less than isolation_min is refused, and both keys are named."""
    env = {"AGENT_RUNTIME_ISOLATION": "process", "AGENT_RUNTIME_ISOLATION_MIN": "landlock"}
    env["AGENT_RUNTIME_COMMAND"] = str(home.agent("exit 0"))

    done = home.run("investigate", "--agent", "command", str(home.fault()), env=env)

    assert done.returncode == 2
    assert "isolation_min is landlock" in done.stderr.decode()
    assert "agent_runtime.isolation" in done.stderr.decode()


@pytest.mark.parametrize("layer", ["landlock", "bwrap"])
def test_an_agent_is_held_to_its_workspace(home: Home, leaves_report: str, layer: str) -> None:
    """An agent of the installed command neither reads nor writes beside its workspace (req 3.7)."""
    (home.root / "secret").write_text("for nobody")
    agent = home.agent(
        f"cat {home.root}/secret; echo x >{home.root}/planted; echo x >/usr/planted\n"
        + leaves_report
    )

    code, result = home.result(
        "--agent", "command", str(home.fault()),
        env={"AGENT_RUNTIME_COMMAND": str(agent), "AGENT_RUNTIME_ISOLATION": layer},
    )  # fmt: skip

    assert (code, result["status"]) == (0, "success")
    assert "for nobody" not in Path(result["output_log"]).read_text()
    assert not (home.root / "planted").exists()
    assert not Path("/usr/planted").exists()


@pytest.mark.parametrize("layer", ["landlock", "bwrap"])
def test_a_closed_network_is_closed(home: Home, leaves_report: str, layer: str) -> None:
    """With network none an agent of the installed command can connect to nothing."""
    probe = (
        "import socket\n"
        "for address in (('127.0.0.1', 22), ('169.254.169.254', 80)):\n"
        "    try: socket.create_connection(address, 2); print('open')\n"
        "    except OSError as error: print(error.errno)\n"
    )
    agent = home.agent(f'/usr/bin/python3 -c "{probe}"\n{leaves_report}')

    _, result = home.result(
        "--agent", "command", str(home.fault()),
        env={
            "AGENT_RUNTIME_COMMAND": str(agent), "AGENT_RUNTIME_ISOLATION": layer,
            "AGENT_RUNTIME_NETWORK": "none",
        },
    )  # fmt: skip

    assert result["status"] == "success"
    said = Path(result["output_log"]).read_text().split()
    # Refused by Landlock; in a network of its own nobody listens, and there is no way out.
    assert said in ([["13", "13"]] if layer == "landlock" else [["111", "101"]])


def test_a_closed_network_without_a_layer_that_closes_it_is_refused(home: Home) -> None:
    """The layer process never pretends to close the network."""
    env = {"AGENT_RUNTIME_ISOLATION": "process", "AGENT_RUNTIME_NETWORK": "none"}
    env["AGENT_RUNTIME_COMMAND"] = str(home.agent("exit 0"))

    done = home.run("investigate", "--agent", "command", str(home.fault()), env=env)

    assert done.returncode == 2
    assert "cannot close the network" in done.stderr.decode()


@pytest.fixture
def open_home() -> Iterator[Home]:
    """A home that any user may pass through."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="kubecase-test-") as name:
        Path(name).chmod(0o755)
        yield Home(root=Path(name))


@AS_ROOT
@pytest.mark.parametrize("layer", ["process", "landlock", "bwrap"])
def test_agents_run_as_the_user_that_is_set(
    open_home: Home, leaves_report: str, layer: str
) -> None:
    """As another user an agent can work in its workspace, and can read no record of its run."""
    data = open_home.data
    agent = open_home.agent(
        f"id -u; cat {data}/kubecase.db {data}/runs/*/started; ls {data}/runs; kill -0 $PPID\n"
        f"echo note >output/artifacts/note\n{leaves_report}"
    )

    code, result = open_home.result(
        "--agent", "command", str(open_home.fault()),
        env={
            "AGENT_RUNTIME_COMMAND": str(agent), "AGENT_RUNTIME_ISOLATION": layer,
            "AGENT_RUNTIME_AGENT_USER": "nobody",
        },
    )  # fmt: skip

    uid = pwd.getpwnam("nobody").pw_uid
    assert (code, result["status"]) == (0, "success")
    log = Path(result["output_log"]).read_text(errors="replace")
    assert log.splitlines()[0] == str(uid)
    assert "boot_id" not in log
    assert "SQLite" not in log
    assert [Path(each["path"]).name for each in result["artifacts"]] == ["note"]
    workspace = Path(result["workspace_dir"])
    assert workspace.stat().st_uid == uid
    assert workspace.stat().st_mode & 0o777 == 0o700


@AS_ROOT
def test_a_directory_that_is_closed_to_the_agents_user_is_named(home: Home) -> None:
    """A user that cannot reach the workspaces is refused, with the directory and the keys."""
    home.root.chmod(0o700)
    env = {"AGENT_RUNTIME_COMMAND": str(home.agent("exit 0"))}
    env["AGENT_RUNTIME_AGENT_USER"] = "nobody"

    done = home.run("investigate", "--agent", "command", str(home.fault()), env=env)

    assert done.returncode == 2
    assert "is closed to that user" in done.stderr.decode()
    assert "agent_runtime.workspace_root" in done.stderr.decode()


@pytest.mark.parametrize(
    ("user", "words"), [("no-such-user", "there is no such user"), ("root", "that is root")]
)
def test_a_user_that_cannot_be_is_refused(home: Home, user: str, words: str) -> None:
    """A user that does not exist, or is root, is refused with the key to correct."""
    env = {"AGENT_RUNTIME_COMMAND": str(home.agent("exit 0")), "AGENT_RUNTIME_AGENT_USER": user}

    done = home.run("investigate", "--agent", "command", str(home.fault()), env=env)

    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert "agent_runtime.agent_user" in done.stderr.decode()


@AS_ROOT
def test_agents_of_root_are_warned_about(home: Home, leaves_report: str) -> None:
    """Run as root without another user, the report says what that means and what to do."""
    if shutil.which("getent") and b"kubecase-agent" in Path("/etc/passwd").read_bytes():
        pytest.skip("this host has the user kubecase-agent")

    _, result = home.result(
        "--agent", "command", str(home.fault()),
        env={"AGENT_RUNTIME_COMMAND": str(home.agent(leaves_report))},
    )  # fmt: skip

    text = Path(result["reports"]["md"]).read_text()
    assert "running as root" in text
    assert "agent\\_runtime.agent\\_user" in text or "agent_runtime.agent_user" in text
