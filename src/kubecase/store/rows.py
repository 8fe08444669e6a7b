"""From values to rows and back. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping

from kubecase.core.errors import FaultRejected
from kubecase.core.model import (
    Artifact,
    Cause,
    Exit,
    Fault,
    Incident,
    IncidentId,
    Investigation,
    Rejected,
    Resource,
    Usage,
)
from kubecase.store.owner import Owner
from kubecase.store.schema import RAW_BYTES
from kubecase.store.values import Attempt, Changes, Row, SavedReport, Transition

HEADLINE = 300


def fault_row(fault: Fault) -> dict[str, Any]:
    """`fault` as its row. Raises FaultRejected if its payload is over the cap."""
    if len(fault.raw) > RAW_BYTES:
        raise FaultRejected(
            f"cannot record a fault of {len(fault.raw)} bytes: at most {RAW_BYTES} are kept",
            hint="Have the source send less, such as fewer alerts in one message.",
        )
    return {
        "fingerprint": fault.fingerprint,
        "cluster": fault.cluster,
        "namespace": fault.resource.namespace,
        "resource_kind": fault.resource.kind,
        "resource_name": fault.resource.name,
        "resource_api_version": fault.resource.api_version,
        "resource_uid": fault.resource.uid,
        "reason": fault.reason,
        "message": fault.message,
        "severity": fault.severity,
        "severity_word": fault.severity_word,
        "seen_at": fault.seen_at,
        "source": fault.source,
        "labels": dict(fault.labels),
        "raw": fault.raw,
    }


def resource_of(row: RowMapping) -> Resource:
    """The resource in a row of `fault`."""
    return Resource(
        kind=row["resource_kind"],
        name=row["resource_name"],
        namespace=row["namespace"],
        api_version=row["resource_api_version"],
        uid=row["resource_uid"],
    )


def incident_of(incident: RowMapping, fault: RowMapping) -> Incident:
    """The incident in its two rows."""
    return Incident(
        id=IncidentId(incident["id"]),
        opened_at=incident["opened_at"],
        state=incident["state"],
        fault=Fault(
            fingerprint=fault["fingerprint"],
            cluster=fault["cluster"],
            resource=resource_of(fault),
            reason=fault["reason"],
            message=fault["message"],
            severity=fault["severity"],
            severity_word=fault["severity_word"],
            seen_at=fault["seen_at"],
            raw=fault["raw"],
            source=fault["source"],
            labels=fault["labels"],
        ),
    )


def investigation_of(row: RowMapping) -> Investigation:
    """The investigation in a row of that name."""
    return Investigation(
        incident_id=IncidentId(row["incident_id"]),
        attempt=row["attempt"],
        agent=row["agent"],
        status=row["status"],
        created_at=row["created_at"],
        workspace=_path(row["workspace"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        reason=row["reason"],
        error=row["error"],
        exit=None if row["exit"] is None else _exit(row["exit"]),
        usage=None if row["usage"] is None else Usage(**row["usage"]),
        output_log=_path(row["output_log"]),
        artifacts=tuple(
            Artifact(path=Path(each["path"]), size=each["size"], sha256=each["sha256"])
            for each in row["artifacts"]
        ),
        rejected=tuple(Rejected(path=each["path"], why=each["why"]) for each in row["rejected"]),
        isolation=row["isolation"],
    )


def attempt_of(row: RowMapping) -> Attempt:
    """The whole of a row of `investigation`."""
    return Attempt(
        investigation=investigation_of(row),
        cluster=row["cluster"],
        slot=row["slot"],
        run_dir=_path(row["run_dir"]),
        isolation_notes=tuple(row["isolation_notes"]),
        cancel_requested_at=row["cancel_requested_at"],
        owner=owner_of(row),
        epoch=row["epoch"],
    )


def owner_of(row: RowMapping) -> Owner:
    """The owner in a row of `investigation`."""
    return Owner(
        host_id=row["owner_host"],
        boot_id=row["owner_boot"],
        pid=row["owner_pid"],
        started=row["owner_started"],
    )


def transition_of(row: RowMapping) -> Transition:
    """The transition in its row."""
    return Transition(
        incident_id=IncidentId(row["incident_id"]),
        attempt=row["attempt"],
        before=row["from_status"],
        after=row["to_status"],
        at=row["at"],
        detail=row["detail"],
    )


def saved_report_of(row: RowMapping) -> SavedReport:
    """The report in its row."""
    return SavedReport(
        attempt=row["attempt"],
        report=row["report"],
        findings=row["findings"],
        headline=row["headline"],
        saved_at=row["saved_at"],
    )


def list_row_of(row: RowMapping) -> Row:
    """One line of a list, from the joined row of `reading.listed`."""
    return Row(
        incident_id=IncidentId(row["incident_id"]),
        attempt=row["attempt"],
        agent=row["agent"],
        status=row["status"],
        reason=row["reason"],
        cluster=row["cluster"],
        namespace=row["namespace"],
        resource=resource_of(row),
        fault_reason=row["fault_reason"],
        severity=row["severity"],
        opened_at=row["opened_at"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        headline=row["headline"],
    )


def changes_row(changes: Changes) -> dict[str, Any]:
    """`changes` as columns of `investigation`; only those that were given."""
    row: dict[str, Any] = dict(changes)
    for name in ("workspace", "run_dir", "output_log"):
        if name in row:
            row[name] = None if row[name] is None else str(row[name])
    for name in ("artifacts", "rejected", "isolation_notes"):
        if name in row:
            row[name] = [each if isinstance(each, str) else _plain(each) for each in row[name]]
    for name in ("exit", "usage"):
        if row.get(name) is not None:
            row[name] = _plain(row[name])
    return row


def headline_of(report: Mapping[str, Any] | None, findings: Mapping[str, Any] | None) -> str | None:
    """The one line that a list shows of a report: its best cause, else its summary."""
    for each in (report, findings):
        if not each:
            continue
        hypotheses = each.get("hypotheses") or [{}]
        words = hypotheses[0].get("root_cause") or each.get("summary")
        if words:
            return " ".join(str(words).split())[:HEADLINE]
    return None


def _exit(value: Mapping[str, Any]) -> Exit:
    return Exit(**{**value, "cause": Cause(value["cause"])})


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _plain(value: Artifact | Rejected | Exit | Usage) -> dict[str, Any]:
    fields = ((name, getattr(value, name)) for name in value.__dataclass_fields__)
    return {name: str(each) if isinstance(each, Path) else each for name, each in fields}
