"""What the model gateway adds: to the first byte of an answer, and to each event of a stream.

Client, gateway and model share one process and one core, so that what is added is all of the
gateway's work; the ledgers are files that are synced before and after every call.
"""

import asyncio
import json
import socket
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web

from kubecase.gateways.audit import AuditLog
from kubecase.gateways.budget import Account, Budget, MemoryLedger
from kubecase.gateways.ledgers import JsonLedger
from kubecase.gateways.model import DummyKey, GatewayLimits, ModelGateway
from kubecase.gateways.prices import shipped_prices
from kubecase.gateways.upstream import Upstream

CALLS = 200
EVENTS = 200
AT_ONCE = 50
# As large as what Claude Code sends with its tools in the first turn of a case.
QUESTION = json.dumps({
    "model": "claude-sonnet-4-5", "stream": True, "max_tokens": 100,
    "messages": [{"role": "user", "content": "why? " * 7000}],
}).encode()  # fmt: skip


def sse(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def delta(text: str) -> bytes:
    return sse({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": text}})  # fmt: skip


USAGE = {"input_tokens": 9000, "output_tokens": 1}
START = sse({"type": "message_start", "message": {"model": "claude-sonnet-4-5", "usage": USAGE}})
END = sse({"type": "message_delta", "usage": {"output_tokens": 50}}) + sse({"type": "message_stop"})


async def model(request: web.Request) -> web.StreamResponse:
    """Answers at once; with `x-app: stamped` sends the time in each event, one a millisecond."""
    await request.read()
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    await answer.write(START)
    stamped = request.headers.get("x-app") == "stamped"
    for _ in range(EVENTS if stamped else 5):
        if stamped:
            await asyncio.sleep(0.001)
        await answer.write(delta(f"at {time.perf_counter_ns()} "))
    await answer.write(END)
    return answer


async def first_bytes(client: aiohttp.ClientSession, url: str, key: str) -> list[float]:
    taken = []
    for number in range(CALLS):
        body = QUESTION.replace(b"why?", str(number).encode(), 1)
        begun = time.perf_counter_ns()
        async with client.post(url, data=body, headers={"x-api-key": key}) as answer:
            await answer.content.readany()
            taken.append((time.perf_counter_ns() - begun) / 1e6)
            await answer.read()
    return taken


async def per_event(client: aiohttp.ClientSession, url: str, key: str) -> list[float]:
    taken = []
    headers = {"x-api-key": key, "x-app": "stamped"}
    for number in range(3):
        body = QUESTION.replace(b"why?", f"e{number}".encode(), 1)
        async with client.post(url, data=body, headers=headers) as answer:
            async for line in answer.content:
                if b'"at ' in line:
                    sent = int(line.split(b'"at ')[1].split()[0])
                    taken.append((time.perf_counter_ns() - sent) / 1e6)
    return taken


async def at_once(client: aiohttp.ClientSession, url: str, key: str) -> float:
    async def one(number: int) -> None:
        body = QUESTION.replace(b"why?", f"c{number}".encode(), 1)
        async with client.post(url, data=body, headers={"x-api-key": key}) as answer:
            await answer.read()

    begun = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(AT_ONCE * 4)))
    return AT_ONCE * 4 / (time.perf_counter() - begun)


def told(what: str, direct: list[float], through: list[float], unit: str = "ms") -> None:
    a, b = statistics.median(direct), statistics.median(through)
    worst = statistics.quantiles(through, n=20)[-1]
    print(
        f"{what:<34} direct {a:7.3f} {unit}  through {b:7.3f} {unit} (p95 {worst:.3f})  "
        f"added {b - a:6.3f} {unit}  ratio {b / a:.2f}"
    )


async def measured(folder: Path, port: int) -> None:
    key = DummyKey.new()
    listener = socket.create_server(("127.0.0.1", 0))
    direct = f"http://127.0.0.1:{port}/v1/messages"
    through = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/messages"
    log = AuditLog.open(folder / "audit.jsonl", folder / "answers")
    budget = Budget(max_cost_usd=1e6, max_output_tokens=10**9)
    gateway = ModelGateway(
        upstream=Upstream(
            name="bench", protocol="anthropic", base_url=f"http://127.0.0.1:{port}", key="sk-x"
        ),
        key_sha256=key.sha256,
        # As it is in a run: two accounts in files that outlive it, each synced twice a call.
        accounts=[
            Account("run", budget, JsonLedger(folder / "run.json", "run")),
            Account("cluster", budget, JsonLedger(folder / "all.json", "cluster")),
            Account("day", budget, MemoryLedger()),
        ],
        prices=shipped_prices(),
        audit=log,
        limits=GatewayLimits(identical=10**6),
    )
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with gateway.serving(listener), aiohttp.ClientSession(connector=connector) as client:
        for url in (direct, through):
            await first_bytes(client, url, key.text)  # warm
        before = psutil.Process().memory_info().rss
        told("first byte, 35 kB question", await first_bytes(client, direct, key.text),
             await first_bytes(client, through, key.text))  # fmt: skip
        told("each event of a stream", await per_event(client, direct, key.text),
             await per_event(client, through, key.text))  # fmt: skip
        a, b = await at_once(client, direct, key.text), await at_once(client, through, key.text)
        print(f"{AT_ONCE} at once: direct {a:.0f} calls/s, through {b:.0f} calls/s, {b / a:.2f}")
        grown = (psutil.Process().memory_info().rss - before) / 2**20
        print(f"memory grown over all of it, model's server and client included: {grown:.1f} MiB")
    log.close()


async def main() -> None:
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/messages", model)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.SockSite(runner, listener := socket.create_server(("127.0.0.1", 0)))
    await site.start()
    with tempfile.TemporaryDirectory() as folder:
        await measured(Path(folder), listener.getsockname()[1])
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
