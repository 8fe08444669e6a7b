"""`kubecase container run` by the installed command: what it refuses, what the engine is told, and
real containers of podman that are served a cluster.
"""

import json
import os
import re
import select
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from adversaries.host import STORE, runtime_of
from adversaries.table import CONTAINER
from fakes.kube_api import Authority, FakeCluster, recorded
from fakes.kubectls import WHY_NOT as WHY_NO_KUBECTL
from fakes.kubectls import kubectls

from .conftest import Home

KEY = "sk-canary-that-nobody-may-see"
KEYS = {"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": KEY, "GEMINI_API_KEY": KEY}
CREDENTIAL = "real-credential-of-the-cluster-0123456789"
PROGRAMS = {name: name for name in ("claude", "codex", "gemini", "opencode", "goose")}


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """The command with podman's own storage of the tests, and a workspace for it."""

    home: Home
    workspace: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **KEYS,
            "CONTAINERS_STORAGE_CONF": str(self.home.root / "storage.conf"),
            "KUBECASE_CONTAINER__IMAGE": "localhost/kubecase-test:1",
            "KUBECASE_CONTAINER__MOUNTS": "/usr:/usr",
        }

    def run(self, *words: str, workspace: Path | None = None) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        where = str(workspace or self.workspace)
        done = self.home.run("container", "run", "-w", where, *words, env=self.environment)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def told(self, *words: str) -> list[str]:
        """What the engine would be told."""
        code, out, err = self.run(*words, "--print", "--json", "--", "Why?")
        assert code == 0, err
        argv = json.loads(out)
        assert isinstance(argv, list)
        return argv


@pytest.fixture
def launcher(home: Home) -> Launcher:
    runtime_of(CONTAINER)
    (home.root / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{STORE}/root"\nrunroot = "{STORE}/run"\n'
    )
    workspace = home.root / "workspace"
    workspace.mkdir()
    return Launcher(home=home, workspace=workspace)


def following(argv: list[str], option: str) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == option]


def test_without_a_workspace_nothing_is_run(home: Home) -> None:
    """The workspace is no option that may be forgotten (req 22.4)."""
    done = home.run("container", "run", "--agent", "command", "--", "true")

    assert done.returncode not in (0, 3)
    assert "--workspace" in done.stderr.decode() + done.stdout.decode()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("/", "root directory"),
        ("/root", "home directory"),
        ("/home", "home directory"),
        ("{root}", "home directory"),
        ("{root}/checkout", "git checkout"),
        ("{root}/checkout/below", "git checkout"),
        ("{root}/above", "git checkout"),
        ("{root}/link", "link"),
        ("{root}/link/below", "link"),
        ("{root}/nowhere", "No such file"),
        ("{root}/a:b", "colon"),
        ("{root}/.local/share/kubecase", "data of kubecase"),
        ("{root}/.local", "data of kubecase"),
    ],
)
def test_a_precious_workspace_is_refused(launcher: Launcher, place: str, words: str) -> None:
    """A checkout, a home, the root, a link and our own data are nobody's workspace (req 22.4)."""
    root = launcher.home.root
    (root / "checkout" / ".git").mkdir(parents=True)
    (root / "checkout" / "below").mkdir()
    (root / "above" / "project" / ".git").mkdir(parents=True)
    (root / "a:b").mkdir()
    launcher.home.data.mkdir(parents=True)
    (root / "link").symlink_to(launcher.workspace)
    (launcher.workspace / "below").mkdir()

    code, out, err = launcher.run(
        "--agent", "command", "--", "true", workspace=Path(place.format(root=root))
    )

    assert (code, out) == (2, "")
    assert words in err
    assert "→" in err


@pytest.mark.parametrize("mount", ["/:/host", "{root}/checkout:/src", "/root:/x"])
def test_a_precious_mount_is_refused(launcher: Launcher, mount: str) -> None:
    """What is no workspace is not mounted beside one either (req 22.4)."""
    (launcher.home.root / "checkout" / ".git").mkdir(parents=True)

    code, _, err = launcher.run(
        "--agent", "command", "--mount", mount.format(root=launcher.home.root), "--", "true"
    )

    assert code == 2
    assert "container.mounts" in err


@pytest.mark.parametrize("agent", PROGRAMS)
def test_each_agent_has_its_program_its_image_and_its_model(launcher: Launcher, agent: str) -> None:
    """The agent decides program and image; the model is the one that was asked for (req 22.2)."""
    argv = launcher.told("--agent", agent, "--model", "some-model", "--image", "reg/cli-{agent}:7")

    at = argv.index(f"reg/cli-{agent}:7")
    assert argv[at + 1] == PROGRAMS[agent]
    command = " ".join(argv[at:])
    assert "some-model" in command or agent in ("opencode", "goose")
    assert KEY not in " ".join(argv)


def test_every_option_reaches_the_engine_and_no_key_does(launcher: Launcher) -> None:
    """Each option of the launcher is a word of its own for the engine; what may be secret goes by
    name (req 22.6).
    """
    argv = launcher.told(
        "--agent", "claude", "--engine", "podman", "--memory", "300MiB", "--cpus", "1.5",
        "--pids", "99", "--tmpfs", "5MiB", "--stop-timeout", "7s", "--mount", "/usr/share:/opt/s",
        "--user", "nobody", "--network", "none",
    )  # fmt: skip

    for option, value in {
        "--memory": str(300 * 1024**2), "--memory-swap": str(300 * 1024**2), "--cpus": "1.5",
        "--pids-limit": "99", "--stop-timeout": "7", "--user": "65534:65534", "--network": "host",
        "--cap-drop": "ALL", "--security-opt": "no-new-privileges", "--pull": "never",
    }.items():  # fmt: skip
        assert following(argv, option) == [value], option
    assert "--read-only" in argv
    assert "/usr/share:/opt/s:ro" in following(argv, "--volume")
    assert any("size=5242880" in each for each in following(argv, "--tmpfs"))
    assert "ANTHROPIC_API_KEY" in following(argv, "--env")
    assert not any(word.startswith("sk-") or KEY in word for word in argv)
    assert not list(launcher.workspace.iterdir())


def test_an_agent_leaves_its_log_by_its_time_and_finds_its_skills(launcher: Launcher) -> None:
    """The log lies in output/ under the moment of the start, and the skills where a CLI looks for
    them (req 22.3, 22.5).
    """
    script = 'cat; ls ~/.claude/skills/*/SKILL.md .claude/skills/*/SKILL.md; echo "home $HOME"'
    (launcher.workspace / "PROMPT.md").write_text("the prompt of the workspace\n")

    for _ in range(2):
        code, out, err = launcher.run("--agent", "command", "--json", "--", "sh", "-c", script)
        assert code == 0, err

    result = json.loads(out)
    assert (result["status"], result["clean"]) == ("success", True)
    logs = sorted(path.name for path in (launcher.workspace / "output").glob("*.log"))
    assert len(logs) == 2
    assert all(re.fullmatch(r"command-\d{8}T\d{6}\.\d{6}Z\.log", name) for name in logs)
    log = Path(result["log"]).read_text()
    assert log.startswith("the prompt of the workspace")
    assert log.count("/kubernetes-triage/SKILL.md") == 2
    assert not list((launcher.workspace / ".home").iterdir())
    assert not list((launcher.home.data / "containers").iterdir())


def test_an_agent_that_fails_is_said_to_have_failed(launcher: Launcher) -> None:
    """The exit code of the agent decides the one of the command."""
    code, _, err = launcher.run("--agent", "command", "--", "sh", "-c", "exit 7")

    assert code == 1
    assert "code: 7" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_launcher_that_is_ended_leaves_no_container(
    launcher: Launcher, number: signal.Signals, code: int
) -> None:
    """Interrupted or killed, the launcher takes its container along."""
    os.mkfifo(launcher.workspace / "lifeline")
    lifeline = os.open(launcher.workspace / "lifeline", os.O_RDONLY | os.O_NONBLOCK)
    process = launcher.home.start(
        "container", "run", "-w", str(launcher.workspace), "--agent", "command",
        "--", "sh", "-c", "exec 3>lifeline; echo ready >&3; sleep 300", env=launcher.environment,
    )  # fmt: skip
    select.select([lifeline], [], [], 60)
    assert os.read(lifeline, 16) == b"ready\n"

    process.send_signal(number)

    assert process.wait(60) == code
    # Readable at its end: once nobody holds the other one any more.
    assert select.select([lifeline], [], [], 60)[0]
    assert os.read(lifeline, 16) == b""


@pytest.mark.parametrize("trap", ["ln -s / output/investigation.md", "rm -r ~; ln -s / .home/x"])
def test_what_an_agent_leaves_in_the_way_harms_nobody(launcher: Launcher, trap: str) -> None:
    """Links in the place of what is written or removed afterwards lead nowhere."""
    script = f"{trap}; rm -rf .home; ln -s /usr .home; exit 0"

    code, _, err = launcher.run("--agent", "command", "--", "sh", "-c", script)

    assert code == 0, err
    assert (launcher.workspace / ".home").is_symlink()
    assert Path("/usr/bin").is_dir()

    code, _, err = launcher.run("--agent", "command", "--", "true")

    assert code == 2
    assert ".home" in err


def test_debug_is_a_program_in_such_a_container(launcher: Launcher) -> None:
    """With --debug a program of one's own runs where the agent would, without key and network
    (req 22.7).
    """
    script = "id -u; touch mine; env; grep -c : /proc/net/dev; touch /x"
    code, out, err = launcher.run(
        "--agent", "claude", "--user", "nobody", "--debug", "--", "sh", "-c", script
    )

    assert code == 1
    assert out.startswith("65534\n")
    assert (launcher.workspace / "mine").exists()
    assert "Read-only file system" in err
    assert KEY not in out
    assert out.rstrip().endswith("1")


@pytest.mark.skipif(not kubectls(), reason=WHY_NO_KUBECTL)
def test_an_agent_in_a_container_is_served_the_cluster_and_nothing_else(launcher: Launcher) -> None:
    """A kubectl inside reads pods by the gateway, is refused Secrets, reaches no other address, and
    holds no credential of the cluster.
    """
    root = launcher.home.root
    authority = Authority.make(root)
    with FakeCluster(recorded("crashloop"), authority=authority, token=CREDENTIAL) as cluster:
        kubeconfig = cluster.kubeconfig(root / "real.kubeconfig")
        script = (
            "kubectl get pods -A; kubectl get secrets -A; cat $KUBECONFIG; "
            f"kubectl --server={cluster.url} --insecure-skip-tls-verify get --raw /version"
        )
        code, out, err = launcher.run(
            "--agent", "command", "--kubeconfig", str(kubeconfig), "--json",
            "--", "sh", "-c", script,
        )  # fmt: skip
        paths = list(cluster.paths)

    assert code == 1, err
    log = Path(json.loads(out)["log"]).read_text()
    assert "CrashLoopBackOff" in log or "api" in log
    assert "127.0.0.1:8182" in log
    assert "orbidden" in log
    assert "refused" in log
    assert CREDENTIAL not in log
    assert any(path.endswith("/pods") or "/pods?" in path for path in paths)
    assert not any("secret" in path for path in paths)
