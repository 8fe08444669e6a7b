"""One run: take the request, start the agent, watch it, kill what is left, record the end.

The request comes through the control socket, since it holds the agent's environment and input:
eight bytes of length, then a mapping in the form of `marshal`. No secret is in an argument, in the
environment or in a file of the shim's.
"""

import marshal
import os
import resource
import time

from .capture import Capture, Order
from .disk import DiskWatch
from .kernel import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    boot_id,
    prctl,
    process_stat,
)
from .kill import Family
from .process import Launch, StartError, start
from .record import Reserved, now, to_json, write_all
from .watch import EXIT, STARTED, Alarm, Watch, say_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CONTROL = 3
FORKING = b"F"
STREAMS = ("stdout", "stderr")


def main() -> int:
    """The whole life of the shim; its exit code says only whether it did its own work."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    # Nobody of this user may look into the memory that will hold the agent's credentials.
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)
    os.set_inheritable(CONTROL, False)
    os.closerange(CONTROL + 1, 1 << 20)
    alarm = Alarm()
    request = receive(CONTROL)
    if request is None:
        return 0
    os.set_blocking(CONTROL, False)
    Run(request, alarm).work()
    return 0


def receive(control: int) -> "dict[str, Any] | None":
    """The request, or None if the supervisor went away before it was complete."""
    length = _exactly(control, 8)
    data = None if length is None else _exactly(control, int.from_bytes(length, "big"))
    if data is None:
        return None
    request: dict[str, Any] = marshal.loads(data)  # noqa: S302 - from our own parent
    return request


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

    def __init__(self, request: "Mapping[str, Any]", alarm: Alarm) -> None:
        self.request = request
        self.alarm = alarm
        self.directory = os.open(request["run_dir"], os.O_RDONLY | os.O_DIRECTORY)
        # Before the agent can fill the disk, or anything in this directory.
        self.records = {name: Reserved(self.directory, name) for name in ("started", "exit")}
        self.order = Order(self._create("order"))
        self.captures = [
            Capture(
                number,
                file=self._create(name),
                keep=request["limits"]["log_bytes"],
                order=self.order,
            )
            for number, name in enumerate(STREAMS)
        ]
        self.family = Family(-1)
        self.stdin: int | None = None

    def work(self) -> None:
        """Start to end. Whatever goes wrong in here, no descendant outlives it."""
        try:
            cwd = os.open(self.request["cwd"], os.O_RDONLY | os.O_DIRECTORY)
            self._start(cwd)
            watch = self._watch(cwd)
            self._record_start()
            watch.run()
            self._end(watch)
        except StartError as error:
            self._not_started(str(error))
        except NotADirectoryError as error:
            self._not_started(f"working directory: {error.strerror}")
        finally:
            self.family.kill(lambda: time.sleep(0.002))

    def _create(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        return os.open(name, flags, 0o600, dir_fd=self.directory)

    def _start(self, cwd: int) -> None:
        request = self.request
        reader = None
        if request["stdin"]:
            reader, self.stdin = os.pipe()
        try:
            os.write(CONTROL, FORKING)
        except BrokenPipeError:
            pass  # nobody is left who wants to know; the loop finds that out and decides
        try:
            pid = start(
                Launch(
                    argv=request["argv"],
                    environment=request["environment"],
                    cwd=cwd,
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
            control=CONTROL,
            stdin=stdin,
            disk=DiskWatch(cwd, limits["disk_bytes"]),
        )

    def _record_start(self) -> None:
        agent, shim = process_stat(self.family.main), process_stat(os.getpid())
        self._put_on_record(
            "started",
            STARTED,
            {
                "pid": self.family.main,
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
        clean = self.family.kill(watch.pause)
        ended_at = self.family.ended_at or time.monotonic()
        watch.drain()
        code, signal, error = _how(self.family.status)
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

    def _not_started(self, error: str) -> None:
        self.records["started"].close()
        clean = self.family.kill(lambda: time.sleep(0.002))
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
            "utime": usage.ru_utime,
            "stime": usage.ru_stime,
            "maxrss_kb": usage.ru_maxrss,
            "streams": streams,
            "at": now(),
        }
        self._put_on_record("exit", EXIT, {**values, **more})

    def _put_on_record(self, name: str, message: bytes, values: "Mapping[str, object]") -> None:
        """By the socket, where the agent reaches nothing, and by the file for those to come."""
        say_whole(CONTROL, message + to_json(values).encode() + b"\n")
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
