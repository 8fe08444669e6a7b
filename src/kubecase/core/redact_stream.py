"""Takes secrets out of lines that come one after another, such as a log that is followed. Pure.

What is one line is redacted as `Redactor` does it; a private key goes over several lines, which may
come at any time, and so every line after its first is masked until its end.
"""

import re

from kubecase.core.redact import MARKER, Redactor

LONGEST_LINE = 1024 * 1024
KEY_LINES = 400

_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
# Kubernetes puts the time before a line, programs their own prefix.
_OF_KEY = re.compile(
    r"(?:\S{1,64}[ \t])?[ \t|]{0,40}(?:[\w-]{1,40}: ?.{0,200}|[A-Za-z0-9+/=]{0,128})"
)


class LineRedactor:
    """Redacts what comes in chunks, line by line. `masked` counts what was masked so far.

    The result does not depend on where the chunks are cut. Bytes that are not UTF-8 stay.
    """

    def __init__(self, redactor: Redactor) -> None:
        self.masked = 0
        self._redactor = redactor
        self._rest = bytearray()
        self._dropped = 0
        self._key_lines = 0

    def lines(self, chunk: bytes) -> bytes:
        """The whole lines that are there by now, redacted; the rest is kept."""
        parts = []
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            self._take(piece)
            parts.append(self._line() + b"\n")
        self._take(rest)
        return b"".join(parts)

    def end(self) -> bytes:
        """What came after the last line end, redacted."""
        if not self._rest and not self._dropped:
            return b""
        return self._line()

    def _take(self, piece: bytes) -> None:
        if self._dropped or len(self._rest) + len(piece) > LONGEST_LINE:
            self._dropped += len(self._rest) + len(piece)
            self._rest.clear()
        else:
            self._rest += piece

    def _line(self) -> bytes:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self.masked += 1
            self._key_lines = 0
            return f"[redacted: a line of {dropped} bytes]".encode()
        text = bytes(self._rest).decode("utf-8", "surrogateescape")
        self._rest.clear()
        return self._shown(text).encode("utf-8", "surrogateescape")

    def _shown(self, text: str) -> str:
        if self._key_lines:
            self._key_lines -= 1
            end = _END.search(text)
            if end is not None:
                self._key_lines = 0
                return MARKER + self._redacted(text[end.end() :])
            if _OF_KEY.fullmatch(text.rstrip("\r")):
                return MARKER
            self._key_lines = 0
        begin = _BEGIN.search(text)
        if begin is not None and not _END.search(text, begin.end()):
            self._key_lines = KEY_LINES
            self.masked += 1
            return self._redacted(text[: begin.start()]) + MARKER
        return self._redacted(text)

    def _redacted(self, text: str) -> str:
        shown, count = self._redactor.text(text)
        self.masked += count
        return shown
