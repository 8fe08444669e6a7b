"""One agent under watch, from the moment it runs until it is asked to stop or has ended."""

import os
import select
import time

from .capture import Capture, Order
from .disk import DiskWatch
from .kill import Family
from .line import CANCEL, HURRY, OUTPUT, Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping
    from typing import Any
else:
    import _signal as signal

HURRY_SECONDS = 2.0
"""The longest grace when the host must be protected, or nobody waits for the agent any more."""

DRAIN_SECONDS = 1.0
TELL_SECONDS = 0.02
BUSY_PUMPS = 8
BUSY_SECONDS = 0.001
ASK_AGAIN_SECONDS = 0.01
LOOK_SECONDS = 1.0
"""How often the agent's processes are counted, for the record."""


class Alarm:
    """The signals that the shim heeds, as a descriptor to wait on. SIGTERM is a cancel."""

    def __init__(self) -> None:
        self.cancelled = False
        self.handle, writer = os.pipe()
        os.set_blocking(self.handle, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._cancel)
        # They were blocked before this program began, lest an early one end it.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _cancel(self, *_: object) -> None:
        # Not by the descriptor alone: that may be full of SIGCHLD.
        self.cancelled = True

    def clear(self) -> None:
        """Take in what has rung so far."""
        try:
            while os.read(self.handle, 4096):
                pass
        except BlockingIOError:
            pass


class Watch:
    """The loop around one agent. `cause` is why it ended, the first one that came up."""

    def __init__(
        self,
        *,
        limits: "Mapping[str, Any]",
        family: Family,
        captures: list[Capture],
        order: Order,
        alarm: Alarm,
        line: Line,
        stdin: tuple[int, bytes] | None,
        disk: DiskWatch,
        whom: "Callable[[], int | None]",
    ) -> None:
        self.cause: str | None = None
        self.began_at = time.monotonic()
        self._limits = limits
        self._family = family
        self._captures = captures
        self._order = order
        self._alarm = alarm
        self._line = line
        self._disk = disk
        self._whom = whom
        self._unasked = False
        self._last_output = self.began_at
        self._kill_at: float | None = None
        self._tell_at = 0.0
        self._look_at = self.began_at
        self._untold = False
        self._pumps = 0
        self._cancelled = self._lost = self._hurried = False
        self._stdin = memoryview(b"")
        self._pipes = {capture.pipe: capture for capture in captures}
        self._handlers: dict[int, Callable[[], None]] = {}
        self._poll = select.poll()
        self._register_all(stdin)

    def run(self) -> None:
        """Return once the main process has ended, or its grace has."""
        while True:
            self._wait()
            self._family.reap()
            now = time.monotonic()
            if self._family.status is not None:
                self.cause = self.cause or _own_end(self._family.status)
                return
            self._judge(now)
            if self._kill_at is not None and now >= self._kill_at:
                return
            self._tell(now)

    def drain(self) -> None:
        """Take what is left in the pipes; for a second at most, if a stranger holds them open."""
        until = time.monotonic() + DRAIN_SECONDS
        waiting = [capture for capture in self._captures if capture.is_open]
        while waiting:
            poll = select.poll()
            for capture in waiting:
                poll.register(capture.pipe, select.POLLIN)
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return
            for capture in waiting:
                capture.pump()
            waiting = [capture for capture in waiting if capture.is_open]

    def pause(self) -> None:
        """Wait a moment, or until a child has ended."""
        poll = select.poll()
        poll.register(self._alarm.handle, select.POLLIN)
        poll.poll(2)
        self._alarm.clear()

    # -- what is waited for ------------------------------------------------------------------------

    def _register_all(self, stdin: tuple[int, bytes] | None) -> None:
        self._register(self._alarm.handle, select.POLLIN, self._alarm.clear)
        self._listen_to_line()
        if self._line.door is not None:
            self._register(self._line.door, select.POLLIN, self._answer)
        for pipe in self._pipes:
            self._poll.register(pipe, select.POLLIN)
        if stdin is not None:
            handle, data = stdin
            self._stdin = memoryview(data)
            self._register(handle, select.POLLOUT, lambda: self._feed(handle))

    def _listen_to_line(self) -> None:
        if self._line.handle is not None:
            self._register(self._line.handle, select.POLLIN, self._obey)

    def _answer(self) -> None:
        """Somebody wants to supervise in the place of who did so far."""
        if self._line.answer(self._forget):
            self._lost = False
            self._listen_to_line()

    def _register(self, handle: int, events: int, handler: "Callable[[], None]") -> None:
        self._handlers[handle] = handler
        self._poll.register(handle, events)

    def _forget(self, handle: int) -> None:
        if self._handlers.pop(handle, None):
            self._poll.unregister(handle)

    def _wait(self) -> None:
        if self._pumps > BUSY_PUMPS:
            # A flood in small pieces: let it gather in the pipes, which hold a megabyte.
            time.sleep(BUSY_SECONDS)
        for handle, _ in self._poll.poll(self._milliseconds()):
            if capture := self._pipes.get(handle):
                self._pump(capture)
            elif handler := self._handlers.get(handle):
                handler()

    def _milliseconds(self) -> int:
        now = time.monotonic()
        if self._kill_at is not None:
            moments = [self._kill_at]
        else:
            moments = [self.began_at + self._limits["wall_clock"], self._disk.due]
            if self._limits["idle"] is not None:
                moments.append(self._last_output + self._limits["idle"])
        if self._untold:
            moments.append(self._tell_at)
        if self._unasked:
            moments.append(now + ASK_AGAIN_SECONDS)
        # Rounded up: waking a moment too early would mean waking twice. A day at most, since poll
        # takes no more than 31 bits.
        return min(86_400_000, max(0, int((min(moments) - now) * 1000) + 1))

    def _pump(self, capture: Capture) -> None:
        if capture.pump():
            self._last_output = time.monotonic()
            self._untold = True
            self._pumps += 1
        if not capture.is_open:
            self._poll.unregister(capture.pipe)

    def _feed(self, handle: int) -> None:
        try:
            self._stdin = self._stdin[os.write(handle, self._stdin[:65536]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._stdin = memoryview(b"")
        if not self._stdin:
            self._forget(handle)
            os.close(handle)

    def _obey(self) -> None:
        handle = self._line.handle
        said = self._line.hear()
        if not said:
            if handle is not None:
                self._forget(handle)
            self._lost = self._limits["policy"] == "die_with_me"
            return
        self._cancelled |= CANCEL in said or HURRY in said
        self._hurried |= HURRY in said

    def _tell(self, now: float) -> None:
        if self._untold and now >= self._tell_at:
            self._untold, self._pumps = False, 0
            self._tell_at = now + TELL_SECONDS
            self._order.flush()
            self._line.say(OUTPUT)

    # -- what is decided ---------------------------------------------------------------------------

    def _judge(self, now: float) -> None:
        if self.cause is None:
            self.cause = self._reason(now)
            if self.cause is not None:
                self._ask_to_stop(now)
        if self._unasked:
            self._ask_group()
        if self._kill_at is not None and (self._lost or self._hurried):
            self._kill_at = min(self._kill_at, now + HURRY_SECONDS)
            self._lost = self._hurried = False

    def _reason(self, now: float) -> str | None:
        limits = self._limits
        if self._cancelled or self._alarm.cancelled:
            return "stop_requested"
        if self._lost:
            return "supervisor_lost"
        if now >= self.began_at + limits["wall_clock"]:
            return "deadline"
        if sum(capture.total for capture in self._captures) > limits["output_bytes"]:
            return "output_limit"
        if limits["idle"] is not None and now >= self._last_output + limits["idle"]:
            return "stalled"
        if now >= self._disk.due:
            if now >= self._look_at:
                self._look_at = now + LOOK_SECONDS
                self._family.look()
            if self._disk.step():
                return "disk_limit"
        return None

    def _ask_to_stop(self, now: float) -> None:
        """The polite request to the whole group, which also reaches those that are stopped."""
        grace = float(self._limits["grace"])
        if self.cause in {"output_limit", "disk_limit", "supervisor_lost"}:
            grace = min(grace, HURRY_SECONDS)
        self._kill_at = now + grace
        self._ask_group()

    def _ask_group(self) -> None:
        """Once there is somebody to be asked, which takes a sandbox a moment."""
        whom = self._whom()
        self._unasked = whom is None
        if whom is None:
            return
        for number in (self._limits["stop_signal"], signal.SIGCONT):
            try:
                os.kill(whom, number)
            except ProcessLookupError:
                return


def _own_end(status: int) -> str:
    """Why the main process ended by itself: a file that reached the disk limit kills its writer."""
    too_large = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXFSZ
    return "disk_limit" if too_large else "exited"
