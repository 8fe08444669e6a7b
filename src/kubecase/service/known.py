"""What is known of a case before its agent runs: told to observers, and found again on record."""

from kubecase.core.model import Collection
from kubecase.core.ports import Observer
from kubecase.core.report import Report, report_from_json
from kubecase.service.case import Case
from kubecase.store import Story


def tell_facts(observer: Observer, case: Case, collection: Collection) -> None:
    """Tell the observers what was collected, and what the built-in investigator makes of it."""
    observer.record(
        "facts_collected",
        incident_id=case.incident.id,
        cluster=case.incident.fault.cluster,
        objects=len(collection.objects),
        events=len(collection.events),
        logs=len(collection.logs),
        gaps=len(collection.gaps),
        origin=collection.origin,
    )
    best = case.findings.best
    observer.record(
        "findings",
        incident_id=case.incident.id,
        cluster=case.incident.fault.cluster,
        headline=best.root_cause if best else "no fault found",
        category=best.category if best else "none.no_fault",
        confidence=best.confidence if best else 0.0,
    )


def saved_findings(story: Story, attempt: int) -> Report | None:
    """The built-in findings that were put on record before the agent was started."""
    for saved in story.reports:
        if saved.attempt == attempt and saved.findings is not None:
            return report_from_json(dict(saved.findings))[0]
    return None
