"""What a credential may do in a cluster, as the cluster itself said. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

WRITES = ("create", "update", "patch", "delete", "exec")
"""What a read-only credential may do none of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """The answers of a preflight; None where nothing was answered (docs/formats.md section 4).

    `can_write` are those of `WRITES` that are allowed. `warnings` say what is missing, or too much.
    `unproven` says why it is not known whether it can write, None where everything was answered.
    """

    cluster: str
    at: datetime
    answers: Mapping[str, bool | None]
    can_write: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unproven: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same with the names of `context/permissions.json`."""
        return {
            "cluster_name": self.cluster,
            "validated_at": self.at.isoformat(),
            **{name: self.answers.get(name) for name in ANSWERS},
            "can_write": list(self.can_write),
            "warnings": list(self.warnings),
        }


ANSWERS = (
    "can_get_pods", "can_get_logs", "can_get_events", "can_get_deployments", "can_get_services",
    "secrets_access_allowed", "can_get_secrets", "can_get_configmaps", "can_get_nodes",
)  # fmt: skip
"""In the order of the document."""
