"""The end of an incident that nobody can work: on record, with a report, like every other one."""

from kubecase.core.model import Ended, Incident, Reason, Status
from kubecase.service.case import Case
from kubecase.service.conclude import Concluded, Conclusion
from kubecase.service.investigate import Investigator


async def give_up(investigator: Investigator, incident: Incident, why: str) -> Concluded:
    """One more attempt at `incident`, failed as `internal` before it began; nothing is started."""
    attempt = await investigator.store.begin_attempt(incident.id, investigator.agent_name)
    case = Case(
        incident=incident, attempt=attempt, run_dir=investigator.data / "runs" / attempt.key
    )
    case.ended = Ended(status=Status.FAILED, reason=Reason.INTERNAL, error=why)
    case.notes.append("no further attempt is made; `kubecase retry` makes one all the same")
    return await Conclusion(investigator=investigator, case=case).draw()
