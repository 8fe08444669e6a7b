"""The kinds of objects that kubecase asks a cluster for: their paths and the names people use."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind: where the API serves it, and what it is called on a command line.

    `api_version` is `v1` or `group/version`; `aliases` are kubectl's short names, lower case.
    """

    kind: str
    plural: str
    api_version: str
    namespaced: bool = True
    aliases: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """The path below which the API serves this group and version."""
        return (
            f"/api/{self.api_version}" if self.api_version == "v1" else f"/apis/{self.api_version}"
        )


def _kind(kind: str, plural: str, version: str, *aliases: str, namespaced: bool = True) -> Kind:
    return Kind(
        kind=kind, plural=plural, api_version=version, namespaced=namespaced, aliases=aliases
    )


KINDS: tuple[Kind, ...] = (
    _kind("Pod", "pods", "v1", "po"),
    _kind("Service", "services", "v1", "svc"),
    _kind("Endpoints", "endpoints", "v1", "ep"),
    _kind("ConfigMap", "configmaps", "v1", "cm"),
    _kind("PersistentVolumeClaim", "persistentvolumeclaims", "v1", "pvc"),
    _kind("ReplicationController", "replicationcontrollers", "v1", "rc"),
    _kind("ResourceQuota", "resourcequotas", "v1", "quota"),
    _kind("LimitRange", "limitranges", "v1", "limits"),
    _kind("ServiceAccount", "serviceaccounts", "v1", "sa"),
    _kind("Event", "events", "v1", "ev"),
    _kind("Node", "nodes", "v1", "no", namespaced=False),
    _kind("Namespace", "namespaces", "v1", "ns", namespaced=False),
    _kind("PersistentVolume", "persistentvolumes", "v1", "pv", namespaced=False),
    _kind("Deployment", "deployments", "apps/v1", "deploy"),
    _kind("ReplicaSet", "replicasets", "apps/v1", "rs"),
    _kind("StatefulSet", "statefulsets", "apps/v1", "sts"),
    _kind("DaemonSet", "daemonsets", "apps/v1", "ds"),
    _kind("Job", "jobs", "batch/v1"),
    _kind("CronJob", "cronjobs", "batch/v1", "cj"),
    _kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling/v2", "hpa"),
    _kind("PodDisruptionBudget", "poddisruptionbudgets", "policy/v1", "pdb"),
    _kind("NetworkPolicy", "networkpolicies", "networking.k8s.io/v1", "netpol"),
    _kind("Ingress", "ingresses", "networking.k8s.io/v1", "ing"),
    _kind("IngressClass", "ingressclasses", "networking.k8s.io/v1", namespaced=False),
    _kind("EndpointSlice", "endpointslices", "discovery.k8s.io/v1"),
    _kind("StorageClass", "storageclasses", "storage.k8s.io/v1", "sc", namespaced=False),
)


def _by_word(kinds: Iterable[Kind]) -> Mapping[str, Kind]:
    words: dict[str, Kind] = {}
    for each in kinds:
        for word in (each.kind.lower(), each.plural, *each.aliases):
            words[word] = each
    return words


_BY_WORD = _by_word(KINDS)


def kind_of(word: str) -> Kind | None:
    """The kind that `word` names: its name, plural or short name, in any case; else `None`."""
    return _BY_WORD.get(word.strip().lower())


def is_namespaced(kind: str) -> bool:
    """Whether objects of `kind` lie in a namespace; kinds that are not known here count as such."""
    known = kind_of(kind)
    return known is None or known.namespaced


_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Whether `text` can be the name of an object or namespace: RFC 1123, at most 253 long."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def path_of(
    kind: Kind, *, namespace: str | None = None, name: str | None = None, part: str | None = None
) -> str:
    """The API path of an object, of its subresource `part`, or of all objects of `kind`.

    Raises ValueError for a name that no object can have: what comes from outside never becomes
    more than one segment of a path.
    """
    for segment in (namespace, name):
        if segment is not None and not is_name(segment):
            raise ValueError(f"{segment[:80]!a} is no Kubernetes name")
    path = kind.root
    if namespace is not None and kind.namespaced:
        path += f"/namespaces/{namespace}"
    path += f"/{kind.plural}"
    if name is not None:
        path += f"/{name}"
    return f"{path}/{part}" if part else path


_SEGMENT = r"[a-z0-9][-a-z0-9.]*"
_READABLE = re.compile(
    "|".join(
        f"{re.escape(each.root)}(/namespaces/{_SEGMENT})?/{each.plural}(/{_SEGMENT})?"
        for each in KINDS
    )
    + f"|/api/v1/namespaces/{_SEGMENT}/pods/{_SEGMENT}/log"
)


def may_be_read(path: str) -> bool:
    """Whether `path` is one of those that `path_of` makes: a known kind, an object of it, a log.

    Secrets are no known kind here, and no subresource but `log` is one.
    """
    return _READABLE.fullmatch(path) is not None
