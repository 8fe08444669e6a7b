"""The section `web` once it has been checked: plain and frozen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TokenScope = Literal["read", "operate", "ingest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions:
    """One of `web.tokens`, by its digest."""

    name: str
    sha256: str
    scopes: tuple[TokenScope, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Section `web`. Durations are seconds, `max_body` is bytes; `hosts` are in lower case."""

    host: str
    port: int
    tokens: tuple[TokenOptions, ...]
    hosts: tuple[str, ...]
    loopback_needs_token: bool
    tls_cert: Path | None
    tls_key: Path | None
    max_body: int
    body_timeout: float
    header_timeout: float
    send_timeout: float
    requests_per_second: int
    burst: int
    max_connections: int
    max_streams: int

    @property
    def listen(self) -> str:
        """Address and port as they are written."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
