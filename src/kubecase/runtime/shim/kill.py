"""All that descends from the shim, and how it is killed until none is left."""

import os
import time

from .kernel import children, process_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Container
else:
    import _signal as signal  # the module `signal` takes longer to load than the shim to start

KILL_SECONDS = 10.0


class Family:
    """The agent's main process `main` and every process that came of it.

    This process is the sub-reaper of them all: an orphan becomes its child before the parent can
    be reaped. Hence the one sound proof that nobody is left: the kernel says that this process
    has no child at all. Looking through the process list proves nothing, since it is not atomic.
    """

    def __init__(self, main: int) -> None:
        self.main = main
        self.status: int | None = None
        self.ended_at: float | None = None
        self.rounds = 0
        self.of_the_sandbox: set[int | None] = set()
        self.most = 1
        self._killed: set[tuple[int, int]] = set()

    @property
    def leftover(self) -> int:
        """How many had to be killed besides the agent's main process and those of its sandbox."""
        return len(self._killed)

    def reap(self) -> bool:
        """Take in all that have ended; True if no child is left at all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.main:
                self.status, self.ended_at = status, time.monotonic()

    def kill(self, pause: "Callable[[], None]") -> bool:
        """Kill until none is left; False if that could not be proved within ten seconds.

        `pause` is called between two rounds and should wait a moment.
        """
        until = time.monotonic() + KILL_SECONDS
        while not self.reap():
            if time.monotonic() > until:
                return False
            self.rounds += 1
            self._kill_round()
            pause()
        return True

    def _kill_round(self) -> None:
        """All that can be seen are counted first: in a sandbox the death of one is that of all."""
        known = self.look()
        for pid in known[1:]:
            self._count(pid)
        for pid in known[1:]:
            self._kill_one(pid, known)

    def look(self) -> list[int]:
        """This process and all that descends from it, as far as they hold still; the most that
        were ever seen at once are remembered.
        """
        known = {os.getpid(): None}
        unvisited = [os.getpid()]
        while unvisited:
            for pid in children(unvisited.pop()):
                if pid not in known:
                    known[pid] = None
                    unvisited.append(pid)
        self.most = max(self.most, len(known) - 1)
        return list(known)

    def _count(self, pid: int) -> None:
        stat = process_stat(pid)
        ours = pid in {self.main, *self.of_the_sandbox}
        if stat is not None and not stat.is_dead and not ours:
            self._killed.add((pid, stat.start))

    def _kill_one(self, pid: int, known: "Container[int]") -> None:
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return
        try:
            # The number may have been given to a stranger since the list was read: what the
            # handle holds is ours only if its parent is.
            stat = process_stat(pid)
            if stat is None or stat.parent not in known:
                return
            # Also when it seems dead: its first thread may have ended before the others.
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            os.close(handle)
