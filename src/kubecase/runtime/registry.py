"""The runtimes by the names under which settings know them, made from what an operator may say."""

from dataclasses import dataclass, field

from kubecase.runtime.bubblewrap import BubblewrapLayer
from kubecase.runtime.container import ContainerLayer, ContainerOptions
from kubecase.runtime.landlock import LandlockLayer
from kubecase.runtime.layers import Layer, LayerOptions, ProcessLayer
from kubecase.runtime.supervise import Policy, ProcessRuntime


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """What the wiring hands to every entry point of the group `kubecase.runtimes`."""

    layer: LayerOptions = field(default_factory=LayerOptions)
    container: ContainerOptions = field(default_factory=ContainerOptions)
    policy: Policy = "die_with_me"


def process(options: RuntimeOptions) -> ProcessRuntime:
    """Supervision alone."""
    return _made(ProcessLayer(options=options.layer), options)


def landlock(options: RuntimeOptions) -> ProcessRuntime:
    """Under Landlock and a filter of system calls."""
    return _made(LandlockLayer(options=options.layer), options)


def bwrap(options: RuntimeOptions) -> ProcessRuntime:
    """In namespaces made by bubblewrap."""
    return _made(BubblewrapLayer(options=options.layer), options)


def container(options: RuntimeOptions) -> ProcessRuntime:
    """In a container of podman or docker."""
    layer = ContainerLayer(options=options.layer, container=options.container)
    return _made(layer, options)


def _made(layer: Layer, options: RuntimeOptions) -> ProcessRuntime:
    user = options.layer.switched_user
    return ProcessRuntime(
        layer=layer, policy=options.policy, reader=None if user is None else user.gid
    )
