"""What is known so far about one attempt while it is being worked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubecase.core.errors import AgentUnavailable, KubecaseError
from kubecase.core.model import (
    Collection,
    Command,
    Ended,
    Exit,
    Incident,
    Investigation,
    Reason,
    Status,
    Usage,
    Verdict,
)
from kubecase.core.ports import Observer, Stop
from kubecase.core.report import Report
from kubecase.service.report import Ran
from kubecase.service.stopping import OwnStop
from kubecase.workspace import SkillCopied, Workspace

if TYPE_CHECKING:  # it brings the web server along, which most runs do without
    from kubecase.gateways.serving import RunAccess

AGENT_LOG = "output/agent.log"
REPORT = "output/investigation.md"
AGENT_JSON = "output/report.json"
RESERVE = "output/.reserve"
RESERVE_BYTES = 512 * 1024
NOT_FOUND = (126, 127)
"""What a shell says of a program that it cannot find, or may not run."""

HOME = ".home"
TMP = ".tmp"

NOTHING_FOUND = Report(summary="No findings: the investigation ended before facts were collected.")


@dataclass(frozen=True, kw_only=True)
class Before:
    """What was before an attempt: `begun` is the attempt itself if it is on record already, else
    `slot` is the place of its cluster that it takes.

    `notes` are sentences for the report; `opinions` what other agents concluded about the same
    incident, which this one is told of as data.
    """

    begun: Investigation | None = None
    slot: int | None = None
    notes: Sequence[str] = ()
    opinions: Sequence[str] = ()


NOTHING_BEFORE = Before()


@dataclass(kw_only=True)
class Case:
    """One attempt in the making. `stage` names what is being done, for errors and for people."""

    incident: Incident
    attempt: Investigation
    run_dir: Path
    stage: str = "workspace"
    workspace: Workspace | None = None
    skills: tuple[SkillCopied, ...] = ()
    collection: Collection | None = None
    findings: Report = NOTHING_FOUND
    isolation_notes: tuple[str, ...] = ()
    command: Command | None = None
    exit: Exit | None = None
    verdict: Verdict | None = None
    agent_report: str | None = None
    report_refused: str | None = None
    agent_json: Report | None = None
    ended: Ended | None = None
    operator_error: KubecaseError | None = None
    error_told: bool = False
    stays_open: bool = False
    access: "RunAccess | None" = None
    own_stop: OwnStop | None = None
    strange_start: str | None = None
    ran: Ran | None = None
    permissions: Mapping[str, Any] | None = None
    context: Mapping[str, bytes] | None = None
    opinions: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)

    def stopping(self, stop: Stop) -> Stop:
        """`stop`, with a stop of our own beside it."""
        self.own_stop = OwnStop(stop)
        return self.own_stop

    def began_strangely(self, sentence: str) -> None:
        """The agent did not start as it was asked to: its run is over."""
        if self.strange_start is None:
            self.strange_start = sentence
            if self.own_stop is not None:
                self.own_stop.now()

    @property
    def usage(self) -> Usage | None:
        """What the agent says it consumed."""
        return self.verdict.usage if self.verdict else None


def ended_by(case: Case, error: BaseException | None) -> Ended:
    """How a case ended that nothing has judged: by an error of the operator's, or of ours."""
    if error is None:
        return _failed(Reason.INTERNAL, f"{case.stage}: ended without a verdict")
    if isinstance(error, KubecaseError):
        unusable = case.stage == "start" or isinstance(error, AgentUnavailable)
        reason = Reason.START_ERROR if unusable else Reason.INTERNAL
        return _failed(reason, f"{case.stage}: {error}")
    if isinstance(error, Exception):
        return _failed(Reason.INTERNAL, f"{case.stage}: {type(error).__name__}: {error}"[:2000])
    return Ended(status=Status.CANCELLED, reason=None, error=f"{case.stage}: kubecase was stopped")


def tell_error(observer: Observer, case: Case, error_type: str, error: object) -> None:
    """Tell the observers of `error` once, with what was to be run; the logs mask what is secret."""
    if case.error_told:
        return
    case.error_told = True
    command = case.command
    what = {} if command is None else {
        "command": command.argv,
        "cwd": command.cwd,
        "environment": dict(command.environment),
    }  # fmt: skip
    observer.record(
        "error",
        incident_id=case.incident.id,
        cluster=case.incident.fault.cluster,
        error_type=error_type,
        error=error,
        **what,
    )


def stopped() -> Ended:
    """The end of a case that was cancelled before an agent had started."""
    return Ended(status=Status.CANCELLED, reason=None, error="stopped on request")


def lost(error: str) -> Ended:
    """The end of a case of which nobody knows how it ended."""
    return _failed(Reason.LOST, error)


def _failed(reason: Reason, error: str) -> Ended:
    return Ended(status=Status.FAILED, reason=reason, error=error)


def note_missing_program(case: Case, exit: Exit) -> None:
    """Say what an exit code of a shell probably means in a sandbox."""
    if exit.code in NOT_FOUND and case.attempt.isolation not in (None, "process"):
        case.notes.append(
            f"exit code {exit.code}: perhaps a program that the agent calls is not let into "
            f"isolation {case.attempt.isolation}; agent_runtime.read_only_paths lets more in"
        )
