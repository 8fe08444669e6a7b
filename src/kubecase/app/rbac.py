"""The manifests of a credential that only reads: what the gateway lets through, and no more.

One list decides both: what may be read through the gateway is what the role grants, so the second
wall stands where the first one does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kubecase.gateways.policy import Resource, Resources

VERBS = ("get", "list", "watch")
RBAC_GROUP = "rbac.authorization.k8s.io"
LABELS = {"app.kubernetes.io/name": "kubecase", "app.kubernetes.io/component": "reader"}


def manifests(
    resources: Resources,
    *,
    name: str,
    account_namespace: str,
    namespaces: Sequence[str] = (),
    with_rbac: bool = False,
) -> list[dict[str, Any]]:
    """The objects to apply: namespace, ServiceAccount, roles and bindings, all called `name`.

    With `namespaces` what lies in a namespace is granted in those only. Roles and bindings can be
    read only `with_rbac`, as with the role `view`.
    """
    shown = [each for each in resources.all if with_rbac or each.group != RBAC_GROUP]
    inside = [each for each in shown if each.namespaced is not False]
    outside = [each for each in shown if each.namespaced is False]
    account = {"kind": "ServiceAccount", "name": name, "namespace": account_namespace}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": account_namespace}},
        _object("v1", "ServiceAccount", name, namespace=account_namespace),
    ]
    if not namespaces:
        return [
            *objects,
            {**_role(name), "rules": [*_rules(outside), *_rules(inside)]},
            {**_binding("ClusterRoleBinding", name), **_ties(name, account)},
        ]
    apart = f"{name}-namespaced"
    return [
        *objects,
        {**_role(name), "rules": list(_rules(outside))},
        {**_binding("ClusterRoleBinding", name), **_ties(name, account)},
        {**_role(apart), "rules": list(_rules(inside))},
        *(
            {**_binding("RoleBinding", name, namespace=each), **_ties(apart, account)}
            for each in namespaces
        ),
    ]


def _rules(resources: Iterable[Resource]) -> Iterator[dict[str, Any]]:
    """One rule for each API group."""
    groups: dict[str, list[str]] = {}
    for each in resources:
        names = groups.setdefault(each.group, [])
        names.append(each.plural)
        if each.full_name != "nodes":  # of nodes no subresource is worth a right to it
            names += [f"{each.plural}/{part}" for part in sorted(each.subresources)]
    for group, names in groups.items():
        yield {"apiGroups": [group], "resources": names, "verbs": list(VERBS)}


def _object(version: str, kind: str, name: str, *, namespace: str | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": dict(LABELS)}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _role(name: str) -> dict[str, Any]:
    return _object(f"{RBAC_GROUP}/v1", "ClusterRole", name)


def _binding(kind: str, name: str, *, namespace: str | None = None) -> dict[str, Any]:
    return _object(f"{RBAC_GROUP}/v1", kind, name, namespace=namespace)


def _ties(role: str, account: Mapping[str, str]) -> dict[str, Any]:
    return {
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [dict(account)],
    }


def as_yaml(objects: Sequence[Mapping[str, Any]]) -> str:
    """The objects as `kubectl apply -f -` takes them."""
    import io

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    parts = []
    for each in objects:
        stream = io.StringIO()
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.dump(dict(each), stream)
        parts.append(stream.getvalue())
    return "---\n".join(parts)
