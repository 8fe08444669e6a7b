"""A model gateway in front of a scripted upstream, and a client such as a CLI would be."""

import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from kubecase.core.metering import GatewayRecord
from kubecase.core.ports import Offers
from kubecase.gateways.audit import AuditLog, read_lines
from kubecase.gateways.budget import Account, Budget, MemoryLedger
from kubecase.gateways.model import DummyKey, GatewayLimits, ModelGateway, Told
from kubecase.gateways.prices import Prices, shipped_prices
from kubecase.gateways.upstream import Patience, Upstream

REAL_KEY = "sk-ant-real-0123456789abcdefghij"
MODELS = {
    "/v1/messages": ("anthropic", "claude-sonnet-4-5"),
    "/v1/responses": ("openai", "gpt-5"),
    "/v1/chat/completions": ("openai", "gpt-5-mini"),
    "/v1beta/models/gemini-2.5-pro:generateContent": ("gemini", "gemini-2.5-pro"),
    "/v1beta/models/gemini-2.5-pro:streamGenerateContent": ("gemini", "gemini-2.5-pro"),
}
"""For every path of an answer its protocol, and a model that it may be asked of."""

STREAMED = tuple(path for path in MODELS if not path.endswith(":generateContent"))
WHOLE = tuple(path for path in MODELS if not path.endswith(":streamGenerateContent"))
PATIENCE = Patience(tries=3, retry_seconds=5, pause=0.01, connect=2, first_byte=5, idle=5, call=20)


def question(path: str, *, streamed: bool, text: str = "What is wrong?") -> dict[str, Any]:
    """The body of a request in the protocol of `path`."""
    model = MODELS[path][1]
    if "messages" in path or "chat" in path:
        return {"model": model, "stream": streamed, "max_tokens": 100,
                "messages": [{"role": "user", "content": text}]}  # fmt: skip
    if "responses" in path:
        return {"model": model, "stream": streamed, "input": text, "store": False}
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


@dataclass
class Rig:
    """What a test needs of both sides."""

    gateway: ModelGateway
    url: str
    key: DummyKey
    client: aiohttp.ClientSession
    audit_path: Path
    told: list[Told]

    @property
    def lines(self) -> list[Mapping[str, Any]]:
        """What is on record."""
        return list(read_lines(self.audit_path))

    @property
    def record(self) -> GatewayRecord:
        """What the gateway has counted."""
        return self.gateway.record

    async def ask(
        self, path: str = "/v1/messages", *, streamed: bool = False, text: str = "What is wrong?",
        headers: Mapping[str, str] | None = None, body: Any = None, query: str = "",
    ) -> tuple[int, bytes, Mapping[str, str]]:  # fmt: skip
        """One request as a CLI makes it: status, body as it came, headers in lower case."""
        value = question(path, streamed=streamed, text=text) if body is None else body
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        async with self.client.post(
            f"{self.url}{path}{query}",
            data=data,
            headers=headers if headers is not None else {"x-api-key": self.key.text},
        ) as answer:
            got = await answer.read()
            names = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, got, names

    async def until_cut(self, path: str) -> bytes:
        """All of a streamed answer until its connection ends before its end, as it must."""
        got = b""
        try:
            async with self.client.post(
                self.url + path,
                data=json.dumps(question(path, streamed=True)),
                headers={"x-api-key": self.key.text},
            ) as answer:
                async for data in answer.content.iter_any():
                    got += data
        except aiohttp.ClientError:
            return got
        raise AssertionError("the answer came to its end")


@asynccontextmanager
async def rig(
    directory: Path,
    url: str,
    protocol: Any = "anthropic",
    *,
    budget: Budget | None = None,
    accounts: Sequence[Account] | None = None,
    prices: Prices | None = None,
    limits: GatewayLimits | None = None,
    patience: Patience = PATIENCE,
    record: GatewayRecord | None = None,
    listener: socket.socket | None = None,
    key: DummyKey | None = None,
    reach_out: bool = False,
    offers: Offers | None = None,
    counted: Callable[[GatewayRecord], None] = lambda _: None,
    **upstream: Any,
) -> AsyncIterator[Rig]:
    """A gateway on a listener of loopback, in front of `url`."""
    path = directory / "audit" / "run.jsonl"
    log = AuditLog.open(path, directory / "answers")
    key = key or DummyKey.new()
    listener = listener or socket.create_server(("127.0.0.1", 0))
    told: list[Told] = []
    gateway = ModelGateway(
        upstream=Upstream(
            name="scripted", protocol=protocol, base_url=url,
            **{"key": REAL_KEY, **upstream},
        ),
        key_sha256=key.sha256,
        accounts=[Account("run", budget or Budget(), MemoryLedger())]
        if accounts is None
        else accounts,
        prices=prices or shipped_prices(),
        audit=log,
        limits=limits,
        patience=patience,
        record=record,
        tell=told.append,
        counted=counted,
        reach_out=reach_out,
        offers=offers,
    )  # fmt: skip
    port = listener.getsockname()[1]
    try:
        async with (
            gateway.serving(listener),
            aiohttp.ClientSession(auto_decompress=False) as client,
        ):
            yield Rig(
                gateway=gateway, url=f"http://127.0.0.1:{port}", key=key, client=client,
                audit_path=path, told=told,
            )  # fmt: skip
    finally:
        log.close()
