"""One run under the shim: start, watch, stop, kill, record. Standard library only."""

import json
import os
import resource
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING or __package__:
    from kubecase.runtime import shim_process as process
    from kubecase.runtime.shim_output import Capture, Order
else:  # run by path, without the application
    import shim_process as process
    from shim_output import Capture, Order

DRAIN_SECONDS = 1.0
DISK_SECONDS = 1.0
FILES = 4096


def main(control: int) -> None:
    """Run what the other end of `control` asks for, to its end."""
    os.set_inheritable(control, False)
    process.prctl(process.SUBREAPER, 1)
    process.prctl(process.DUMPABLE, 0)
    os.umask(0o077)
    request, stdin, more = receive(control)
    run = Run(control, request, stdin)
    run.stop_at_once = bool(more)
    run.work()


def receive(control: int) -> tuple[dict[str, Any], bytes, bytes]:
    """The request, the bytes for standard input, and what was sent after these."""
    data = b""
    while b"\n" not in data:
        piece = os.read(control, 1 << 16)
        if not piece:
            raise SystemExit(1)
        data += piece
    line, data = data.split(b"\n", 1)
    request = json.loads(line)
    size = request["stdin_bytes"]
    while len(data) < size:
        piece = os.read(control, 1 << 16)
        if not piece:
            raise SystemExit(1)
        data += piece
    return request, data[:size], data[size:]


def start_failure(error: Exception) -> str:
    """Why a program could not be started, in words; never its arguments or environment."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


class Run:
    """One agent from its start to the proof that nothing of it is left."""

    def __init__(self, control: int, request: dict[str, Any], stdin: bytes) -> None:
        self.control, self.request, self.stdin = control, request, stdin
        self.directory = os.open(request["run_dir"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.order = Order(self.directory)
        self.streams = [
            Capture(name, self.directory, request["log_bytes"], self.order)
            for name in ("stdout", "stderr")
        ]
        self.status: int | None = None
        self.usage: Any = None
        self.cause = ""
        self.stop_at_once = False
        self.soft_until: float | None = None
        self.begun = self.heard = time.monotonic()
        self.next_disk = 0.0

    # -- start ---------------------------------------------------------------------------------

    def start(self) -> bool:
        """Start the agent; False when it cannot be started, which is on record then."""
        source, sink = os.pipe2(os.O_CLOEXEC)
        report, told = os.pipe2(os.O_CLOEXEC)
        me = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self.become_agent(me, source, told)
        os.close(source)
        os.close(told)
        for stream in self.streams:
            os.close(stream.writer)
        failure = os.read(report, 4096)
        os.close(report)
        self.input = sink
        os.set_blocking(sink, False)
        if failure:
            os.waitpid(self.pid, 0)
            self.end_early(json.loads(failure))
            return False
        self.begun = self.heard = time.monotonic()
        self.wall = time.time()
        self.tell(
            "started",
            {
                "shim_pid": me,
                "shim_start": process.start_time(me),
                "pid": self.pid,
                "start": process.start_time(self.pid),
                "boot_id": process.boot_id(),
                "at": self.wall,
                "isolation": "process",
            },
        )
        return True

    def become_agent(self, parent: int, source: int, told: int) -> NoReturn:
        """The child between fork and exec: a session, limits and streams of its own, then exec."""
        try:
            os.setsid()
            process.prctl(process.PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(127)
            process.prctl(process.NO_NEW_PRIVS, 1)
            process.prctl(process.DUMPABLE, 1)
            signal.set_wakeup_fd(-1)
            for number in range(1, signal.NSIG):
                # What cannot be reset (SIGKILL, the C library's own) was never changed.
                with suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            files = min(FILES, most) if most != resource.RLIM_INFINITY else FILES
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if not self.request["stdin_bytes"]:
                source = os.open("/dev/null", os.O_RDONLY)
            os.dup2(source, 0)
            os.dup2(self.streams[0].writer, 1)
            os.dup2(self.streams[1].writer, 2)
            os.umask(0o077)
            os.chdir(self.request["cwd"])
            self.execute()
        except (OSError, ValueError) as error:
            os.write(told, json.dumps(start_failure(error)).encode())
        finally:
            os._exit(127)

    def execute(self) -> NoReturn:
        """Become the program; its name is looked up on the PATH of the agent's environment."""
        argv, environment = self.request["argv"], self.request["environment"]
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - an argv list, never a shell

    # -- watch ---------------------------------------------------------------------------------

    def watch(self) -> None:
        """Wait for whatever comes first, then see to it that the agent ends."""
        poller = select.poll()
        pidfd = os.pidfd_open(self.pid)
        poller.register(pidfd, select.POLLIN)
        poller.register(self.wake, select.POLLIN)
        poller.register(self.control, select.POLLIN)
        for stream in self.streams:
            poller.register(stream.reader, select.POLLIN)
        if self.stdin:
            poller.register(self.input, select.POLLOUT)
        else:
            os.close(self.input)
        by_reader = {stream.reader: stream for stream in self.streams}
        while True:
            for handle, _ in poller.poll(self.timeout_ms()):
                if handle == pidfd:
                    return
                if handle == self.wake:
                    self.read_signals()
                elif handle == self.control:
                    self.read_control(poller)
                elif handle == self.input:
                    self.feed(poller)
                elif by_reader[handle].take() == 0:
                    poller.unregister(handle)
                else:
                    self.heard = time.monotonic()
            self.order.flush()
            self.look_at_limits()
            if self.soft_until is not None and time.monotonic() >= self.soft_until:
                return

    def timeout_ms(self) -> float:
        """Until the next thing that time alone brings about."""
        now = time.monotonic()
        limits = self.request
        moments = [self.begun + limits["wall_clock"], now + DISK_SECONDS]
        if limits["idle"]:
            moments.append(self.heard + limits["idle"])
        if self.soft_until is not None:
            moments = [self.soft_until]
        return max(0.0, float(min(moments) - now) * 1000 + 1)

    def look_at_limits(self) -> None:
        """Ask the agent to stop once a limit is reached. The first cause stays."""
        if self.cause:
            return
        now, limits = time.monotonic(), self.request
        if now >= self.begun + limits["wall_clock"]:
            self.ask_to_stop("deadline")
        elif limits["idle"] and now >= self.heard + limits["idle"]:
            self.ask_to_stop("stalled")
        elif sum(stream.total for stream in self.streams) > limits["output_bytes"]:
            self.ask_to_stop("output_limit")
        elif now >= self.next_disk:
            self.next_disk = now + DISK_SECONDS
            if process.disk_bytes(limits["cwd"]) > limits["disk_bytes"]:
                self.ask_to_stop("disk_limit")

    def ask_to_stop(self, cause: str) -> None:
        """The polite request, to the agent's group; a stopped one is woken to hear it."""
        if self.cause:
            return
        self.cause = cause
        self.soft_until = time.monotonic() + self.request["grace"]
        for number in (self.request["stop_signal"], signal.SIGCONT):
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                pass

    def read_signals(self) -> None:
        """SIGTERM is the request to stop; SIGCHLD and others only wake us."""
        if signal.SIGTERM in os.read(self.wake, 4096):
            self.ask_to_stop("stop_requested")

    def read_control(self, poller: Any) -> None:
        """`stop` from the supervisor, or the end of it."""
        data = os.read(self.control, 64)
        if data:
            self.ask_to_stop("stop_requested")
            if b"now!" in data:
                self.soft_until = time.monotonic()
            return
        poller.unregister(self.control)
        if self.request["policy"] == "die_with_me":
            self.ask_to_stop("supervisor_lost")

    def feed(self, poller: Any) -> None:
        """Give the agent more of its standard input, until it has all or wants no more."""
        try:
            self.stdin = self.stdin[os.write(self.input, self.stdin[: 1 << 16]) :]
        except BlockingIOError:
            return
        except OSError:
            self.stdin = b""
        if not self.stdin:
            poller.unregister(self.input)
            os.close(self.input)

    # -- end -----------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take what is still in the pipes; whoever holds them open cannot keep us."""
        deadline = time.monotonic() + DRAIN_SECONDS
        open_ones = list(self.streams)
        while open_ones and time.monotonic() < deadline:
            for stream in list(open_ones):
                taken = stream.take()
                while taken > 0:
                    taken = stream.take()
                if taken == 0:
                    open_ones.remove(stream)
            if open_ones:
                select.select([stream.reader for stream in open_ones], [], [], 0.05)

    def finish(self) -> None:
        """Kill, drain, and put the end on record."""
        killed = process.kill_all(self.pid)
        if killed.status is not None:
            self.status, self.usage = killed.status, killed.usage
        seconds = time.monotonic() - self.begun
        self.drain()
        for stream in self.streams:
            stream.finish()
        self.order.flush()
        status = self.status
        ended = status is not None and os.WIFEXITED(status)
        killed_by = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
        self.tell(
            "exit",
            {
                "cause": self.cause or "exited",
                "code": os.WEXITSTATUS(status) if status is not None and ended else None,
                "signal": killed_by,
                "seconds": seconds,
                "clean": killed.proved,
                "leftover": killed.leftover,
                "rounds": killed.rounds,
                "utime": self.usage.ru_utime if self.usage else None,
                "maxrss_kb": self.usage.ru_maxrss if self.usage else None,
                "bytes": {"stdout": self.streams[0].total, "stderr": self.streams[1].total},
                "at": time.time(),
                "error": None,
            },
        )

    def end_early(self, error: str) -> None:
        """Nothing was started: say why."""
        for stream in self.streams:
            stream.finish()
        self.tell(
            "exit",
            {
                "cause": "start_error",
                "code": None,
                "signal": None,
                "seconds": 0.0,
                "clean": True,
                "leftover": 0,
                "rounds": 0,
                "utime": None,
                "maxrss_kb": None,
                "bytes": {},
                "at": time.time(),
                "error": error,
            },
        )

    def tell(self, name: str, record: dict[str, Any]) -> None:
        """The same to the run directory and to the supervisor, if there is still one."""
        process.write_record(self.directory, name, record)
        try:
            os.write(self.control, json.dumps({name: record}).encode() + b"\n")
        except OSError:
            pass

    def work(self) -> None:
        """The whole run."""
        self.wake, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGTERM, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.set_wakeup_fd(writer)
        if self.start():
            if self.stop_at_once:
                self.ask_to_stop("stop_requested")
            self.watch()
            self.finish()
