"""What the model gateway makes of a model's server that refuses, fails, stalls or never ends."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from fakes.kube_api import Authority
from fakes.model_rig import MODELS, PATIENCE, REAL_KEY, STREAMED, WHOLE, question, rig
from fakes.upstreams import Cut, Drop, Endless, Fail, FakeUpstream, Raw, Say, Stall, bytes_of
from kubecase.core.metering import GatewayRecord, Tokens, Trouble, corrected
from kubecase.core.model import Reason, Verdict
from kubecase.gateways.model import GatewayLimits
from kubecase.gateways.upstream import Patience, Upstream, UpstreamClient, UpstreamUnusable

pytestmark = pytest.mark.anyio
OK = Say("All is well.")


@pytest.mark.parametrize("path", WHOLE)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_named_and_not_shown(path: str, status: int, tmp_path: Path) -> None:
    """A key that the server refuses ends as `auth`, in one request, without a word of the key."""
    told = b'{"error": {"message": "Incorrect API key provided: ' + REAL_KEY.encode() + b'"}}'
    with FakeUpstream([Fail(status, body=told)]) as upstream:
        async with rig(tmp_path, upstream.url, MODELS[path][0]) as ran:
            got, body, _ = await ran.ask(path)

    assert got == status
    assert "refuses kubecase's key" in json.loads(body)["error"]["message"]
    assert REAL_KEY not in body.decode()
    assert len(upstream.asked) == 1
    assert ran.record.last_trouble is Trouble.AUTH
    assert [(t.trouble, t.ends_run) for t in ran.told] == [(Trouble.AUTH, False)]
    verdict = corrected(Verdict(report="Ran into this error"), ran.record)
    assert (verdict.reason, verdict.transient) == (Reason.AUTH, False)


@pytest.mark.parametrize(
    ("status", "trouble"),
    [(429, Trouble.QUOTA), (500, Trouble.TRANSIENT), (529, Trouble.TRANSIENT)],
)
async def test_a_busy_server_is_asked_again_a_few_times(
    status: int, trouble: Trouble, tmp_path: Path
) -> None:
    """A rate limit or a fault is tried again before anything is told, and not for ever."""
    with FakeUpstream([Fail(status), Fail(status), OK]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            assert (await ran.ask())[0] == 200
            assert ran.record.last_trouble is None
    with FakeUpstream([Fail(status)]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            got, _, _ = await ran.ask()

    assert got == status
    assert len(upstream.asked) == PATIENCE.tries
    assert ran.record.last_trouble is trouble
    assert (ran.record.turns, ran.record.cost_usd) == (0, 0)


async def test_retry_after_is_honoured_within_bounds(tmp_path: Path) -> None:
    """The server's own pause is kept to; one that is too long is handed to the CLI at once."""
    loop = asyncio.get_running_loop()
    with FakeUpstream([Fail(429, {"Retry-After": "1"}), OK]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            begun = loop.time()
            assert (await ran.ask())[0] == 200
            assert loop.time() - begun >= 1
    with FakeUpstream([Fail(429, {"Retry-After": "3600"})]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            status, _, headers = await ran.ask()

    assert (status, headers["retry-after"], len(upstream.asked)) == (429, "3600", 1)
    verdict = corrected(Verdict(report=None, reason=Reason.EXIT_CODE, failure="x"), ran.record)
    assert (verdict.reason, verdict.transient) == (Reason.QUOTA, True)


async def test_a_connection_that_fails_is_tried_again(tmp_path: Path) -> None:
    """A server that drops the connection is asked again; one that is not there ends as such."""
    with FakeUpstream([Drop(), OK]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            assert (await ran.ask())[0] == 200
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with rig(tmp_path, f"http://127.0.0.1:{port}") as ran:
        status, body, _ = await ran.ask()

    assert status == 502
    assert "cannot be reached" in json.loads(body)["error"]["message"]
    assert ran.record.last_trouble is Trouble.TRANSIENT
    verdict = corrected(Verdict(report=None, reason=Reason.EXIT_CODE, failure="x"), ran.record)
    assert verdict.transient


@pytest.mark.parametrize("path", STREAMED)
async def test_a_cut_stream_is_seen_as_cut(path: str, tmp_path: Path) -> None:
    """What came before a cut arrives, the CLI sees the cut, and what was used is counted."""
    protocol, model = MODELS[path]
    with FakeUpstream([Cut(700), OK]) as upstream:
        async with rig(tmp_path, upstream.url, protocol) as ran:
            got = await ran.until_cut(path)
            record = ran.record
            assert (await ran.ask(path, streamed=True))[0] == 200
            assert ran.record.last_trouble is None

    assert got == bytes_of(path, Cut(700), model, streamed=True)[:700]
    assert len(upstream.asked) == 2
    assert (record.last_trouble, record.estimated, record.turns) == (Trouble.TRANSIENT, True, 1)
    assert record.cost_usd


async def test_a_stream_that_ends_without_its_end_is_noticed(tmp_path: Path) -> None:
    """An answer that merely stops is passed on as it is, and is not taken for a whole one."""
    body = bytes_of("/v1/messages", OK, "claude-sonnet-4-5", streamed=True)
    with FakeUpstream([Raw(body[: body.index(b"event: message_delta")])]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            assert (await ran.ask(streamed=True))[0] == 200

    assert ran.record.last_trouble is Trouble.TRANSIENT
    assert ran.record.estimated


@pytest.mark.parametrize(
    ("kind", "trouble"),
    [("overloaded_error", Trouble.TRANSIENT), ("rate_limit_error", Trouble.QUOTA)],
)
async def test_an_error_inside_of_a_stream_is_read(
    kind: str, trouble: Trouble, tmp_path: Path
) -> None:
    """A failure that comes after status 200 counts as the failure that it is."""
    event = {"type": "error", "error": {"type": kind, "message": "scripted"}}
    raw = f"event: error\ndata: {json.dumps(event)}\n\n".encode()
    with FakeUpstream([Raw(raw)]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            _, body, _ = await ran.ask(streamed=True)

    assert body == raw
    assert ran.record.last_trouble is trouble


@pytest.mark.parametrize("path", STREAMED)
async def test_a_stalled_stream_does_not_hang_the_run(path: str, tmp_path: Path) -> None:
    """A server that falls silent in the middle is given up, which some CLIs never do."""
    patience = Patience(tries=1, idle=0.2, first_byte=2, call=20)
    with FakeUpstream([Stall(400)]) as upstream:
        async with rig(tmp_path, upstream.url, MODELS[path][0], patience=patience) as ran:
            got = await ran.until_cut(path)

    assert len(got) == 400
    assert ran.record.last_trouble is Trouble.TRANSIENT
    assert "silent" in str(ran.record.last_says)


async def test_a_server_that_never_begins_is_given_up_and_charged(tmp_path: Path) -> None:
    """A server that takes a request and says nothing is asked once, and is charged as at work."""
    patience = Patience(tries=3, first_byte=0.2, pause=0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with rig(tmp_path, url, patience=patience) as ran:
            status, body, _ = await ran.ask(text="x" * 4000)

    assert status == 502
    assert "in time" in json.loads(body)["error"]["message"]
    assert ran.record.last_trouble is Trouble.TRANSIENT
    assert ran.record.tokens.input >= 1000
    assert ran.record.estimated


@pytest.mark.parametrize("path", STREAMED)
async def test_an_endless_answer_has_an_end(path: str, tmp_path: Path) -> None:
    """An answer that does not stop is cut at a size, and the server is left."""
    with FakeUpstream([Endless()]) as upstream:
        limits = GatewayLimits(answer_bytes=200_000)
        async with rig(tmp_path, upstream.url, MODELS[path][0], limits=limits) as ran:
            got = await ran.until_cut(path)
        assert await asyncio.to_thread(upstream.left.wait, 10)

    assert len(got) < 1_000_000
    assert ran.record.tokens.output > 100


async def test_a_cli_that_leaves_takes_its_call_along(tmp_path: Path) -> None:
    """A CLI that is killed in the middle leaves no paid call behind, and its part is charged."""
    with FakeUpstream([Endless()]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            body = json.dumps(question("/v1/messages", streamed=True))
            async with ran.client.post(
                f"{ran.url}/v1/messages", data=body, headers={"x-api-key": ran.key.text}
            ) as answer:
                await answer.content.readany()
                answer.close()
            assert await asyncio.to_thread(upstream.left.wait, 10)

        assert len(ran.lines) == 1
    assert ran.lines[0]["whole"] is False
    assert ran.lines[0]["estimated"] is True
    assert ran.record.tokens.input == 1000
    assert ran.record.last_trouble is None


async def test_the_end_of_a_run_counts_what_was_under_way(tmp_path: Path) -> None:
    """A gateway that is closed in the middle of an answer still charges and records the call."""
    counted: list[GatewayRecord] = []
    with FakeUpstream([Endless()]) as upstream:
        async with rig(tmp_path, upstream.url, counted=counted.append) as ran:
            asking = asyncio.create_task(ran.until_cut("/v1/messages"))
            while not upstream.asked:
                await asyncio.sleep(0)
        await asking

    assert [line["decision"] for line in ran.lines] == ["allowed"]
    assert ran.record.cost_usd
    assert counted == [ran.record]


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """A server that points elsewhere does not get the key sent there."""
    elsewhere = FakeUpstream([OK])
    redirect = Fail(307, {"Location": f"{elsewhere.url}/v1/messages"})
    with elsewhere, FakeUpstream([redirect]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            status, body, headers = await ran.ask()

    assert status == 502
    assert "redirects" in json.loads(body)["error"]["message"]
    assert "location" not in headers
    assert elsewhere.asked == []


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_refused_request_is_handed_on_without_the_key(status: int, tmp_path: Path) -> None:
    """What the server says about a request reaches the CLI, unless it repeats the key."""
    said = f'{{"error": {{"message": "bad, {REAL_KEY}"}}}}'.encode()
    with FakeUpstream([Fail(status, body=said)]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            got, body, _ = await ran.ask()

    assert (got, body) == (status, said.replace(REAL_KEY.encode(), b"[redacted]"))
    assert ran.record.last_trouble is Trouble.REFUSED
    assert len(upstream.asked) == 1


async def test_certificates_are_checked(tmp_path: Path) -> None:
    """Behind TLS only the authority of the setting is trusted, and an unknown one gets no key."""
    authority = Authority.make(tmp_path)
    pem = tmp_path / "both.pem"
    pem.write_bytes(authority.certificate.read_bytes() + authority.key.read_bytes())
    with FakeUpstream([OK], tls=str(pem)) as upstream:
        async with rig(tmp_path, upstream.url, ca=authority.ca) as ran:
            assert (await ran.ask())[0] == 200
        async with rig(tmp_path, upstream.url) as ran:
            status, body, _ = await ran.ask()

    assert status == 502
    assert "certificate" in json.loads(body)["error"]["message"]
    assert len(upstream.asked) == 1
    assert ran.record.last_trouble is Trouble.REFUSED


async def test_a_useless_authority_is_told_with_its_setting(tmp_path: Path) -> None:
    """A file that holds no certificate is an error that names the key of the settings."""
    (tmp_path / "ca.crt").write_text("nothing")
    for name in ("ca.crt", "absent.crt"):
        upstream = Upstream(name="corp", protocol="openai", ca=tmp_path / name)
        with pytest.raises(UpstreamUnusable) as caught:
            UpstreamClient(upstream, PATIENCE)
        assert "models.corp.ca" in str(caught.value)
        assert caught.value.hint


async def test_the_way_leads_through_the_proxy_of_the_setting(tmp_path: Path) -> None:
    """With a proxy set, the model's server is asked through it and not directly."""
    with FakeUpstream([OK]) as proxy:
        async with rig(tmp_path, "http://models.example.invalid", proxy=proxy.url) as ran:
            assert (await ran.ask())[0] == 200
        assert proxy.asked[0].headers["host"] == "models.example.invalid"
        async with rig(tmp_path, "https://models.example.invalid", proxy=proxy.url) as ran:
            status, _, _ = await ran.ask()

    assert status == 502
    assert [seen.method for seen in proxy.others] == ["CONNECT"]


async def test_a_taken_over_run_goes_on_counting(tmp_path: Path) -> None:
    """Who takes over a run's listener goes on with its key, its record and its chain."""
    before = GatewayRecord(turns=3, tokens=Tokens(input=100, output=10), known_cost_usd=0.01)
    with FakeUpstream([OK]) as upstream:
        async with rig(tmp_path, upstream.url, record=before) as first:
            listener = socket.create_server(("127.0.0.1", 0))
        async with rig(
            tmp_path, upstream.url, record=before, listener=listener, key=first.key
        ) as ran:
            assert (await ran.ask())[0] == 200

    assert (ran.record.turns, ran.record.tokens.input) == (4, 1100)


@pytest.mark.parametrize(
    ("status", "trouble", "reason"),
    [
        (429, Trouble.QUOTA, Reason.QUOTA),
        (500, Trouble.TRANSIENT, Reason.EXIT_CODE),
        (401, Trouble.AUTH, Reason.AUTH),
    ],
)
async def test_a_server_that_keeps_failing_ends_the_run(
    status: int, trouble: Trouble, reason: Reason, tmp_path: Path
) -> None:
    """After so many failed calls in a row the run is ended with the reason of the last of them,
    and the server is not asked any more, however often the CLI tries (req 21.7).
    """
    limits = GatewayLimits(failures=2)
    with FakeUpstream([Fail(status)]) as upstream:
        async with rig(tmp_path, upstream.url, limits=limits) as ran:
            for _ in range(2):
                await ran.ask()
            asked = len(upstream.asked)
            assert (await ran.ask())[0] >= 400
            assert len(upstream.asked) == asked

    assert [t.ends_run for t in ran.told if t.ends_run] == [True]
    assert ran.record.gave_up_for is trouble
    verdict = corrected(Verdict(report=None), ran.record)
    assert (verdict.reason, verdict.transient) == (reason, trouble is not Trouble.AUTH)
    assert "2 times in a row" in str(verdict.failure)


async def test_failures_with_an_answer_between_them_end_nothing(tmp_path: Path) -> None:
    """Only what fails without a break counts; and 0 leaves it all to the CLI."""
    script = [*[Fail(500)] * PATIENCE.tries, OK] * 3
    with FakeUpstream(script) as upstream:
        async with rig(tmp_path, upstream.url, limits=GatewayLimits(failures=2)) as ran:
            answers = [(await ran.ask(text=f"{n}"))[0] for n in range(6)]
    with FakeUpstream([Fail(500)]) as upstream:
        async with rig(tmp_path, upstream.url, limits=GatewayLimits(failures=0)) as never:
            for n in range(5):
                await never.ask(text=f"{n}")

    assert answers == [500, 200] * 3
    assert ran.record.gave_up is None
    assert not any(t.ends_run for t in (*ran.told, *never.told))
