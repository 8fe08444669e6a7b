"""Answers of a cluster that come line by line: a watch, a log. Redacted and bounded on the way."""

import asyncio
import json
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from aiohttp import web

from kubecase.core.redact import Redactor
from kubecase.core.redact_stream import LineRedactor
from kubecase.gateways.audit import AnswerFile
from kubecase.gateways.cluster_answer import Unshowable, WatchLines, status_value
from kubecase.gateways.cluster_call import ClusterLimits, KubeCall
from kubecase.gateways.cluster_upstream import ClusterUpstream, Unanswered
from kubecase.gateways.policy import Allowed, Answer

OFFLOADED = 16 * 1024
LOG_SECONDS = 120.0
"""How long a log may take that is not followed."""


class _Lines(Protocol):
    masked: int

    def lines(self, chunk: bytes) -> bytes: ...

    def end(self) -> bytes: ...


async def _shown(lines: _Lines, data: bytes) -> bytes:
    """What the lines in `data` become; much of it in a thread, so that nobody else waits."""
    if len(data) < OFFLOADED:
        return lines.lines(data)
    return await asyncio.to_thread(lines.lines, data)


@dataclass(kw_only=True)
class StreamedAnswer:
    """One such answer. `room` is how many bytes of it the run may still have."""

    call: KubeCall
    allowed: Allowed
    upstream: ClusterUpstream
    limits: ClusterLimits
    room: int
    redactor: Redactor
    kept: AnswerFile

    @property
    def is_watch(self) -> bool:
        """Whether its lines are JSON, each an event."""
        return self.allowed.answer is Answer.WATCH

    @property
    def seconds(self) -> float:
        """How long it may last; a watch is ended by the server before."""
        if self.is_watch:
            return self.limits.bounds.watch_seconds + 10.0
        return self.limits.follow_seconds if self.allowed.streams else LOG_SECONDS

    async def hand_on(
        self, request: web.BaseRequest, response: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        """Give the caller its lines until one of the two ends it, or a limit."""
        kind = "application/json" if self.is_watch else "text/plain; charset=utf-8"
        answer = web.StreamResponse(headers={"Content-Type": kind})
        self.call.status = 200
        lines: _Lines = (
            WatchLines(self.redactor, longest=self.limits.line_bytes)
            if self.is_watch
            else LineRedactor(self.redactor)
        )
        try:
            await answer.prepare(request)
            await self._lines(response, lines, answer)
            await answer.write_eof()
        finally:
            self.call.masked = lines.masked
            self.call.answer = self.kept.done()
        return answer

    async def _lines(
        self, response: aiohttp.ClientResponse, lines: _Lines, answer: web.StreamResponse
    ) -> None:
        try:
            async with asyncio.timeout(self.seconds):
                while data := await self.upstream.more(response, wait=self.seconds):
                    await self._give(answer, await _shown(lines, data))
            await self._give(answer, lines.end())
        except TimeoutError:
            self.call.says = f"ended after {self.seconds:g} s"
            if not self.is_watch:
                await self._give(answer, lines.end())
                await self._give(answer, self._last_word(self.call.says))
        except (Unanswered, Unshowable) as error:
            self.call.says = f"ended: {error}"
            await self._give(answer, self._last_word(self.call.says))

    async def _give(self, answer: web.StreamResponse, data: bytes) -> None:
        if not data:
            return
        self.call.size += len(data)
        self.kept.add(data)
        await answer.write(data)
        if self.call.size > self.room:
            self.room = self.call.size + 4096  # for the last word
            raise Unshowable("the bytes of this investigation are used up")

    def _last_word(self, says: str) -> bytes:
        """What is said where an answer is cut off: an ERROR event, or a line of the log."""
        if not self.is_watch:
            return f"[kubecase: {says}]\n".encode()
        value = status_value(500, "InternalError", f"kubecase: {says}")
        return json.dumps({"type": "ERROR", "object": value}).encode() + b"\n"
