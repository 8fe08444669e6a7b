"""Finds what an agent left in `output/artifacts/`, taking nothing on trust."""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kubecase.core.errors import KubecaseError
from kubecase.core.model import Artifact, Rejected
from kubecase.workspace.directory import Workspace
from kubecase.workspace.handles import CHUNK_BYTES, READING, below, identity, kind
from kubecase.workspace.names import is_plain, shown
from kubecase.workspace.walk import Found, Trouble, walk

ARTIFACTS = "output/artifacts"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionBudget:
    """How much is taken: entries looked at, bytes read in all, levels of directories, seconds."""

    entries: int = 10_000
    bytes: int = 256 * 1024 * 1024
    depth: int = 16
    seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was found, sorted by path. `truncated` counts the entries that no budget was left for.

    When it is not 0, the last of `rejected` says so too. What lies in directories that were not
    entered is not counted.
    """

    artifacts: tuple[Artifact, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    truncated: int = 0


def collect(
    workspace: Workspace, budget: CollectionBudget, *, agent_uid: int | None = None
) -> Collected:
    """The regular files below `output/artifacts/`, with size and SHA-256, and what was refused.

    To be called when the agent is dead. `agent_uid` is who must own a file, by default the owner
    of the workspace. Refused, each with its reason and the rest still taken: links of both sorts,
    FIFOs, sockets, devices, files of another owner or with an unprintable name, what is too deep,
    too large or changes meanwhile. Files are opened from directory handles without following a
    link, never waited for, and read only as far as their size goes. An absent directory is empty.
    """
    collection = _Collection(root=workspace.root / ARTIFACTS, budget=budget)
    try:
        with _artifact_directory(workspace) as (directory, owner):
            collection.uid = owner if agent_uid is None else agent_uid
            collection.run(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        collection.reject(ARTIFACTS, (error.strerror or "cannot be opened").lower())
    except KubecaseError as error:
        collection.reject(ARTIFACTS, str(error))
    return collection.result()


@contextmanager
def _artifact_directory(workspace: Workspace) -> Iterator[tuple[int, int]]:
    with workspace.opened() as top, below(top, ARTIFACTS.split("/")) as directory:
        yield directory, os.fstat(top).st_uid


def digest_of(workspace: Workspace, relative: str, size: int) -> str:
    """The SHA-256 of a file that was collected earlier, of at most `size` bytes and one more.

    Raises what `Workspace.read` raises.
    """
    data, _ = workspace.read_start(relative, size + 1)
    return hashlib.sha256(data).hexdigest()


class _Refused(Exception):
    """Why a file is not taken."""


@dataclass(slots=True, kw_only=True)
class _Collection:
    root: Path
    budget: CollectionBudget
    uid: int = -1
    entries: int = 0
    bytes: int = 0
    truncated: int = 0
    deadline: float = 0.0
    artifacts: list[Artifact] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def run(self, directory: int) -> None:
        self.deadline = time.monotonic() + self.budget.seconds
        for each in walk(directory, deadline=self.deadline, max_depth=self.budget.depth):
            if self.entries >= self.budget.entries:
                # Only counted from here on.
                self.truncated += isinstance(each, Found)
                continue
            if isinstance(each, Trouble):
                self.reject(f"{ARTIFACTS}/{each.relative}".rstrip("/"), each.why)
                continue
            self.entries += 1
            self._consider(each)

    def _consider(self, found: Found) -> None:
        if stat.S_ISDIR(found.status.st_mode):
            return
        try:
            self.artifacts.append(self._take(found))
        except _Refused as refusal:
            self.reject(f"{ARTIFACTS}/{found.relative}", str(refusal))
        except OSError as error:
            why = (error.strerror or "cannot be read").lower()
            self.reject(f"{ARTIFACTS}/{found.relative}", why)

    def reject(self, relative: str, why: str) -> None:
        self.rejected.append(Rejected(path=shown(relative), why=why))

    def result(self) -> Collected:
        self.artifacts.sort(key=lambda artifact: artifact.path)
        self.rejected.sort(key=lambda rejected: rejected.path)
        if self.truncated:
            why = f"truncated: {self.truncated} left out (over {self.budget.entries} entries)"
            self.rejected.append(Rejected(path=ARTIFACTS, why=why))
        return Collected(
            artifacts=tuple(self.artifacts),
            rejected=tuple(self.rejected),
            truncated=self.truncated,
        )

    def _take(self, found: Found) -> Artifact:
        self._require_takable(found.status)
        if not is_plain(found.relative):
            raise _Refused("its name is not printable text")
        handle = os.open(found.name, READING, dir_fd=found.directory)
        try:
            status = os.fstat(handle)
            # Again, and of what is really open: the name may have been exchanged in between.
            self._require_takable(status)
            if identity(status) != identity(found.status):
                raise _Refused("exchanged while it was opened")
            digest = self._digest(handle, status)
        finally:
            os.close(handle)
        return Artifact(path=self.root / found.relative, size=status.st_size, sha256=digest)

    def _require_takable(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise _Refused(f"is {kind(status)}")
        if status.st_nlink > 1:
            raise _Refused(f"has {status.st_nlink} names (hard links)")
        if status.st_uid != self.uid:
            raise _Refused("belongs to another user")
        left = self.budget.bytes - self.bytes
        if status.st_size > left:
            raise _Refused(
                f"too large: {status.st_size} bytes, {left} of {self.budget.bytes} are left"
            )

    def _digest(self, handle: int, status: os.stat_result) -> str:
        digest = hashlib.sha256()
        remaining = status.st_size
        while remaining > 0:
            if time.monotonic() > self.deadline:
                raise _Refused("no time left to read it")
            piece = os.read(handle, min(remaining, CHUNK_BYTES))
            if not piece:
                break
            digest.update(piece)
            remaining -= len(piece)
            self.bytes += len(piece)
        after = os.fstat(handle)
        if remaining or (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            raise _Refused("changed while it was read")
        return digest.hexdigest()
