"""What changes in a fake cluster while it is watched: objects, and logs that are followed."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# A stream that has nothing to say yields b"" this often, so that one left by its client ends.
PULSE_SECONDS = 0.5


class Changes:
    """The changes so far, in order; resource version N stands for the first N-1 of them."""

    def __init__(self) -> None:
        self.happened = threading.Condition()
        self._history: list[Mapping[str, Any]] = []
        self._open: Counter[str] = Counter()
        self._ended: set[str] = set()
        self._closed = False

    @property
    def version(self) -> int:
        """The resource version of now."""
        return len(self._history) + 1

    def add(self, change: str, each: Mapping[str, Any]) -> None:
        """Tell all watches of an object; the caller holds `happened`."""
        self._history.append({"type": change, "object": each})
        self.happened.notify_all()

    def end_log(self, key: str) -> None:
        """Let those who follow a log come to its end."""
        with self.happened:
            self._ended.add(key)
            self.happened.notify_all()

    def close(self) -> None:
        """End all streams."""
        with self.happened:
            self._closed = True
            self.happened.notify_all()

    def await_watches(self, kind: str, count: int, seconds: float) -> bool:
        """Whether at least `count` watches of this kind are open within `seconds`."""
        with self.happened:
            return self.happened.wait_for(lambda: self._open[kind] >= count, seconds)

    def watch(
        self,
        kind: str,
        *,
        initial: Callable[[], list[Mapping[str, Any]]],
        since: int | None,
        seconds: float | None,
        fits: Callable[[Mapping[str, Any]], bool],
    ) -> Iterator[Mapping[str, Any]]:
        """Events of a watch; an empty one is a pulse.

        Begins with `initial` and goes on from now, or from version `since`, for `seconds`.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        with self._counted(kind):
            with self.happened:
                events = initial()
                at = len(self._history) if since is None else max(0, since - 1)
                at = min(at, len(self._history))
            yield from events
            while not self._closed and (ends is None or time.monotonic() < ends):
                with self.happened:
                    self._wait(lambda at=at: len(self._history) > at, ends)  # type: ignore[misc]
                    new = self._history[at:]
                at += len(new)
                for each in new:
                    if each["object"]["kind"] == kind and fits(each["object"]):
                        yield each
                yield {}

    def follow(self, key: str, logs: Mapping[str, str], seen: int) -> Iterator[bytes]:
        """What comes after `seen` bytes of a log, until it ends; b"" is a pulse."""
        while True:
            with self.happened:
                self._wait(
                    lambda seen=seen: (  # type: ignore[misc]
                        len(logs[key].encode()) > seen or key in self._ended
                    ),
                    None,
                )
                new = logs[key].encode()[seen:]
                over = self._closed or key in self._ended
            yield new
            seen += len(new)
            if over:
                return

    def _wait(self, until: Callable[[], bool], ends: float | None) -> None:
        left = PULSE_SECONDS if ends is None else min(PULSE_SECONDS, ends - time.monotonic())
        self.happened.wait_for(lambda: until() or self._closed, max(0.0, left))

    @contextmanager
    def _counted(self, kind: str) -> Iterator[None]:
        with self.happened:
            self._open[kind] += 1
            self.happened.notify_all()
        try:
            yield
        finally:
            with self.happened:
                self._open[kind] -= 1


def line(event: Mapping[str, Any]) -> bytes:
    """An event as it is sent; nothing for a pulse."""
    return json.dumps(event).encode() + b"\n" if event else b""


def bookmark(kind: str, api_version: str, version: int) -> Mapping[str, Any]:
    """What tells a client that it has seen all that was there before."""
    metadata = {
        "resourceVersion": str(version),
        "annotations": {"k8s.io/initial-events-end": "true"},
    }
    return {
        "type": "BOOKMARK",
        "object": {"kind": kind, "apiVersion": api_version, "metadata": metadata},
    }
