"""A cluster gateway before a fake API server, in a thread of its own, as a test needs it.

with GatewayRig(cluster, tmp_path) as rig:
    rig.raw("GET", "/api/v1/pods")
    rig.kubectl("get", "pods")
"""

import asyncio
import base64
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kubecase.clusters import from_kubeconfig
from kubecase.core.redact import Redactor
from kubecase.gateways.audit import read_lines
from kubecase.gateways.cluster_call import ClusterLimits, ClusterRecord
from kubecase.gateways.families import resources_with
from kubecase.gateways.kubeconfig import GatewayKubeconfig
from kubecase.gateways.standalone import Standalone


@dataclass(frozen=True)
class Raw:
    """What came back for a raw request; `status` is None where the connection was closed."""

    status: int | None
    headers: bytes
    body: bytes


class GatewayRig:
    """The gateway, alive inside a `with` block. `real` is the kubeconfig of the cluster."""

    def __init__(
        self,
        real: Path,
        directory: Path,
        *,
        limits: ClusterLimits | None = None,
        extra: Sequence[str] = (),
        known: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.record = directory / "record.jsonl"
        self.counts = ClusterRecord()
        self._made = Standalone(
            credentials=from_kubeconfig(real),
            resources=resources_with(extra),
            redactor=Redactor(known),
            limits=limits or ClusterLimits(requests=10**6, denials=10**6),
            record=self.record,
            answers=directory / "answers",
            counted=self._count,
        )
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._failed: BaseException | None = None

    def _count(self, record: ClusterRecord) -> None:
        self.counts = record

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._made.serving("127.0.0.1", 0) as opened:
                self.config: GatewayKubeconfig = opened.config
                self._ready.set()
                await self._stop.wait()
        except BaseException as error:
            self._failed = error
            raise
        finally:
            self._ready.set()

    def __enter__(self) -> Self:
        self.directory.mkdir(exist_ok=True)
        self._thread.start()
        assert self._ready.wait(20)
        if self._failed is not None:
            raise self._failed
        self.path = self.directory / "read-only.kubeconfig"
        self.path.write_bytes(self.config.as_bytes())
        self.trust = ssl.create_default_context(cadata=self.config.authority.decode())
        self.port = int(self.config.server.rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What is on record so far."""
        return [dict(line) for line in read_lines(self.record)]

    def connect(self) -> ssl.SSLSocket:
        """A connection to the gateway, of which nothing was sent yet."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return self.trust.wrap_socket(plain, server_hostname="127.0.0.1")

    def raw(
        self,
        method: str,
        target: str,
        headers: Sequence[str] = (),
        body: bytes | None = None,
    ) -> Raw:
        """Send these very bytes, with our credential unless the first header is `-`."""
        token, basic = self.config.token, base64.b64encode(f"a:{self.config.token}".encode())
        given = [
            each.replace("{token}", token).replace("{basic}", basic.decode())
            for each in headers
            if each != "-"
        ]
        if "-" not in headers:
            given.insert(0, f"Authorization: Bearer {token}")
        names = {each.partition(":")[0].lower() for each in given}
        if "host" not in names:
            given.append("Host: gateway")
        if "connection" not in names:
            given.append("Connection: close")
        if body is not None:
            given.append(f"Content-Length: {len(body)}")
        head = f"{method} {target.replace('{token}', token)} HTTP/1.1\r\n"
        data = (head + "".join(f"{each}\r\n" for each in given) + "\r\n").encode() + (body or b"")
        with self.connect() as connection:
            try:
                connection.sendall(data)
                answer = _read(connection)
            except (ConnectionError, ssl.SSLError):
                answer = b""
        start, _, rest = answer.partition(b"\r\n\r\n")
        words = start.split(b" ", 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else None
        return Raw(status, start, rest)

    def kubectl(
        self, *arguments: str, program: str = "kubectl", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a real kubectl with the gateway's kubeconfig and nothing else of this machine."""
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return subprocess.run(
            [program, "--kubeconfig", str(self.path), *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


def _read(connection: ssl.SSLSocket) -> bytes:
    """Everything until the connection is closed, or a whole answer with a length is there."""
    data = bytearray()
    while piece := connection.recv(65536):
        data += piece
        head, found, body = bytes(data).partition(b"\r\n\r\n")
        if not found:
            continue
        if head.startswith(b"HTTP/1.1 101"):
            break
        lengths = [
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ]
        if lengths and len(body) >= lengths[0]:
            break
    return bytes(data)
