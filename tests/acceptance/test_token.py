"""Tokens are made, listed and revoked by the installed command."""

import json
import stat
import subprocess

import pytest

from fakes.web_rig import a_web

from .conftest import Home

pytestmark = pytest.mark.anyio


def token(home: Home, *words: str) -> "subprocess.CompletedProcess[bytes]":
    """The command with a data directory of the test's own, whoever runs it."""
    return home.run("token", *words, "--data-dir", str(home.data))


async def test_a_token_is_shown_once_and_holds_until_it_is_revoked(home: Home) -> None:
    """What `create` prints lets its holder in, what is kept does not tell it, `revoke` ends it."""
    made = token(home, "create", "prom", "--scope", "read", "--expires", "90d")
    secret = made.stdout.decode().strip()
    listed = json.loads(token(home, "list", "--json").stdout)
    file = home.data / "tokens.json"

    async with a_web(home.data, loopback_needs_token="true") as web:
        headers = {"Authorization": f"Bearer {secret}"}
        before = await web.get("/metrics", headers=headers)
        assert token(home, "revoke", "prom").returncode == 0
        after = await web.get("/metrics", headers=headers)

    assert made.returncode == 0
    assert secret.startswith("kc_")
    assert secret not in token(home, "list").stdout.decode()
    assert [(each["name"], each["scopes"]) for each in listed] == [("prom", ["read"])]
    assert listed[0]["expires_at"] is not None
    assert secret not in json.dumps(listed)
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (before.status_code, after.status_code) == (200, 401)


async def test_a_token_of_the_settings_is_made_without_a_file(home: Home) -> None:
    """`--digest` prints the token and its entry for the settings, and keeps nothing."""
    made = token(home, "create", "prom", "--scope", "read", "--digest")
    secret, entry = made.stdout.decode().splitlines()
    (home.root / "kubecase.yaml").write_text(
        f"web: {{loopback_needs_token: true, tokens: [{entry}]}}\n"
    )

    listed = json.loads(token(home, "list", "--json").stdout)

    assert not (home.data / "tokens.json").exists()
    assert [(each["name"], each["from"]) for each in listed] == [("prom", "settings")]
    assert secret not in entry


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("create", "No!", "--scope", "read"), "lower-case"),
        (("create", "a", "--scope", "read", "--expires", "soon"), "90d"),
        (
            ("create", "a", "--scope", "read", "--expires", "1d", "--digest"),
            "Leave one of them out",
        ),
        (("revoke", "nobody"), "kubecase token list"),
    ],
)
def test_a_mistake_names_its_remedy(home: Home, words: tuple[str, ...], remedy: str) -> None:
    """Exit code 2, and what to do instead."""
    done = token(home, *words)

    assert done.returncode == 2
    assert remedy in done.stderr.decode()


def test_a_name_is_given_once(home: Home) -> None:
    """Two tokens of one name could not be told apart in the log."""
    assert token(home, "create", "a", "--scope", "read").returncode == 0

    again = token(home, "create", "a", "--scope", "ingest")

    assert again.returncode == 2
    assert "kubecase token revoke a" in again.stderr.decode()
