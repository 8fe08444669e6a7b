"""One run: take the request, start the agent, watch it, kill what is left, record the end.

The request comes through the control socket, since it holds the agent's environment and input:
eight bytes of length, with them the listening sockets that are to be kept, then a mapping in the
form of `marshal`. No secret is in an argument, in the environment or in a file of the shim's.
"""

import fcntl
import marshal
import os
import resource
import time

from .capture import Capture, Order
from .cleanup import clean_up
from .confine import Confinement, receive_handles
from .disk import DiskWatch
from .kernel import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    boot_id,
    prctl,
    process_stat,
)
from .kill import Family
from .line import EXIT, FORKING, STARTED, Line
from .process import START_SECONDS, Launch, StartError, start
from .record import ABANDONED, Reserved, now, to_json, write_all
from .sandbox import Client, Sandbox, complaint
from .watch import Alarm, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any
else:
    import _socket as socket

CONTROL = 3
STREAMS = ("stdout", "stderr")
SANDBOX_POLL_SECONDS = 0.0005


def main() -> int:
    """The whole life of the shim; its exit code says only whether it did its own work."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    # Nobody of this user may look into the memory that will hold the agent's credentials.
    prctl(PR_SET_DUMPABLE, 0)
    os.umask(0o077)
    os.set_inheritable(CONTROL, False)
    os.closerange(CONTROL + 1, 1 << 20)
    alarm = Alarm()
    request = receive(CONTROL)
    if request is None:
        return 0
    directory = os.open(request["run_dir"], os.O_RDONLY | os.O_DIRECTORY)
    # Held as long as this process lives: who can have it knows that no agent will be started.
    fcntl.flock(directory, fcntl.LOCK_EX)
    if _exists(ABANDONED, directory):
        return 0
    Run(request, alarm, directory).work()
    return 0


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def receive(control: int) -> "dict[str, Any] | None":
    """The request, or None if the supervisor went away before it was complete."""
    source = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(control))
    try:
        length, listeners = receive_handles(source, 8)
    finally:
        source.close()
    data = _exactly(control, int.from_bytes(length, "big")) if len(length) == 8 else None
    if data is None:
        return None
    request: dict[str, Any] = marshal.loads(data)  # noqa: S302 - from our own parent
    return {**request, "listeners": listeners}


def _exactly(control: int, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = os.read(control, min(1 << 20, count - len(parts)))
        if not part:
            return None
        parts += part
    return bytes(parts)


class Run:
    """What the steps of one run share."""

    def __init__(self, request: "Mapping[str, Any]", alarm: Alarm, directory: int) -> None:
        self.request = request
        self.alarm = alarm
        self.directory = directory
        self.line = Line(CONTROL, directory)
        self.confinement = Confinement(request["confinement"])
        self.sandbox: Sandbox | Client | None = None
        # Before the agent can fill the disk, or anything in this directory.
        self.records = {name: Reserved(self.directory, name) for name in ("started", "exit")}
        self.order = Order(self._create("order"))
        self.streams = [self._create(name) for name in STREAMS]
        self.captures = [
            Capture(number, file=file, keep=request["limits"]["log_bytes"], order=self.order)
            for number, file in enumerate(self.streams)
        ]
        self.family = Family(-1)
        self.stdin: int | None = None
        self.has_recorded_start = False

    def work(self) -> None:
        """Start to end. Whatever goes wrong in here, no descendant outlives it."""
        try:
            cwd = os.open(self.request["cwd"], os.O_RDONLY | os.O_DIRECTORY)
            self._start(cwd)
            watch = self._watch(cwd)
            if isinstance(self.sandbox, Sandbox):
                self._wait_for_sandbox(self.sandbox)
            self._record_start()
            self.line.keep([*self.request["listeners"], *self.confinement.listeners()])
            watch.run()
            self._end(watch)
        except StartError as error:
            self._not_started(str(error))
        except NotADirectoryError as error:
            self._not_started(f"working directory: {error.strerror}")
        finally:
            self.family.kill(lambda: time.sleep(0.002))

    def _create(self, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        return os.open(name, flags, 0o600, dir_fd=self.directory)

    def _start(self, cwd: int) -> None:
        request = self.request
        reader = None
        if request["stdin"]:
            reader, self.stdin = os.pipe()
        self.line.say(FORKING)
        try:
            pid = start(
                Launch(
                    argv=request["argv"],
                    environment=request["environment"],
                    cwd=cwd,
                    confinement=self.confinement,
                    limits=request["rlimits"],
                    stdin=reader,
                    stdout=self.captures[0].writer,
                    stderr=self.captures[1].writer,
                )
            )
        finally:
            for handle in (reader, *(capture.writer for capture in self.captures)):
                if handle is not None:
                    os.close(handle)
        self.family = Family(pid)
        if self.confinement.status is not None:
            self.sandbox = Sandbox(self.confinement.status, pid)
        elif request["confinement"].get("engine") is not None:
            self.sandbox = Client(pid)

    def _watch(self, cwd: int) -> Watch:
        stdin = None
        if self.stdin is not None:
            os.set_blocking(self.stdin, False)
            stdin = (self.stdin, self.request["stdin"])
        limits = self.request["limits"]
        return Watch(
            limits=limits,
            family=self.family,
            captures=self.captures,
            order=self.order,
            alarm=self.alarm,
            line=self.line,
            stdin=stdin,
            disk=DiskWatch(cwd, limits["disk_bytes"]),
            whom=self.sandbox.whom if self.sandbox else lambda: -self.family.main,
        )

    def _record_start(self) -> None:
        self.has_recorded_start = True
        main = (self.sandbox and self.sandbox.agent) or self.family.main
        agent, shim = process_stat(main), process_stat(os.getpid())
        self._put_on_record(
            "started",
            STARTED,
            {
                "pid": main,
                "start": agent.start if agent else 0,
                "shim_pid": os.getpid(),
                "shim_start": shim.start if shim else 0,
                "boot_id": boot_id(),
                "at": now(),
                "isolation": self.request["isolation"],
                "notes": self.request["notes"],
            },
        )

    def _end(self, watch: Watch) -> None:
        clean = self._leave_nothing(watch.pause)
        watch.drain()
        ended_at = self.family.ended_at or time.monotonic()
        code, signal, error = _how(self.family.status)
        if isinstance(self.sandbox, Client) and watch.cause == "exited" and code:
            self._require_start()
        if self.sandbox is not None:
            code, signal = self.sandbox.how(code) if signal is None else (None, signal)
        self._record_end(
            {
                "cause": watch.cause,
                "code": code,
                "signal": signal,
                "seconds": ended_at - watch.began_at,
                "clean": clean,
                "error": error,
            }
        )

    def _wait_for_sandbox(self, sandbox: Sandbox) -> None:
        """Return once the agent runs inside, or has run; raises StartError if it could not."""
        until = time.monotonic() + START_SECONDS
        while not sandbox.is_up():
            self.family.reap()
            if self.family.status is not None:
                self._require_start()
                return
            if time.monotonic() > until:
                raise StartError(f"its sandbox was not there within {START_SECONDS} seconds")
            time.sleep(SANDBOX_POLL_SECONDS)

    def _require_start(self) -> None:
        """It has ended before it was seen: too quick, or what it says is why it could not begin."""
        for capture in self.captures:
            capture.pump()
        os.lseek(self.streams[1], 0, os.SEEK_SET)
        words = complaint(os.read(self.streams[1], 1000), self.confinement.complaints)
        os.lseek(self.streams[1], 0, os.SEEK_END)
        if words is not None and self.captures[0].total == 0:
            raise StartError(words)

    def _leave_nothing(self, pause: "Callable[[], None]") -> bool:
        """Kill until nobody is left, and remove what an engine keeps; whether that is so."""
        if self.sandbox is not None:
            self.family.of_the_sandbox = {self.sandbox.inner(), self.sandbox.agent}
        clean = self.family.kill(pause)
        cleanup = self.request["cleanup"]
        if cleanup is None:
            return clean
        # What an engine starts for this is a child of ours too, and so is what it leaves behind.
        removed = clean_up(cleanup["argv"], cleanup["environment"])
        return self.family.kill(pause) and removed

    def _not_started(self, error: str) -> None:
        if not self.has_recorded_start:
            self.records["started"].close()
        clean = self._leave_nothing(lambda: time.sleep(0.002))
        self._record_end(
            {
                "cause": "start_error",
                "code": None,
                "signal": None,
                "seconds": 0.0,
                "clean": clean,
                "error": error,
            }
        )

    def _record_end(self, values: "dict[str, object]") -> None:
        for capture in self.captures:
            capture.finish()
        self.order.flush()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        streams = {
            name: {"bytes": c.total, "left_out": c.left_out, "trouble": c.trouble}
            for name, c in zip(STREAMS, self.captures, strict=True)
        }
        more = {
            "leftover": self.family.leftover,
            "rounds": self.family.rounds,
            "most_processes": self.family.most,
            "utime": usage.ru_utime,
            "stime": usage.ru_stime,
            "maxrss_kb": usage.ru_maxrss,
            "streams": streams,
            "at": now(),
        }
        self.line.answer(lambda _: None)  # who has called since may as well hear the end
        self._put_on_record("exit", EXIT, {**values, **more})

    def _put_on_record(self, name: str, message: bytes, values: "Mapping[str, object]") -> None:
        """By the socket, where the agent reaches nothing, and by the file for those to come."""
        self.line.say_record(message, to_json(values).encode())
        record = self.records[name]
        try:
            record.write(values)
        except OSError as error:
            _note(f"cannot write the record {name}: {error.strerror}")
        finally:
            record.close()


def _note(text: str) -> None:
    """One line for the operator in the log of the shim, if that can be written."""
    try:
        write_all(2, f"{text}\n".encode())
    except OSError:
        pass


def _how(status: int | None) -> tuple[int | None, int | None, str | None]:
    """Code, signal and error for what `wait` said of the main process."""
    if status is None:
        return None, 9, "the main process did not die of SIGKILL within the bound"
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status), None
    return os.WEXITSTATUS(status), None, None
