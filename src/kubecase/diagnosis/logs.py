"""Reads program logs: which line says why, what it means, and which lines only sound bad.

Every pattern is linear: no nested repetition, and each line is cut before any is tried. Only the
beginning and the end of a log are read, so that its size does not matter.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from kubecase.core.report import Evidence
from kubecase.diagnosis.patterns import EXCEPTION, KINDS, NOISE, TROUBLE

_HEAD_CHARS = 32 * 1024
_TAIL_CHARS = 192 * 1024
_MAX_LINES = 1500
_MAX_LINE = 600
_QUOTE = 300

_STAMP = re.compile(
    r"^\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d\S*(?:[ ]\[?\d{4}[-/]\d\d[-/]\d\d[T ]\S"
    r"+)?\s*\]?\s*"
)
_FATAL = re.compile(
    r"\b(?:FATAL|CRITICAL|PANIC|EMERG|CRIT)\b|\[(?:emerg|crit|alert)\]|^panic:|^F\d{4} "
)
_ERROR = re.compile(
    r"\b(?:ERROR|ERR|SEVERE|Error)\b|\[error\]|level=\"?(?:error|fatal)|"
    r"\"(?:level|severity|lvl)\": ?\"(?:error|fatal|ERROR|FATAL|CRITICAL)|^E\d{4} |\berror:"
)
_WARN = re.compile(
    r"\b(?:WARN|WARNING)\b|\[warn(?:ing)?\]|level=\"?warn|\"(?:level|severity|"
    r"lvl)\": ?\"(?:warn|WARN)|"
    r"^W\d{4} |^I\d{4} .*retry"
)
_INFO = re.compile(
    r"\b(?:INFO|DEBUG|TRACE|NOTICE)\b|\[(?:info|notice|debug)\]|level=\"?(?:info|debug)|"
    r"\"(?:level|severity|lvl)\": ?\"(?:info|debug|INFO|DEBUG)|^I\d{4} "
)
_GIVING_UP = re.compile(
    r"giving up|exiting|shutting down|shutdown|terminat|abort|could not start|"
    r"cannot start|failed to start|"
    r"start-?up failed|initiali[sz]ation failed|application run failed|unhandled|"
    r"stopped|stack ?trace|"
    r"exit(?:ed)? (?:with|status|code)",
    re.IGNORECASE,
)
_RETRYING = re.compile(r"\battempt\b|\bretry|will try again|\(\d+/\d+\)", re.IGNORECASE)
_RECOVERED = re.compile(
    (
        r"\b(?:re)?connected\b|connection (?:re-?)?(?:established|restored)|recovered|"
        r"succeeded after|back online"
    ),
    re.IGNORECASE,
)
_DEPENDENCY = frozenset(
    {"refused", "timeout", "no_such_host", "dns_temporary", "saturated", "auth"}
)
_LISTENING = re.compile(
    r"(?:listen(?:ing|s)?|serving|started|bound|running|accepting connections|"
    r"server up)\b[^\n]{0,60}?"
    r"(?:port[ =:]{1,3}|:|\bon )(\d{2,5})\b",
    re.IGNORECASE,
)
_UP = re.compile(
    r"\b(?:listening|serving|started in|startup complete|ready to accept|accepting connections|"
    r"server started|is ready|now ready)\b|\bready\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Signal:
    """A log line that says why: what kind of trouble, how sure, and the line word for word."""

    kind: str
    line: str
    index: int
    weight: float
    log: "Log" = field(repr=False)
    groups: tuple[str, ...] = ()

    def quote(self) -> Evidence:
        """The line, from where its words begin, as evidence."""
        return Evidence(source=f"log:{self.log.key}", quote=self.line[:_QUOTE].strip())


@dataclass(frozen=True)
class Log:
    """The text of one container's run."""

    key: str
    namespace: str
    pod: str
    container: str
    previous: bool
    body: str = field(repr=False)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Its first and last lines, without white space around them, long ones cut."""
        if len(self.body) <= _HEAD_CHARS + _TAIL_CHARS:
            parts = self.body.splitlines()
        else:
            # The cuts go through a line each; those halves are left out.
            head = self.body[:_HEAD_CHARS].splitlines()[:-1]
            parts = head + self.body[-_TAIL_CHARS:].splitlines()[1:]
        if len(parts) > _MAX_LINES:
            parts = parts[:200] + parts[200 - _MAX_LINES :]
        return tuple(each[:_MAX_LINE].strip() for each in parts)

    @cached_property
    def signals(self) -> tuple[Signal, ...]:
        """All lines that say why, in order, without those that a later line takes back."""
        found = tuple(_signals(self))
        recovered = max(
            (
                n
                for n, line in enumerate(self.lines)
                if _RECOVERED.search(line) and not TROUBLE.search(line)
            ),
            default=-1,
        )
        return tuple(s for s in found if s.kind not in _DEPENDENCY or s.index > recovered)

    @cached_property
    def cause(self) -> Signal | None:
        """The line that says why the program is in trouble, if any does; of equals the last."""
        return max(self.signals, key=lambda s: (s.weight, s.index), default=None)

    @cached_property
    def listening_ports(self) -> tuple[int, ...]:
        """The ports that the program says it listens on."""
        ports = []
        for line in self.lines:
            matched = _LISTENING.search(line)
            if matched and matched.group(1) not in ports:
                ports.append(matched.group(1))
        return tuple(int(port) for port in ports)

    @cached_property
    def up_line(self) -> str | None:
        """The line in which the program says that it is up."""
        for line in self.lines:
            if _UP.search(line) and not re.search(r"\bnot ready|waiting|ready=false", line):
                return line
        return None

    def line_with(self, pattern: re.Pattern[str]) -> str | None:
        """The last line in which `pattern` is found."""
        return next((line for line in reversed(self.lines) if pattern.search(line)), None)

    def quote(self, line: str) -> Evidence:
        """A line of this log as evidence."""
        return Evidence(source=f"log:{self.key}", quote=line[:_QUOTE].strip())

    @cached_property
    def last_line(self) -> str | None:
        """The last line that is not empty."""
        return next((line for line in reversed(self.lines) if len(line) >= 4), None)


def words_of(line: str) -> str:
    """A log line without the time stamps at its beginning."""
    bare = line
    for _ in range(2):
        bare = _STAMP.sub("", bare, count=1)
    return bare or line


def _level(line: str) -> float:
    if _FATAL.search(line):
        return 5.0
    if _INFO.search(line) and not _FATAL.search(line):
        return 0.0
    if _WARN.search(line):
        return 1.0
    return 3.0 if _ERROR.search(line) else 2.0


def _signals(log: Log) -> Iterator[Signal]:
    depth = 0
    seen: dict[str, tuple[str, tuple[str, ...], float]] = {}
    for index, line in enumerate(log.lines):
        if not TROUBLE.search(line) or NOISE.search(line):
            continue
        # Programs in trouble repeat themselves: each sentence is read once.
        words = words_of(line)
        if words not in seen:
            kind, groups = _kind_of(line)
            seen[words] = (kind, groups, _weight(kind, _level(line), line))
        kind, groups, weight = seen[words]
        if line.startswith("Caused by"):
            depth += 1
            weight += 0.01 * depth
        if weight > 0:
            yield Signal(kind=kind, line=line, index=index, weight=weight, log=log, groups=groups)


def _kind_of(line: str) -> tuple[str, tuple[str, ...]]:
    for kind, pattern in KINDS:
        matched = pattern.search(line)
        if matched:
            return kind, tuple(each or "" for each in matched.groups())
    return "crash" if EXCEPTION.search(words_of(line)) else "error", ()


def _weight(kind: str, level: float, line: str) -> float:
    """How much a line counts; nothing for one that the program itself calls information."""
    if level == 0.0:
        return 0.0
    if kind == "error":
        return min(level, 2.0) if _GIVING_UP.search(line) else level - 0.3
    exception = bool(EXCEPTION.search(words_of(line)))
    if exception:
        level = max(level, 3.0)
    weight = level + (1.5 if exception else 1.2)
    if kind == "crash" and _GIVING_UP.search(line) and level < 5:
        weight -= 1.0
    if _RETRYING.search(line):
        weight -= 0.7
    return weight
