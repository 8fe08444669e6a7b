"""The end of every investigation: what was left is taken, three reports are written, one final
state is recorded. Done after success, failure, timeout, cancel, and after a bug of ours alike.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from kubecase.core.errors import KubecaseError, StoreUnavailable
from kubecase.core.model import Investigation, Status
from kubecase.core.report import Report, report_from_json
from kubecase.service.case import AGENT_JSON, AGENT_LOG, REPORT, RESERVE, Case, tell_error
from kubecase.service.report import FinalReport, Opinion, machine_part, plain_reports, render
from kubecase.service.routes import addressed
from kubecase.store import Changes, duration
from kubecase.workspace import (
    CollectionBudget,
    Workspace,
    collect,
    delete_at_once,
    keep_files,
)

if TYPE_CHECKING:
    from kubecase.service.investigate import Investigator

MAX_REPORT_BYTES = 1024 * 1024
LOG_TAIL_BYTES = 16 * 1024
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
REPORT_NAMES = {"md": "final-report.md", "html": "final-report.html", "json": "final-report.json"}


@dataclass(frozen=True, kw_only=True)
class Concluded:
    """An investigation that is over.

    `stays_open` says that the incident was kept open, since another attempt follows.
    `machine` is the content of `final-report.json`; `reports` says by kind (`md`, `html`, `json`)
    where the reports lie, which `conclusion` can write again. `operator_error` is what a human can
    put right, if that ended it.
    """

    investigation: Investigation
    machine: Mapping[str, Any]
    reports: dict[str, Path]
    notes: tuple[str, ...] = ()
    operator_error: KubecaseError | None = None
    stays_open: bool = False
    conclusion: "Conclusion | None" = field(default=None, repr=False, compare=False)

    @property
    def succeeded(self) -> bool:
        """Whether the agent found an answer."""
        return self.investigation.status is Status.SUCCESS


def take_report(case: Case, workspace: Workspace) -> int | None:
    """Read what the agent left as its report, by handle; returns its size, None without one.

    An agent that cannot write files leaves it in its output: then the verdict's text becomes
    `output/investigation.md`. The machine form is taken when it satisfies the schema, else a note
    says what is wrong with it.
    """
    text = _read_report(case, workspace)
    if text is None and case.verdict and case.verdict.report:
        text = case.verdict.report.encode()[:MAX_REPORT_BYTES]
        workspace.replace(REPORT, text)
    machine = _read(case, workspace, AGENT_JSON)
    if machine is not None:
        case.agent_json, findings = _parse(machine)
        case.notes += [f"{AGENT_JSON} was not taken: {finding}" for finding in findings[:5]]
    if text is None:
        return None
    case.agent_report = text.decode("utf-8", "replace")
    # A CLI that cannot write files leaves the machine form in a fenced block of its answer.
    case.agent_json = case.agent_json or machine_part(case.agent_report)
    return len(text)


def _read_report(case: Case, workspace: Workspace) -> bytes | None:
    try:
        text, more = workspace.read_start(REPORT, MAX_REPORT_BYTES)
    except FileNotFoundError:
        return None
    except KubecaseError as error:
        case.report_refused = str(error)
        case.notes.append(f"{REPORT} was not taken: {error}")
        return None
    if more:
        case.notes.append(f"{REPORT} was cut after {MAX_REPORT_BYTES} bytes")
    return text


def _read(case: Case, workspace: Workspace, relative: str) -> bytes | None:
    try:
        return workspace.read(relative, MAX_REPORT_BYTES)
    except FileNotFoundError:
        return None
    except KubecaseError as error:
        case.notes.append(f"{relative} was not taken: {error}")
        return None


def _parse(machine: bytes) -> tuple[Report | None, tuple[str, ...]]:
    try:
        value = json.loads(machine)
    except (ValueError, RecursionError) as error:
        return None, (f"not JSON: {type(error).__name__}",)
    return report_from_json(value)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A conclusion on its way: `machine` is None until the reports have been rendered."""

    final: Investigation
    machine: Mapping[str, Any] | None
    reports: dict[str, Path]


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """Draws the end of `case` with what `investigator` has."""

    investigator: "Investigator"
    case: Case

    async def draw(self) -> Concluded:
        """Take what was left, write the reports, record the final state, tell the observers.

        If a step of this fails by a bug of ours, plain reports are written and the final state is
        recorded all the same; then the bug goes on.
        """
        drawn = Drawn(final=self._outcome(), machine=None, reports={})
        try:
            drawn = await anyio.to_thread.run_sync(self._in_full, drawn.final)
        finally:
            if drawn.machine is None:
                drawn = await anyio.to_thread.run_sync(self._plainly, drawn.final)
            await self._record(drawn)
        self._clean_up(drawn.final)
        return Concluded(
            investigation=drawn.final,
            machine=drawn.machine or {},
            reports=drawn.reports,
            notes=tuple(self.case.notes),
            operator_error=self.case.operator_error,
            stays_open=self.case.stays_open,
            conclusion=self,
        )

    async def with_opinions(self, drawn: Concluded, opinions: Sequence[Opinion]) -> Concluded:
        """`drawn` with its reports written again, beside them what other agents found."""
        report = replace(self._report(drawn.investigation), opinions=tuple(opinions))
        machine, reports = await anyio.to_thread.run_sync(self._write_reports, report)
        return replace(drawn, machine=machine, reports=reports or drawn.reports)

    def _outcome(self) -> Investigation:
        """The investigation as it will stand on record, without what has to be collected."""
        case = self.case
        ended = case.ended
        assert ended is not None  # noqa: S101 - investigate() has just set it
        return replace(
            case.attempt,
            status=ended.status,
            reason=ended.reason,
            error=ended.error and self.investigator.redactor.text(ended.error)[0],
            ended_at=self.investigator.clock(),
            exit=case.exit,
            usage=case.usage,
            workspace=case.workspace.root if case.workspace else None,
            output_log=case.workspace.root / AGENT_LOG if case.workspace else None,
        )

    def _in_full(self, final: Investigation) -> "Drawn":
        workspace = self.case.workspace
        if workspace is not None:
            self._release_reserve(workspace)
            self._keep_log(workspace)
            try:
                left = collect(workspace, CollectionBudget())
                final = replace(final, artifacts=left.artifacts, rejected=left.rejected)
            except (KubecaseError, OSError) as error:
                self.case.notes.append(f"artifacts could not be collected: {error}")
        machine, reports = self._write_reports(self._report(final))
        return Drawn(final=final, machine=machine, reports=reports)

    def _plainly(self, final: Investigation) -> "Drawn":
        """The last resort: reports that need nothing but the outcome and the findings' names."""
        texts = plain_reports(self.case.incident, final, self.case.findings)
        kept = self.investigator.data / "artifacts" / final.key
        written: dict[str, Path] = {}
        try:
            keep_files(kept, _files(texts))
            written = _places(kept)
            if self.case.workspace is not None:
                _put(self.case.workspace, _files(texts))
                written = _places(self.case.workspace.root / "output")
        except KubecaseError as error:
            self.case.notes.append(f"the reports could not be written: {error}")
        return Drawn(final=final, machine=json.loads(texts["json"]), reports=written)

    def _release_reserve(self, workspace: Workspace) -> None:
        try:
            workspace.remove(RESERVE)
        except (KubecaseError, FileNotFoundError) as error:
            self.case.notes.append(f"the space kept for the reports was touched: {error}")

    def _keep_log(self, workspace: Workspace) -> None:
        """Put the truth where the mirror was, whatever the agent made of it."""
        if self.case.exit is None:
            return
        try:
            workspace.replace(AGENT_LOG, self.investigator.runtime.log(self.case.run_dir))
        except (KubecaseError, OSError) as error:
            self.case.notes.append(f"{AGENT_LOG} could not be completed: {error}")

    def _write_reports(self, report: FinalReport) -> tuple[dict[str, Any], dict[str, Path]]:
        """Write the reports where no agent can reach, and into the workspace.

        Returns the machine form, and where they lie. On a full disk shorter ones are tried: without
        the agent's text and without the log.
        """
        texts = render(report, self.investigator.redactor)
        final, workspace = report.investigation, self.case.workspace
        written: dict[str, Path] = {}
        kept = self.investigator.data / "artifacts" / final.key
        if self._write(report, texts, lambda files: keep_files(kept, files)):
            written = _places(kept)
        if workspace is not None:
            done = self._write(report, texts, lambda files: _put(workspace, files))
            if done and not delete_at_once(self.investigator.cleanup, final.status):
                written = _places(workspace.root / "output")
        return json.loads(texts["json"]), written

    def _write(
        self,
        report: FinalReport,
        texts: Mapping[str, str],
        write: Callable[[dict[str, bytes]], None],
    ) -> bool:
        try:
            write(_files(texts))
        except KubecaseError as error:
            self.case.notes.append(f"the reports could not be written whole: {error}")
        else:
            return True
        short = replace(report, agent_report=None, log_tail="", notes=tuple(self.case.notes))
        try:
            write(_files(render(short, self.investigator.redactor)))
        except KubecaseError:
            return False
        return True

    def _report(self, final: Investigation) -> FinalReport:
        case = self.case
        return FinalReport(
            incident=case.incident,
            investigation=final,
            findings=case.findings,
            agent_report=case.agent_report,
            agent_json=case.agent_json,
            collection=case.collection,
            limits=self.investigator.limits,
            isolation_notes=case.isolation_notes,
            skills=tuple(each.told for each in case.skills),
            notes=tuple(case.notes),
            log_tail=self._log_tail(),
            ran=case.ran,
        )

    def _log_tail(self) -> str:
        tail = b""
        if self.case.exit is not None:
            try:
                for chunk in self.investigator.runtime.log(self.case.run_dir):
                    tail = (tail + chunk)[-LOG_TAIL_BYTES:]
            except OSError as error:
                self.case.notes.append(f"the end of the log could not be read: {error}")
        return tail.decode("utf-8", "replace")

    async def _record(self, drawn: "Drawn") -> None:
        investigator, case, final = self.investigator, self.case, drawn.final
        machine = drawn.machine
        if machine is not None:
            # As in the reports: what is on record is shown to people, so it is redacted too.
            await self._persistently(
                lambda: investigator.store.save_report(final, _answer(machine), machine["findings"])
            )
        await self._persistently(
            lambda: investigator.store.move(
                case.attempt,
                final.status,
                keep_open=case.stays_open,
                messages=()
                if case.stays_open
                else (addressed(investigator.routes, case.incident, final)),
                **_changes(final),
            )
        )
        cluster = case.incident.fault.cluster
        if final.reason is not None:
            tell_error(investigator.observer, case, final.reason, final.error)
        if case.workspace is not None:
            size = await anyio.to_thread.run_sync(case.workspace.size)
            investigator.observer.record("workspace_size", cluster=cluster, bytes=size)
        investigator.observer.record(
            "agent_completed",
            incident_id=case.incident.id,
            cluster=cluster,
            attempt=final.attempt,
            status=final.status,
            reason=final.reason,
            duration=duration(final, investigator.clock()),
        )

    async def _persistently(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write to the record, again while it cannot be written; at last say so and go on.

        The reports are there by then, and whoever asked is told where.
        """
        for pause in (*RETRY_SECONDS, None):
            try:
                await write()
            except StoreUnavailable as error:
                if pause is None:
                    self.case.operator_error = error
                    self.case.notes.append(f"the end could not be put on record: {error}")
                else:
                    await anyio.sleep(pause)
            else:
                return

    def _clean_up(self, final: Investigation) -> None:
        """Delete the workspace if the policy says at once; an error here is told and is no result.

        The reports remain in the data directory.
        """
        case = self.case
        if case.workspace is None or not delete_at_once(self.investigator.cleanup, final.status):
            return
        try:
            case.workspace.delete()
        except KubecaseError as error:
            self.investigator.observer.record(
                "error",
                incident_id=case.incident.id,
                cluster=case.incident.fault.cluster,
                error_type="cleanup",
                error=error,
            )


def _changes(final: Investigation) -> Changes:
    """What the final move writes; what is not known (no workspace could be made) is left out."""
    changes = Changes(
        reason=final.reason,
        error=final.error,
        exit=final.exit,
        usage=final.usage,
        artifacts=final.artifacts,
        rejected=final.rejected,
    )
    if final.ended_at is not None:
        changes["ended_at"] = final.ended_at
    if final.workspace is not None and final.output_log is not None:
        changes |= Changes(workspace=final.workspace, output_log=final.output_log)
    return changes


def _answer(machine: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The agent's report, unless it broke off: half a sentence is no conclusion."""
    cause, report = machine["cause"], machine["report"]
    broken_off = report and report["extracted"] and cause and not cause["extracted"]
    return None if broken_off else report


def _files(texts: Mapping[str, str]) -> dict[str, bytes]:
    return {REPORT_NAMES[kind]: _encoded(text) for kind, text in texts.items()}


def _put(workspace: Workspace, texts: dict[str, bytes]) -> None:
    for name, text in texts.items():
        workspace.replace(f"output/{name}", text)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _places(folder: Path) -> dict[str, Path]:
    return {kind: folder / name for kind, name in REPORT_NAMES.items()}
