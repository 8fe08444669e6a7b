"""Which workspaces are to be deleted, and why: pure decisions, and a cheap listing to decide on."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from kubecase.core.lifecycle import is_final
from kubecase.core.model import IncidentId, Status
from kubecase.workspace.directory import checked_root, told
from kubecase.workspace.handles import root_directory
from kubecase.workspace.names import DOOMED, parse_directory_name, shown


class CleanupPolicy(StrEnum):
    """What becomes of the workspace of an investigation that has ended.

    `keep_always`: nothing is deleted. `keep_on_failure`: a success is deleted at once, anything
    else is kept for good. `delete_after_retention`: every one is deleted when its retention time
    is over. `delete_now`: every one is deleted at once. `archive`: when its retention time is over
    every one is packed, and deleted once the archive has proved complete.
    """

    KEEP_ALWAYS = "keep_always"
    KEEP_ON_FAILURE = "keep_on_failure"
    DELETE_AFTER_RETENTION = "delete_after_retention"
    DELETE_NOW = "delete_now"
    ARCHIVE = "archive"


class EntryKind(StrEnum):
    """What an entry of the root is itself; a link is never looked through."""

    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class RootEntry:
    """Something in the root of workspaces; `attempt_of` is None if no workspace is so called.

    `doomed` is a workspace whose deletion has begun, and which has another name since.
    """

    name: str
    kind: EntryKind
    attempt_of: tuple[IncidentId, int] | None
    doomed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An entry with what is on record of its investigation; `status` is None without a record."""

    entry: RootEntry
    status: Status | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether an entry is to be deleted, and why or why not, in words.

    With `archive` it is to be packed first, and kept if that cannot be done.
    """

    entry: RootEntry
    delete: bool
    why: str
    archive: bool = False


def scan(root: Path) -> Iterator[RootEntry]:
    """What lies in `root`, in no order, one entry at a time however many there are.

    Nothing if `root` does not exist. Raises OutsideWorkspace for a link in `root`, WorkspaceError.
    """
    path = checked_root(root)
    with told(f"list the workspaces in {shown(str(path))}"):
        try:
            with root_directory(path) as directory, os.scandir(directory) as entries:
                for entry in entries:
                    yield RootEntry(
                        name=entry.name,
                        kind=_kind(entry),
                        attempt_of=parse_directory_name(entry.name.removeprefix(DOOMED)),
                        doomed=entry.name.startswith(DOOMED),
                    )
        except FileNotFoundError:
            return


def _kind(entry: os.DirEntry[str]) -> EntryKind:
    if entry.is_symlink():
        return EntryKind.LINK
    return EntryKind.DIRECTORY if entry.is_dir(follow_symlinks=False) else EntryKind.OTHER


def expired(
    candidates: Iterable[Candidate],
    *,
    now: datetime,
    policy: CleanupPolicy,
    retention_seconds: float,
) -> Iterator[Decision]:
    """What is to be done with each of `candidates`, in their order.

    Age counts from the end of the investigation, not from any time on the disk. Links, names that
    no workspace has, what is not on record, and investigations that have not ended are kept
    whatever the policy says. A workspace is due once `retention_seconds` have passed in full.
    """
    for candidate in candidates:
        delete, why = _decide(candidate, now, policy, timedelta(seconds=retention_seconds))
        archive = delete and not candidate.entry.doomed and policy is CleanupPolicy.ARCHIVE
        yield Decision(entry=candidate.entry, delete=delete, why=why, archive=archive)


def early(
    candidate: Candidate, *, now: datetime, policy: CleanupPolicy, why: str
) -> Decision | None:
    """What is to be done with an ended workspace when space is short; None if it may not go early.

    `why` says how short. What no policy would take is never taken, nor anything of `keep_always`,
    nor with `keep_on_failure` what was no success.
    """
    status, ended_at = candidate.status, candidate.ended_at
    if candidate.entry.doomed or _untouchable(candidate) or status is None or ended_at is None:
        return None
    if policy is CleanupPolicy.KEEP_ALWAYS:
        return None
    if policy is CleanupPolicy.KEEP_ON_FAILURE and status is not Status.SUCCESS:
        return None
    return Decision(
        entry=candidate.entry,
        delete=True,
        why=f"ended {_hours(now - ended_at)} ago; {why}",
        archive=policy is CleanupPolicy.ARCHIVE,
    )


def _decide(
    candidate: Candidate, now: datetime, policy: CleanupPolicy, retention: timedelta
) -> tuple[bool, str]:
    why = _untouchable(candidate)
    if why or candidate.status is None or candidate.ended_at is None:
        return False, why
    if candidate.entry.doomed:
        return True, "its deletion was broken off"
    return _by_policy(policy, candidate.status, now - candidate.ended_at, retention)


def _untouchable(candidate: Candidate) -> str:
    """Why no policy may touch it, or nothing if that is for the policy to say."""
    entry, status = candidate.entry, candidate.status
    if entry.attempt_of is None:
        return "not the name of a workspace"
    if entry.kind is EntryKind.LINK:
        return "a symbolic link, which is not followed"
    if entry.kind is not EntryKind.DIRECTORY:
        return "not a directory"
    if status is None:
        return "no investigation on record has it"
    if not is_final(status):
        return f"its investigation is {status}"
    return "" if candidate.ended_at else "its investigation has no end on record"


def _by_policy(
    policy: CleanupPolicy, status: Status, age: timedelta, retention: timedelta
) -> tuple[bool, str]:
    match policy:
        case CleanupPolicy.KEEP_ALWAYS:
            return False, "policy keep_always"
        case CleanupPolicy.DELETE_NOW:
            return True, "policy delete_now"
        case CleanupPolicy.KEEP_ON_FAILURE:
            kept = status is not Status.SUCCESS
            return not kept, f"policy keep_on_failure: ended as {status}"
        case CleanupPolicy.DELETE_AFTER_RETENTION | CleanupPolicy.ARCHIVE:
            hours = f"ended {_hours(age)} ago, kept for {_hours(retention)}"
            return age >= retention, hours


def _hours(time: timedelta) -> str:
    return f"{time.total_seconds() / 3600:.1f} h"


def delete_at_once(policy: CleanupPolicy, status: Status) -> bool:
    """Whether a workspace is to be deleted as soon as its investigation has ended as `status`."""
    if policy is CleanupPolicy.DELETE_NOW:
        return is_final(status)
    return policy is CleanupPolicy.KEEP_ON_FAILURE and status is Status.SUCCESS
