"""The HTTP API on a real socket of this host, before a real record."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from fakes.web_backend import StoreBackend
from kubecase.app.metrics import ObserverGroup, RuntimeMetrics
from kubecase.app.settings import Settings, load
from kubecase.app.web.server import serving_web
from kubecase.app.web.tokens import Scope, Token, TokenFile, digest_of, new_secret
from kubecase.core.intake import Rules
from kubecase.store import Owner, Store

FAULT: Mapping[str, Any] = {
    "namespace": "shop", "resource": "Pod/api-0", "reason": "CrashLoopBackOff",
    "message": "container api exited 1", "severity": "critical",
}  # fmt: skip


@dataclass
class Recorder:
    """Remembers every event."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def record(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        """The fields of each event of that name."""
        return [fields for name, fields in self.events if name == event]


@dataclass(kw_only=True)
class WebRig:
    """A running API and what stands behind it."""

    url: str
    port: int
    settings: Settings
    store: Store
    backend: StoreBackend
    observer: Recorder
    metrics: RuntimeMetrics
    client: httpx2.AsyncClient

    async def post(self, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        return await self.client.post(path, json=body, **more)

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.client.get(path, **more)


def web_settings(data_dir: Path, **web: str) -> Settings:
    """Settings with a data directory, and the section `web` as its variables say."""
    environ = {
        "HOME": str(data_dir),
        "KUBECASE_STORE__DATA_DIR": str(data_dir),
        "KUBECASE_WEB__LISTEN": "127.0.0.1:0",
        **{f"KUBECASE_WEB__{name.upper()}": value for name, value in web.items()},
    }
    return load({}, environ, None, data_dir).settings


@asynccontextmanager
async def a_web(
    data_dir: Path, settings: Settings | None = None, rules: Rules | None = None, **web: str
) -> AsyncIterator[WebRig]:
    """The API, served from `data_dir` until this is left; again from the same one is a restart."""
    settings = settings or web_settings(data_dir, **web)
    observer, metrics = Recorder(), RuntimeMetrics(clusters=["prod"])
    both = ObserverGroup(observer, metrics)
    async with Store.open(data_dir / "kubecase.db", owner=Owner.current(), observer=both) as store:
        backend = StoreBackend(store=store, observer=both)
        if rules is not None:
            backend.rules = rules
        async with (
            serving_web(
                settings, backend=backend, store=store, metrics=metrics, observer=both
            ) as serving,
            httpx2.AsyncClient(base_url=serving.url, timeout=30) as client,
        ):
            yield WebRig(
                url=serving.url, port=serving.port, settings=settings, store=store,
                backend=backend, observer=observer, metrics=metrics, client=client,
            )  # fmt: skip


def a_token(data_dir: Path, *scopes: Scope, name: str | None = None) -> str:
    """A new token of that name with these scopes, kept in the data directory's file."""
    secret = new_secret()
    TokenFile(data_dir).add(
        Token(
            name=name or f"t-{uuid.uuid4().hex[:8]}",
            sha256=digest_of(secret),
            scopes=frozenset(scopes),
        )
    )
    return secret
