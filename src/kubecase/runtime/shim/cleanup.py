"""A command that removes what an agent's container left, run after everything else is dead."""

import os
import time

from .process import restore_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
else:
    import _signal as signal

CLEANUP_SECONDS = 30.0
_POLL_SECONDS = 0.005


def clean_up(argv: "list[bytes]", environment: "Mapping[bytes, bytes]") -> bool:
    """Run `argv` to its end; whether it ended with exit code 0 within half a minute.

    What it prints goes to the log of the shim.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            restore_signals()
            os.dup2(2, 1)
            os.closerange(3, 1 << 20)
            os.execve(argv[0], argv, environment)  # noqa: S606
        finally:
            os._exit(127)
    until = time.monotonic() + CLEANUP_SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        time.sleep(_POLL_SECONDS)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False
