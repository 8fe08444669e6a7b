"""The layers that work on this host, and those that it must have."""

import os
from pathlib import Path

import pytest

from adversaries.table import ALL, BWRAP, CONTAINER, LANDLOCK, PROCESS
from kubecase.runtime import ProcessRuntime
from kubecase.runtime.bubblewrap import BubblewrapLayer
from kubecase.runtime.container import ContainerLayer, ContainerOptions
from kubecase.runtime.landlock import LandlockLayer
from kubecase.runtime.layers import Layer, LayerOptions, ProcessLayer
from kubecase.runtime.mounts import Mount

REQUIRED = frozenset(os.environ.get("KUBECASE_REQUIRE_LAYERS", PROCESS).split(","))
"""What continuous integration says that this host must have, since the prerequisites exist."""

HIDDEN = LayerOptions(network="none")
STORE = Path(__file__).parent.parent.parent / ".tools" / "podman"
ENGINE = ContainerOptions(
    engine="podman",
    image="localhost/kubecase-test:1",  # made by scripts/test-image
    memory_bytes=400 * 1024**2,
    processes=1000,
    mounts=(Mount(source=Path("/usr"), target=Path("/usr")),),
    engine_arguments=("--root", str(STORE / "root"), "--runroot", str(STORE / "run")),
    client_environment={"HOME": "/nonexistent"},
)
MADE: dict[str, Layer] = {
    PROCESS: ProcessLayer(),
    LANDLOCK: LandlockLayer(options=HIDDEN),
    BWRAP: BubblewrapLayer(options=HIDDEN),
    CONTAINER: ContainerLayer(options=HIDDEN, container=ENGINE),
}


def runtime_of(name: str) -> ProcessRuntime:
    """A runtime of the layer `name`, its network closed where the layer can do that.

    Skips the test, by name, where the layer does not work; fails it where it must.
    """
    layer = MADE[name]
    found = layer.probe()
    if not found.works and name in REQUIRED:
        pytest.fail(f"layer {name} is required on this host and does not work: {found.says}")
    if not found.works:
        pytest.skip(f"layer {name}: {found.says}")
    return ProcessRuntime(layer=layer)


LAYERS = ALL
