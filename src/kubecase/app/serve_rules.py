"""From the settings to the rules by which the service takes faults in and works them."""

from kubecase.app.settings import Settings
from kubecase.app.settings.values import ClusterOptions
from kubecase.core.intake import Rules, Silence
from kubecase.core.severity import Severity
from kubecase.service.dispatch import Limits


def rules_of(settings: Settings, cluster: str) -> Rules:
    """What is worked of `cluster`, configured or not."""
    own, limits = settings.clusters.get(cluster, ClusterOptions()), settings.limits
    return Rules(
        min_severity=Severity(own.min_severity),
        namespaces=own.namespaces,
        excluded_namespaces=own.excluded_namespaces,
        silences=tuple(
            Silence(
                reason=each.reason,
                cluster=each.cluster,
                namespace=each.namespace,
                resource=each.resource,
                fault=each.fault,
                begins=each.begins,
                ends=each.ends,
            )
            for each in limits.silences
        ),
        triage=own.triage,
        second_sign=limits.second_sign,
        repeat_after=limits.repeat_after,
        storm=limits.storm,
        storm_window=limits.storm_window,
        max_queued=limits.max_queued,
    )


def limits_of(settings: Settings, cluster: str) -> Limits:
    """How the incidents of `cluster` are worked."""
    own = settings.clusters.get(cluster, ClusterOptions())
    return Limits(at_once=own.at_once, max_age=settings.limits.queue_max_age)
