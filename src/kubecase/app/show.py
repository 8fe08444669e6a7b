"""Incidents and outcomes as people read them on a terminal."""

import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kubecase.app.boundary import printable

if TYPE_CHECKING:
    from rich.console import Console

    from kubecase.app.session import Outcome
    from kubecase.core.report import Hypothesis
    from kubecase.store import Row, Story

COLOURS = {
    "success": "green", "failed": "red", "timeout": "yellow", "cancelled": "yellow",
    "running": "cyan", "starting": "cyan", "created": "cyan",
}  # fmt: skip


def console() -> "Console":
    """Standard output as rich sees it; plain text when it is no terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_outcome(outcome: "Outcome") -> None:
    """The end of an investigation: state, cause with evidence, and where the reports are."""
    from rich.markup import escape

    out = console()
    done = outcome.concluded.investigation
    colour = COLOURS[done.status]
    why = f" ({done.reason})" if done.reason else ""
    out.print(f"[bold {colour}]{done.status}[/]{why}  incident {done.incident_id}")
    if done.error:
        out.print(f"  {escape(printable(done.error))}")
    findings = outcome.concluded.findings
    out.print()
    out.print(f"[bold]{escape(printable(findings.summary))}[/]")
    for number, each in enumerate(findings.hypotheses[:3], start=1):
        _print_hypothesis(out, number, each)
    for note in (*outcome.job.fault.notes, *outcome.concluded.notes):
        out.print(f"[dim]note: {escape(printable(note))}[/]")
    out.print()
    for kind, path in outcome.concluded.reports.items():
        out.print(f"  {kind:<5} {escape(printable(path))}")
    out.print(f"  again {escape(printable(sys.argv[0]))} show {done.incident_id[:8]}")


def _print_hypothesis(out: "Console", number: int, each: "Hypothesis") -> None:
    from rich.markup import escape

    place = ""
    if each.culprit is not None:
        space = f"{each.culprit.namespace}/" if each.culprit.namespace else ""
        place = f" → {each.culprit.kind} {space}{each.culprit.name}"
    out.print()
    head = f"[cyan]{each.category}[/] {each.confidence:.0%}"
    out.print(f"{number}. {head}{escape(printable(place))}")
    out.print(f"   {escape(printable(each.root_cause))}")
    for evidence in each.evidence[:4]:
        quote = printable(evidence.quote).replace("\n", " ")[:200]
        out.print(f"   [dim]“{escape(quote)}”  {escape(printable(evidence.source))}[/]")
    for step in each.next_steps[:2]:
        out.print(f"   [green]$[/] {escape(printable(step))}")


def print_rows(rows: "Iterable[Row]", now: datetime) -> None:
    """A table of investigations."""
    from rich.markup import escape
    from rich.table import Table

    from kubecase.store import duration

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("incident", "status", "age", "took", "severity", "fault", "conclusion"):
        table.add_column(name, no_wrap=name != "conclusion")
    for row in rows:
        space = f"{row.namespace}/" if row.namespace else ""
        state = f"{row.status} ({row.reason})" if row.reason else str(row.status)
        number = f" #{row.attempt}" if row.attempt > 1 else ""
        table.add_row(
            row.incident_id[:8] + number,
            f"[{COLOURS[row.status]}]{state}[/]",
            span((now - row.opened_at).total_seconds()),
            f"{duration(row, now):.1f} s",
            str(row.severity),
            escape(printable(f"{row.fault_reason} {space}{row.resource}")[:60]),
            escape(printable(row.headline or "")[:160]),
        )
    console().print(table)


def row_as_json(row: "Row", now: datetime) -> dict[str, Any]:
    """One row of the list for machines."""
    from kubecase.store import duration

    return {
        "incident_id": row.incident_id,
        "attempt": row.attempt,
        "agent": row.agent,
        "status": row.status,
        "reason": row.reason,
        "cluster": row.cluster,
        "namespace": row.namespace,
        "resource": str(row.resource),
        "fault_reason": row.fault_reason,
        "severity": row.severity,
        "opened_at": row.opened_at.isoformat(),
        "start_time": row.started_at and row.started_at.isoformat(),
        "end_time": row.ended_at and row.ended_at.isoformat(),
        "duration_seconds": round(duration(row, now), 3),
        "conclusion": row.headline,
    }


def print_story(story: "Story", now: datetime) -> None:
    """All that is on record about one incident, in the order it happened."""
    from rich.markup import escape

    from kubecase.store import duration

    out = console()
    fault = story.incident.fault
    space = f"{fault.resource.namespace}/" if fault.resource.namespace else ""
    out.print(f"[bold]{escape(printable(f'{fault.reason} {space}{fault.resource}'))}[/]")
    out.print(f"  incident {story.incident.id}  cluster {escape(printable(fault.cluster))}")
    out.print(f"  severity {fault.severity}  seen {fault.seen_at:%Y-%m-%d %H:%M:%S} UTC")
    if fault.message:
        out.print(f"  [dim]{escape(printable(fault.message)[:500])}[/]")
    for attempt in story.attempts:
        done = attempt.investigation
        out.print()
        out.print(
            f"attempt {done.attempt} by {escape(printable(done.agent))}: "
            f"[{COLOURS[done.status]}]{done.status}[/]"
            + (f" ({done.reason})" if done.reason else "")
            + f", {duration(done, now):.1f} s"
            + (f", isolation {done.isolation}" if done.isolation else "")
        )
        if done.error:
            out.print(f"  {escape(printable(done.error))}")
        for step in (t for t in story.transitions if t.attempt == done.attempt):
            out.print(f"  [dim]{step.at:%H:%M:%S.%f}  {step.before} → {step.after}[/]")
        for saved in (r for r in story.reports if r.attempt == done.attempt):
            _print_saved(out, saved.report or saved.findings or {})
        if done.workspace is not None:
            out.print(
                f"  report {escape(printable(done.workspace / 'output' / 'final-report.md'))}"
            )


def _print_saved(out: "Console", report: Mapping[str, Any]) -> None:
    from rich.markup import escape

    out.print(f"  [bold]{escape(printable(report.get('summary', '')))}[/]")
    for each in list(report.get("hypotheses", ()))[:3]:
        line = f"{each['category']} {each['confidence']:.0%}: {each['root_cause']}"
        out.print(f"  • {escape(printable(line))}")


def span(seconds: float) -> str:
    """A duration as people say it: `42s`, `7m`, `3h`, `2d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"
