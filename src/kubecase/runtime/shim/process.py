"""The agent's process between fork and exec: what it gets, and all that it does not."""

import os
import resource
import select

from .kernel import PR_SET_PDEATHSIG, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

    from .confine import Confinement
else:
    import _signal as signal

START_SECONDS = 30
"""The longest that a program may take from fork to exec, which a dead file server can delay."""


class StartError(Exception):
    """The agent could not be started; the message says what failed, and how."""


class Launch:
    """All that the child needs; the descriptors are the shim's, each above 2.

    `stdin` is None for no input: /dev/null, which is the shim's own standard input.
    """

    __slots__ = (
        "argv", "confinement", "cwd", "environment", "limits", "stderr", "stdin", "stdout",
    )  # fmt: skip

    def __init__(
        self,
        *,
        argv: list[bytes],
        environment: "Mapping[bytes, bytes]",
        cwd: int,
        confinement: "Confinement",
        limits: "Mapping[str, int]",
        stdin: int | None,
        stdout: int,
        stderr: int,
    ) -> None:
        self.argv = argv
        self.environment = environment
        self.cwd = cwd
        self.confinement = confinement
        self.limits = limits
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr


def start(launch: Launch) -> int:
    """Start the agent and return its pid once the program itself is running.

    Raises StartError if that did not come to pass; the child is then dead, but not yet reaped.
    """
    shim = os.getpid()
    ours, theirs = os.pipe()
    # A signal must not reach a handler of the shim in the child.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        _become(launch, shim, theirs)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(theirs)
    launch.confinement.in_parent()
    try:
        failure = _failure(ours)
    finally:
        os.close(ours)
    if failure is not None:
        os.kill(pid, signal.SIGKILL)
        raise StartError(failure)
    return pid


def programs(name: bytes, environment: "Mapping[bytes, bytes]") -> list[bytes]:
    """Where the program `name` may lie: itself, or by the PATH of the agent's own environment."""
    if b"/" in name:
        return [name]
    path = environment.get(b"PATH", os.fsencode(os.defpath))
    return [os.path.join(folder or b".", name) for folder in path.split(b":")]


def _failure(ours: int) -> str | None:
    """None once exec has closed the other end of the pipe; else what the child says."""
    if not select.select([ours], [], [], START_SECONDS)[0]:
        return f"not running within {START_SECONDS} seconds"
    said = os.read(ours, 64).split()
    if not said:
        return None
    step, number = said[0].decode(), int(said[1])
    return os.strerror(number) if step == "exec" else f"{step}: {os.strerror(number)}"


def _become(launch: Launch, shim: int, report: int) -> None:
    """In the child; does not return."""
    step = "session"
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != shim:  # it died before the line above
            os._exit(127)
        restore_signals()
        step = "working directory"
        os.fchdir(launch.cwd)
        step = "streams"
        for number, handle in enumerate((launch.stdin, launch.stdout, launch.stderr)):
            if handle is not None:
                os.dup2(handle, number)
        _close_all_but({report, *launch.confinement.inherited})
        step = "limits"
        _limit(launch.limits)
        step = "confinement"
        argv = [*launch.confinement.enter(shim), *launch.argv]
        step = "exec"
        _execute(argv, launch.environment)
    except OSError as error:
        os.write(report, f"{step.replace(' ', '-')} {error.errno}".encode())
    finally:
        os._exit(127)


def _close_all_but(kept: set[int]) -> None:
    low = 3
    for handle in (*sorted(kept), 1 << 20):
        os.closerange(low, handle)
        low = handle + 1


def restore_signals() -> None:
    """As a program expects them that is about to be started: nothing ignored, nothing blocked."""
    for number in signal.valid_signals():
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _limit(limits: "Mapping[str, int]") -> None:
    """Set each limit, soft and hard, as far as the limits in force allow."""
    for name, wanted in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(number, (value, value))


def _execute(argv: list[bytes], environment: "Mapping[bytes, bytes]") -> None:
    """Exec the first candidate that can be. Raises the error that tells most."""
    telling: OSError | None = None
    for program in programs(argv[0], environment):
        try:
            os.execve(program, argv, environment)  # noqa: S606
        except (FileNotFoundError, NotADirectoryError) as error:
            missing = error
        except OSError as error:
            telling = telling or error
    raise telling or missing
