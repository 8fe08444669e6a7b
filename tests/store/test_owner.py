"""Whether the owner of an attempt is alive: proved, disproved, or not to be known from here."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kubecase.store import Owner, owner_is_alive

PROGRAM = """
from kubecase.store.owner import Owner
import sys
o = Owner.current()
print(o.host_id, o.boot_id, o.pid, o.started, flush=True)
sys.stdin.readline()
"""


def owner_of(process: subprocess.Popen[str]) -> Owner:
    assert process.stdout is not None
    host_id, boot_id, pid, started = process.stdout.readline().split()
    return Owner(host_id=host_id, boot_id=boot_id, pid=int(pid), started=int(started))


def test_this_process_is_alive() -> None:
    """A process knows itself, and its name holds no id of the machine."""
    here = Owner.current()

    assert owner_is_alive(here) is True
    assert here.pid == os.getpid()
    machine = Path("/etc/machine-id")
    if machine.exists() and (name := machine.read_text().strip()):
        assert name not in repr(here)


def test_an_owner_is_alive_until_it_has_ended() -> None:
    """A process that ended is dead, also before anybody has asked how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    owner = owner_of(process)
    assert owner.pid == process.pid
    assert owner_is_alive(owner) is True

    process.kill()
    deadline = time.monotonic() + 10
    while owner_is_alive(owner) and time.monotonic() < deadline:
        pass

    assert owner_is_alive(owner) is False  # not reaped yet
    process.communicate()
    assert owner_is_alive(owner) is False


def test_a_younger_process_under_the_same_number_is_another() -> None:
    """A number that is in use again does not bring its old owner back."""
    here = Owner.current()

    assert owner_is_alive(replace(here, started=here.started - 1)) is False


def test_nobody_survives_a_boot() -> None:
    """An owner of an earlier boot is dead, whatever has its number now."""
    assert owner_is_alive(replace(Owner.current(), boot_id="another")) is False


def test_of_other_hosts_nothing_is_known() -> None:
    """Whether a process of another host lives is not answered."""
    assert owner_is_alive(replace(Owner.current(), host_id="another")) is None
    assert owner_is_alive(replace(Owner.current(), host_id="another", boot_id="x", pid=1)) is None


def test_another_pid_namespace_is_another_host() -> None:
    """A process of a container is not taken for dead because its number is not found here."""
    command = ["unshare", "--pid", "--fork", "--mount-proc"]
    probe = subprocess.run([*command, "true"], capture_output=True)
    if probe.returncode != 0:
        pytest.skip("no right to make a PID namespace here")

    process = subprocess.Popen(
        [*command, sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    owner = owner_of(process)
    answer = owner_is_alive(owner)
    process.communicate("\n")

    assert answer is None
