"""What the credential of a case may do, asked before anything else; a writing one is refused."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kubecase.core.errors import KubecaseError
from kubecase.core.model import Fault
from kubecase.core.permissions import Permissions
from kubecase.service.case import Case


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """Asks the cluster. `refusal` makes the error for a credential that can write, where that is
    not allowed; `served` says that what agents ask goes through the gateway.
    """

    ask: Callable[[Fault], Awaitable[Permissions]]
    refusal: Callable[[Permissions], KubecaseError] | None
    served: bool

    async def check(self, case: Case) -> None:
        """Put down what the credential may do; raises the refusal. What is too much is noted."""
        case.stage = "preflight"
        permissions = await self.ask(case.incident.fault)
        case.permissions = permissions.as_json()
        if not permissions.can_write:
            return
        if self.refusal is not None:
            raise self.refusal(permissions)
        words = ", ".join(permissions.can_write)
        only = "the gateway let only reading through" if self.served else "kubecase only reads"
        case.notes.append(f"the credential for this cluster can write ({words}); {only}")
