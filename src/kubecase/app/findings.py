"""What `kubecase doctor` found out about one thing."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "missing", "note"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that works or does not. `needed` when the settings ask for it."""

    what: str
    state: State
    says: str
    remedy: str | None = None
    needed: bool = False

    def as_json(self) -> dict[str, Any]:
        """The finding for machines."""
        return asdict(self)
