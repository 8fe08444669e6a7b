"""A process that holds keys cannot be looked into by its own user."""

import os
import subprocess
import sys

import pytest

CLOSED = """
import sys
from kubecase.runtime.protect import close_to_same_user
close_to_same_user()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="looks as another user, which takes root")
def test_environment_of_a_closed_process_is_unreadable_for_its_user() -> None:
    """The same user, without capabilities, reads neither environment nor memory (case 11)."""
    nobody = 65534
    process = subprocess.Popen(
        [sys.executable, "-c", CLOSED],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"CANARY": "seen", "PATH": "/usr/bin"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        for name in ("environ", "mem", "maps"):
            # Root without capabilities is what an agent of root's is.
            look = f"setpriv --bounding-set=-all cat /proc/{process.pid}/{name}"
            found = subprocess.run(["sh", "-c", look], capture_output=True)
            assert found.returncode != 0
            assert b"seen" not in found.stdout
        other = subprocess.run(
            [
                "setpriv",
                f"--reuid={nobody}",
                "--clear-groups",
                "cat",
                f"/proc/{process.pid}/environ",
            ],
            capture_output=True,
        )
        assert other.returncode != 0
    finally:
        process.communicate()
