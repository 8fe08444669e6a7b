"""`kubecase diagnose`: the built-in investigator alone, on recorded inputs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kubecase.app.boundary import AGENT_FAILED, SUCCESS, printable

if TYPE_CHECKING:
    from kubecase.channels.sources.intake import FaultInput, Intake
    from kubecase.core.model import Collection
    from kubecase.core.report import Report


def diagnose(
    source: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    out: Path | None = None,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> int:
    """Name the likely causes in recorded inputs; no model, no cluster, nothing is kept.

    Prints the report as JSON: a summary and up to five hypotheses, best first, each with its
    category, culprit, confidence and verbatim evidence.

    Like this:

        kubecase diagnose recorded-folder/
        kubecase diagnose case.json
        kubecase diagnose cases/ --out reports/

    Parameters
    ----------
    source
        A file, a folder of recorded objects, events and logs, `-` for standard input, or a folder
        of cases, one `<id>.json` each.
    out
        Folder to write one `<id>.json` report a case into. Without it the report is printed.
    quiet
        No remarks on standard error.
    """
    from kubecase.diagnosis import diagnose as find_causes

    failed = False
    reports: dict[str, Report] = {}
    for name, intake in _intakes(source, quiet=quiet):
        if intake is None:
            failed = True
            continue
        for number, fault in enumerate(intake.faults):
            key = name if len(intake.faults) == 1 else f"{name}-{number + 1}"
            reports[key] = find_causes(fault.collection or _alone(fault))
            if not quiet:
                best = reports[key].best
                print(
                    f"{key}: {printable(best.root_cause) if best else 'no fault'}", file=sys.stderr
                )
    _give(reports, out)
    return AGENT_FAILED if failed or not reports else SUCCESS


def _intakes(source: str, *, quiet: bool) -> "Iterator[tuple[str, Intake | None]]":
    """Each input by name; None for one of a folder of cases that cannot be taken (it is told)."""
    from kubecase.app.boundary import tell
    from kubecase.app.session import MAX_STDIN, an
    from kubecase.app.wiring import now
    from kubecase.channels.sources.file import load_intake
    from kubecase.core.errors import FaultRejected

    many = _case_files(Path(source)) if source != "-" else ()
    for path in many:
        try:
            yield path.stem, load_intake(str(path), now=now(), cluster_default="default")
        except FaultRejected as error:
            tell(FaultRejected(f"{path}: {error}"), sys.stderr)
            yield path.stem, None
    if many:
        return
    what = sys.stdin.buffer.read(MAX_STDIN + 1) if source == "-" else source
    intake = load_intake(what, now=now(), cluster_default="default")
    if not quiet:
        print(f"kubecase: {source} is {an(intake.form)}", file=sys.stderr)
    yield ("stdin" if source == "-" else Path(source).stem), intake


def _case_files(folder: Path) -> tuple[Path, ...]:
    """The cases in `folder`, sorted; none when it is a file or holds recorded objects instead."""
    try:
        if not folder.is_dir():
            return ()
    except (OSError, ValueError):
        return ()
    files = tuple(sorted(path for path in folder.glob("*.json") if path.is_file()))
    return files if files and all(_is_case(path) for path in files) else ()


def _is_case(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096)
    return b'"inputs"' in head and b'"id"' in head


def _alone(fault: "FaultInput") -> "Collection":
    """What a fault without recorded facts says by itself."""
    from kubecase.clusters.trigger import trigger_about
    from kubecase.core.model import Collection, Gap

    return Collection(
        collected_at=fault.fault.seen_at,
        trigger=trigger_about(fault.fault),
        gaps=(Gap(what="objects, events and logs", why="the input holds the fault alone"),),
    )


def _give(reports: "dict[str, Report]", out: Path | None) -> None:
    from kubecase.core.errors import KubecaseError
    from kubecase.core.report import report_as_json

    if out is None:
        values = {name: report_as_json(report) for name, report in reports.items()}
        only = next(iter(values.values())) if len(values) == 1 else values
        print(json.dumps(only, indent=2, ensure_ascii=False))
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, report in reports.items():
            text = json.dumps(report_as_json(report), indent=2, ensure_ascii=False)
            (out / f"{name}.json").write_text(text + "\n", encoding="utf-8", errors="replace")
    except OSError as error:
        raise KubecaseError(
            f"cannot write reports into {out}: {error.strerror}", hint="Name another --out folder."
        ) from error
