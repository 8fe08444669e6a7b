"""Tokens of the HTTP API: made once, shown once, kept as a digest only.

A token is 256 random bits, so its plain SHA-256 tells nobody anything. Those made here lie in
`tokens.json` of the data directory (0600, replaced in one step); others stand in the settings.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from kubecase.core.errors import KubecaseError
from kubecase.workspace import keep_files

FILE = "tokens.json"
PREFIX = "kc_"
MAX_TOKENS = 1000
MAX_BYTES = 1024 * 1024

RESERVED = frozenset({"loopback", "anonymous"})
"""What the log calls those who have none."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Scope(StrEnum):
    """What a token may do: read everything, operate on incidents, hand in faults."""

    READ = "read"
    OPERATE = "operate"
    INGEST = "ingest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token, without itself. `sha256` is the digest of its text in lower-case hex."""

    name: str
    sha256: str
    scopes: frozenset[Scope]
    created_at: datetime | None = None
    expires_at: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        """Whether it has not expired at `now`."""
        return self.expires_at is None or now < self.expires_at


class TokensUnusable(KubecaseError):
    """The file of tokens cannot be read, or others could have written it."""


def new_secret() -> str:
    """A token's text: 256 random bits behind a prefix that scanners can look for."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """What is kept of a token's text."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def named(name: str) -> str:
    """`name` as that of a token; raises KubecaseError."""
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise KubecaseError(
            f"{name[:60]!a} is not a name for a token",
            hint="Use up to 63 lower-case letters, digits, - and _, such as alertmanager.",
        )
    return name


@dataclass(frozen=True, slots=True)
class TokenFile:
    """The tokens that were made on this host."""

    data_dir: Path

    @property
    def path(self) -> Path:
        """Where they lie."""
        return self.data_dir / FILE

    def load(self) -> tuple[Token, ...]:
        """All of them; none if the file is absent. Raises TokensUnusable."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unusable(error.strerror or "cannot be opened") from error
        with open(handle, "rb") as file:
            status = os.fstat(file.fileno())
            self._require_ours(status)
            data = file.read(MAX_BYTES + 1)
        try:
            return tuple(_token_of(each) for each in json.loads(data)["tokens"][:MAX_TOKENS])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._unusable("it holds no list of tokens") from error

    def add(self, token: Token) -> None:
        """Keep one more; raises KubecaseError if the name is taken or there are too many."""
        with self._locked():
            known = self.load()
            if any(each.name == token.name for each in known):
                raise KubecaseError(
                    f"there is a token called {token.name} already",
                    hint=f"Choose another name, or first: kubecase token revoke {token.name}",
                )
            if len(known) >= MAX_TOKENS:
                raise KubecaseError(
                    f"there are {MAX_TOKENS} tokens already", hint="Revoke some of them first."
                )
            self._write((*known, token))

    def revoke(self, name: str) -> None:
        """Forget one; raises KubecaseError if there is none of that name."""
        with self._locked():
            known = self.load()
            left = tuple(each for each in known if each.name != name)
            if len(left) == len(known):
                raise KubecaseError(
                    f"there is no token called {name[:60]!a}", hint="Try: kubecase token list"
                )
            self._write(left)

    def _write(self, tokens: Iterable[Token]) -> None:
        document = {"version": 1, "tokens": [as_json(each) for each in tokens]}
        keep_files(self.data_dir, {FILE: (json.dumps(document, indent=2) + "\n").encode()})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing the file meanwhile."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(self.data_dir / "tokens.lock", flags, 0o600)
        except OSError as error:
            raise self._unusable(error.strerror or "cannot be locked") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _require_ours(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._unusable("it is not a regular file")
        if status.st_uid not in {0, os.geteuid()} or status.st_mode & 0o022:
            raise self._unusable("other users can write it")

    def _unusable(self, why: str) -> TokensUnusable:
        return TokensUnusable(
            f"cannot use the tokens in {str(self.path)!a}: {why}",
            hint="It is written by `kubecase token create`, with mode 0600; no token of it is "
            "accepted until it can be read.",
        )


def as_json(token: Token) -> dict[str, Any]:
    """`token` for the file, moments in RFC 3339."""
    return {
        "name": token.name,
        "sha256": token.sha256,
        "scopes": sorted(token.scopes),
        "created_at": token.created_at.isoformat() if token.created_at else None,
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
    }


def _token_of(value: Any) -> Token:
    """The token in an entry of the file. Raises ValueError, TypeError or KeyError."""
    if not _DIGEST.fullmatch(value["sha256"]) or not _NAME.fullmatch(value["name"]):
        raise ValueError("neither a name nor a digest")
    return Token(
        name=value["name"],
        sha256=value["sha256"],
        scopes=frozenset(Scope(each) for each in value["scopes"]),
        created_at=_moment(value.get("created_at")),
        expires_at=_moment(value.get("expires_at")),
    )


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return moment


class Keyring:
    """Every token that counts now: those of the settings and of the file, read anew if it changes.

    While the file cannot be used none of its tokens is accepted; `trouble` says why.
    """

    def __init__(self, file: TokenFile, configured: Iterable[Token] = ()) -> None:
        self._file = file
        self._configured = tuple(configured)
        self._kept: tuple[Token, ...] = ()
        self._seen: tuple[int, ...] | None = None
        self.trouble: str | None = None

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All of them by now."""
        seen = self._look()
        if seen is None or seen != self._seen:
            self._seen = seen
            self._kept, self.trouble = (), None
            try:
                self._kept = self._file.load()
            except TokensUnusable as error:
                self.trouble = str(error)
        return (*self._configured, *self._kept)

    def find(self, secret: str, now: datetime) -> Token | None:
        """The good token whose text is `secret`. Every token is compared, each in constant time."""
        digest = digest_of(secret)
        found = None
        for each in self.tokens:
            if hmac.compare_digest(each.sha256, digest):
                found = each
        return found if found is not None and found.is_good(now) else None

    def _look(self) -> tuple[int, ...] | None:
        with suppress(OSError):
            status = os.stat(self._file.path, follow_symlinks=False)
            return (status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode)
        return None
