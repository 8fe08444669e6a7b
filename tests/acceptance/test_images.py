"""The images of the agents: their definition line by line, and the targets with a fake engine."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = ROOT / "images" / "Dockerfile"
AGENTS = ("claude", "codex", "gemini", "opencode", "goose")
PINNED = {
    "BASE": "reg/debian@sha256:" + "a" * 64, "NPM": "reg/node@sha256:" + "b" * 64,
    "KUBECTL_URL": "https://files/kubectl", "KUBECTL_SHA256": "c" * 64,
    "HELM_URL": "https://files/helm.tar.gz", "HELM_SHA256": "d" * 64,
}  # fmt: skip
ENGINE = """#!/bin/sh
# Says what it was told, one word a line, and has every image.
printf '%s\\n' "$@" '--' >>"$TOLD"
"""


def instructions() -> Iterator[tuple[str, str]]:
    """Each instruction of the file with its words, continued lines joined."""
    lines = [
        line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")
    ]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), " ".join(rest.split())


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage by its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            name = rest.rpartition(" AS ")[2]
            found[name] = []
        if name:
            found[name].append((word, rest))
    return found


def arguments() -> dict[str, str | None]:
    pairs = (rest.partition("=") for word, rest in instructions() if word == "ARG")
    return {name: default or None for name, _, default in pairs}


def test_every_base_is_named_from_outside_by_digest_or_is_a_stage() -> None:
    """Nothing comes from a tag that may move: each FROM is a stage of this file, or an argument
    that has no default but one (req 22.1).
    """
    known: set[str] = set()
    defaults = arguments()
    for name, lines in stages().items():
        base = lines[0][1].partition(" AS ")[0]
        if match := re.fullmatch(r"\$\{(\w+)\}", base):
            default = defaults[match[1]]
            assert default is None or default in known, base
        else:
            assert base in known, base
        known.add(name)
    assert set(AGENTS) <= known


def test_what_is_fetched_is_pinned_by_its_hash() -> None:
    """Files by SHA-256, packages by locks with integrity hashes, and no script of a package is run
    (req 22.1).
    """
    for word, rest in instructions():
        if word == "ADD":
            assert rest.startswith("--checksum=sha256:${"), rest
        if word == "RUN":
            assert not re.search(r"\b(curl|wget|git|pip|apt(-get)?)\b", rest), rest
            for command in re.findall(r"npm [^&]*", rest):
                assert "--ignore-scripts" in command
    locks = [
        path
        for path in ROOT.glob("**/package-lock.json")
        if not path.relative_to(ROOT).parts[0].startswith(".")
    ]
    copied = [
        lock for lock in locks if f"{lock.parent.relative_to(ROOT)}/" in DOCKERFILE.read_text()
    ]
    assert len(copied) == 3
    for lock in copied:
        for name, package in json.loads(lock.read_text())["packages"].items():
            assert not name or package["integrity"].startswith("sha512-"), name
            assert "resolved" not in package, name


@pytest.mark.parametrize("agent", AGENTS)
def test_an_image_has_no_root_no_secret_and_no_shell_commands(agent: str) -> None:
    """The last user is a number that is not root's, no variable looks like a secret, nothing is run
    that could leave one in a layer, and files come from stages alone (req 22.1).
    """
    lines = [*stages()["agent"], *stages()[agent]]

    assert lines[len(stages()["agent"])][1] == f"agent AS {agent}"
    assert lines[-1][0] == "USER"
    uid, _, gid = lines[-1][1].partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    for word, rest in lines:
        assert word in {"FROM", "COPY", "ENV", "USER", "WORKDIR", "CMD"}, word
        assert word != "COPY" or rest.startswith("--from="), rest
        assert not re.search(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", rest, re.IGNORECASE), rest


def told(tmp_path: Path, *words: str, **variables: str) -> tuple[int, str, list[list[str]]]:
    """Exit code, error output, and what a fake docker was told by `make`."""
    engine = tmp_path / "docker"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    log = tmp_path / "told"
    done = subprocess.run(
        ["make", "--no-print-directory", *words, f"ENGINE={engine}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TOLD": str(log), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    calls = log.read_text().split("--\n") if log.exists() else []
    return done.returncode, done.stderr, [call.split("\n")[:-1] for call in calls if call]


@pytest.mark.parametrize("agent", AGENTS)
def test_building_tells_the_engine_the_target_and_what_is_pinned(
    tmp_path: Path, agent: str
) -> None:
    """`make image-build AGENT=...` builds that target with every pinned argument (req 22.7)."""
    code, err, (call,) = told(tmp_path, "image-build", f"AGENT={agent}", **PINNED)

    assert code == 0, err
    assert call[0] == "build"
    assert call[call.index("--target") + 1] == agent
    assert call[call.index("--tag") + 1] == f"localhost/kubecase-{agent}:1"
    given = {call[at + 1] for at, word in enumerate(call) if word == "--build-arg"}
    assert given == {f"{name}={value}" for name, value in PINNED.items()}


def test_building_without_a_registry_takes_the_parts_that_are_here(tmp_path: Path) -> None:
    """Without a base that is named, the parts are images made on this host (req 22.7)."""
    code, err, calls = told(tmp_path, "image-build", "AGENT=goose")

    assert code == 0, err
    assert [call[0] for call in calls] == ["image", "image", "build"]
    given = {word for word in calls[-1] if "=" in word}
    assert given == {
        "BASE=localhost/kubecase-base:1", "TOOLS=localhost/kubecase-base:1",
        "CLIS=localhost/kubecase-clis-goose:1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"BASE": "reg/debian:12"}, "not pinned"),
        ({"NPM": "reg/node:22"}, "not pinned"),
        ({"HELM_SHA256": ""}, "HELM_SHA256 is not set"),
        ({"AGENT": "no-such"}, "no such agent"),
    ],
)
def test_what_is_not_pinned_is_not_built(
    tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    """A tag, a missing hash or an unknown agent ends before the engine is asked (req 22.1)."""
    given = {**PINNED, **changes}
    code, err, calls = told(
        tmp_path, "image-build", f"AGENT={given.pop('AGENT', 'claude')}", **given
    )

    assert code != 0
    assert words in err
    assert calls == []


@pytest.mark.parametrize("target", ["image-test", "image-debug"])
def test_testing_and_debugging_go_by_the_launcher(target: str) -> None:
    """Both targets run a program in a container as the launcher makes it, and not another one
    (req 22.7).
    """
    said = subprocess.run(
        ["make", "-n", target, "AGENT=codex", "WORKSPACE=/srv/case"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    said += (ROOT / "scripts" / "image-test").read_text() if target == "image-test" else ""

    assert "kubecase container run -w" in said
    assert "--debug" in said
    assert "codex" in said
