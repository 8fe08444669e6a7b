"""Incidents and outcomes as people read them on a terminal."""

import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kubecase.app.boundary import printable

if TYPE_CHECKING:
    from rich.console import Console

    from kubecase.app.session import Outcome
    from kubecase.core.redact import Redactor
    from kubecase.store import Row, Story
    from kubecase.store.desk import Course
    from kubecase.store.working import Waiting

COLOURS = {
    "success": "green", "failed": "red", "timeout": "yellow", "cancelled": "yellow",
    "running": "cyan", "starting": "cyan", "created": "cyan",
}  # fmt: skip


def console() -> "Console":
    """Standard output as rich sees it; plain text when it is no terminal."""
    from rich.console import Console

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:
            # Rich would exit with 1, which means here that the agent failed.
            raise BrokenPipeError

    return PipedConsole(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_outcome(outcome: "Outcome") -> None:
    """The end of an investigation: state, conclusion with evidence, and where the reports are."""
    from rich.markup import escape

    out = console()
    done = outcome.concluded.investigation
    colour = COLOURS[done.status]
    why = f" ({done.reason})" if done.reason else ""
    out.print(f"[bold {colour}]{done.status}[/]{why}  incident {done.incident_id}")
    if done.error:
        out.print(f"  {escape(printable(done.error))}")
    _print_conclusion(out, outcome.concluded.machine)
    _print_opinions(out, outcome.concluded.machine)
    for note in (*outcome.job.fault.notes, *outcome.concluded.notes):
        out.print(f"[dim]note: {escape(printable(note))}[/]")
    # Plainly, so that a narrow terminal does not break the paths in two.
    print()
    for kind, path in outcome.concluded.reports.items():
        print(f"  {kind:<5} {printable(path)}")
    if done.workspace is not None and done.agent != "builtin":
        answer = done.workspace / "output" / "investigation.md"
        if answer.is_file() and not answer.is_symlink():
            print(f"  {'agent':<5} {printable(answer)}")
    print(f"  again {printable(sys.argv[0])} show {done.incident_id[:8]}")


def _print_conclusion(out: "Console", machine: Mapping[str, Any]) -> None:
    """The agent's answer first, when there is one; then what the built-in rules say."""
    from rich.markup import escape

    cause, report, findings = machine["cause"], machine["report"], machine["findings"]
    by_agent = bool(cause) and cause["by"] != "the built-in rules"
    best = report if by_agent else findings
    if cause:
        out.print(f"[dim]best known cause, by {escape(printable(cause['by']))}[/]")
    out.print(f"[bold]{escape(printable(best.get('summary') or cause['root_cause']))}[/]")
    for number, each in enumerate(best["hypotheses"][:3], start=1):
        _print_hypothesis(out, number, each)
    if by_agent and findings["hypotheses"]:
        first = findings["hypotheses"][0]
        out.print()
        words = f"{first['category']} {first['confidence']:.0%}: {first['root_cause']}"
        out.print(f"[dim]the built-in rules say[/] {escape(printable(words))}")


def _print_opinions(out: "Console", machine: Mapping[str, Any]) -> None:
    from rich.markup import escape

    for opinion in machine.get("opinions", ()):
        ended = opinion["status"] + (f" ({opinion['reason']})" if opinion["reason"] else "")
        out.print()
        out.print(f"[bold]another opinion, by {escape(printable(opinion['agent']))}[/]: {ended}")
        out.print(f"   {escape(printable(opinion['agreement']['words']))}")
        if opinion["cause"]:
            out.print(f"   {escape(printable(opinion['cause']['root_cause']))}")


def _print_hypothesis(out: "Console", number: int, each: Mapping[str, Any]) -> None:
    from rich.markup import escape

    culprit, confidence = each.get("culprit"), each.get("confidence")
    place = ""
    if culprit:
        space = f"{culprit['namespace']}/" if culprit["namespace"] else ""
        place = f" → {culprit['kind']} {space}{culprit['name']}"
    sure = f" {confidence:.0%}" if confidence is not None else ""
    out.print()
    out.print(
        f"{number}. [cyan]{each.get('category') or 'cause'}[/]{sure}{escape(printable(place))}"
    )
    out.print(f"   {escape(printable(each['root_cause']))}")
    for evidence in each["evidence"][:4]:
        quote = printable(evidence["quote"]).replace("\n", " ")[:200]
        mark = "  [yellow]not verified[/]" if evidence.get("verified") is False else ""
        source = escape(printable(evidence["source"]))
        out.print(f"   [dim]“{escape(quote)}”  {source}[/]{mark}")
    for step in each["next_steps"][:2]:
        out.print(f"   [green]$[/] {escape(printable(step))}")


def print_rows(rows: "Iterable[Row]", now: datetime, orphans: frozenset[str]) -> None:
    """One line an investigation. On a terminal the end of a line is cut, never what identifies it.

    Through a pipe nothing is cut. `orphans` are the keys of those whose kubecase is dead.
    """
    from rich.text import Text

    out = console()
    cells = [_cells(row, now, orphans) for row in rows]
    head = ("incident", "status", "age", "took", "severity", "fault", "conclusion")
    widths = [max(len(line[n]) for line in (head, *cells)) for n in range(len(head) - 1)]
    fault = widths.pop() if not sys.stdout.isatty() else min(widths.pop(), 44)
    for number, line in enumerate((head, *cells)):
        text = Text(style="bold" if number == 0 else "")
        for cell, width in zip(line, (*widths, fault), strict=False):
            text.append(f"{cell[:width]:<{width}}  ", style=COLOURS.get(cell.split(" ")[0], ""))
        text.append(line[-1])
        if sys.stdout.isatty():
            text.truncate(out.width, overflow="ellipsis")
        out.print(text)


def _cells(row: "Row", now: datetime, orphans: frozenset[str]) -> tuple[str, ...]:
    from kubecase.store import duration

    space = f"{row.namespace}/" if row.namespace else ""
    word = row.reason or ("orphan" if row.key in orphans else None)
    return (
        row.incident_id[:8] + (f" #{row.attempt}" if row.attempt > 1 else ""),
        f"{row.status} ({word})" if word else str(row.status),
        span((now - row.opened_at).total_seconds()),
        f"{duration(row, now):.1f} s",
        str(row.severity),
        printable(f"{row.fault_reason} {space}{row.resource}").replace("\n", " "),
        printable(row.headline or "").replace("\n", " "),
    )


def row_as_json(row: "Row", now: datetime, orphans: frozenset[str]) -> dict[str, Any]:
    """One row of the list for machines; `orphan` is true for one whose kubecase is dead."""
    from kubecase.store import duration

    return {
        "incident_id": row.incident_id,
        "attempt": row.attempt,
        "agent": row.agent,
        "status": row.status,
        "reason": row.reason,
        "orphan": row.key in orphans,
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


def print_waiting(waiting: "Iterable[Waiting]", now: datetime) -> None:
    """One line for each incident that waits."""
    out = console()
    for each in waiting:
        age = span((now - each.queued_at).total_seconds())
        out.print(f"{each.id}  {each.severity:<9} {age:>4}  {printable(each.cluster)}")


def waiting_as_json(waiting: "Waiting", now: datetime) -> dict[str, Any]:
    """One of them for machines."""
    return {
        "incident_id": waiting.id,
        "cluster": waiting.cluster,
        "severity": waiting.severity,
        "queued_at": waiting.queued_at.isoformat(),
        "waiting_seconds": round((now - waiting.queued_at).total_seconds(), 3),
        "tries": waiting.tries,
    }


def _print_course(out: "Console", course: "Course") -> None:
    """What the service decided about the faults of an incident, and what people said of it."""
    from rich.markup import escape

    if course.decisions:
        out.print()
        out.print("decisions")
    for each in course.decisions[-20:]:
        words = f"{each['decision']}  {each['fault']} of {each['resource']}: {each['reason']}"
        source = escape(printable(each["source"]))
        out.print(f"  [dim]{each['at']:%H:%M:%S}[/]  {escape(printable(words))}  [dim]{source}[/]")
    for said in course.feedback:
        cause = f", the cause was {said['cause']}" if said["cause"] else ""
        words = f"{said['by'] or 'somebody'} says: {said['verdict']}{cause}"
        out.print(f"  {escape(printable(words))}")


def print_story(
    story: "Story", now: datetime, redactor: "Redactor", course: "Course | None" = None
) -> None:
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
        message = redactor.text(fault.message)[0]
        out.print(f"  [dim]{escape(printable(message)[:500])}[/]")
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
    if course is not None:
        _print_course(out, course)


def _print_saved(out: "Console", report: Mapping[str, Any]) -> None:
    from rich.markup import escape

    out.print(f"  [bold]{escape(printable(report.get('summary', '')))}[/]")
    for each in list(report.get("hypotheses", ()))[:3]:
        sure = f" {each['confidence']:.0%}" if each.get("confidence") is not None else ""
        line = f"{each.get('category') or 'cause'}{sure}: {each['root_cause']}"
        out.print(f"  • {escape(printable(line))}")


def span(seconds: float) -> str:
    """A duration as people say it: `42s`, `7m`, `3h`, `2d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"
