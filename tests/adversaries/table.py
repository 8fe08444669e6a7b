"""What must be true of each adversary in each layer: the one table.

The numbers are those of the 25 cases of hostile agents; 13 to 19 leave traps instead of fighting
and are in `test_traps.py`. Where a layer does not defend, `note` is what its record must say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubecase.core.model import Cause

PROCESS, LANDLOCK, BWRAP, CONTAINER = "process", "landlock", "bwrap", "container"
ALL = (PROCESS, LANDLOCK, BWRAP, CONTAINER)
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The end of one run, and what the agent itself had to say."""

    cause: Cause
    code: int | None = None
    signal: int | None = None
    says: tuple[str, ...] = ()
    never_says: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One adversary, how it is run, and what is expected by layer.

    With `stopped` it is asked to stop as soon as it says that it is ready. `repeat` is how often.
    """

    number: int
    program: str
    arguments: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    stop_signal: int = 2
    stopped: bool = False
    repeat: int = 1
    expected: Mapping[str, Expected]

    @property
    def title(self) -> str:
        """Number and program."""
        return "-".join((f"{self.number:02}", self.program, *self.arguments))


def everywhere(**values: Any) -> Mapping[str, Expected]:
    """The same in every layer."""
    return dict.fromkeys(ALL, Expected(**values))


def but(usual: Mapping[str, Expected], **others: Expected) -> Mapping[str, Expected]:
    """The usual, other in some layers."""
    return {**usual, **others}


ENDED = Cause.EXITED
OPEN_TO_USER = "may signal and inspect any process"
CASES: tuple[Case, ...] = (
    Case(
        number=1, program="ignore_signals", limits={"wall_clock": 0.6, "grace": 0.4},
        expected=everywhere(cause=Cause.DEADLINE, signal=9),
    ),
    Case(number=2, program="double_fork", expected=everywhere(cause=ENDED, code=0)),
    Case(
        number=2, program="double_fork", arguments=("stay",), stopped=True,
        expected=everywhere(cause=Cause.STOP_REQUESTED),
    ),
    Case(
        number=3, program="many_children", stopped=True,
        expected=everywhere(cause=Cause.STOP_REQUESTED),
    ),
    Case(
        number=4, program="held_stdout",
        expected=everywhere(cause=ENDED, code=0, says=("result",)),
    ),
    Case(
        number=5, program="self_stop", stop_signal=15, limits={"wall_clock": 0.6, "grace": 5.0},
        expected=everywhere(cause=Cause.DEADLINE, code=5, says=("farewell",)),
    ),
    Case(
        number=6, program="fork_bomb", arguments=("stay",), stopped=True,
        expected=everywhere(cause=Cause.STOP_REQUESTED),
    ),
    Case(
        number=7, program="moving_target", repeat=5, expected=everywhere(cause=ENDED, code=0)
    ),
    Case(
        number=7, program="moving_target", arguments=("stay",), stopped=True, repeat=5,
        expected=everywhere(cause=Cause.STOP_REQUESTED),
    ),
    Case(
        number=8, program="disguise", limits={"wall_clock": 0.6},
        expected=everywhere(cause=Cause.DEADLINE),
    ),
    Case(
        number=9, program="steal_orphans", stopped=True,
        expected=everywhere(cause=Cause.STOP_REQUESTED),
    ),
    Case(
        number=10, program="kill_everything", arguments=("{supervisor}", "{namespace}"),
        expected={
            # Asked, not done: it would reach this very test.
            PROCESS: Expected(
                cause=ENDED, code=0, says=("may signal",), note=OPEN_TO_USER
            ),
            LANDLOCK: Expected(cause=ENDED, code=0, says=("survived",), never_says=("may signal",)),
            BWRAP: Expected(cause=ENDED, code=0, says=("survived",), never_says=("may signal",)),
            CONTAINER: Expected(
                cause=ENDED, code=0, says=("survived",), never_says=("may signal",)
            ),
        },
    ),
    Case(
        number=11, program="steal_secrets", arguments=("{marker}",),
        expected=but(
            everywhere(cause=ENDED, code=0, says=("found 0",)),
            # A sibling that is dumpable, as any program is, is open; the supervisor is not.
            process=Expected(
                cause=ENDED, code=0, says=("found",), note=OPEN_TO_USER
            ),
        ),
    ),
    Case(
        number=12, program="memory_hog", arguments=("4",),
        expected=but(
            everywhere(
                cause=ENDED, code=0, says=("got 1024 MiB",), note="memory: bounded for each"
            ),
            # Whom the kernel kills for it is its choice.
            container=Expected(cause=ENDED, never_says=("got 1024 MiB",)),
        ),
    ),
    Case(
        number=20, program="flood", arguments=("48",), limits={"log_bytes": 4 * MIB},
        expected=everywhere(cause=ENDED, code=0, says=("LAST LINE", "are left out here")),
    ),
    Case(
        number=20, program="flood", arguments=("64",), limits={"output_bytes": 16 * MIB},
        expected=everywhere(cause=Cause.OUTPUT_LIMIT),
    ),
    Case(
        number=21, program="bombs", arguments=("24",), limits={"log_bytes": 64 * MIB},
        expected=everywhere(cause=ENDED, code=0, says=("still here",)),
    ),
    Case(
        number=22, program="hostile_text",
        expected=everywhere(cause=ENDED, code=7, says=("all is well",)),
    ),
    Case(
        number=23, program="exhaust", limits={"disk_bytes": 96 * MIB},
        expected=everywhere(
            cause=Cause.DISK_LIMIT, says=("stopped at", ": 24"), never_says=("filled four",)
        ),
    ),
    Case(
        number=24, program="forge_state",
        expected=everywhere(
            cause=ENDED, code=9, says=("evidence",), never_says=("typed", "forged")
        ),
    ),
    Case(
        number=25, program="probe_network",
        arguments=("{gateway}", "{host_port}", "{abstract}", "{socket_file}"),
        expected={
            PROCESS: Expected(
                cause=ENDED, code=0, says=("tcp to the host",), note="network: the agent may reach"
            ),
            LANDLOCK: Expected(
                cause=ENDED, code=0, says=("open: gateway\n", "refused at once")
            ),
            BWRAP: Expected(cause=ENDED, code=0, says=("open: gateway\n", "refused at once")),
            # A datagram socket on the loopback of a network with nobody in it reaches nobody.
            CONTAINER: Expected(
                cause=ENDED, code=0, says=("gateway\n", "refused at once"),
                never_says=("tcp", "metadata", "abstract", "socket file", "raw"),
            ),
        },
    ),
)  # fmt: skip
