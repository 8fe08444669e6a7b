"""What bubblewrap says of the sandbox that it made (`--json-status-fd`)."""

import os

from .kernel import children, process_stat, read_small

_NAME = b"bwrap\n"
_HIGHEST_SIGNAL = 64


class Sandbox:
    """The status pipe of one bubblewrap. `agent` is the agent's pid, once it has been seen.

    It is not the program itself that may be asked to stop: it would take the agent along at once.
    What is asked is the group inside, whose leader it names.
    """

    def __init__(self, status: int, outer: int) -> None:
        self._status = status
        self._outer = outer
        self.agent: int | None = None
        self._said = b""

    def inner(self) -> int | None:
        """The first process inside, by its number outside; None before there is one."""
        return self._number(b'"child-pid"')

    def is_up(self) -> bool:
        """Whether the agent's own program runs, which is found out once and remembered."""
        inner = self.inner()
        if self.agent is None and inner is not None:
            for pid in children(inner):
                try:
                    # Until its exec it has the name of bubblewrap; afterwards what it likes.
                    if read_small(f"/proc/{pid}/comm") != _NAME:
                        self.agent = pid
                except OSError:
                    continue
                break
        return self.agent is not None

    def whom(self) -> int | None:
        """Whom to ask to stop: the process group inside, as a negative number; None as long as
        there is none.
        """
        inner = self.inner()
        stat = None if inner is None else process_stat(inner)
        if stat is None or self._outer in (stat.group, stat.session):
            return None
        return -stat.group

    def how(self, code: int | None) -> "tuple[int | None, int | None]":
        """Code and signal of the agent, for the exit code of bubblewrap.

        It folds a death by a signal into 128 and the number, and the two cannot be told apart.
        """
        return self.unfolded(code)

    @staticmethod
    def unfolded(code: int | None) -> "tuple[int | None, int | None]":
        """Code and signal for a code in which both are folded."""
        if code is not None and 128 < code <= 128 + _HIGHEST_SIGNAL:
            return None, code - 128
        return code, None

    def _number(self, key: bytes) -> int | None:
        """The last number that was told under `key`."""
        self._read()
        at = self._said.rfind(key)
        if at < 0:
            return None
        text = self._said[at + len(key) :].lstrip(b" \n\t:")
        digits = text[: len(text) - len(text.lstrip(b"0123456789"))]
        return int(digits) if digits else None

    def _read(self) -> None:
        try:
            while len(self._said) < 65536 and (part := os.read(self._status, 4096)):
                self._said += part
        except BlockingIOError:
            return


class Client:
    """The client of a container engine: it passes signals on and folds exit codes likewise."""

    def __init__(self, outer: int) -> None:
        self._outer = outer
        self.agent: int | None = None

    def inner(self) -> int | None:
        """Not known: the engine has started it."""
        return None

    def whom(self) -> int | None:
        """The client alone, which passes on what it is told; not what it has started beside it."""
        return self._outer

    def how(self, code: int | None) -> "tuple[int | None, int | None]":
        """Code and signal of the agent, for the exit code of the client."""
        return Sandbox.unfolded(code)


def complaint(stderr: bytes, beginnings: "list[bytes]") -> str | None:
    """The words of a sandbox's program if `stderr` begins like one of `beginnings`."""
    for beginning in beginnings:
        if stderr.startswith(beginning):
            line = stderr.partition(b"\n")[0].removeprefix(beginning)
            return line.decode("utf-8", "replace")[:300]
    return None
