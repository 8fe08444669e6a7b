"""`kubecase gc` as people and cron call it: archives, crashes, two at once, the loop, signals."""

import json
import os
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubecase.channels.sources.file import load_intake
from kubecase.core.model import Incident, IncidentId, Status
from kubecase.store import Owner, Store
from kubecase.workspace import Workspace

from .conftest import Home

ARCHIVE = {"AGENT_RUNTIME_CLEANUP_POLICY": "archive"}
FAULT = b'{"namespace": "shop", "resource": "Pod/api-0", "reason": "R", "message": "exited"}'


def ended(
    home: Home, *, hours_ago: float = 100, files: Mapping[str, bytes] = {"output/agent.log": b"x"}
) -> Path:
    """The workspace of an investigation that ended, as the service leaves it."""
    home.data.mkdir(parents=True, exist_ok=True)
    fault = load_intake(FAULT, now=datetime.now(UTC), cluster_default="dev").faults[0].fault
    id = IncidentId(str(uuid.uuid4()))

    async def record() -> None:
        async with Store.open(home.data / "kubecase.db", owner=Owner.current()) as store:
            attempt = await store.begin(
                Incident(id=id, fault=fault, opened_at=datetime.now(UTC)), agent="builtin"
            )
            for step in (Status.STARTING, Status.RUNNING):
                attempt = await store.move(attempt, step)
            when = datetime.now(UTC) - timedelta(hours=hours_ago)
            await store.move(attempt, Status.SUCCESS, ended_at=when)

    anyio.run(record)
    workspace = Workspace.create(home.data / "workspaces", id, 1)
    workspace.write(files)
    return workspace.root


def archive_of(home: Home, workspace: Path) -> Path:
    return home.data / "archives" / f"{workspace.name}.tar.zst"


def packing(home: Home) -> list[Path]:
    """Archives that are being written."""
    return [path for path in home.data.glob("archives/.packing-*") if path.stat().st_size > 1000]


def wait_for(condition: Callable[[], object], process: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def large(mebibytes: int = 96) -> dict[str, bytes]:
    """Content that does not compress and so takes its time."""
    return {"output/artifacts/dump": os.urandom(mebibytes * 1024**2)}


def test_an_archive_replaces_a_workspace_and_tar_opens_it(home: Home) -> None:
    """Policy archive leaves a private .tar.zst that plain tar unpacks to the same (req 21.5)."""
    old = ended(home, files={"output/report": b"found it\n", "context/ä": b"\0\1"})
    young = ended(home, hours_ago=1)

    dry = home.run("gc", "--dry-run", env=ARCHIVE)
    assert old.is_dir()
    done = home.run("gc", env=ARCHIVE)

    assert (dry.returncode, done.returncode) == (0, 0), done.stderr.decode()
    assert f"would archive and delete {old}" in dry.stdout.decode()
    assert f"archived and deleted {old}" in done.stdout.decode()
    assert "1 kept, 0 deleted, 1 archived" in done.stderr.decode()
    assert "freed" in done.stderr.decode()
    assert not old.exists()
    assert young.is_dir()
    subprocess.run(["tar", "--zstd", "-xf", archive_of(home, old), "-C", home.root], check=True)
    assert (home.root / old.name / "output/report").read_bytes() == b"found it\n"
    assert (home.root / old.name / "context/ä").read_bytes() == b"\0\1"
    manifest = json.loads((home.root / f"{old.name}.manifest.json").read_text())
    assert (manifest["status"], manifest["left_out"]) == ("success", [])


def test_machines_are_told_what_was_freed(home: Home) -> None:
    """The JSON array has each decision with its archive and the bytes that it gave back."""
    old = ended(home, files={"data": b"x" * 500_000})

    done = home.run("gc", "--json", env=ARCHIVE)
    nothing = home.run("gc", "--json")

    (told,) = json.loads(done.stdout)
    assert (told["path"], told["delete"], told["archive"]) == (str(old), True, True)
    assert told["freed_bytes"] >= 500_000
    assert told["archived_to"] == str(archive_of(home, old))
    assert told["archive_bytes"] == archive_of(home, old).stat().st_size
    assert told["error"] is None
    assert json.loads(nothing.stdout) == []
    log = [json.loads(line) for line in (home.data / "kubecase.log").read_text().splitlines()]
    assert [r["workspace"] for r in log if r["event"] == "workspace_deleted"] == [str(old)]


def test_a_workspace_of_no_record_is_kept_and_said(home: Home) -> None:
    """If the record is lost, workspaces are kept and the reason is printed (req 3.5)."""
    old = ended(home)
    for path in home.data.glob("kubecase.db*"):
        path.unlink()

    done = home.run("gc", env={"AGENT_RUNTIME_CLEANUP_POLICY": "delete_now"})

    assert old.is_dir()
    assert f"keep {old}: no investigation on record has it" in done.stdout.decode()


def test_a_failure_with_one_workspace_is_an_exit_code(home: Home) -> None:
    """What could not be archived is printed with its reason, others go, and cron notices."""
    bad, good = ended(home), ended(home)
    archive_of(home, bad).parent.mkdir(mode=0o700)
    archive_of(home, bad).write_bytes(b"nonsense")

    done = home.run("gc", env=ARCHIVE)

    assert done.returncode == 2
    assert f"could not archive and delete {bad}: the archive" in done.stdout.decode()
    assert "1 failed" in done.stderr.decode()
    assert bad.is_dir()
    assert not good.exists()


@pytest.mark.parametrize("moment", ["packing", "verified"])
def test_killed_in_the_middle_nothing_is_lost(home: Home, moment: str) -> None:
    """After kill -9 the workspace is whole, no half archive has a name, and it goes on (req 21.5).

    Killed as soon as bytes are written, or as soon as the archive has its name.
    """
    files = large() if moment == "packing" else large(1)
    old = ended(home, files=files)
    running = home.start("gc", env=ARCHIVE)
    if moment == "packing":
        wait_for(lambda: packing(home), running)
    else:
        wait_for(archive_of(home, old).exists, running)
    running.kill()
    running.communicate()

    whole = old.is_dir()
    if moment == "packing":
        assert whole
        assert not archive_of(home, old).exists()
    assert (
        whole is False
        or (old / "output/artifacts/dump").read_bytes() == files["output/artifacts/dump"]
    )
    done = home.run("gc", env=ARCHIVE)

    assert done.returncode == 0, done.stderr.decode()
    assert os.listdir(old.parent) == []
    assert [path.name for path in (home.data / "archives").iterdir()] == [f"{old.name}.tar.zst"]
    held = subprocess.run(
        ["tar", "--zstd", "-xOf", archive_of(home, old), f"{old.name}/output/artifacts/dump"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert held.stdout == files["output/artifacts/dump"]


def test_two_at_once_do_no_harm(home: Home) -> None:
    """The second of two says that the first is at work, and ends well at once (req 3.5)."""
    old = ended(home, files=large())
    first = home.start("gc", env=ARCHIVE)
    wait_for(lambda: packing(home), first)
    first.send_signal(signal.SIGSTOP)

    second = home.run("gc", env=ARCHIVE)
    machine = home.run("gc", "--json", env=ARCHIVE)
    first.send_signal(signal.SIGCONT)
    out, err = first.communicate(timeout=90)

    assert (second.returncode, second.stdout) == (0, b"")
    assert "another garbage collection is at work" in second.stderr.decode()
    assert json.loads(machine.stdout) == []
    assert first.returncode == 0, err.decode()
    assert f"archived and deleted {old}" in out.decode()
    assert archive_of(home, old).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_archive_is_given_up(home: Home, number: int) -> None:
    """Ctrl-C in the middle of an archive leaves the workspace and no half archive."""
    old = ended(home, files=large())
    running = home.start("gc", "--json", env=ARCHIVE)
    wait_for(lambda: packing(home), running)

    running.send_signal(number)
    out, err = running.communicate(timeout=60)

    assert running.returncode == 130, err.decode()
    assert json.loads(out) == []
    assert "interrupted" in err.decode()
    assert (old / "output/artifacts/dump").stat().st_size == 96 * 1024**2
    assert os.listdir(home.data / "archives") == []


def test_the_loop_works_until_it_is_told_to_stop(home: Home) -> None:
    """`gc --watch` takes what has its time again and again, and ends well at SIGTERM (req 21.4)."""
    first = ended(home)
    running = home.start("gc", "--watch", env={"AGENT_RUNTIME_GC_INTERVAL": "20ms"})
    _until(running, "1 deleted")
    second = ended(home)
    _until(running, "1 deleted")

    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)

    assert running.returncode == 0, err.decode()
    lines = out.decode().splitlines()
    assert [line.split(":")[0] for line in lines] == [f"deleted {first}", f"deleted {second}"]


def _until(running: Any, words: str) -> None:
    """Read what is said on standard error up to a line with `words`."""
    for line in running.stderr:
        if words in line.decode():
            return
    raise AssertionError(f"ended without saying {words!r}")


def test_what_cannot_be_watched_is_said(home: Home) -> None:
    """Without an interval, or with flags that do not fit, watching is the operator's error."""
    off = home.run("gc", "--watch", env={"AGENT_RUNTIME_GC_INTERVAL": "off"})
    both = home.run("gc", "--watch", "--dry-run")

    assert (off.returncode, both.returncode) == (2, 2)
    assert "AGENT_RUNTIME_GC_INTERVAL" in off.stderr.decode()
    assert "→" in off.stderr.decode()
    assert "--dry-run" in both.stderr.decode()


def test_a_small_disk_is_kept_free(home: Home) -> None:
    """On a real disk that is nearly full the oldest ends go until enough is free (req 21.4)."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    workspaces = home.data / "workspaces"
    script = (
        f"mount -t tmpfs -o size=16m tmpfs {workspaces} && "
        f"cp -a {workspaces}.all/. {workspaces}/ && "
        f"kubecase gc && ls {workspaces} && df -B1 --output=avail {workspaces}"
    )
    oldest, middle, newest = (
        ended(home, hours_ago=hours, files={"data": os.urandom(4 * 1024**2)}) for hours in (3, 2, 1)
    )
    workspaces.rename(f"{workspaces}.all")
    workspaces.mkdir(mode=0o700)

    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        env={**home.environment, "AGENT_RUNTIME_MIN_FREE_SPACE": "6MiB"},
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("this host lets nobody mount a tmpfs")

    assert done.returncode == 0, done.stderr
    assert f"deleted {oldest}: ended 3.0 h ago" in done.stdout
    assert "agent_runtime.min_free_space" in done.stdout
    left = done.stdout.splitlines()[3:]
    assert sorted(left[:2]) == sorted([middle.name, newest.name])
    assert int(left[-1]) >= 6 * 1024**2


def many(home: Home, count: int) -> None:
    """Workspaces whose rows are those of one investigation, multiplied."""
    ended(home, hours_ago=1)
    ids = [str(uuid.uuid4()) for _ in range(count - 1)]
    with sqlite3.connect(home.data / "kubecase.db") as record:
        for table, key in (("fault", "id"), ("incident", "id"), ("investigation", "incident_id")):
            columns = [row[1] for row in record.execute(f"PRAGMA table_info({table})")]
            row = dict(
                zip(columns, record.execute(f"SELECT * FROM {table}").fetchone(), strict=True)
            )
            for number, each in enumerate(ids, start=2):
                row |= {key: number if table == "fault" else each}
                row |= {"fault_id": number, "fingerprint": each} if table == "incident" else {}
                record.execute(
                    f"INSERT INTO {table} VALUES ({', '.join('?' for _ in columns)})",
                    tuple(row.values()),
                )
    for each in ids:
        (home.data / "workspaces" / f"incident-{each}").mkdir(mode=0o700)


def test_five_thousand_workspaces_take_no_more_memory(home: Home) -> None:
    """A pass over 5 000 workspaces is as large in memory as one over 500 (req 21.4)."""
    peaks = []
    for count in (500, 5000):
        place = Home(root=home.root / str(count))
        place.root.mkdir()
        many(place, count)
        out = (place.root / "out").open("wb")
        process = subprocess.Popen(
            ["kubecase", "gc", "--dry-run", "--json"], env=place.environment, stdout=out,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        out.close()
        assert status == 0
        told = json.loads((place.root / "out").read_text())
        assert len(told) == count
        assert not any(each["delete"] for each in told)
        peaks.append(usage.ru_maxrss)

    assert peaks[1] - peaks[0] < 8 * 1024
