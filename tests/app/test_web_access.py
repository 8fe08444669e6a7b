"""Who may ask over HTTP: this host, holders of tokens, and no page in a browser."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from fakes.kube_authority import Authority
from fakes.web_rig import FAULT, WebRig, a_token, a_web, web_settings
from kubecase.app.web.tokens import Keyring, Scope, Token, TokenFile, digest_of, new_secret
from kubecase.core.errors import KubecaseError
from kubecase.store import utc_now

pytestmark = pytest.mark.anyio

ID = "0b8e4f5e-1111-4222-8333-444455556666"


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[WebRig]:
    async with a_web(tmp_path) as rig:
        yield rig


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[WebRig]:
    """A service that asks for a token also of this host, as it asks of every other."""
    async with a_web(tmp_path, loopback_needs_token="true") as rig:
        yield rig


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


EVERYTHING = [
    ("GET", "/api/v1/incidents", Scope.READ),
    ("GET", f"/api/v1/incidents/{ID}", Scope.READ),
    ("GET", f"/api/v1/incidents/{ID}/events", Scope.READ),
    ("GET", f"/api/v1/incidents/{ID}/attempts/1/report.html", Scope.READ),
    ("GET", f"/api/v1/incidents/{ID}/attempts/1/artifacts/a", Scope.READ),
    ("GET", "/api/v1/openapi.json", Scope.READ),
    ("GET", "/metrics", Scope.READ),
    ("GET", "/health/clusters", Scope.READ),
    ("GET", "/nothing/here", Scope.READ),
    ("POST", "/api/v1/faults", Scope.INGEST),
    ("POST", "/api/v1/alertmanager", Scope.INGEST),
    ("POST", "/api/v1/cloudevents", Scope.INGEST),
    ("POST", f"/api/v1/incidents/{ID}/cancel", Scope.OPERATE),
    ("POST", f"/api/v1/incidents/{ID}/retry", Scope.OPERATE),
    ("POST", f"/api/v1/incidents/{ID}/feedback", Scope.OPERATE),
    ("DELETE", f"/api/v1/incidents/{ID}", Scope.OPERATE),
]


async def test_each_address_asks_for_its_own_scope(strict: WebRig, tmp_path: Path) -> None:
    """Without a token, with a wrong one, or with any other scope, nothing is answered."""
    secrets = {each: a_token(tmp_path, each) for each in Scope}

    for method, path, needed in EVERYTHING:
        bare = await strict.client.request(method, path)
        wrong = await strict.client.request(method, path, headers=bearer(new_secret()))
        assert (bare.status_code, wrong.status_code) == (401, 401), path
        assert bare.headers["www-authenticate"].startswith("Bearer")
        for scope, secret in secrets.items():
            answer = await strict.client.request(method, path, headers=bearer(secret))
            if scope is needed:
                assert answer.status_code not in {401, 403}, (path, scope)
            else:
                assert answer.status_code == 403, (path, scope)


async def test_every_route_is_in_that_table(web: WebRig) -> None:
    """No address of the document was forgotten above; only two are answered to anybody."""
    document = (await web.get("/api/v1/openapi.json")).json()
    known = {(method, path) for method, path, _ in EVERYTHING}

    for path, operations in document["paths"].items():
        concrete = (
            path.replace("{id}", ID).replace("{attempt}", "1").replace("{kind}", "html")
            .replace("{path}", "a")
        )  # fmt: skip
        for method in operations:
            if path not in {"/healthz", "/readyz"}:
                assert (method.upper(), concrete) in known


async def test_probes_are_answered_to_anybody_in_one_word(strict: WebRig) -> None:
    """A kubelet holds no token: it learns whether, and whoever has one also why."""
    strict.backend.trouble = "no source is connected"
    secret = a_token(strict.settings.store.data_dir, Scope.READ)

    alive, ready = await strict.get("/healthz"), await strict.get("/readyz")
    told = await strict.get("/readyz", headers=bearer(secret))

    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (503, {"status": "unavailable"})
    assert told.json() == {"status": "unavailable", "reason": "no source is connected"}


async def test_revoked_and_expired_tokens_are_refused_at_once(strict: WebRig) -> None:
    """A running service heeds the file as it is now."""
    file = TokenFile(strict.settings.store.data_dir)
    secret, old = new_secret(), new_secret()
    read = frozenset({Scope.READ})
    past = utc_now() - timedelta(seconds=1)
    file.add(Token(name="old", sha256=digest_of(old), scopes=read, expires_at=past))
    file.add(Token(name="one", sha256=digest_of(secret), scopes=read))

    before = await strict.get("/metrics", headers=bearer(secret))
    expired = await strict.get("/metrics", headers=bearer(old))
    file.revoke("one")
    after = await strict.get("/metrics", headers=bearer(secret))

    assert [each.status_code for each in (before, expired, after)] == [200, 401, 401]


async def test_a_file_that_others_can_write_gives_nobody_access(strict: WebRig) -> None:
    """Whoever could have put a token there does not get in with it, nor with nonsense."""
    secret = a_token(strict.settings.store.data_dir, Scope.READ)
    path = strict.settings.store.data_dir / "tokens.json"
    kept = path.read_bytes()
    statuses = []

    for content, mode in (
        (kept, 0o666),
        (b'{"tokens": 7}', 0o600),
        (b"\xff{", 0o600),
        (kept, 0o600),
    ):
        path.write_bytes(content)
        path.chmod(mode)
        statuses.append((await strict.get("/metrics", headers=bearer(secret))).status_code)

    assert statuses == [401, 401, 401, 200]


async def test_a_token_of_the_settings_is_known_by_its_digest(tmp_path: Path) -> None:
    """The settings hold no token, and it works."""
    secret = new_secret()
    (tmp_path / "kubecase.yaml").write_text(
        "web:\n  loopback_needs_token: true\n  tokens:\n"
        f"    - {{name: prometheus, sha256: {digest_of(secret)}, scopes: [read]}}\n"
    )

    async with a_web(tmp_path) as web:
        good = await web.get("/metrics", headers=bearer(secret))
        bare = await web.get("/metrics")
        await web.get("/nope", headers=bearer(secret))

    assert (good.status_code, bare.status_code) == (200, 401)
    assert web.observer.of("http_request")[-1]["caller"] == "prometheus"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com", "evil.example.com:{port}", "127.0.0.1", "127.0.0.1:1", "localhost:x",
        "127.0.0.1.evil.example.com:{port}", "[::1].evil:{port}", "0.0.0.0:{port}", "",
    ],
)  # fmt: skip
async def test_a_page_whose_name_was_rebound_is_refused(web: WebRig, host: str) -> None:
    """A browser that was led to 127.0.0.1 under another name gets no answer."""
    answer = await web.get("/api/v1/incidents", headers={"Host": host.format(port=web.port)})

    assert answer.status_code in {400, 403}
    assert "incidents" not in answer.json()


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "Kase.local"]
)
async def test_the_services_own_names_are_taken(tmp_path: Path, host: str) -> None:
    """Loopback names with our port, and those that the settings add."""
    async with a_web(tmp_path, hosts="kase.local") as web:
        answer = await web.get("/api/v1/incidents", headers={"Host": host.format(port=web.port)})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_of_another_site_changes_nothing(web: WebRig, headers: dict[str, str]) -> None:
    """What a browser sends for another site is refused, whatever it would have done."""
    answer = await web.post("/api/v1/faults", dict(FAULT), headers=headers)

    assert answer.status_code == 403
    assert (await web.get("/api/v1/incidents")).json()["incidents"] == []


async def test_a_page_of_another_site_may_lead_here_and_load_nothing(web: WebRig) -> None:
    """A link is followed; what a page loads by itself is refused."""
    cross = {"Sec-Fetch-Site": "cross-site"}

    led = await web.get("/api/v1/incidents", headers={**cross, "Sec-Fetch-Mode": "navigate"})
    loaded = await web.get("/api/v1/incidents", headers={**cross, "Sec-Fetch-Mode": "no-cors"})

    assert (led.status_code, loaded.status_code) == (200, 403)


async def test_a_page_of_our_own_may(web: WebRig) -> None:
    """The same origin is no other site."""
    headers = {"Origin": web.url, "Sec-Fetch-Site": "same-origin"}

    assert (await web.post("/api/v1/faults", dict(FAULT), headers=headers)).status_code == 202


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
async def test_what_comes_through_a_proxy_needs_a_token(web: WebRig, name: str) -> None:
    """A proxy on this host does not lend its place to whoever speaks through it."""
    answer = await web.get("/api/v1/incidents", headers={name: "203.0.113.7"})

    assert answer.status_code == 401


async def test_another_address_is_refused_while_there_is_no_token(tmp_path: Path) -> None:
    """A service that everybody could ask does not start, and says what to do."""
    settings = web_settings(tmp_path, listen="0.0.0.0:0")

    with pytest.raises(KubecaseError, match="there is no token") as refused:
        async with a_web(tmp_path, settings):
            pass

    assert "kubecase token create" in str(refused.value.hint)


async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """Which address, and what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = web_settings(tmp_path, listen=f"127.0.0.1:{taken.getsockname()[1]}")

        with pytest.raises(KubecaseError, match="cannot listen on") as refused:
            async with a_web(tmp_path, settings):
                pass

    assert "web.listen" in str(refused.value.hint)


def network_of_its_own() -> str | None:
    """Why no second network can be made here; None if it can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs root and `ip` to make a network namespace"
    made = subprocess.run(["ip", "netns", "add", "kcprobe"], capture_output=True)
    if made.returncode != 0:
        return "this host does not let us make a network namespace"
    subprocess.run(["ip", "netns", "delete", "kcprobe"], check=True)
    return None


FROM_OUTSIDE = """
import sys, urllib.error, urllib.request
url, token = sys.argv[1], sys.stdin.read().strip()
for headers in ({}, {"Authorization": "Bearer " + token}):
    for path in ("/api/v1/incidents", "/healthz"):
        try:
            request = urllib.request.Request(url + path, headers=headers)
            print(urllib.request.urlopen(request, timeout=20).status, end=" ")
        except urllib.error.HTTPError as error:
            print(error.code, end=" ")
"""


async def test_another_host_needs_a_token(tmp_path: Path) -> None:
    """From an address that is not ours nothing is answered without a token, except to probes.

    The other host is a network namespace of its own, joined to this one by a cable of its own.
    """
    if why := network_of_its_own():
        pytest.skip(why)
    secret = a_token(tmp_path, Scope.READ)
    name = f"kc{os.getpid() % 100000}"
    here, there = f"198.18.{os.getpid() % 200}.1", f"198.18.{os.getpid() % 200}.2"
    plan = [
        ["netns", "add", name],
        ["link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name],
        ["addr", "add", f"{here}/30", "dev", f"{name}a"],
        ["link", "set", f"{name}a", "up"],
        ["-n", name, "addr", "add", f"{there}/30", "dev", f"{name}b"],
        ["-n", name, "link", "set", f"{name}b", "up"],
    ]
    try:
        for step in plan:
            subprocess.run(["ip", *step], check=True, capture_output=True)
        settings = web_settings(tmp_path, listen=f"{here}:0")
        async with a_web(tmp_path, settings) as web:
            command = ["ip", "netns", "exec", name, sys.executable, "-c", FROM_OUTSIDE, web.url]
            asked = await anyio.run_process(command, input=secret.encode())
            own = await web.get("/api/v1/incidents")
    finally:
        subprocess.run(["ip", "link", "delete", f"{name}a"], capture_output=True)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    assert asked.stdout.decode().split() == ["401", "200", "200", "200"]
    # This host's own address on that cable is no loopback address either.
    assert own.status_code == 401


async def test_tls_is_spoken_with_the_certificate_of_the_settings(tmp_path: Path) -> None:
    """With web.tls_cert the same answers come over TLS, and plain HTTP gets none."""
    made = Authority.make(tmp_path)
    settings = web_settings(tmp_path, tls_cert=str(made.certificate), tls_key=str(made.key))

    async with a_web(tmp_path, settings) as web:
        context = ssl.create_default_context(cafile=str(made.ca))
        async with httpx2.AsyncClient(verify=context, base_url=web.url) as client:
            good = await client.get("/api/v1/incidents")
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(web.url.replace("https", "http"), timeout=5)

    assert web.url.startswith("https://")
    assert good.status_code == 200


async def test_a_handshake_that_is_never_made_is_given_up(tmp_path: Path) -> None:
    """Whoever connects to the TLS port and says nothing is hung up on."""
    made = Authority.make(tmp_path)
    settings = web_settings(
        tmp_path, tls_cert=str(made.certificate), tls_key=str(made.key), header_timeout="300ms"
    )

    async with (
        a_web(tmp_path, settings) as web,
        await anyio.connect_tcp("127.0.0.1", web.port) as stream,
    ):
        with anyio.fail_after(20), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()


async def test_it_is_served_over_ipv6_too(tmp_path: Path) -> None:
    """`[::1]` is a loopback address like the other."""
    settings = web_settings(tmp_path, listen="[::1]:0")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no IPv6 loopback")

    async with a_web(tmp_path, settings) as web:
        answer = await web.get("/api/v1/incidents")

    assert web.url.startswith("http://[::1]:")
    assert answer.status_code == 200


async def test_a_certificate_that_is_none_is_told(tmp_path: Path) -> None:
    """Which file, and what it should be."""
    (tmp_path / "x").write_text("nothing")
    settings = web_settings(tmp_path, tls_cert=str(tmp_path / "x"), tls_key=str(tmp_path / "x"))

    with pytest.raises(KubecaseError, match="cannot use the certificate"):
        async with a_web(tmp_path, settings):
            pass


async def test_no_token_is_in_any_record(strict: WebRig) -> None:
    """A request is on record with the name of its token, without it and without its query."""
    secret = a_token(strict.settings.store.data_dir, Scope.READ, name="grafana")

    await strict.get("/api/v1/incidents?q=hunter2", headers=bearer(secret))
    await strict.get("/api/v1/incidents", headers=bearer("kc_wrong"))

    good, bad = strict.observer.of("http_request")
    assert (good["status"], good["caller"], good["path"]) == (200, "grafana", "/api/v1/incidents")
    assert (bad["status"], bad["caller"]) == (401, None)
    told = repr(strict.observer.events)
    assert secret not in told
    assert "kc_wrong" not in told
    assert "hunter2" not in told


def test_a_keyring_compares_every_token(tmp_path: Path) -> None:
    """A good token is found wherever it stands, and one byte less is not it."""
    secrets = [new_secret() for _ in range(3)]
    tokens = [
        Token(name=f"t{n}", sha256=digest_of(each), scopes=frozenset({Scope.READ}))
        for n, each in enumerate(secrets)
    ]
    ring = Keyring(TokenFile(tmp_path), tokens)

    found: list[Any] = [ring.find(each, utc_now()) for each in secrets]

    assert [each.name for each in found] == ["t0", "t1", "t2"]
    assert ring.find(secrets[0][:-1], utc_now()) is None
    assert ring.find("", utc_now()) is None
