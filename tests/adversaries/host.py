"""The layers that work on this host, and those that it must have."""

import os

import pytest

from adversaries.table import ALL, BWRAP, LANDLOCK, PROCESS
from kubecase.runtime import ProcessRuntime
from kubecase.runtime.bubblewrap import BubblewrapLayer
from kubecase.runtime.landlock import LandlockLayer
from kubecase.runtime.layers import Layer, LayerOptions, ProcessLayer

REQUIRED = frozenset(os.environ.get("KUBECASE_REQUIRE_LAYERS", PROCESS).split(","))
"""What continuous integration says that this host must have, since the prerequisites exist."""

HIDDEN = LayerOptions(network="none")
MADE: dict[str, Layer] = {
    PROCESS: ProcessLayer(),
    LANDLOCK: LandlockLayer(options=HIDDEN),
    BWRAP: BubblewrapLayer(options=HIDDEN),
}


def runtime_of(name: str) -> ProcessRuntime:
    """A runtime of the layer `name`, its network closed where the layer can do that.

    Skips the test, by name, where the layer does not work; fails it where it must.
    """
    layer = MADE.get(name)
    if layer is None:
        pytest.skip(f"layer {name}: no image for it is known here")
    found = layer.probe()
    if not found.works and name in REQUIRED:
        pytest.fail(f"layer {name} is required on this host and does not work: {found.says}")
    if not found.works:
        pytest.skip(f"layer {name}: {found.says}")
    return ProcessRuntime(layer=layer)


LAYERS = [each for each in ALL if each in MADE]
