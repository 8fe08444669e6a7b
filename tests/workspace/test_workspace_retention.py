"""Which workspaces go, which stay, and why."""

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kubecase
from kubecase.core.errors import OutsideWorkspace
from kubecase.core.lifecycle import is_final
from kubecase.core.model import IncidentId, Status
from kubecase.workspace import (
    Candidate,
    CleanupPolicy,
    EntryKind,
    RootEntry,
    Workspace,
    delete_at_once,
    early,
    expired,
    scan,
)
from kubecase.workspace.names import directory_name, parse_directory_name, shown

ID = "6b1d0f3a-0000-4000-8000-0000000000a1"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RETENTION = 72 * 3600.0
MINE = RootEntry(
    name=f"incident-{ID}", kind=EntryKind.DIRECTORY, attempt_of=(IncidentId(ID), 1)
)  # fmt: skip


def decide(
    policy: CleanupPolicy,
    status: Status | None = Status.SUCCESS,
    age: float | None = RETENTION,
    entry: RootEntry = MINE,
) -> tuple[bool, str]:
    ended = None if age is None else NOW - timedelta(seconds=age)
    candidate = Candidate(entry=entry, status=status, ended_at=ended)
    (decision,) = expired([candidate], now=NOW, policy=policy, retention_seconds=RETENTION)
    assert decision.entry is entry
    return decision.delete, decision.why


@pytest.mark.parametrize(
    ("policy", "status", "age", "goes"),
    [
        ("keep_always", "success", RETENTION * 100, False),
        ("keep_always", "failed", RETENTION * 100, False),
        ("keep_on_failure", "success", 0, True),
        ("keep_on_failure", "failed", RETENTION * 100, False),
        ("keep_on_failure", "timeout", RETENTION * 100, False),
        ("keep_on_failure", "cancelled", RETENTION * 100, False),
        ("delete_after_retention", "success", RETENTION - 1, False),
        ("delete_after_retention", "success", RETENTION, True),
        ("delete_after_retention", "failed", RETENTION - 1, False),
        ("delete_after_retention", "failed", RETENTION + 1, True),
        ("delete_after_retention", "failed", -100, False),
        ("delete_now", "success", 0, True),
        ("delete_now", "failed", 0, True),
        ("archive", "success", RETENTION - 1, False),
        ("archive", "success", RETENTION, True),
        ("archive", "failed", RETENTION + 1, True),
    ],
)
def test_each_policy_does_what_it_says(policy: str, status: str, age: float, goes: bool) -> None:
    """Every policy decides as documented, and gives its reason (req 1.10, 3.5, 12.6)."""
    deleted, why = decide(CleanupPolicy(policy), Status(status), age)

    assert deleted is goes
    assert why


@pytest.mark.parametrize("policy", CleanupPolicy)
def test_only_the_policy_archive_packs(policy: CleanupPolicy) -> None:
    """What the policy archive deletes is packed first, and nothing else is (req 1.10, 21.5)."""
    candidate = Candidate(
        entry=MINE, status=Status.SUCCESS, ended_at=NOW - timedelta(seconds=RETENTION)
    )

    (due,) = expired([candidate], now=NOW, policy=policy, retention_seconds=RETENTION)
    soon = early(candidate, now=NOW, policy=policy, why="short of space")

    assert due.archive is (policy is CleanupPolicy.ARCHIVE)
    assert soon is None or soon.archive is (policy is CleanupPolicy.ARCHIVE)


@pytest.mark.parametrize("policy", CleanupPolicy)
@pytest.mark.parametrize("status", [None, *Status])
@pytest.mark.parametrize(
    ("kind", "attempt_of"),
    [("directory", MINE.attempt_of), ("link", MINE.attempt_of), ("directory", None)],
)
def test_what_may_go_before_its_time(
    policy: CleanupPolicy, status: Status | None, kind: str, attempt_of: object
) -> None:
    """Short of space, only ended ones go, never with keep_always or a kept failure (req 21.4)."""
    entry = replace(MINE, kind=EntryKind(kind), attempt_of=attempt_of)
    ended = NOW if status is not None and is_final(status) else None

    decision = early(
        Candidate(entry=entry, status=status, ended_at=ended), now=NOW, policy=policy, why="short"
    )

    allowed = (
        kind == "directory"
        and attempt_of is not None
        and ended is not None
        and policy is not CleanupPolicy.KEEP_ALWAYS
        and (policy is not CleanupPolicy.KEEP_ON_FAILURE or status is Status.SUCCESS)
    )
    assert (decision is not None) is allowed
    assert decision is None or "short" in decision.why


@pytest.mark.parametrize("policy", CleanupPolicy)
def test_a_deletion_that_was_broken_off_is_finished(root: Path, policy: CleanupPolicy) -> None:
    """What bears the mark of a begun deletion goes under any policy, unpacked (req 21.5)."""
    aside = Workspace.create(root, ID, 1).set_aside()

    (entry,) = scan(root)
    candidate = Candidate(entry=entry, status=Status.SUCCESS, ended_at=NOW)
    (decision,) = expired([candidate], now=NOW, policy=policy, retention_seconds=RETENTION)

    assert entry.name == aside.root.name
    assert (entry.doomed, entry.attempt_of) == (True, (ID, 1))
    assert (decision.delete, decision.archive) == (True, False)
    assert decide(policy, Status.RUNNING, None, entry)[0] is False
    assert decide(policy, None, None, entry)[0] is False


def test_setting_aside_replaces_what_an_older_crash_left(root: Path) -> None:
    """A leftover of the same name is no obstacle to the next deletion."""
    Workspace.create(root, ID, 1).set_aside()
    second = Workspace.create(root, ID, 1)
    second.write({"mine": b"x"})

    aside = second.set_aside()

    assert [path.name for path in root.iterdir()] == [aside.root.name]
    assert (aside.root / "mine").read_bytes() == b"x"
    aside.delete()
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("policy", "status"),
    list(product(CleanupPolicy, [None, Status.CREATED, Status.STARTING, Status.RUNNING])),
)
def test_what_has_not_ended_is_never_deleted(policy: CleanupPolicy, status: Status | None) -> None:
    """No policy takes an active or unknown investigation's workspace (req 3.5)."""
    assert decide(policy, status, RETENTION * 100)[0] is False
    assert status is None or decide(policy, status, None)[0] is False


@pytest.mark.parametrize("policy", CleanupPolicy)
@pytest.mark.parametrize(
    "entry",
    [
        RootEntry(name=MINE.name, kind=EntryKind.LINK, attempt_of=MINE.attempt_of),
        RootEntry(name=MINE.name, kind=EntryKind.OTHER, attempt_of=MINE.attempt_of),
        RootEntry(name="lost+found", kind=EntryKind.DIRECTORY, attempt_of=None),
    ],
)
def test_links_and_strangers_are_never_deleted(policy: CleanupPolicy, entry: RootEntry) -> None:
    """Only real directories with a workspace's name are touched (req 3.5)."""
    assert decide(policy, Status.SUCCESS, RETENTION * 100, entry)[0] is False


@settings(max_examples=200)
@given(
    policy=st.sampled_from(CleanupPolicy),
    status=st.sampled_from(Status),
    age=st.floats(-1e8, 1e8),
)
def test_deleting_at_once_agrees_with_deleting_later(
    policy: CleanupPolicy, status: Status, age: float
) -> None:
    """What goes at the end of a run is what the janitor would take, and nothing unfinished."""
    if delete_at_once(policy, status):
        assert is_final(status)
        assert decide(policy, status, age)[0] is True
    elif policy not in {CleanupPolicy.DELETE_AFTER_RETENTION, CleanupPolicy.ARCHIVE}:
        assert decide(policy, status, age)[0] is False


def test_an_unknown_policy_is_refused() -> None:
    """A word that is no policy is an error, not a default (req 1.10)."""
    with pytest.raises(ValueError, match="sometimes"):
        CleanupPolicy("sometimes")


def test_a_root_is_listed_for_what_it_holds(root: Path, outside: Path) -> None:
    """The listing tells workspaces from links, files and strangers, and follows nothing."""
    Workspace.create(root, ID, 1)
    Workspace.create(root, ID, 12)
    (root / f"incident-{ID}-attempt-2").symlink_to(outside)
    (root / f"incident-{ID}-attempt-3").write_text("x")
    (root / "notes").mkdir()

    found = {
        entry.name.removeprefix("incident-"): (entry.kind, entry.attempt_of) for entry in scan(root)
    }

    assert found == {
        ID: ("directory", (ID, 1)),
        f"{ID}-attempt-12": ("directory", (ID, 12)),
        f"{ID}-attempt-2": ("link", (ID, 2)),
        f"{ID}-attempt-3": ("other", (ID, 3)),
        "notes": ("directory", None),
    }


def test_an_absent_root_is_empty_and_a_link_refused(root: Path, outside: Path) -> None:
    """Before the first incident there is nothing to clean up; a linked root is not scanned."""
    assert list(scan(root)) == []

    root.symlink_to(outside)
    with pytest.raises(OutsideWorkspace):
        list(scan(root))


def test_only_expired_and_finished_ones_vanish(root: Path, outside: Path) -> None:
    """A pass over a root deletes what is due, whatever times the disk says (req 3.5, 12.6)."""
    old, young, active, stranger = (Workspace.create(root, ID, n) for n in (1, 2, 3, 4))
    for workspace in (young, active, stranger):
        os.utime(workspace.root, (0, 0))
    (root / f"incident-{ID}-attempt-5").symlink_to(outside)
    records = {
        1: (Status.FAILED, NOW - timedelta(hours=80)),
        2: (Status.SUCCESS, NOW - timedelta(hours=70)),
        3: (Status.RUNNING, None),
        5: (Status.SUCCESS, NOW - timedelta(hours=80)),
    }

    def candidates() -> Iterator[Candidate]:
        for entry in scan(root):
            assert entry.attempt_of is not None
            status, ended = records.get(entry.attempt_of[1], (None, None))
            yield Candidate(entry=entry, status=status, ended_at=ended)

    for decision in expired(
        candidates(),
        now=NOW,
        policy=CleanupPolicy.DELETE_AFTER_RETENTION,
        retention_seconds=RETENTION,
    ):
        if decision.delete and decision.entry.attempt_of:
            Workspace.open(root, *decision.entry.attempt_of).delete()

    assert not old.root.exists()
    assert all(w.root.is_dir() for w in (young, active, stranger))
    assert (root / f"incident-{ID}-attempt-5").is_symlink()
    assert os.listdir(outside) == ["secret.txt"]


def test_many_workspaces_are_decided_on_with_flat_memory(root: Path) -> None:
    """A root with thousands of workspaces is gone through one by one, quickly."""
    root.mkdir()
    for n in range(1, 2001):
        (root / directory_name(ID, n)).mkdir()
    candidates = (Candidate(entry=e, status=Status.SUCCESS, ended_at=NOW) for e in scan(root))
    begun = time.monotonic()
    tracemalloc.start()

    kept = sum(
        not decision.delete
        for decision in expired(
            candidates,
            now=NOW,
            policy=CleanupPolicy.DELETE_AFTER_RETENTION,
            retention_seconds=RETENTION,
        )
    )

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept == 2000
    assert peak < 1_000_000
    assert time.monotonic() - begun < 10


@settings(max_examples=200)
@given(id=st.uuids(), attempt=st.integers(1, 10**9 - 1))
def test_a_name_leads_back_to_its_attempt(id: object, attempt: int) -> None:
    """Every workspace's name says whose it is, and no two attempts share one."""
    assert parse_directory_name(directory_name(str(id), attempt)) == (str(id), attempt)


@settings(max_examples=300)
@given(
    name=st.text()
    | st.from_regex(
        r"incident-[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-attempt-[0-9]{0,3})?\s?"
    )
)
def test_no_other_name_is_taken_for_a_workspace(name: str) -> None:
    """A name is a workspace's only if it is spelt exactly as kubecase spells it."""
    whose = parse_directory_name(name)

    assert whose is None or directory_name(*whose) == name


@settings(max_examples=300)
@given(name=st.text(max_size=1000) | st.binary(max_size=400).map(os.fsdecode))
def test_whatever_is_shown_is_one_harmless_line(name: str) -> None:
    """Any name on a disk can be shown in a log, a terminal and a database."""
    text = shown(name)

    assert text.isprintable()
    assert len(text) <= 4000
    assert text.encode("utf-8").decode("utf-8") == text


def test_the_room_is_cheap_to_enter() -> None:
    """Importing the room loads no library, so that `kubecase --help` stays fast."""
    program = (
        "import sys, kubecase.workspace; "
        "heavy = {'ruamel', 'pydantic', 'sqlalchemy', 'anyio', 'asyncio', 'lightkube', 'json5'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )

    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(Path(kubecase.__file__).parent.parent)},
    )  # fmt: skip

    assert result.stdout == "[]\n"
