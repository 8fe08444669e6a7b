"""The sources themselves, from the settings."""

from kubecase.app import wiring
from kubecase.app.settings import Settings
from kubecase.app.settings.values import SourceOptions
from kubecase.core.errors import KubecaseError
from kubecase.core.ports import Observer, Source


def kubernetes_source(settings: Settings, cluster: str, observer: Observer) -> Source:
    """What watches `cluster`. Raises KubecaseError for a credential that cannot be used."""
    raise KubecaseError(
        "watching clusters is not here yet", hint="Set clusters.<name>.watch: false."
    )


def named_source(name: str, options: SourceOptions, observer: Observer) -> Source:
    """The entry `sources.<name>`. Raises KubecaseError for one that cannot be used."""
    if options.kind == "directory" and options.path is not None:
        from kubecase.channels.sources.directory import DirectorySource

        return DirectorySource(
            options.path,
            clock=wiring.now,
            cluster_default=options.cluster or "default",
            observer=observer,
        )
    raise KubecaseError(f"a source of kind {options.kind} is not here yet")
