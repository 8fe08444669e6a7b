"""The section `web` of the settings: the HTTP API of `kubecase serve`."""

import ipaddress
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from kubecase.app.settings.kinds import (
    Boolean,
    FilePath,
    Items,
    Name,
    Seconds,
    Size,
    Text,
    Texts,
    Whole,
    between,
    word,
)
from kubecase.app.settings.section import Section, option
from kubecase.app.settings.web_values import TokenOptions, TokenScope, WebSettings


def split_address(value: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`. Raises ValueError."""
    host, _, port = value.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 <= int(port[:6]) <= 65535:
        raise ValueError("is not an address and a port, such as 127.0.0.1:8080")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare == "localhost":
        return bare, int(port)
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        raise ValueError("is not an address and a port, such as 127.0.0.1:8080") from None
    if (address.version == 6) != host.startswith("["):
        raise ValueError("is not an address and a port; IPv6 is written as [::1]:8080")
    return bare, int(port)


def _address(value: str) -> str:
    split_address(value)
    return value


def _digest(value: str) -> str:
    if len(value) != 64 or any(c not in "0123456789abcdef" for c in value):
        raise ValueError("is not a SHA-256 in lower-case hex (kubecase token create --digest)")
    return value


class TokenSection(Section):
    """A token that is known by its digest alone."""

    name: Name = Field(description="Who it is for, as the log shows it.")
    sha256: Annotated[Text, AfterValidator(_digest)] = Field(
        description="SHA-256 of the token in hex; `kubecase token create --digest` prints it."
    )
    scopes: Annotated[list[Annotated[TokenScope, word(TokenScope)]], Items, Field(min_length=1)] = (
        Field(description="What it may do: `read`, `operate`, `ingest`.")
    )


class WebSection(Section):
    """The HTTP API of `kubecase serve` (docs/api.md)."""

    listen: Annotated[Text, AfterValidator(_address)] = option(
        "127.0.0.1:8080",
        "Address and port. Any but a loopback address is refused unless there is a token.",
    )
    tokens: Annotated[list[TokenSection], Items] = option(
        [],
        "Tokens beside those of `kubecase token create`.",
        example='[{name: "prometheus", sha256: "'
        + "0123456789abcdef" * 4 + '", scopes: [read]}]',
    )  # fmt: skip
    hosts: Texts = option(
        [],
        "More names that a request from a loopback address may ask for, as NAME or NAME:PORT, such "
        "as that of a local proxy.",
        example="[kubecase.example.com]",
    )
    loopback_needs_token: Boolean = option(
        False, "Whether programs on this host need a token, too."
    )
    tls_cert: FilePath | None = option(
        None, "PEM file of the certificate and its chain. Unset means plain HTTP.",
        example="/etc/kubecase/tls/tls.crt",
    )  # fmt: skip
    tls_key: FilePath | None = option(
        None, "PEM file of its private key.", example="/etc/kubecase/tls/tls.key"
    )
    max_body: Size = option("1MiB", "Size of the body of a request.")
    body_timeout: Seconds = option("10s", "How long a body may take to arrive.")
    header_timeout: Seconds = option("10s", "How long the head of a request may take to arrive.")
    send_timeout: Seconds = option("30s", "How long a reader may take no part of its answer.")
    requests_per_second: Annotated[Whole, between(1, 100_000)] = option(
        100, "How often each token, or address without one, may ask."
    )
    burst: Annotated[Whole, between(1, 100_000)] = option(
        200, "How often it may ask at once before that counts."
    )
    max_connections: Annotated[Whole, between(1, 10_000)] = option(
        256, "How many connections may be open."
    )
    max_streams: Annotated[Whole, between(1, 1000)] = option(
        32, "How many of them may follow incidents."
    )


def web_settings(section: WebSection, **paths: object) -> WebSettings:
    """`section` as plain values; `paths` are those of it that are absolute by now."""
    host, port = split_address(section.listen)
    tokens = tuple(
        TokenOptions(name=each.name, sha256=each.sha256, scopes=tuple(each.scopes))
        for each in section.tokens
    )
    given: dict[str, Any] = {
        **section.model_dump(exclude={"listen"}), "host": host, "port": port, "tokens": tokens,
        "hosts": tuple(each.lower() for each in section.hosts), **paths,
    }  # fmt: skip
    return WebSettings(**given)
