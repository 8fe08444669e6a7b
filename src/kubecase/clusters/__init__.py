"""The one way to reach a cluster: credentials, a client that only reads, and what it collects.

Here belong kubeconfigs and in-cluster credentials, TLS, the configured HTTP client, the kinds that
kubecase knows, and the collectors that find out what is known about a fault. Never here: writing
to a cluster, reading a Secret, following a link between clusters, drawing conclusions, or trusting
the size, the types or the names in what a cluster answers.
"""

from kubecase.clusters.collect import ClusterCollector
from kubecase.clusters.credentials import (
    Credentials,
    check_kubeconfig,
    from_kubeconfig,
    in_cluster,
)
from kubecase.clusters.recorded import JoinedCollector, NothingCollector, RecordedCollector
from kubecase.clusters.target import object_fault, parse_target, resource_fault
from kubecase.clusters.trigger import trigger_of

__all__ = [
    "ClusterCollector",
    "Credentials",
    "JoinedCollector",
    "NothingCollector",
    "RecordedCollector",
    "check_kubeconfig",
    "from_kubeconfig",
    "in_cluster",
    "object_fault",
    "parse_target",
    "resource_fault",
    "trigger_of",
]
