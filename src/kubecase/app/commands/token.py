"""`kubecase token`: who else may use the HTTP API of `kubecase serve`."""

import json as jsonlib
import sys
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from kubecase.app.boundary import SUCCESS
from kubecase.app.commands.options import DEFAULT, Json, Shared

if TYPE_CHECKING:
    from datetime import datetime

    from kubecase.app.web.tokens import Token, TokenFile

app = App(
    name="token",
    help="Tokens of the HTTP API: create, list, revoke. Programs on this host need none, unless "
    "web.loopback_needs_token is on; everything else does.",
)

ScopeWord = Literal["read", "operate", "ingest"]


@app.command
def create(
    name: str,
    /,
    *,
    scope: Annotated[tuple[ScopeWord, ...], Parameter(negative="")],
    expires: str | None = None,
    digest: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """Make a token and print it, once: only its digest is kept.

    A running service takes it at once. It goes into a request as `Authorization: Bearer TOKEN`.

    Parameters
    ----------
    name
        Whom it is for, as the log shows it: lower-case letters, digits, - and _.
    scope
        What it may do: read (incidents, reports, metrics), operate (cancel, retry, feedback),
        ingest (hand in faults). Give it again for more than one.
    expires
        For how long it is good, such as 90d. For ever if left out.
    digest
        Keep nothing here; print the token and the entry for `web.tokens` of the settings.
    json
        Print a JSON object.
    """
    from kubecase.app.web.tokens import Scope, Token, as_json, digest_of, named, new_secret
    from kubecase.app.wiring import now

    secret, at = new_secret(), now()
    token = Token(
        name=named(name),
        sha256=digest_of(secret),
        scopes=frozenset(Scope(each) for each in scope),
        created_at=at,
        expires_at=_end(expires, at),
    )
    if digest:
        _refuse_end(token)
    else:
        _file(shared).add(token)
    if json:
        print(jsonlib.dumps({**as_json(token), "token": secret}, indent=2))
    else:
        _show(token, secret, entry=digest)
    return SUCCESS


def _show(token: "Token", secret: str, *, entry: bool) -> None:
    print(secret)
    if entry:
        scopes = ", ".join(sorted(token.scopes))
        print(f"{{name: {token.name}, sha256: {token.sha256}, scopes: [{scopes}]}}")
    print("kubecase: this is the only time it is shown", file=sys.stderr)


@app.command(name="list")
def list_(*, json: Json = False, shared: Shared = DEFAULT) -> int:
    """List the tokens by name: what each may do, and until when. None is shown itself.

    Parameters
    ----------
    json
        Print a JSON array.
    """
    from kubecase.app.web.tokens import as_json
    from kubecase.app.wiring import now

    tokens, at = _file(shared).load(), now()
    configured = shared.service_settings().settings.web.tokens
    if json:
        mine = [{**as_json(each), "from": "file"} for each in tokens]
        theirs = [
            {"name": each.name, "sha256": each.sha256, "scopes": sorted(each.scopes),
             "created_at": None, "expires_at": None, "from": "settings"}
            for each in configured
        ]  # fmt: skip
        print(jsonlib.dumps([*mine, *theirs], indent=2))
        return SUCCESS
    for each in tokens:
        end = "for ever" if each.expires_at is None else f"until {each.expires_at.isoformat()}"
        end = end if each.is_good(at) else f"expired, {end}"
        print(f"{each.name:<20} {','.join(sorted(each.scopes)):<22} {end}")
    for other in configured:
        print(f"{other.name:<20} {','.join(sorted(other.scopes)):<22} by the settings")
    if not tokens and not configured:
        print("no tokens; try: kubecase token create NAME --scope read", file=sys.stderr)
    return SUCCESS


@app.command
def revoke(name: str, /, *, shared: Shared = DEFAULT) -> int:
    """Forget a token: from now on nothing is answered to who holds it.

    Parameters
    ----------
    name
        The name it was made with.
    """
    _file(shared).revoke(name)
    print(f"{name} is revoked")
    return SUCCESS


def _file(shared: Shared) -> "TokenFile":
    from kubecase.app.web.tokens import TokenFile

    return TokenFile(shared.service_settings().settings.store.data_dir)


def _end(expires: str | None, now: "datetime") -> "datetime | None":
    from datetime import timedelta

    from kubecase.app.settings import parse_duration
    from kubecase.core.errors import KubecaseError

    if expires is None:
        return None
    try:
        seconds = parse_duration(expires)
    except ValueError as error:
        raise KubecaseError(f"--expires {error}", hint="Write it as 90d or 12h.") from None
    if seconds <= 0:
        raise KubecaseError("--expires must be more than zero", hint="Write it as 90d or 12h.")
    return now + timedelta(seconds=seconds)


def _refuse_end(token: "Token") -> None:
    from kubecase.core.errors import KubecaseError

    if token.expires_at is not None:
        raise KubecaseError(
            "--digest and --expires do not go together: a token of the settings has no end",
            hint="Leave one of them out.",
        )
