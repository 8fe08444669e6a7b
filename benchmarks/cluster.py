"""What the cluster gateway adds to a request and to a line, and what it costs to hold watches.

API server, gateway and client are processes of their own; the server answers at once, so that what
is added is all of the gateway's work: TLS, policy, parsing, redaction, record, kept answers.
"""

import asyncio
import json
import multiprocessing
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web

REQUESTS = 400
LINES = 300
CONNECTIONS = 20
WATCHES = 50
POD = {
    "apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "api-0", "namespace": "shop", "labels": {"app": "api"}},
    "spec": {"containers": [{"name": "api", "image": "shop/api:1", "env": [
        {"name": "DB_PASSWORD", "value": "correct-horse-battery"}]}]},
    "status": {"phase": "Running", "message": "x" * 3000},
}  # fmt: skip


async def _get(request: web.Request) -> web.StreamResponse:
    """A pod, a list of 200, a log with the time in each line, or a watch."""
    if request.path.endswith("/log"):
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await answer.prepare(request)
        for _ in range(LINES):
            await asyncio.sleep(0.002)
            await answer.write(f"{time.time_ns()} INFO done\n".encode())
        return answer
    if request.query.get("watch") == "true":
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        await answer.write(json.dumps({"type": "ADDED", "object": POD}).encode() + b"\n")
        await asyncio.sleep(600)
        return answer
    if request.path.endswith("/pods"):
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {},
                                  "items": [POD] * 200})  # fmt: skip
    return web.json_response(POD)


def serve(port: "multiprocessing.Queue[int]") -> None:
    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", _get)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.put(site._server.sockets[0].getsockname()[1])  # type: ignore[union-attr]
        await asyncio.sleep(3600)

    asyncio.run(run())


class Way:
    """A way to the server: an address, with what it takes to be let in."""

    def __init__(self, url: str, token: str = "", trust: ssl.SSLContext | bool = True) -> None:
        self.url, self.trust = url, trust
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def session(self, limit: int = 100) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self.trust, limit=limit)
        return aiohttp.ClientSession(connector=connector, headers=self.headers)

    async def latency(self, path: str, count: int) -> float:
        """Milliseconds of one request after another, median."""
        times = []
        async with self.session() as session:
            for _ in range(count):
                begun = time.perf_counter()
                async with session.get(self.url + path) as answer:
                    await answer.read()
                times.append((time.perf_counter() - begun) * 1000)
        return statistics.median(times[5:])

    async def line(self) -> float:
        """Milliseconds from when a line is written to when it is read, median."""
        path = self.url + "/api/v1/namespaces/shop/pods/api-0/log"
        async with self.session() as session, session.get(path) as answer:
            times = [(time.time_ns() - int(line.split()[0])) / 1e6 async for line in answer.content]
        return statistics.median(times)

    async def rate(self, path: str, seconds: float) -> float:
        """Requests a second with 20 connections."""
        done, ends = 0, time.perf_counter() + seconds

        async def ask(session: aiohttp.ClientSession) -> None:
            nonlocal done
            while time.perf_counter() < ends:
                async with session.get(self.url + path) as answer:
                    await answer.read()
                done += 1

        async with self.session(CONNECTIONS) as session:
            await asyncio.gather(*(ask(session) for _ in range(CONNECTIONS)))
        return done / seconds

    async def watched(self, process: psutil.Process) -> float:
        """MiB that the gateway grows by with 50 open watches."""
        before = process.memory_full_info().uss
        async with self.session(WATCHES + 1) as session:
            path = "/api/v1/namespaces/shop/pods?watch=true"
            answers = [await session.get(self.url + path) for _ in range(WATCHES)]
            for answer in answers:
                await answer.content.readline()
            grown = process.memory_full_info().uss - before
            for answer in answers:
                answer.close()
        return grown / 2**20


def row(what: str, direct: float, through: float, unit: str) -> None:
    ratio = through / direct if direct else 0
    print(f"{what:<34}{direct:9.2f} {through:9.2f} {unit:<6} x {ratio:.2f}")


async def measure(direct: Way, through: Way, process: psutil.Process) -> None:
    print(f"{'':<34}{'direct':>9} {'gateway':>9}")
    one, many = "/api/v1/namespaces/shop/pods/api-0", "/api/v1/namespaces/shop/pods"
    for what, path, count in (("one pod of 3.3 kB", one, REQUESTS),
                              ("a list of 200, 700 kB", many, REQUESTS // 10)):  # fmt: skip
        a, b = await direct.latency(path, count), await through.latency(path, count)
        row(what, a, b, "ms")
        print(f"{'  added':<34}{b - a:9.2f} ms")
    a, b = await direct.line(), await through.line()
    row("a line of a followed log", a, b, "ms")
    print(f"{'  added':<34}{b - a:9.2f} ms")
    row("20 connections, one pod", await direct.rate(one, 4), await through.rate(one, 4), "req/s")
    grown = await through.watched(process)
    print(f"{WATCHES} open watches: {grown:.1f} MiB more, {grown / WATCHES * 1024:.0f} KiB each")


def main() -> None:
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ports.get(timeout=20)}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cluster = {"name": "x", "cluster": {"server": url}}
        (folder / "real").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": [cluster],
            "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        }))  # fmt: skip
        gateway = subprocess.Popen(
            [Path(sys.executable).with_name("kubecase"), "gateway", "--kubeconfig",
             str(folder / "real"), "--out", str(folder / "out"), "--data-dir", str(folder / "d")],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert gateway.stderr is not None
            while "Ctrl-C ends it" not in (line := gateway.stderr.readline()):
                assert line, "the gateway did not start"
            made = json.loads((folder / "out").read_text())
            given = made["clusters"][0]["cluster"]
            import base64

            ca = base64.b64decode(given["certificate-authority-data"]).decode()
            trust = ssl.create_default_context(cadata=ca)
            through = Way(given["server"], made["users"][0]["user"]["token"], trust)
            asyncio.run(measure(Way(url), through, psutil.Process(gateway.pid)))
        finally:
            gateway.terminate()
            gateway.communicate(timeout=20)
            server.terminate()


if __name__ == "__main__":
    main()
