"""What is asked before an agent is: what the credential may do, and whether the agent can work."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kubecase.core.errors import KubecaseError
from kubecase.core.model import Fault
from kubecase.core.permissions import Permissions
from kubecase.service.case import Case


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """Asks the cluster, where there is one. `refusal` makes the error for a credential that can
    write, where that is not allowed; `served` says that what agents ask goes through the gateway,
    without which one is refused also where it is not known whether it can write.
    `ready` finds out whether the agent can be asked: it gives notes, or raises what is wrong.
    """

    ask: Callable[[Fault], Awaitable[Permissions]] | None = None
    refusal: Callable[[Permissions], KubecaseError] | None = None
    served: bool = False
    ready: Callable[[], Awaitable[Sequence[str]]] | None = None

    async def check(self, case: Case) -> None:
        """Put down what the credential may do; raises the refusal. What is too much is noted."""
        if self.ask is None:
            return
        case.stage = "preflight"
        permissions = await self.ask(case.incident.fault)
        case.permissions = permissions.as_json()
        unknown = permissions.unproven is not None and not permissions.can_write
        if not permissions.can_write and not unknown:
            return
        if self.refusal is not None and not (unknown and self.served):
            raise self.refusal(permissions)
        only = "the gateway let only reading through" if self.served else "kubecase only reads"
        words = ", ".join(permissions.can_write)
        case.notes.append(
            f"whether the credential for this cluster can write was not found out "
            f"({permissions.unproven}); {only}"
            if unknown
            else f"the credential for this cluster can write ({words}); {only}"
        )

    async def check_agent(self, case: Case) -> None:
        """Put down what is to be said of the agent; raises what stands in its way."""
        if self.ready is not None:
            case.stage = "preflight"
            case.notes += await self.ready()
            case.stage = "start"
