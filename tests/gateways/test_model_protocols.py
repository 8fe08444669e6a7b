"""How answers are read beside the stream, what models cost, and which log-ins are carried."""

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.model_rig import MODELS, STREAMED
from fakes.upstreams import Say, bytes_of
from kubecase.core.metering import GatewayRecord, Tokens, Trouble, corrected
from kubecase.core.model import Reason, Verdict
from kubecase.gateways.logins import Login, carries, login_of_key
from kubecase.gateways.prices import PricesInvalid, parse_prices, read_prices, shipped_prices
from kubecase.gateways.protocols import DIALECTS, Seen, reader_for
from kubecase.gateways.protocols.events import EventReader
from kubecase.gateways.upstream import Upstream, retry_after

SSE = "text/event-stream; charset=utf-8"
ANYTHING: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([
            "type", "usage", "message", "delta", "error", "response", "choices", "candidates",
            "content", "parts", "usageMetadata", "input_tokens", "prompt_tokens", "code", "tools",
            "messages", "contents", "input", "source", "cache_creation", "fileData", "image_url",
        ]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def seen_of(path: str, pieces: list[bytes]) -> Seen:
    seen = Seen()
    reader = reader_for(SSE, DIALECTS[MODELS[path][0]].observe, seen)
    for piece in pieces:
        reader.feed(piece)
    reader.end()
    return seen


@given(
    path=st.sampled_from(STREAMED),
    cuts=st.lists(st.integers(0, 3000), max_size=20),
    say=st.builds(Say, st.text(max_size=60), st.integers(0, 10**6), st.integers(1, 10**6)),
)
def test_where_a_stream_is_cut_into_pieces_changes_nothing(
    path: str, cuts: list[int], say: Say
) -> None:
    """Tokens are counted right wherever the network cuts a stream into pieces."""
    body = bytes_of(path, say, MODELS[path][1], streamed=True)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]

    seen = seen_of(path, [body[a:b] for a, b in pairwise(edges)])

    assert seen.tokens == Tokens(input=say.taken, output=say.given)
    assert seen.finished
    assert seen.model == MODELS[path][1]


@given(path=st.sampled_from(STREAMED), values=st.lists(ANYTHING, max_size=5))
def test_no_answer_can_break_the_reading(path: str, values: list[Any]) -> None:
    """Events of any shape are read over: what is unknown is not counted, and nothing fails."""
    dialect = DIALECTS[MODELS[path][0]]
    seen = Seen()
    for value in values:
        dialect.observe(value, seen)
        if isinstance(value, dict):
            dialect.reaches_out(value)

    assert seen.tokens is None or seen.tokens.all_input >= 0


@given(pieces=st.lists(st.binary(max_size=200), max_size=20))
def test_bytes_that_are_no_events_are_read_over(pieces: list[bytes]) -> None:
    """Garbage in a stream is not counted and breaks nothing."""
    assert seen_of("/v1/messages", pieces).tokens is None


@pytest.mark.parametrize("piece", [b"x" * 5000, b"data: " + b"y" * 4000 + b"\n", b"data: 1\n"])
def test_memory_is_bounded_whatever_is_streamed(piece: bytes) -> None:
    """A stream without line ends, or one event without end, does not fill the memory."""
    seen = Seen()
    reader = EventReader(lambda value, seen: None, seen, limit=50_000)
    tracemalloc.start()
    for _ in range(20_000):
        reader.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2_000_000


def test_an_event_that_is_too_large_does_not_hide_the_next() -> None:
    """After an event over the limit the following ones are read again."""
    got: list[Any] = []
    reader = EventReader(lambda value, seen: got.append(value), Seen(), limit=100)

    reader.feed(b'data: "' + b"x" * 500 + b'"\n\ndata: "a"\n\n')
    for _ in range(50):
        reader.feed(b"y" * 10)
    reader.feed(b'\n\ndata: "b"\r\n\r\ndata: "c')
    reader.feed(b'"')
    reader.end()

    assert got == ["a", "b", "c"]


def test_long_caches_and_long_questions_have_their_own_price() -> None:
    """An hour of caching, and requests beyond 200 000 tokens, have the price of the vendor."""
    event = {"type": "message", "model": "m", "usage": {
        "input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    }}  # fmt: skip
    seen = Seen()
    DIALECTS["anthropic"].observe(event, seen)
    price = shipped_prices().of("claude-sonnet-4-5")
    assert price is not None

    assert seen.tokens == Tokens(
        input=10, output=5, cache_read=100, cache_write=10, cache_write_long=20
    )
    assert price.micro_usd(seen.tokens) == round(10 * 3 + 5 * 15 + 100 * 0.3 + 10 * 3.75 + 20 * 6)
    assert price.micro_usd(Tokens(input=200_000)) == 600_000
    assert price.micro_usd(Tokens(input=200_001)) == 1_200_006


@pytest.mark.parametrize(
    ("model", "known_as"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic/claude-haiku-4-5", "claude-haiku-4-5"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("claude-opus-4-1@20250805", "claude-opus-4-1"),
        ("gpt-5-pro", None),
        ("claude-sonnet-9", None),
        ("gpt-5.1-codex-mini", "gpt-5.1-codex-mini"),
        ("", None),
    ],
)
def test_a_price_is_found_by_name_and_never_by_likeness(model: str, known_as: str | None) -> None:
    """A dated or prefixed name has the price of its model; a new model has none."""
    prices = shipped_prices()

    assert prices.of(model) == (prices.models[known_as] if known_as else None)


def test_the_dearest_price_stands_in_for_an_unknown_one() -> None:
    """What an unknown model may cost is at least what any known one costs."""
    prices = shipped_prices()
    dearest = prices.dearest
    assert dearest is not None
    tokens = Tokens(input=1000, cache_read=1000, cache_write=1000, output=1000)

    assert all(p.micro_usd(tokens) <= dearest.micro_usd(tokens) for p in prices.models.values())


@pytest.mark.parametrize(
    "text",
    [
        "models = 3", "[models.x]\ninput = 1", "[models.x]\ninput = -1\noutput = 1", "= 1",
        "[models.x]\ninput = 1\noutput = true", "[models.x]\ninput = 1\noutput = 1\nprice = 3",
        "[models]\nx = 4", "[models.x]\ninput = 1\noutput = nan",
        "[models.x]\ninput = 1\noutput = 1\nlong = {input = 1, output = 1}",
    ],
)  # fmt: skip
def test_a_wrong_table_is_told_and_not_guessed_at(text: str, tmp_path: Path) -> None:
    """A table of prices that is not in order is refused with the place and the form."""
    (tmp_path / "own.toml").write_text(text)

    with pytest.raises(PricesInvalid) as caught:
        read_prices(tmp_path / "own.toml")

    assert "own.toml" in str(caught.value)
    assert "docs/models.md" in str(caught.value.hint)


def test_an_own_table_comes_before_the_shipped_one(tmp_path: Path) -> None:
    """An operator's price counts where there is one, the shipped one everywhere else."""
    (tmp_path / "own.toml").write_text('[models."gpt-5*"]\ninput = 1\noutput = 2\n')
    prices = read_prices(tmp_path / "own.toml")

    assert prices.of("gpt-5-new") == parse_prices("[models.x]\ninput=1\noutput=2", "x").of("x")
    assert prices.of("o3") == shipped_prices().of("o3")
    with pytest.raises(PricesInvalid):
        read_prices(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("protocol", "base", "path", "url"),
    [
        ("openai", None, "/v1/responses", "https://api.openai.com/v1/responses"),
        ("openai", "http://127.0.0.1:11434/v1", "/v1/models", "http://127.0.0.1:11434/v1/models"),
        ("openai", "http://127.0.0.1:4000/", "/v1/models", "http://127.0.0.1:4000/v1/models"),
        ("anthropic", "https://llm.corp/anthropic", "/v1/messages",
         "https://llm.corp/anthropic/v1/messages"),
        ("gemini", None, "/v1beta/models/m:generateContent",
         "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent"),
    ],
)  # fmt: skip
def test_a_base_url_may_be_written_with_or_without_its_version(
    protocol: Any, base: str | None, path: str, url: str
) -> None:
    """Both ways of writing a base URL lead to the same address."""
    assert str(Upstream(name="x", protocol=protocol, base_url=base).url(path, ())) == url


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0", 0.0), (None, None), ("soon", None), ("-1", None),
     ("Thu, 26 Nov 2026 12:00:30 GMT", 30.0), ("Thu, 26 Nov 2020 12:00:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms(value: str | None, seconds: float | None) -> None:
    """A pause may be given as seconds or as a date; anything else asks for none."""
    from datetime import UTC, datetime

    assert retry_after(value, datetime(2026, 11, 26, 12, 0, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("login", "carried"),
    [
        (Login(agent="claude", kind="api_key"), True),
        (Login(agent="claude", kind="none"), True),
        (login_of_key("claude", "sk-ant-api03-xyz", "ANTHROPIC_API_KEY"), True),
        (login_of_key("claude", "sk-ant-oat01-secret", "CLAUDE_CODE_OAUTH_TOKEN"), False),
        (Login(agent="codex", kind="account", detail="~/.codex/auth.json"), False),
        (Login(agent="gemini", kind="cloud_identity", detail="GOOGLE_GENAI_USE_VERTEXAI"), False),
        (Login(agent="claude", kind="helper_command", detail="apiKeyHelper"), False),
    ],
)  # fmt: skip
def test_log_ins_that_cannot_be_carried_are_told_with_the_remedy(
    login: Login, carried: bool
) -> None:
    """A subscription is named as what the gateway cannot hold, with what to do, and never shown."""
    sentence = carries(login)

    assert (sentence is None) == carried
    if sentence is not None:
        assert login.agent in sentence
        assert "API key" in sentence
        assert "model_gateway: false" in sentence
        assert "secret" not in sentence


def test_the_gateways_word_corrects_the_claim_and_keeps_the_report() -> None:
    """A CLI that exits with 0 after a refused key, or a used-up budget, has failed all the same."""
    claim = Verdict(report="# Report")
    good = GatewayRecord(turns=2, tokens=Tokens(input=10, output=2), known_cost_usd=0.5)

    assert corrected(claim, GatewayRecord()) == claim
    verdict = corrected(claim, good)
    assert (verdict.reason, verdict.report) == (None, "# Report")
    assert verdict.usage is not None
    assert (verdict.usage.turns, verdict.usage.cost_usd) == (2, 0.5)
    refused = GatewayRecord(turns=0, last_trouble=Trouble.AUTH, last_says="refused")
    assert corrected(claim, refused).reason is Reason.AUTH
    spent = GatewayRecord(turns=1, last_trouble=Trouble.QUOTA, used_up="used up")
    verdict = corrected(claim, spent)
    assert (verdict.reason, verdict.failure, verdict.report) == (
        Reason.BUDGET, "used up", "# Report",
    )  # fmt: skip
    broken = GatewayRecord(last_trouble=Trouble.TRANSIENT)
    assert corrected(claim, broken).reason is None
    failed = Verdict(report=None, reason=Reason.EXIT_CODE, failure="x")
    assert corrected(failed, broken).transient


def test_the_dialects_refuse_in_their_own_words() -> None:
    """Each protocol's refusal is a body that its clients can read."""
    for status in (400, 401, 403, 404, 413, 429, 502, 503):
        anthropic = json.loads(json.dumps(DIALECTS["anthropic"].error(status, "no")))
        openai = DIALECTS["openai"].error(status, "no")["error"]
        gemini = DIALECTS["gemini"].error(status, "no")["error"]
        assert anthropic["type"] == "error"
        assert anthropic["error"]["message"] == openai["message"] == gemini["message"] == "no"
        assert gemini["code"] == status
        assert gemini["status"].isupper()
        assert set(openai) == {"message", "type", "param", "code"}
