"""Replaces every name, namespace and id of a case, everywhere it stands, one for one."""

import json
import re
from typing import Any

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_WELL_KNOWN = frozenset(
    {
        "kube-system",
        "default",
        "kube-root-ca.crt",
        "coredns",
        "kube-dns",
        "v1beta1.metrics.k8s.io",
        "kube-scheduler",
        "kube-controller-manager",
        "kube-apiserver",
        "etcd",
        "kube-proxy",
    }
)
"""Names that mean something to Kubernetes itself, as no name of a user does."""


def renamed(inputs: dict[str, Any]) -> dict[str, Any]:
    """The same case in a cluster where everything is called otherwise; keys of objects stay."""
    names = _names(inputs)
    # A name that continues another one keeps its end, as generated names do.
    bases = [n for n in names if not any(n.startswith(f"{o}-") for o in names if o != n)]
    new = {name: f"{_letters(n)}q" for n, name in enumerate(sorted(bases), start=40)}
    longest = sorted(new, key=len, reverse=True)
    pattern = re.compile(
        r"(?<![A-Za-z0-9])(" + "|".join(map(re.escape, longest)) + r")(?![A-Za-z0-9])"
    )

    def rename(value: Any) -> Any:
        if isinstance(value, str):
            told = pattern.sub(lambda m: new[m.group(1)], value)
            return _UUID.sub(_other_uuid, told)
        if isinstance(value, list):
            return [rename(each) for each in value]
        if isinstance(value, dict):
            # What an API field holds is not a name, even when it reads like one.
            return {k: v if k in _FIXED else rename(v) for k, v in value.items()}
        return value

    made: dict[str, Any] = json.loads(json.dumps(rename({**inputs, "logs": {}})))
    made["logs"] = {rename(key): rename(body) for key, body in (inputs.get("logs") or {}).items()}
    return made


_FIXED = frozenset({"kind", "apiVersion", "type", "reason", "phase"})


def _other_uuid(matched: re.Match[str]) -> str:
    digits = matched.group(0).replace("-", "")[::-1]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _letters(n: int) -> str:
    """A made-up word for a number, without digits and unlike any other."""
    word = ""
    while n:
        n, rest = divmod(n, 17)
        word += "bdfghjklmnprstvwz"[rest] + "aeiou"[rest % 5]
    return word


def _names(inputs: dict[str, Any]) -> set[str]:
    found = set()
    for each in inputs["objects"]:
        meta = each.get("metadata", {})
        found |= {meta.get("name"), meta.get("namespace")}
        for group in ("containers", "initContainers"):
            for spec in each.get("spec", {}).get(group) or []:
                found.add(spec.get("name"))
    for each in inputs["events"]:
        about = each.get("involvedObject", {})
        found |= {about.get("name"), about.get("namespace")}
    known = {
        name
        for name in found
        if name and any(name == w or name.startswith(f"{w}-") for w in _WELL_KNOWN)
    }
    return {name for name in found if name and len(name) > 1} - known
