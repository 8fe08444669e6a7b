"""Which volume a path in a log line lies on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubecase.diagnosis.pods import Container
from kubecase.diagnosis.values import mapping, maps, text

_PATH = re.compile(r"/[\w.@%+-]{1,100}(?:/[\w.@%+-]{1,100}){0,20}")


@dataclass(frozen=True)
class Mount:
    """A volume as mounted: the kind of its source, the name of what is behind it, where."""

    kind: str
    name: str
    path: str
    volume: Mapping[str, Any]


def mount_of(container: Container, line: str) -> Mount | None:
    """The volume on which the first path of `line` that is on a volume lies."""
    for path in _PATH.findall(line):
        best: Mapping[str, Any] = {}
        for each in maps(container.spec, "volumeMounts"):
            at = text(each, "mountPath").rstrip("/") or "/"
            if (path == at or path.startswith(at + "/")) and len(at) > len(text(best, "mountPath")):
                best = each
        if best:
            found = describe(container, text(best, "name"), text(best, "mountPath"))
            if found is not None:
                return found
    return None


def describe(container: Container, name: str, path: str) -> Mount | None:
    """The volume of this name."""
    volume = container.pod.volume(name)
    for kind, field in (
        ("persistentVolumeClaim", "claimName"),
        ("configMap", "name"),
        ("secret", "secretName"),
        ("emptyDir", "medium"),
        ("hostPath", "path"),
        ("nfs", "server"),
        ("csi", "driver"),
        ("ephemeral", ""),
        ("projected", ""),
    ):
        if kind in volume:
            inner = mapping(volume, kind)
            behind = text(inner, field) if field else ""
            if kind == "ephemeral":
                return Mount(
                    "persistentVolumeClaim", f"{container.pod.thing.name}-{name}", path, volume
                )
            return Mount(kind, behind, path, volume)
    return None


def claims_of(container: Container) -> tuple[Mount, ...]:
    """The PersistentVolumeClaims that a container mounts."""
    found = (
        describe(container, text(each, "name"), text(each, "mountPath"))
        for each in maps(container.spec, "volumeMounts")
    )
    return tuple(m for m in found if m is not None and m.kind == "persistentVolumeClaim")
