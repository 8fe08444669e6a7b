"""The container layer: what an engine is told, what is refused, and what a crash leaves."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from adversaries import Bench, Seen, command, limits, shell, until
from adversaries.host import ENGINE, MADE, runtime_of
from adversaries.table import CONTAINER
from kubecase.core.errors import RuntimeUnavailable
from kubecase.core.model import Cause, Exit
from kubecase.runtime.container import ContainerLayer, ContainerOptions, container_name
from kubecase.runtime.layers import LayerOptions, Wrapped
from kubecase.runtime.mounts import Mount
from kubecase.runtime.records import read_exit, read_started

pytestmark = pytest.mark.anyio

KEY = "sk-canary-that-nobody-may-see"
ECHO = """#!/usr/bin/env python3
import json, os, sys
print(json.dumps({"argv": sys.argv, "key": os.environ.get("MODEL_KEY")}))
"""


def wrapped(tmp_path: Path, engine: str = "podman", **options: object) -> Wrapped:
    """What the shim would be asked to start."""
    made = ContainerOptions(engine=engine, image="localhost/agent:1", **options)  # type: ignore[arg-type]
    given = {"PATH": "/usr/bin", "INCIDENT_ID": "1", "MODEL_KEY": KEY}
    asked = command(("agent", "--deep"), tmp_path, environment=given)
    return ContainerLayer(container=made).wrap(asked, tmp_path / "runs" / "abc-1")


def following(argv: tuple[str, ...], option: str) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == option]


def test_a_container_is_hardened(tmp_path: Path) -> None:
    """Read-only root, no capability, no new privilege, bounds for memory and processes, its own
    workspace and nothing else of the host (req 22.4, 22.6).
    """
    runtime_of(CONTAINER)
    argv = wrapped(tmp_path).argv

    for words in (
        ("--read-only",), ("--cap-drop", "ALL"), ("--security-opt", "no-new-privileges"),
        ("--init",), ("--pids-limit", "256"), ("--memory", str(1024**3)), ("--pull", "never"),
        ("--memory-swap", str(1024**3)), ("--read-only-tmpfs=false",), ("--log-driver", "none"),
    ):  # fmt: skip
        assert words in [argv[at : at + len(words)] for at in range(len(argv))], words
    volumes = following(argv, "--volume")
    assert volumes == [f"{tmp_path}:{tmp_path}:rw,nosuid,nodev"]
    assert argv[-3:] == ("localhost/agent:1", "agent", "--deep")


def test_the_network_is_closed_unless_it_is_opened(tmp_path: Path) -> None:
    """Containers of a closed network have none; nothing is published."""
    runtime_of(CONTAINER)
    asked = command(("agent",), tmp_path)
    for network, word in (("none", "none"), ("host", "host")):
        options = LayerOptions(network=network)  # type: ignore[arg-type]
        layer = ContainerLayer(options=options, container=ContainerOptions(image="i"))

        argv = layer.wrap(asked, tmp_path / "run").argv

        assert following(argv, "--network") == [word]
        assert "--publish" not in argv


async def test_no_secret_is_on_the_command_line(here: Bench, tmp_path: Path) -> None:
    """A key goes to an engine by its name alone, and arrives by its environment (req 22.6)."""
    engine = tmp_path / "podman"
    engine.write_text(ECHO)
    engine.chmod(0o755)
    seen = Seen()
    asked = replace(
        shell("exit 0", here.workspace), environment={"PATH": "/usr/bin:/bin", "MODEL_KEY": KEY}
    )
    made = ContainerOptions(engine=str(engine), image="i")  # type: ignore[arg-type]

    await here.run(
        replace(runtime_of("process"), layer=ContainerLayer(container=made)), asked, limits(),
        seen=seen,
    )  # fmt: skip

    told = json.loads(seen.text("stdout"))
    assert KEY not in " ".join(told["argv"])
    assert told["key"] == KEY
    assert following(tuple(told["argv"]), "--env")[-1] == "MODEL_KEY"
    assert KEY.encode() not in (here.run_dir / "request").read_bytes()


def test_a_variable_that_the_client_needs_is_refused(tmp_path: Path) -> None:
    """An agent cannot be given what would lead the engine's client astray."""
    runtime_of(CONTAINER)
    with pytest.raises(RuntimeUnavailable, match="MODEL_KEY"):
        wrapped(tmp_path, client_environment={"MODEL_KEY": "x"})


def test_a_served_container_joins_the_network_that_its_client_is_put_into(tmp_path: Path) -> None:
    """With ports to be served the shim makes a network with nothing but these in it, for podman as
    root, and the container is told to stay in it.
    """
    runtime_of(CONTAINER)
    found = MADE[CONTAINER].wrap(command(("agent",), tmp_path, ports=(8181,)), tmp_path / "run")

    assert found.confinement["listen"] == [8181]
    assert following(found.argv, "--network") == ["host"]


@pytest.mark.parametrize("by", ["variable", "file"])
def test_a_podman_of_elsewhere_is_not_told_to_serve(tmp_path: Path, by: str) -> None:
    """With a service that makes the containers, "host" would be the network of that one's host."""
    runtime_of(CONTAINER)
    address = f"unix://{tmp_path}/no.sock"
    (tmp_path / "containers.conf").write_text("[engine]\nremote = true\n")
    away = {
        "variable": {"CONTAINER_HOST": address},
        "file": {"CONTAINERS_CONF": str(tmp_path / "containers.conf")},
    }[by]
    made = replace(ENGINE, client_environment={"HOME": str(tmp_path), **away}, engine_arguments=())
    layer = ContainerLayer(options=LayerOptions(network="none"), container=made)

    with pytest.raises(RuntimeUnavailable, match="podman as root"):
        layer.wrap(command(("agent",), tmp_path, ports=(8181,)), tmp_path / "run")


@pytest.mark.parametrize("network", ["none", "host"])
def test_an_engine_that_leaves_its_clients_network_is_not_told_to_serve(
    tmp_path: Path, network: str
) -> None:
    """Docker's containers cannot join the network of a run: that is refused with its remedy, and
    never becomes the network of the host by accident.
    """
    docker = tmp_path / "docker"
    docker.write_text(ECHO)
    docker.chmod(0o755)
    layer = ContainerLayer(
        options=LayerOptions(network=network),  # type: ignore[arg-type]
        container=ContainerOptions(engine=str(docker), image="i"),  # type: ignore[arg-type]
    )
    served = command(("agent",), tmp_path, ports=(8181,))

    if network == "none":
        with pytest.raises(RuntimeUnavailable, match="podman as root"):
            layer.wrap(served, tmp_path / "run")
        assert following(layer.wrap(command(("a",), tmp_path), tmp_path / "run").argv, "--network")
    else:
        assert layer.wrap(served, tmp_path / "run").confinement["listen"] is None


def test_without_an_image_the_layer_says_so() -> None:
    """The layer names the missing setting and its remedy."""
    runtime_of(CONTAINER)
    found = ContainerLayer().probe()

    assert not found.works
    assert "container.image" in found.says
    assert "KUBECASE_CONTAINER__IMAGE" in (found.remedy or "")


@pytest.mark.parametrize("image", ["localhost/no-such-image:1", "-rm"])
def test_an_image_that_is_not_there_is_never_pulled(image: str) -> None:
    """An unknown image is an error; nothing is fetched at run time."""
    runtime_of(CONTAINER)
    found = ContainerLayer(container=replace(ENGINE, image=image)).probe()

    assert not found.works


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/:/host", "the root directory"),
        ("/root:/x", "home directory"),
        ("/home:/x", "home directory"),
        ("relative:/x", "absolute"),
        ("/nowhere-at-all:/x", "does not exist"),
        ("/usr:/usr:rwx", "is not SOURCE:TARGET"),
        ("{checkout}:/x", "git checkout"),
        ("{above}:/x", "git checkout"),
        ("{socket}:/x", "socket of a container engine"),
    ],
)
def test_precious_mounts_are_refused(tmp_path: Path, text: str, words: str) -> None:
    """A checkout, a home, the root and an engine's socket are not given to an agent (req 22.4)."""
    checkout = tmp_path / "above" / "checkout"
    (checkout / ".git").mkdir(parents=True)
    (tmp_path / "docker.sock").touch()
    spelled = text.format(checkout=checkout, above=checkout.parent, socket=tmp_path / "docker.sock")

    with pytest.raises(ValueError, match=words):
        Mount.parsed(spelled)


def test_an_ordinary_mount_is_read_only() -> None:
    """What is mounted beside the workspace can be read, unless it is said to be writable."""
    assert str(Mount.parsed("/usr:/opt/host")) == "/usr:/opt/host:ro"
    assert str(Mount.parsed("/usr:/usr:rw")) == "/usr:/usr:rw,nosuid,nodev"


async def test_a_container_whose_shim_was_killed_is_removed_by_the_heir(here: Bench) -> None:
    """With the shim gone the container is found by its record and removed; nothing is alive
    (crash test b).
    """
    runtime = runtime_of(CONTAINER)
    seen, ends = Seen(), list[Exit]()
    agent = shell("exec 3>lifeline; echo ready; sleep 300", here.workspace)

    async def begin() -> None:
        ends.append(await here.run(runtime, agent, limits(), seen=seen))

    async with anyio.create_task_group() as both:
        both.start_soon(begin)
        await seen.ready.wait()
        await until(lambda: read_started(here.run_dir) is not None)
        record = read_started(here.run_dir)
        assert record is not None
        os.kill(record.shim.pid, signal.SIGKILL)

    assert ends[0].cause is Cause.LOST
    assert ends[0].clean
    assert here.nothing_is_alive()
    assert read_exit(here.run_dir) == ends[0]


async def test_strays_are_found_by_their_label_and_strangers_left_alone(here: Bench) -> None:
    """Containers of runs that nobody knows are removed; those that are known, or of another data
    directory, are not touched.
    """
    runtime = runtime_of(CONTAINER)
    layer = runtime.layer
    assert isinstance(layer, ContainerLayer)
    seen, ends = Seen(), list[Exit]()
    agent = shell("echo ready; sleep 300", here.workspace)

    async def begin() -> None:
        ends.append(await here.run(runtime, agent, limits(), seen=seen))

    async with anyio.create_task_group() as both:
        both.start_soon(begin)
        await seen.ready.wait()
        runs = here.run_dir.parent
        assert layer.reconcile(runs, {here.run_dir.name}) == ()
        assert layer.reconcile(runs / "elsewhere", ()) == ()

        removed = layer.reconcile(runs, ())

    assert removed == (container_name(here.run_dir),)
    assert ends[0].cause is Cause.EXITED
    assert ends[0].clean
