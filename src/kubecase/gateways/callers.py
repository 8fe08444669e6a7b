"""Who may call a gateway: credentials of one run, of which only digests are known here."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A credential for a gateway, for one caller in one run."""

    text: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        """One that nobody has seen."""
        return cls(text=f"kubecase-{secrets.token_urlsafe(32)}")

    @property
    def sha256(self) -> str:
        """The digest that is kept, in hex."""
        return digest_of(self.text)


def digest_of(token: str) -> str:
    """The digest by which a token is known, in hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class Callers:
    """Names of callers, by the digest of each one's token."""

    by_digest: Mapping[str, str]

    def name_of(self, authorization: Iterable[str]) -> str | None:
        """Who presents one of these Authorization headers; None for nobody that is known."""
        found: str | None = None
        for header in authorization:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer":
                continue
            digest = digest_of(token.strip())
            for known, name in self.by_digest.items():
                if hmac.compare_digest(digest, known):
                    found = name
        return found
