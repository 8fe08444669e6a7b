"""The log: one record a line, the fields of docs/formats.md section 7, and no secret in it.

Records of this program and of every library take the same way out. A record that cannot be written
is counted and forgotten: a full disk must not end an investigation.
"""

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from kubecase.app.log_values import Masker
from kubecase.core.errors import KubecaseError

COMPONENT = "agent-runtime"
KEPT_BYTES = 64 * 1024 * 1024
"""A log file that is larger when it is opened is put aside as `<name>.1` first."""

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_WORDS = {"warning": "warn", "critical": "error", "exception": "error"}
_FIRST = ("timestamp", "level", "component", "incident_id", "cluster", "event")
_OURS = frozenset({"timestamp", "level", "component", "event"})
_LAST_STEPS = 30

_EVENT_LEVELS: Mapping[str, int] = {
    "error": logging.ERROR,
    "workspace_size": logging.DEBUG,
    "agent_event": logging.DEBUG,
}


class Logs:
    """An open log. `lost` counts the records that could not be written."""

    def __init__(
        self, out: TextIO, *, owned: bool, level: str, structured: bool, masker: Masker
    ) -> None:
        import structlog

        self.lost = 0
        self._out = out
        self._owned = owned
        self._lock = threading.Lock()
        self._masker = masker
        self._logger = structlog.wrap_logger(
            self,
            processors=[_with_level, self._masked, _render_json if structured else _render_plain],
            wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        )
        self._handler = _FromLibraries(self, LEVELS[level])

    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        """One record of `event`; `level` is one of the standard library's numbers."""
        safe = {f"field_{k}" if k in _OURS else k: v for k, v in fields.items()}
        self._logger.log(level, event, given=safe)

    def close(self) -> None:
        """Take no more records from libraries, and close the file; a given stream is left open."""
        self._handler.remove()
        with self._lock, suppress(OSError):
            if self._owned:
                self._out.close()

    def _line(self, line: str) -> None:
        try:
            with self._lock:
                # One write for a whole line, so that lines of several processes do not mix.
                self._out.write(line + "\n")
                self._out.flush()
        except (OSError, ValueError):
            self.lost += 1

    # The names by which structlog hands over a finished line.
    debug = info = warning = error = critical = _line

    def _masked(
        self, _logger: object, _method: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        fields = dict(event_dict["given"])
        for value in fields.values():
            if isinstance(value, BaseException):
                fields |= _of_exception(value)
                break
        safe = self._masker.fields({"incident_id": None, "cluster": None, **fields})
        ours = {
            "timestamp": datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z",
            "level": event_dict["level"],
            "component": COMPONENT,
            "event": self._masker.text(str(event_dict["event"])),
        }
        return {name: (ours | safe)[name] for name in _FIRST} | safe


def _with_level(
    _logger: object, method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    event_dict["level"] = _WORDS.get(method, method)
    return event_dict


def _of_exception(error: BaseException) -> dict[str, str]:
    steps = traceback.format_exception(type(error), error, error.__traceback__)
    return {
        "error": str(error),
        "type": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
        "stack": "".join(steps[-_LAST_STEPS:]),
    }


def _render_json(_logger: object, _method: str, record: MutableMapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=True, allow_nan=False)


def _render_plain(_logger: object, _method: str, record: MutableMapping[str, Any]) -> str:
    """A line for people; line ends inside of values are escaped, so that no line is forged."""
    stack = record.pop("stack", None)
    head = [str(record.pop(name)) for name in ("timestamp", "level", "event")]
    record.pop("component")
    head[1] = f"{head[1]:<5}"
    head[2] = head[2].replace("\n", "\\n")
    parts = [f"{name}={_plain(value)}" for name, value in record.items() if value is not None]
    lines = [" ".join([*head, *parts])]
    lines += [f"    {line}" for line in stack.splitlines()] if isinstance(stack, str) else []
    return "\n".join(lines)


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    bare = isinstance(value, str) and (not text or any(c in text for c in " \n\t\"'="))
    return json.dumps(text, ensure_ascii=False) if bare else text


class _FromLibraries(logging.Handler):
    """Takes the records of the standard library's root logger into the log."""

    def __init__(self, logs: Logs, level: int) -> None:
        super().__init__(level)
        self._logs = logs
        root = logging.getLogger()
        self._before = root.level
        root.addHandler(self)
        root.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name}
        try:
            event = record.getMessage()
        except (TypeError, ValueError, KeyError):
            event = str(record.msg)  # a library's mistake in its arguments
        if record.exc_info is not None and record.exc_info[1] is not None:
            fields["error"] = record.exc_info[1]
        level = max(logging.DEBUG, min(logging.ERROR, record.levelno // 10 * 10))
        self._logs.write(level, event, fields)

    def remove(self) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._before)


def configure_logs(
    path: Path | None = None,
    *,
    level: str = "info",
    structured: bool = True,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> Logs:
    """The log, open: to the file at `path` (0600, appended), else to `stream`, else to stderr.

    `level` is one of debug, info, warn, error. `secrets` are values that never appear in it.
    Records of the standard library's logging go there too, until it is closed. Raises
    KubecaseError when the file cannot be opened.
    """
    out = _opened(path) if path is not None else stream or sys.stderr
    return Logs(
        out, owned=path is not None, level=level, structured=structured, masker=Masker(secrets)
    )


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if os.lstat(path).st_size > KEPT_BYTES:
                os.replace(path, f"{path}.1")
        flags = (
            os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        )
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        raise KubecaseError(
            f"cannot open the log {str(path)!a}: {error.strerror}",
            hint="Set store.data_dir (KUBECASE_STORE__DATA_DIR, --data-dir) to a directory that "
            "this user may write.",
        ) from error
    return os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")


class LogObserver:
    """An observer that writes each event as a record, with all its fields.

    An exception among the fields adds `error`, `type` and `stack`. A failed, timed out or cancelled
    end is a warning, an `error` an error, sizes and single steps of an agent are for debugging.
    """

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    def record(self, event: str, /, **fields: object) -> None:
        """Write `event` with its fields."""
        level = _EVENT_LEVELS.get(event, logging.INFO)
        if event == "agent_completed" and fields.get("status") != "success":
            level = logging.WARNING
        self._logs.write(level, event, fields)
