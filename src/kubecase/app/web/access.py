"""Who asks, and whether they may: peers, Host, origins, tokens, scopes. Decided before any route.

From a loopback address no token is needed, unless the settings say so. That is a right of local
programs, not of pages in a local browser: hence the checks of Host (a page whose name was rebound
to 127.0.0.1) and of the origin (a page of another site that posts a form). Nor is it a right of
whoever speaks through a local proxy: a forwarded request needs a token.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubecase.app.web.problems import Problem
from kubecase.app.web.rates import address_group
from kubecase.app.web.tokens import Keyring, Scope

PUBLIC = frozenset({"/healthz", "/readyz"})
"""Answered to anybody, in one word: what asks there has no way to hold a token."""

INGEST = frozenset({"/api/v1/faults", "/api/v1/alertmanager", "/api/v1/cloudevents"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")
_LONGEST_TOKEN = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: the name of a token, `loopback`, or `anonymous`; and what they may."""

    name: str
    scopes: frozenset[Scope]
    address: str
    by_token: bool = False

    @property
    def key(self) -> str:
        """What tells callers apart where something is kept or counted for each."""
        return f"token {self.name}" if self.by_token else f"address {address_group(self.address)}"

    @property
    def is_known(self) -> bool:
        """Whether they may be told more than a word."""
        return bool(self.scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Decides about one request by its head. `port` is ours; `hosts` are further names of ours, as
    NAME for any port or NAME:PORT.
    """

    keyring: Keyring
    clock: Callable[[], datetime]
    port: int
    hosts: frozenset[str]
    loopback_needs_token: bool

    def admit(self, scope: Mapping[str, Any]) -> Caller:
        """Who asks. Raises Problem if they may not: 400, 401 or 403."""
        headers = heads_of(scope["headers"])
        address = str((scope.get("client") or ("",))[0])
        local = is_loopback(address)
        if local:
            self._require_our_host(headers)
        method, path = scope["method"], scope["path"]
        if method not in SAFE:
            require_same_origin(headers, scope.get("scheme", "http"))
        else:
            require_navigation(headers)
        caller = self._caller(headers, address, local=local)
        if path in PUBLIC and method in SAFE:
            return caller
        if not caller.is_known:
            raise unauthorised("a token is needed here")
        needed = scope_for(method, path)
        if needed not in caller.scopes:
            raise Problem(
                403,
                f"the token {caller.name} lacks the scope {needed}",
                hint=f"Make one with `kubecase token create NAME --scope {needed}`.",
            )
        return caller

    def _caller(self, headers: Mapping[bytes, list[bytes]], address: str, *, local: bool) -> Caller:
        given = headers.get(b"authorization", [])
        if given:
            return self._by_token(given, address)
        direct = not any(name in headers for name in _FORWARDED)
        if local and direct and not self.loopback_needs_token:
            return Caller(name="loopback", scopes=frozenset(Scope), address=address)
        return Caller(name="anonymous", scopes=frozenset(), address=address)

    def _by_token(self, given: list[bytes], address: str) -> Caller:
        kind, _, secret = given[0].decode("latin-1").partition(" ")
        secret = secret.strip()
        if len(given) > 1 or kind.lower() != "bearer" or not secret:
            raise unauthorised("Authorization is not in the form `Bearer TOKEN`")
        token = None
        if len(secret) <= _LONGEST_TOKEN:
            token = self.keyring.find(secret, self.clock())
        if token is None:
            raise unauthorised("the token is not known, or has expired")
        return Caller(name=token.name, scopes=token.scopes, address=address, by_token=True)

    def _require_our_host(self, headers: Mapping[bytes, list[bytes]]) -> None:
        given = headers.get(b"host", [])
        if len(given) != 1:
            raise Problem(400, "one Host header is needed")
        host = given[0].decode("latin-1").strip().lower()
        name, port = split_host(host)
        ours = name in {"127.0.0.1", "localhost", "::1"} or is_loopback(name)
        if ours and port == self.port:
            return
        if host in self.hosts or name in self.hosts:
            return
        raise Problem(
            403,
            f"the Host {host[:100]} is none of this service's names",
            hint="Ask for 127.0.0.1 or localhost with the port of the service, or add the name "
            "to web.hosts.",
        )


def scope_for(method: str, path: str) -> Scope:
    """What a request needs; whatever changes something and is no fault is operating."""
    if method in SAFE:
        return Scope.READ
    return Scope.INGEST if path in INGEST else Scope.OPERATE


def require_same_origin(headers: Mapping[bytes, list[bytes]], scheme: str) -> None:
    """Refuse what a page of another site makes a browser send. Raises Problem."""
    site = headers.get(b"sec-fetch-site", [])
    if any(each.strip().lower() not in {b"same-origin", b"none"} for each in site):
        raise Problem(403, "a page of another site asked for this (Sec-Fetch-Site)")
    for origin in headers.get(b"origin", []):
        host = b"".join(headers.get(b"host", [])[:1]).strip().lower()
        if origin.strip().lower() != scheme.encode() + b"://" + host:
            raise Problem(403, "a page of another site asked for this (Origin)")


def require_navigation(headers: Mapping[bytes, list[bytes]]) -> None:
    """Let a page of another site lead somebody here, and not read or load anything by itself."""
    site = b"".join(headers.get(b"sec-fetch-site", [b"none"])[:1]).strip().lower()
    mode = b"".join(headers.get(b"sec-fetch-mode", [b"navigate"])[:1]).strip().lower()
    if site not in {b"same-origin", b"none"} and mode != b"navigate":
        raise Problem(403, "a page of another site asked for this (Sec-Fetch-Site)")


def unauthorised(detail: str) -> Problem:
    """401, and how to do better."""
    return Problem(
        401,
        detail,
        hint="Send `Authorization: Bearer TOKEN`; `kubecase token create` makes one.",
        headers={"WWW-Authenticate": 'Bearer realm="kubecase"'},
    )


def heads_of(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[bytes, list[bytes]]:
    """Every value of each header, by its name in lower case."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def split_host(host: str) -> tuple[str, int]:
    """Name and port of a Host header, brackets of IPv6 left out; port 80 if none is given.

    A port that is none comes out as -1.
    """
    name, port = host, "80"
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        if rest.startswith(":"):
            port = rest[1:]
        elif rest:
            port = "none"
    elif host.count(":") == 1:
        name, port = host.split(":")
    return name, int(port) if port.isascii() and port.isdigit() and len(port) < 6 else -1


def is_loopback(address: str) -> bool:
    """Whether `address` is one that only this machine can have."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback
