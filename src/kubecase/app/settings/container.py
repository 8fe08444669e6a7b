"""The section `container` of the settings."""

from typing import Annotated

from pydantic import AfterValidator

from kubecase.app.settings.kinds import (
    Decimal,
    Seconds,
    Size,
    Text,
    Texts,
    Whole,
    between,
    cpu_count,
    image_name,
    word,
)
from kubecase.app.settings.section import Section, option
from kubecase.app.settings.values import Engine


class ContainerSection(Section):
    """How containers are made, with `agent_runtime.isolation: container`."""

    engine: Annotated[Engine, word(Engine)] = option(
        "auto", "Program that runs containers; `auto`: podman, else docker."
    )
    image: Annotated[Text, AfterValidator(image_name)] | None = option(
        None,
        "Image that holds the agent's program, which is found there by its name; `{agent}` stands "
        "for the name of the agent. It must be there already: nothing is pulled at run time.",
        example="localhost/kubecase-{agent}:1",
    )
    memory: Size = option("1GiB", "Memory of the whole container.")
    cpus: Annotated[Decimal, AfterValidator(cpu_count)] = option(1, "Processors it may use.")
    processes: Annotated[Whole, between(16, 32768)] = option(
        256, "How many processes may be in it at once."
    )
    tmp: Size = option("64MiB", "Size of its /tmp, which vanishes with it.")
    stop_timeout: Seconds = option(10, "How long the engine itself waits when it has to stop one.")
    mounts: Texts = option(
        [],
        "More paths of the host for it, as SOURCE:TARGET, read-only unless `:rw` is added. Refused "
        "are the root, home directories, git checkouts, and sockets of engines.",
        example="[/opt/models:/opt/models]",
    )
