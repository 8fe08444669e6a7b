"""What has run: the agent's claim put right, the program's version, the models, the refusals."""

from collections.abc import Callable
from dataclasses import replace

from kubecase.core.model import Cause, Exit, Reason
from kubecase.service.case import Case
from kubecase.service.report import Ran


def settle(case: Case, exit: Exit, program_version: Callable[[], str | None]) -> Exit:
    """Put the agent's claim right by what was seen here, note what ran, and return the exit that
    it is judged by.

    A run that was stopped by kubecase itself was cancelled by nobody: what ended it is what the
    claim says by then.
    """
    ours = case.own_stop is not None and case.own_stop.ours
    if case.access is not None and case.verdict is not None:
        case.verdict = case.access.corrected(case.verdict)
        ours = ours or case.access.ended_run
    if case.strange_start is not None and case.verdict is not None:
        case.verdict = replace(
            case.verdict,
            report=None,
            reason=Reason.START_ERROR,
            failure=case.strange_start,
            transient=False,
        )
    case.ran = _ran(case, exit, program_version)
    if ours and exit.cause is Cause.STOP_REQUESTED:
        return replace(exit, cause=Cause.EXITED)
    return exit


def _ran(case: Case, exit: Exit, program_version: Callable[[], str | None]) -> Ran:
    """What the CLI says of itself comes first; its program is asked only where it says nothing."""
    verdict, access = case.verdict, case.access
    version = None if verdict is None else verdict.version
    if version is None and exit.cause is not Cause.START_ERROR:
        version = program_version()
    told = None if verdict is None else verdict.denials
    counted = None if access is None else access.refused_calls()
    return Ran(
        version=version,
        model=None if verdict is None else verdict.model,
        models=() if access is None else access.record.models,
        denials=None if told is None and counted is None else (told or 0) + (counted or 0),
    )
