"""Whether what is on record about an incident is still what was put there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubecase.app.settings import Settings
from kubecase.core.errors import KubecaseError
from kubecase.core.model import Artifact, Investigation
from kubecase.gateways import audit
from kubecase.store import Store
from kubecase.workspace import Workspace, digest_of


@dataclass(frozen=True, kw_only=True)
class Looked:
    """One thing that was looked at. `holds` is None where there is nothing to look at any more."""

    what: str
    holds: bool | None
    says: str

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {"what": self.what, "holds": self.holds, "says": self.says}


async def verify_incident(store: Store, settings: Settings, name: str) -> list[Looked]:
    """Every record, answer and artifact of every attempt. Raises IncidentUnknown."""
    story = await store.story(await store.resolve(name))
    looked: list[Looked] = []
    for attempt in story.attempts:
        investigation = attempt.investigation
        looked += _record(settings.store.data_dir, investigation)
        looked += _artifacts(settings.agent_runtime.workspace_root, investigation)
    return looked


def verify_file(path: Path) -> list[Looked]:
    """A record by itself, and the answers that are kept beside its directory.

    Raises KubecaseError where there is no such file.
    """
    if not path.is_file():
        raise KubecaseError(
            f"there is no record {path}", hint="`kubecase gateway` says where its record lies."
        )
    return list(_lines_and_answers("record", path, path.absolute().parent.parent / "answers"))


def _record(data: Path, investigation: Investigation) -> Iterator[Looked]:
    what = f"attempt {investigation.attempt}: record"
    path = data / "audit" / f"{investigation.key}.jsonl"
    if not path.exists():
        yield Looked(what=what, holds=None, says="nothing was served to this attempt")
        return
    yield from _lines_and_answers(what, path, data / "answers")


def _lines_and_answers(what: str, path: Path, answers: Path) -> Iterator[Looked]:
    try:
        found = audit.verify(path)
    except OSError as error:
        yield Looked(what=what, holds=False, says=f"{path}: {error.strerror}")
        return
    if not found.holds:
        yield Looked(what=what, holds=False, says=f"{path} line {found.bad_line}: {found.why}")
        return
    yield Looked(what=what, holds=True, says=f"{found.lines} lines, head {found.head[:16]}")
    for digest in sorted(found.digests):
        kept = answers / digest
        if kept.exists() and audit.read_answer(answers, digest) is None:
            yield Looked(what=f"answer {digest[:16]}", holds=False, says=f"{kept} was changed")


def _artifacts(root: Path, investigation: Investigation) -> Iterator[Looked]:
    for artifact in investigation.artifacts:
        what = f"attempt {investigation.attempt}: artifact {artifact.path.name}"
        try:
            workspace = Workspace.open(root, investigation.incident_id, investigation.attempt)
            now = digest_of(workspace, _relative(workspace, artifact), artifact.size)
        except (KubecaseError, FileNotFoundError) as error:
            yield Looked(what=what, holds=None, says=f"it is not there any more: {error}")
            continue
        if now == artifact.sha256:
            yield Looked(what=what, holds=True, says=artifact.sha256[:16])
        else:
            yield Looked(what=what, holds=False, says=f"{artifact.path} was changed")


def _relative(workspace: Workspace, artifact: Artifact) -> str:
    return str(artifact.path.relative_to(workspace.root))
