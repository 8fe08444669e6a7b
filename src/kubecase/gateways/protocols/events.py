"""Reads an answer while it passes: server-sent events or one JSON document. Bounded, never raises.

What cannot be read, because it is too large, cut off or of an unknown form, leaves the count
incomplete; whoever asks then estimates. The bytes themselves are not touched.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from kubecase.gateways.protocols.wire import Seen

MAX_EVENT = 4 * 1024 * 1024
MAX_DOCUMENT = 16 * 1024 * 1024

Observe = Callable[[Any, Seen], None]


class Reader(Protocol):
    """Follows one answer."""

    def feed(self, data: bytes) -> None:
        """The next bytes, cut anywhere."""

    def end(self) -> None:
        """The answer is over, whole or not."""


class EventReader:
    """Follows a stream of server-sent events; an event over `limit` bytes is passed over."""

    def __init__(self, observe: Observe, seen: Seen, *, limit: int = MAX_EVENT) -> None:
        self._observe = observe
        self._seen = seen
        self._limit = limit
        self._line_parts: list[bytes] = []
        self._line_size = 0
        self._data: list[bytes] = []
        self._size = 0
        self._skipping = False
        self._in_long_line = False

    def feed(self, data: bytes) -> None:
        """The next bytes, cut anywhere."""
        if b"\n" in data:
            *lines, data = b"".join([*self._line_parts, data]).split(b"\n")
            self._line_parts, self._line_size = [], 0
            for line in lines:
                self._line(line.removesuffix(b"\r"))
        self._line_parts.append(data)
        self._line_size += len(data)
        if self._line_size > self._limit:
            # Of a line without an end nothing is kept but that it was there.
            self._line_parts, self._line_size = [], 0
            self._in_long_line = self._skipping = True

    def end(self) -> None:
        """The stream is over; an event without its blank line counts as well."""
        line, self._line_parts, self._line_size = b"".join(self._line_parts), [], 0
        if line:
            self._line(line.removesuffix(b"\r"))
        self._dispatch()

    def _line(self, line: bytes) -> None:
        if self._in_long_line:
            self._in_long_line = False
        elif not line:
            self._dispatch()
        elif line.startswith(b"data:"):
            self._size += len(line)
            if self._size > self._limit:
                self._skipping, self._data = True, []
            elif not self._skipping:
                self._data.append(line[5:])

    def _dispatch(self) -> None:
        data, self._data, self._size = self._data, [], 0
        skipped, self._skipping = self._skipping, False
        if data and not skipped:
            for value in _parsed(b"\n".join(data)):
                self._observe(value, self._seen)


class DocumentReader:
    """Keeps one JSON document of at most `limit` bytes and reads it at its end."""

    def __init__(self, observe: Observe, seen: Seen, *, limit: int = MAX_DOCUMENT) -> None:
        self._observe = observe
        self._seen = seen
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        """The next bytes, cut anywhere."""
        self._size += len(data)
        if self._size <= self._limit:
            self._parts.append(data)
        else:
            self._parts = []

    def end(self) -> None:
        """The document is whole, or as whole as it will get."""
        parts, self._parts = self._parts, []
        for value in _parsed(b"".join(parts)):
            self._observe(value, self._seen)
        if not self._seen.characters:
            self._seen.characters = self._size


def reader_for(content_type: str, observe: Observe, seen: Seen) -> EventReader | DocumentReader:
    """The reader for an answer of this `Content-Type`."""
    if content_type.partition(";")[0].strip().lower() == "text/event-stream":
        return EventReader(observe, seen)
    return DocumentReader(observe, seen)


def _parsed(data: bytes) -> Iterator[Any]:
    """The value that `data` holds, if it is JSON."""
    try:
        yield json.loads(data)
    except (ValueError, RecursionError):
        return
