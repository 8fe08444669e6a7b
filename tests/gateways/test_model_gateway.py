"""The model gateway: passes on what may pass, adds the key, counts, and keeps a record."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yarl

from fakes.model_rig import MODELS, REAL_KEY, STREAMED, WHOLE, question, rig
from fakes.upstreams import Fail, FakeUpstream, Say, bytes_of
from kubecase.gateways.audit import verify
from kubecase.gateways.model import DummyKey, GatewayLimits, base_url
from kubecase.gateways.protocols import DIALECTS

pytestmark = pytest.mark.anyio
SAY = Say("The image tag does not exist, says the kubelet.", taken=1200, given=60, cached=200)


@pytest.mark.parametrize("path", STREAMED)
async def test_a_stream_passes_unchanged(path: str, tmp_path: Path) -> None:
    """Every byte of a streamed answer reaches the CLI as the model's server sent it."""
    protocol, model = MODELS[path]
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, protocol) as ran:
            status, body, headers = await ran.ask(path, streamed=True)

    assert status == 200
    assert body == bytes_of(path, SAY, model, streamed=True)
    assert headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("path", WHOLE)
async def test_an_answer_in_one_piece_passes_unchanged(path: str, tmp_path: Path) -> None:
    """Every byte of an answer in one piece reaches the CLI as well, and so does its request."""
    protocol, model = MODELS[path]
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, protocol) as ran:
            status, body, _ = await ran.ask(path)

    assert (status, body) == (200, bytes_of(path, SAY, model, streamed=False))
    assert upstream.asked[0].body == json.dumps(question(path, streamed=False)).encode()
    assert upstream.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("path", "streamed"), [(p, True) for p in STREAMED] + [(p, False) for p in WHOLE]
)
async def test_tokens_and_cost_are_those_of_the_answer(
    path: str, streamed: bool, tmp_path: Path
) -> None:
    """What an answer says it used is what is counted, with the cache at its own price."""
    protocol, model = MODELS[path]
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, protocol) as ran:
            await ran.ask(path, streamed=streamed)
            record = ran.record

    prices = {"claude-sonnet-4-5": (3, 0.3, 15), "gpt-5": (1.25, 0.125, 10),
              "gpt-5-mini": (0.25, 0.025, 2), "gemini-2.5-pro": (1.25, 0.125, 10)}  # fmt: skip
    fresh, cached, given = prices[model]
    assert (record.tokens.input, record.tokens.cache_read, record.tokens.output) == (1000, 200, 60)
    assert record.cost_usd == pytest.approx((1000 * fresh + 200 * cached + 60 * given) / 1e6)
    assert (record.turns, record.estimated, record.last_trouble) == (1, False, None)


@pytest.mark.parametrize("path", MODELS)
async def test_an_answer_without_a_count_is_estimated_never_free(path: str, tmp_path: Path) -> None:
    """A server that does not say what an answer used does not make it cost nothing."""
    streamed = path in STREAMED
    with FakeUpstream([Say("word " * 100, counts=False)]) as upstream:
        async with rig(tmp_path, upstream.url, MODELS[path][0]) as ran:
            await ran.ask(path, streamed=streamed, text="why? " * 400)
            record = ran.record

    assert record.estimated
    assert record.tokens.input >= 500
    assert record.tokens.output >= 100
    assert record.cost_usd


@pytest.mark.parametrize("path", WHOLE)
@pytest.mark.parametrize("place", ["x-api-key", "authorization", "x-goog-api-key", "query"])
async def test_the_dummy_key_is_taken_wherever_a_cli_puts_it(
    path: str, place: str, tmp_path: Path
) -> None:
    """The run's key opens the gateway in any of four places, and never goes on from there."""
    protocol = MODELS[path][0]
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, protocol) as ran:
            value = f"Bearer {ran.key.text}" if place == "authorization" else ran.key.text
            headers = {} if place == "query" else {place: value}
            query = f"?key={ran.key.text}" if place == "query" else ""
            status, _, _ = await ran.ask(path, headers=headers, query=query)

    seen = upstream.asked[0]
    assert status == 200
    assert ran.key.text not in f"{seen.path}{seen.headers}"
    dialect = DIALECTS[protocol]
    assert seen.headers[dialect.key_header] == dialect.key_prefix + REAL_KEY


@pytest.mark.parametrize("path", WHOLE)
async def test_another_key_opens_nothing(path: str, tmp_path: Path) -> None:
    """Without the run's own key nothing is asked upstream, not even with the real one."""
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, MODELS[path][0]) as ran:
            for headers in ({}, {"x-api-key": REAL_KEY}, {"authorization": "Bearer x"}):
                status, body, _ = await ran.ask(path, headers=headers)
                assert status == 401
                assert "not the key of this run" in json.loads(body)["error"]["message"]
            assert [line["decision"] for line in ran.lines] == ["refused"] * 3

    assert upstream.asked + upstream.others == []


async def test_neither_key_is_ever_written_down(tmp_path: Path) -> None:
    """No file of a run holds the real key or the dummy, nor the words of question and answer."""
    secret = "the-password-is-opensesame"
    with FakeUpstream([Say(f"I read {secret}."), Fail(401, body=REAL_KEY.encode())]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            await ran.ask(text=secret, streamed=True)
            _, refused, _ = await ran.ask(text="again")
            assert ran.lines[0]["request_bytes"] > 100
            dummy = ran.key

    assert REAL_KEY.encode() not in refused
    assert dummy.text not in repr(dummy)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            for word in (REAL_KEY, dummy.text, secret):
                assert word not in path.read_text()


async def test_the_record_has_one_line_for_each_call(tmp_path: Path) -> None:
    """A reviewer finds every call with model, status, tokens, cost and time, in a chain."""
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            await ran.ask(streamed=True)
            await ran.ask("/v1/messages", body=b"not json")
            lines = ran.lines

    first, second = lines
    assert first["kind"] == "model"
    assert (first["protocol"], first["model"], first["status"], first["decision"]) == (
        "anthropic", "claude-sonnet-4-5", 200, "allowed",
    )  # fmt: skip
    assert (first["input_tokens"], first["cache_read_tokens"], first["output_tokens"]) == (
        1000, 200, 60,
    )  # fmt: skip
    assert first["cost_usd"] == pytest.approx(0.00396)
    assert first["ms"] >= first["first_byte_ms"] >= 0
    assert len(first["request"]) == len(first["response"]) == 64
    assert (second["decision"], second["status"]) == ("refused", 400)
    assert verify(tmp_path / "audit" / "run.jsonl").holds


@pytest.mark.parametrize("protocol", DIALECTS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/v1/messages"), ("DELETE", "/v1/models/x"), ("POST", "/v1/files"),
        ("GET", "/v1/organizations/api_keys"), ("POST", "/v1/messages/batches"),
        ("POST", "/v1/batches"), ("POST", "/v1/fine_tuning/jobs"), ("GET", "/v1/responses/r1"),
        ("POST", "/v1/messages/../files"), ("POST", "/v1/%6dessages"), ("POST", "//v1/messages"),
        ("POST", "/v1beta/models/a/../b:generateContent"), ("POST", "/v1beta/cachedContents"),
        ("POST", "/v1beta/models/x:embedContent"), ("PUT", "/v1/chat/completions"),
        ("GET", "/v1beta/files"), ("POST", "/v1/messages;x"), ("TRACE", "/v1/models"),
    ],
)  # fmt: skip
async def test_what_is_not_on_the_list_is_not_there(
    protocol: str, method: str, path: str, tmp_path: Path
) -> None:
    """A path or method that no investigation needs never reaches the model's server."""
    with FakeUpstream([SAY]) as upstream:
        async with (
            rig(tmp_path, upstream.url, protocol) as ran,
            ran.client.request(
                method, yarl.URL(ran.url + path, encoded=True), headers={"x-api-key": ran.key.text}
            ) as answer,
        ):
            assert answer.status == 404
            assert "does not offer" in (await answer.json())["error"]["message"]

    assert upstream.asked + upstream.others == []


async def test_headers_pass_by_a_list_in_both_directions(tmp_path: Path) -> None:
    """What names the operator, sets a cookie or steers billing passes in neither direction."""
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            sent = {"x-api-key": ran.key.text, "anthropic-version": "2023-06-01",
                    "anthropic-beta": "b1", "cookie": "a=b", "x-forwarded-for": "10.0.0.1",
                    "openai-organization": "org", "proxy-authorization": "Basic x",
                    "te": "trailers", "accept-encoding": "gzip"}  # fmt: skip
            _, _, headers = await ran.ask(headers=sent, query="?beta=true&secret=1")

    seen = upstream.asked[0]
    assert seen.path == "/v1/messages?beta=true"
    assert (seen.headers["anthropic-version"], seen.headers["anthropic-beta"]) == (
        "2023-06-01", "b1",
    )  # fmt: skip
    assert not {"cookie", "x-forwarded-for", "openai-organization", "proxy-authorization",
                "te"} & set(seen.headers)  # fmt: skip
    assert headers["request-id"] == "req_scripted"
    assert not {"set-cookie", "anthropic-organization-id"} & set(headers)


async def test_counting_and_listing_cost_nothing(tmp_path: Path) -> None:
    """Counting tokens and listing models passes, and is no turn."""
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            body = question("/v1/messages", streamed=False)
            status, counted, _ = await ran.ask("/v1/messages/count_tokens", body=body)
            async with ran.client.get(
                f"{ran.url}/v1/models?limit=5", headers={"x-api-key": ran.key.text}
            ) as answer:
                assert answer.status == 200
            record = ran.record

    assert (status, json.loads(counted)["input_tokens"]) == (200, 7)
    assert [seen.path for seen in upstream.others] == [
        "/v1/messages/count_tokens", "/v1/models?limit=5",
    ]  # fmt: skip
    assert (record.turns, record.cost_usd) == (0, 0)


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("/v1/messages", {"tools": [{"type": "code_execution_20250825", "name": "x"}]}),
        ("/v1/messages", {"mcp_servers": [{"type": "url", "url": "https://evil.example"}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "url", "url": "https://evil.example/?x"}}]}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": [
                {"type": "image", "source": {"type": "url", "url": "https://evil.example"}}]}]}]}),
        ("/v1/responses", {"tools": [{"type": "web_search"}]}),
        ("/v1/responses", {"tools": [{"type": "mcp", "server_url": "https://evil.example"}]}),
        ("/v1/responses", {"tools": [{"type": "namespace", "tools": [{"type": "web_search"}]}]}),
        ("/v1/responses", {"background": True}),
        ("/v1/responses", {"input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": "https://evil.example/?x"}]}]}),
        ("/v1/chat/completions", {"web_search_options": {"search_context_size": "low"}}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://evil.example/?x"}}]}]}),
        ("/v1beta/models/gemini-2.5-pro:generateContent", {"tools": [{"googleSearch": {}}]}),
        ("/v1beta/models/gemini-2.5-pro:generateContent", {"tools": [{"url_context": {}}]}),
        ("/v1beta/models/gemini-2.5-pro:generateContent", {"contents": [{"parts": [
            {"file_data": {"fileUri": "https://evil.example/?x"}}]}]}),
    ],
)  # fmt: skip
async def test_the_vendor_is_no_way_out(path: str, more: dict[str, Any], tmp_path: Path) -> None:
    """An agent cannot have the model's server fetch an address or run a tool in its place."""
    body = {**question(path, streamed=False), **more}
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, MODELS[path][0]) as ran:
            status, told, _ = await ran.ask(path, body=body)
        assert status in {400, 403}
        assert "reach out" in json.loads(told)["error"]["message"]
        assert upstream.asked == []
        async with rig(tmp_path, upstream.url, MODELS[path][0], reach_out=True) as ran:
            assert (await ran.ask(path, body=body))[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{}", b'{"model": 3}', b'{"model": "a b"}', b"\xff\xfe{}",
        b'{"model": "claude-opus-4-5", "model": "claude-haiku-4-5"}', b"{" * 3000,
        '{"model": "claude-sonnet-4-5"}'.encode("utf-16"), b'{"model": "../../etc/passwd"}',
    ],
)  # fmt: skip
async def test_a_request_that_could_be_read_in_two_ways_is_refused(
    body: bytes, tmp_path: Path
) -> None:
    """What is no plain JSON object with one meaning is not handed on."""
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url) as ran:
            assert (await ran.ask(body=body))[0] == 400

    assert upstream.asked == []


async def test_sizes_are_bounded(tmp_path: Path) -> None:
    """A request that is too large is refused, said or not, compressed or not."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 100

    with FakeUpstream([SAY]) as upstream:
        limits = GatewayLimits(request_bytes=2000)
        async with rig(tmp_path, upstream.url, limits=limits) as ran:
            assert (await ran.ask(text="x" * 3000))[0] == 413
            key = {"x-api-key": ran.key.text}
            async with ran.client.post(f"{ran.url}/v1/messages", data=pieces(), headers=key) as got:
                assert got.status == 413
            squeezed = {**key, "content-encoding": "gzip"}
            assert (await ran.ask(headers=squeezed, body=b"x"))[0] in {400, 415}

    assert upstream.asked == []


async def test_only_listed_models_can_be_asked(tmp_path: Path) -> None:
    """An operator who allows one family of models pays for no other."""
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, models=("claude-haiku-*",)) as ran:
            refused, body, _ = await ran.ask()
            haiku = {**question("/v1/messages", streamed=False), "model": "claude-haiku-4-5"}
            allowed, _, _ = await ran.ask(body=haiku)

    assert (refused, allowed) == (403, 200)
    assert "not on the list" in json.loads(body)["error"]["message"]


def test_each_cli_has_its_base_url() -> None:
    """Each CLI is given the address in the form that it expects."""
    assert base_url("claude", 8080) == base_url("gemini", 8080) == "http://127.0.0.1:8080"
    assert base_url("goose", 8080) == "http://127.0.0.1:8080"
    assert base_url("codex", 8080) == base_url("opencode", 8080) == "http://127.0.0.1:8080/v1"


def test_every_run_has_a_key_of_its_own() -> None:
    """Keys of runs are random, and long enough that nobody guesses one."""
    keys = {DummyKey.new().text for _ in range(100)}

    assert len(keys) == 100
    assert all(len(key) >= 40 for key in keys)
