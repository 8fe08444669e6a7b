"""Whether a run would survive the death of the process that supervises it, on this host."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the PID namespace of the host itself, fixed by Linux (PROC_PID_INIT_INO)."""

HARMLESS_KILL_MODES = frozenset({"process", "none"})
TRIAL_SECONDS = 2.0
_TRIAL = 'setsid sleep 30 >/dev/null 2>&1 & echo "$!"; kill -9 $$'


def survives() -> tuple[bool, str]:
    """Whether what this process starts in a session of its own outlives it, and why or why not.

    Not so in a container, which ends with its first process, and not under a service unit that
    kills its whole control group. Where neither is known it is tried: a process is started by one
    that is then killed with SIGKILL.
    """
    if not _in_initial_namespace():
        return False, "in a container, whose processes end with its first one"
    unit = _service_unit(_read("/proc/self/cgroup"))
    if unit is not None:
        mode = _kill_mode(unit)
        if mode not in HARMLESS_KILL_MODES:
            shown = f"KillMode={mode}" if mode else "an unknown KillMode"
            return False, f"the unit {unit} has {shown}, which ends all of its processes"
        return True, f"the unit {unit} has KillMode={mode}"
    if _trial():
        return True, "a trial process outlived the one that had started it"
    return False, "a trial process died with the one that had started it"


def _in_initial_namespace() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino == INITIAL_PID_NAMESPACE
    except OSError:
        return False


def _service_unit(cgroups: str) -> str | None:
    """The systemd service that this process belongs to, from the text of /proc/self/cgroup."""
    for line in cgroups.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers in ("", "name=systemd") and path.endswith(".service"):
            return path.rpartition("/")[2]
    return None


def _kill_mode(unit: str) -> str | None:
    program = shutil.which("systemctl", path="/usr/bin:/bin")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "show", "--property=KillMode", "--value", "--", unit],
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("ascii", "replace").strip() or None


def _trial() -> bool:
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", _TRIAL],
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TRIAL_SECONDS,
            check=False,
        )
        pid = int(done.stdout)
        handle = os.pidfd_open(pid)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
    try:
        # What is about to be killed with its parent is so within this moment.
        time.sleep(0.005)
        signal.pidfd_send_signal(handle, 0)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
