"""What a fake API server says about itself: groups, resources, schemas, versions, health."""

from collections.abc import Mapping
from typing import Any

from kubecase.clusters.kinds import KINDS

SHORT = {each.kind: list(each.aliases) for each in KINDS}
READING = ["get", "list", "watch"]
ALL_VERBS = [*READING, "create", "update", "patch", "delete", "deletecollection"]
SUBRESOURCES = {
    "pods": {
        "log": ["get"],
        "exec": ["create", "get"],
        "attach": ["create", "get"],
        "portforward": ["create", "get"],
        "proxy": ["create", "get"],
        "status": ["get", "patch", "update"],
        "ephemeralcontainers": ["get", "patch", "update"],
        "eviction": ["create"],
        "binding": ["create"],
    },
    "services": {"proxy": ["create", "get"]},
    "nodes": {"proxy": ["create", "get"]},
    "serviceaccounts": {"token": ["create"]},
    "deployments": {"scale": ["get", "patch", "update"], "status": ["get", "patch", "update"]},
}
VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.4",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "go1.24",
    "compiler": "gc",
    "platform": "linux/amd64",
}


def resources_by_root() -> dict[str, list[dict[str, Any]]]:
    """By root (`/api/v1`, `/apis/apps/v1`), the APIResources there."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in KINDS:
        entries = found.setdefault(each.root, [])
        entries.append(_resource(each.plural, each.kind, each.namespaced, SHORT[each.kind]))
        for part, verbs in SUBRESOURCES.get(each.plural, {}).items():
            name = f"{each.plural}/{part}"
            entries.append({**_resource(name, each.kind, each.namespaced, []), "verbs": verbs})
    found["/api/v1"].append(_resource("secrets", "Secret", True, []))
    found["/apis/metrics.k8s.io/v1beta1"] = [
        {**_resource("pods", "PodMetrics", True, []), "verbs": ["get", "list"]},
        {**_resource("nodes", "NodeMetrics", False, []), "verbs": ["get", "list"]},
    ]
    for group, words in (("authorization", ("SubjectAccess", "SubjectRules")),
                         ("authentication", ("Subject",))):  # fmt: skip
        found[f"/apis/{group}.k8s.io/v1"] = [
            {**_resource(f"self{w.lower()}reviews", f"Self{w}Review", False, []),
             "verbs": ["create"]}
            for w in words
        ]  # fmt: skip
    return found


def _resource(name: str, kind: str, namespaced: bool, short: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "singularName": kind.lower(),
        "namespaced": namespaced,
        "kind": kind,
        "verbs": ALL_VERBS,
        "shortNames": short,
        **({"categories": ["all"]} if name in {"pods", "deployments", "services"} else {}),
    }


RESOURCES = resources_by_root()


def discovery(path: str) -> Mapping[str, Any] | None:
    """The document at `path`, if it is one of discovery."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "/apis":
        groups = [_group(name) for name in _groups()]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path in RESOURCES:
        version = path.removeprefix("/apis/").removeprefix("/api/")
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version,
            "resources": RESOURCES[path],
        }
    group = path.removeprefix("/apis/")
    if group in _groups():
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}
    return {"/version": VERSION, **_openapi()}.get(path)


def _groups() -> list[str]:
    names = [root.split("/")[2] for root in RESOURCES if root.startswith("/apis/")]
    return list(dict.fromkeys(names))


def _group(name: str) -> dict[str, Any]:
    versions = [
        {"groupVersion": root.removeprefix("/apis/"), "version": root.rpartition("/")[2]}
        for root in RESOURCES
        if root.startswith(f"/apis/{name}/")
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _openapi() -> dict[str, Any]:
    index = {
        path: {"serverRelativeURL": f"/openapi/v3/{path}?hash=AB12"}
        for path in ("api/v1", "apis/apps/v1")
    }
    return {
        "/openapi/v3": {"paths": index},
        "/openapi/v3/api/v1": _schema("", "v1", "Pod", "pods"),
        "/openapi/v3/apis/apps/v1": _schema("apps", "v1", "Deployment", "deployments"),
    }


def _schema(group: str, version: str, kind: str, plural: str) -> dict[str, Any]:
    name = f"io.k8s.api.{group or 'core'}.{version}.{kind}"
    which = [{"group": group, "kind": kind, "version": version}]
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    reference = {"$ref": f"#/components/schemas/{name}"}
    answer = {"description": "OK", "content": {"application/json": {"schema": reference}}}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.32.4"},
        "paths": {
            f"{root}/namespaces/{{namespace}}/{plural}/{{name}}": {
                "get": {
                    "description": f"read the specified {kind}",
                    "responses": {"200": answer},
                    "x-kubernetes-action": "get",
                    "x-kubernetes-group-version-kind": which[0],
                }
            }
        },
        "components": {
            "schemas": {
                name: {
                    "description": f"{kind} is served by a fake.",
                    "type": "object",
                    "properties": {
                        "spec": {
                            "description": "What is wanted.",
                            "type": "object",
                            "properties": {
                                "replicas": {"description": "How many.", "type": "integer"}
                            },
                        }
                    },
                    "x-kubernetes-group-version-kind": which,
                }
            }
        },
    }
