"""However somebody asks, the service stays up, bounded, and goes on answering others."""

import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream

from fakes.web_rig import FAULT, WebRig, a_web

pytestmark = pytest.mark.anyio

HEAD = b"POST /api/v1/faults HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[WebRig]:
    async with a_web(tmp_path) as rig:
        yield rig


async def connected(web: WebRig) -> SocketStream:
    return await anyio.connect_tcp("127.0.0.1", web.port)


async def rest(stream: SocketStream) -> bytes:
    """Everything until the other side hangs up, bounded."""
    read = b""
    with anyio.fail_after(20):
        try:
            while True:
                read += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return read


async def test_ten_megabytes_are_not_read(web: WebRig) -> None:
    """A body over the limit is refused by what it says of itself, before any of it is taken."""
    answer = await web.client.post(
        "/api/v1/faults", content=b" " * 10_000_000, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await web.post("/api/v1/faults", dict(FAULT))).status_code == 202


async def test_a_body_that_does_not_say_its_size_is_counted(web: WebRig) -> None:
    """Pieces without end are read no further than the limit."""
    async with await connected(web) as stream:
        await stream.send(HEAD % web.port + b"Transfer-Encoding: chunked\r\n\r\n")
        taken = 0
        with anyio.fail_after(20), suppress(anyio.BrokenResourceError):
            while taken < 10_000:
                await stream.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                taken += 1

    assert taken < 1000, "64 MiB were taken"

    assert (await web.post("/api/v1/faults", dict(FAULT))).status_code == 202


@pytest.mark.parametrize("size", [1024, 1025])
async def test_a_body_may_be_as_large_as_the_settings_say(tmp_path: Path, size: int) -> None:
    """Exactly that many bytes are taken, and one more is not, with or without a stated length."""
    body = b'{"namespace":"shop","resource":"Pod/a","reason":"x"}'.ljust(size)
    kind = {"content-type": "application/json"}

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:500]
        yield body[500:]

    async with a_web(tmp_path, max_body="1KiB") as web:
        stated = await web.client.post("/api/v1/faults", content=body, headers=kind)
        counted = await web.client.post("/api/v1/faults", content=pieces(), headers=kind)

    expected = 202 if size == 1024 else 413
    assert (stated.status_code, counted.status_code) == (expected, expected)


async def test_a_body_that_dribbles_is_given_up(tmp_path: Path) -> None:
    """Whoever promises a body and does not send it is answered, and hung up on."""
    async with a_web(tmp_path, body_timeout="300ms") as web:
        async with await connected(web) as stream:
            await stream.send(HEAD % web.port + b'Content-Length: 100\r\n\r\n{"a')
            answer = await rest(stream)

        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()
        assert (await web.get("/healthz")).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127", b"\r\n"])
async def test_who_says_nothing_or_half_a_head_is_hung_up_on(tmp_path: Path, sent: bytes) -> None:
    """A connection without a request in time is closed, also if it dribbles."""
    async with a_web(tmp_path, header_timeout="300ms") as web, await connected(web) as stream:
        if sent:
            await stream.send(sent)
        answer = await rest(stream)

    assert b"200" not in answer


async def test_half_a_second_request_is_hung_up_on_too(tmp_path: Path) -> None:
    """A connection that was answered once has no more patience than a new one."""
    async with a_web(tmp_path, header_timeout="500ms") as web, await connected(web) as stream:
        head = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % web.port
        await stream.send(head)
        first = b""
        while b'"ok"' not in first:
            first += await stream.receive()
        await stream.send(b"GET /heal")
        after = await rest(stream)

    assert first.startswith(b"HTTP/1.1 200 ")
    assert after == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"POST /api/v1/faults HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /api/v1/faults HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_without_a_word_of_the_inside(
    web: WebRig, sent: bytes
) -> None:
    """Bad heads, double lengths, endless headers: refused, in the form of every error."""
    async with await connected(web) as stream:
        await stream.send(sent)
        with anyio.CancelScope() as scope:
            # What is refused for its Host keeps the connection no longer either.
            answer = await rest(stream)
        assert not scope.cancelled_caught

    assert answer == b"" or answer.split(b" ")[1] in {b"400", b"403", b"431"}
    assert b"Traceback" not in answer
    assert b"uvicorn" not in answer
    assert (await web.get("/healthz")).status_code == 200


async def test_who_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    """429 with Retry-After after the burst; the bucket fills again."""
    async with a_web(tmp_path, requests_per_second="1", burst="5") as web:
        answers = [await web.get("/healthz") for _ in range(10)]

    statuses = [each.status_code for each in answers]
    assert statuses[:5] == [200] * 5
    assert 429 in statuses
    refused = next(each for each in answers if each.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["content-type"] == "application/problem+json"


async def test_one_connection_too_many_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    """The limit of connections holds for those that say nothing, too."""
    async with a_web(tmp_path, max_connections="4", header_timeout="60s") as web:
        first = await web.get("/healthz")
        silent = [await connected(web) for _ in range(3)]
        async with await connected(web) as one_more:
            refused = await rest(one_more)
        again = await web.get("/healthz")
        for each in silent:
            await each.aclose()

    assert first.status_code == again.status_code == 200
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"application/problem+json" in refused


async def test_who_does_not_take_an_answer_is_hung_up_on(tmp_path: Path) -> None:
    """A reader that stops reading holds its connection no longer than the settings say."""
    async with a_web(tmp_path, send_timeout="300ms") as web:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        with raw:
            with anyio.fail_after(20):
                await anyio.to_thread.run_sync(lambda: _connect(raw, web.port))
                ask = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % web.port
                raw.send(ask * 200)
                await _gone(raw)

        assert (await web.get("/healthz")).status_code == 200


def _connect(raw: socket.socket, port: int) -> None:
    raw.setblocking(True)
    raw.connect(("127.0.0.1", port))
    raw.setblocking(False)


async def _gone(raw: socket.socket) -> None:
    """Wait until the other side has hung up, without reading what it sent."""
    while True:
        try:
            raw.send(b"GET")
        except (ConnectionResetError, BrokenPipeError):
            return
        except BlockingIOError:
            pass
        await anyio.sleep(0.05)


async def test_nothing_says_what_answers(web: WebRig) -> None:
    """No version and no server's name; every answer forbids a browser to guess or to keep."""
    for answer in (await web.get("/healthz"), await web.get("/nope")):
        assert "server" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


async def test_an_answer_that_was_begun_is_finished_at_the_end(tmp_path: Path) -> None:
    """A stop lets a fault that is being taken in be acknowledged, and takes no more connections."""
    answers: list[httpx2.Response] = []
    async with anyio.create_task_group() as group, a_web(tmp_path) as web:
        web.backend.gate = gate = anyio.Event()
        client = httpx2.AsyncClient(base_url=web.url, timeout=30)
        asked = anyio.Event()

        async def ask() -> None:
            asked.set()
            answers.append(await client.post("/api/v1/faults", json=dict(FAULT)))

        async def open_later() -> None:
            # The server has begun to stop once nobody can connect any more.
            while await _accepts(web.port):
                await anyio.sleep(0.01)
            gate.set()

        group.start_soon(ask)
        await asked.wait()
        with anyio.fail_after(10):
            while not await _is_waiting(web):
                await anyio.sleep(0.01)
        group.start_soon(open_later)

    await client.aclose()
    assert [each.status_code for each in answers] == [202]


async def _is_waiting(web: WebRig) -> bool:
    """Whether a request has got as far as the backend."""
    return web.backend.waiting > 0


async def _accepts(port: int) -> bool:
    try:
        stream = await anyio.connect_tcp("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True
