"""The sources themselves, from the settings."""

from kubecase.app import wiring
from kubecase.app.settings import Settings
from kubecase.app.settings.values import SourceOptions
from kubecase.core.errors import KubecaseError
from kubecase.core.ports import Observer, Source


def kubernetes_source(settings: Settings, cluster: str, observer: Observer) -> Source:
    """What watches `cluster`. Raises KubecaseError for a credential that cannot be used."""
    from kubecase.channels.sources.kubernetes import KubernetesSource
    from kubecase.clusters.client import ClusterClient

    reached = wiring.cluster_collector(settings, cluster, None)
    if reached is None:
        raise KubecaseError(f"clusters.{cluster} has no credential to watch it with")
    credentials = reached.credentials
    return KubernetesSource(
        cluster=cluster,
        connect=lambda: ClusterClient(credentials),
        observer=observer,
        clock=wiring.now,
        # Patterns are for the rules; only plain names can be watched one by one.
        namespaces=_plain(settings.clusters[cluster].namespaces),
    )


def _plain(namespaces: tuple[str, ...]) -> tuple[str, ...]:
    if any(sign in each for each in namespaces for sign in "*?["):
        return ()
    return namespaces


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
    if options.kind == "mcp" and options.url is not None:
        from kubecase.channels.sources.mcp import McpSource

        return McpSource(
            name=name,
            url=options.url,
            cluster=options.cluster,
            token=options.token,
            observer=observer,
            clock=wiring.now,
        )
    raise KubecaseError(f"sources.{name} lacks what a source of kind {options.kind} needs")
