"""In which words a denial is told: what is not allowed, and what leads further instead."""

from kubecase.gateways.policy.paths import Named

READ_ONLY = "kubecase: this access is read-only"

_INSTEAD: dict[str, str] = {
    "exec": "no command is run in a container; logs (also --previous), describe and events tell "
    "what it did",
    "attach": "nobody attaches to a container; read its logs instead (also --previous)",
    "portforward": "no port is forwarded; describe the Service and its EndpointSlices instead",
    "proxy": "nothing is reached through the API server; read status, logs and events instead",
    "ephemeralcontainers": "no debug container is started; read logs and describe the pod instead",
    "token": "no token is issued",
    "eviction": "no pod is evicted; recommend it in the report instead",
    "binding": "no pod is bound; recommend it in the report instead",
    "finalize": "nothing is finalized; recommend it in the report instead",
}

SECRETS = (
    "kubecase: Secrets are not readable in any form. `describe pod` shows which Secret and key a "
    "container wants, and the events say when one is missing; that is enough for a report"
)
UPGRADE = (
    f"{READ_ONLY}: no connection is upgraded (exec, cp, attach, port-forward). "
    "Read logs, also --previous, describe and events instead"
)
LEGACY_WATCH = (
    "kubecase: the old /watch/ paths are not served. Use the list with ?watch=true instead"
)


def of_method(method: str, target: Named | None) -> str:
    """Why a method other than GET is refused."""
    where = "" if target is None else f" of {_name(target)}"
    return (
        f"{READ_ONLY}: {method[:16]}{where} is refused, also as a dry run. "
        "Put the change into the report as a recommendation instead"
    )


def of_part(target: Named) -> str:
    """Why a subresource is refused."""
    part = (target.part or "").partition("/")[0]
    instead = _INSTEAD.get(part, "of subresources only log, status and scale are read")
    return f"{READ_ONLY}: {_name(target)} is refused: {instead}"


def of_resource(target: Named) -> str:
    """Why a resource is refused that is not on the list."""
    name = _name(target)
    return (
        f"kubecase: {name} is not on the list of what is read here. If it is needed, say so in the "
        "report; an operator adds it with `extra_resources`"
    )


def of_path() -> str:
    """Why a path that is not of the API is refused."""
    return (
        "kubecase: this path is not served. Served are the API's resources, discovery, /openapi, "
        "/version, /readyz and /livez"
    )


def _name(target: Named) -> str:
    group = f".{target.group}" if target.group else ""
    part = f"/{target.part[:40]}" if target.part else ""
    return f"{target.plural[:60]}{group}{part}"
