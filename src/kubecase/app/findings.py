"""What `kubecase doctor` found out about one thing."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from kubecase.core.ports import Capabilities

State = Literal["ok", "missing", "note"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that works or does not. `needed` when the settings ask for it. `capabilities` are
    those of an agent's CLI.
    """

    what: str
    state: State
    says: str
    remedy: str | None = None
    needed: bool = False
    capabilities: "Capabilities | None" = None

    def as_json(self) -> dict[str, Any]:
        """The finding for machines."""
        value = asdict(self)
        if self.capabilities is None:
            del value["capabilities"]
        return value
