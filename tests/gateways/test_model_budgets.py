"""Budgets of runs, clusters and days, at the model gateway."""

import asyncio
import json
from pathlib import Path

import pytest

from fakes.model_rig import MODELS, STREAMED, WHOLE, question, rig
from fakes.upstreams import Endless, FakeUpstream, Say
from kubecase.core.errors import StoreUnavailable
from kubecase.core.metering import Trouble, corrected
from kubecase.core.model import Reason, Verdict
from kubecase.gateways.budget import Account, Budget, MemoryLedger, Spent
from kubecase.gateways.ledgers import JsonLedger
from kubecase.gateways.model import GatewayLimits
from kubecase.gateways.prices import parse_prices, shipped_prices

pytestmark = pytest.mark.anyio
SAY = Say("All is well.", taken=1000, given=50)


@pytest.mark.parametrize("path", WHOLE)
@pytest.mark.parametrize(
    ("budget", "calls", "what"),
    [
        (Budget(max_requests=2), 2, "2 model calls"),
        (Budget(max_input_tokens=2500), 3, "2500 input tokens"),
        (Budget(max_output_tokens=100), 2, "100 output tokens"),
        (Budget(max_cost_usd=0.0035), None, "0.0035 US dollars"),
    ],
)
async def test_at_the_limit_a_run_is_refused_and_its_owner_told(
    path: str, budget: Budget, calls: int | None, what: str, tmp_path: Path
) -> None:
    """At each limit the CLI gets a refusal in its own protocol, and the run ends as `budget`."""
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, MODELS[path][0], budget=budget) as ran:
            for number in range(50):
                status, body, _ = await ran.ask(path, text=f"question {number}")
                if status != 200:
                    break
            made = len(upstream.asked)
            assert (await ran.ask(path, text="once more"))[0] == status

    assert status in {400, 403}
    assert f"used up ({what})" in json.loads(body)["error"]["message"]
    assert calls is None or made == calls
    assert len(upstream.asked) == made
    assert [(t.trouble, t.ends_run) for t in ran.told] == [(Trouble.BUDGET, True)]
    assert what in ran.told[0].says
    verdict = corrected(Verdict(report="What is known so far."), ran.record)
    assert (verdict.reason, verdict.report) == (Reason.BUDGET, "What is known so far.")
    assert verdict.usage is not None
    assert verdict.usage.turns == made


@pytest.mark.parametrize("path", WHOLE)
async def test_a_question_that_is_too_large_is_not_even_asked(path: str, tmp_path: Path) -> None:
    """A request whose text alone breaks the budget is refused before it costs anything."""
    for budget in (Budget(max_input_tokens=1000), Budget(max_cost_usd=0.0001)):
        with FakeUpstream([SAY]) as upstream:
            async with rig(tmp_path, upstream.url, MODELS[path][0], budget=budget) as ran:
                status, _, _ = await ran.ask(path, text="x" * 9000)
        assert status in {400, 403}
        assert upstream.asked == []
        assert ran.record.used_up is not None


@pytest.mark.parametrize("path", STREAMED)
async def test_an_endless_answer_ends_with_the_budget(path: str, tmp_path: Path) -> None:
    """An answer that would use up more than is left is cut in the middle, and the run ends."""
    for budget in (Budget(max_output_tokens=500), Budget(max_cost_usd=0.01)):
        with FakeUpstream([Endless()]) as upstream:
            async with rig(tmp_path, upstream.url, MODELS[path][0], budget=budget) as ran:
                await ran.until_cut(path)
            assert await asyncio.to_thread(upstream.left.wait, 10)
        assert [(t.trouble, t.ends_run) for t in ran.told] == [(Trouble.BUDGET, True)]
        assert ran.record.tokens.output >= 500


async def test_accounts_are_shared_and_the_tightest_counts(tmp_path: Path) -> None:
    """What one run spends is missing for the next of the same cluster and day."""
    cluster = Account("cluster", Budget(max_requests=3), MemoryLedger())
    day = Account("day", Budget(max_requests=10), MemoryLedger())
    with FakeUpstream([SAY]) as upstream:
        for expected in ([200, 200], [200, 403]):
            run = Account("run", Budget(max_requests=2), MemoryLedger())
            async with rig(tmp_path, upstream.url, accounts=[run, cluster, day]) as ran:
                assert [(await ran.ask(text=str(n)))[0] for n in range(2)] == expected

    assert "budget of this cluster" in ran.told[0].says
    assert (await day.ledger.spent()).requests == 3


async def test_calls_side_by_side_do_not_slip_through(tmp_path: Path) -> None:
    """Twenty calls at the same moment do not get past a limit of five."""
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, budget=Budget(max_requests=5)) as ran:
            got = await asyncio.gather(*(ran.ask(text=str(n)) for n in range(20)))

    assert sorted(status for status, _, _ in got) == [200] * 5 + [403] * 15
    assert len(upstream.asked) == 5


async def test_what_was_spent_survives_a_restart(tmp_path: Path) -> None:
    """A gateway that is started again knows what its run has used."""
    with FakeUpstream([SAY]) as upstream:
        for expected in (200, 200, 403):
            ledger = JsonLedger(tmp_path / "spent.json", "run")
            accounts = [Account("run", Budget(max_requests=2), ledger)]
            async with rig(tmp_path, upstream.url, accounts=accounts) as ran:
                assert (await ran.ask())[0] == expected

    assert await ledger.spent() == Spent(
        requests=2, input_tokens=2000, output_tokens=100, micro_usd=7500
    )


async def test_a_call_is_charged_before_it_is_made(tmp_path: Path) -> None:
    """A service that is killed in the middle of a call has put its estimate down already."""
    ledger = JsonLedger(tmp_path / "spent.json", "run")
    accounts = [Account("run", Budget(), ledger)]
    with FakeUpstream([Endless()]) as upstream:
        async with rig(tmp_path, upstream.url, accounts=accounts) as ran:
            asking = asyncio.create_task(ran.ask(streamed=True, text="x" * 4000))
            while not upstream.asked:
                await asyncio.sleep(0)
            spent = await ledger.spent()
            asking.cancel()

    assert spent.requests == 1
    assert spent.input_tokens >= 1000
    assert spent.micro_usd >= 3000


async def test_an_unknown_model_is_unknown_and_not_free(tmp_path: Path) -> None:
    """A model without a price has no cost on record, and still uses up a budget of money."""
    body = {**question("/v1/messages", streamed=False), "model": "claude-of-tomorrow"}
    with FakeUpstream([SAY]) as upstream:
        budget = Budget(max_cost_usd=0.05)
        async with rig(tmp_path, upstream.url, budget=budget) as ran:
            await ran.ask()
            assert ran.record.cost_usd == 0.00375
            for number in range(20):
                status, _, _ = await ran.ask(body={**body, "n": number})
                if status != 200:
                    break

    assert status == 403
    assert ran.record.cost_usd is None
    assert ran.record.known_cost_usd == 0.00375
    assert ran.record.unknown_models == ("claude-of-tomorrow",)
    assert ran.lines[1]["cost_usd"] is None
    assert ran.record.usage.cost_usd is None


async def test_a_model_of_ones_own_can_have_a_price(tmp_path: Path) -> None:
    """An operator's own table makes a local model free, or an alias what it stands for."""
    own = parse_prices('[models."*"]\ninput = 0\noutput = 0\n', "own.toml")
    body = {**question("/v1/chat/completions", streamed=False), "model": "llama3.3:70b"}
    with FakeUpstream([SAY]) as upstream:
        async with rig(
            tmp_path, upstream.url, "openai", key=None, prices=own.before(shipped_prices()),
            budget=Budget(max_cost_usd=0.0001),
        ) as ran:  # fmt: skip
            assert [(await ran.ask("/v1/chat/completions", body=body))[0]] * 3 == [200] * 3

    assert (ran.record.cost_usd, ran.record.unknown_models) == (0, ())


async def test_too_many_requests_per_minute_are_told_to_wait(tmp_path: Path) -> None:
    """A loop of requests is slowed down with Retry-After, and works again a minute later."""
    now = [100.0]
    account = Account("run", Budget(requests_per_minute=3), MemoryLedger(), clock=lambda: now[0])
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, accounts=[account]) as ran:
            got = [await ran.ask(text=str(n)) for n in range(5)]
            now[0] += 61
            assert (await ran.ask(text="later"))[0] == 200

    assert [status for status, _, _ in got] == [200, 200, 200, 429, 429]
    assert 50 <= int(got[3][2]["retry-after"]) <= 61
    assert "requests per minute" in json.loads(got[3][1])["error"]["message"]
    assert ran.told == []
    assert ran.record.last_trouble is None


async def test_the_same_request_again_and_again_is_a_loop(tmp_path: Path) -> None:
    """A CLI that repeats one request without end is stopped long before its budget is."""
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, limits=GatewayLimits(identical=4)) as ran:
            got = [(await ran.ask())[0] for _ in range(7)]
            assert (await ran.ask(text="something else"))[0] == 200

    assert got == [200] * 4 + [403] * 3
    assert len(upstream.asked) == 5


async def test_refusals_do_not_fill_the_disk(tmp_path: Path) -> None:
    """An agent that asks for what it may not have ten thousand times writes a bounded record."""
    with FakeUpstream([SAY]) as upstream:
        async with rig(tmp_path, upstream.url, limits=GatewayLimits(refusals=5)) as ran:
            for _ in range(20):
                await ran.ask(headers={"x-api-key": "wrong"})
            await ran.ask()

    assert ran.record.refused == 20
    assert len(ran.lines) == 6
    assert "counted" in ran.lines[4]["note"]


class FullLedger(MemoryLedger):
    """A ledger whose disk is full."""

    async def add(self, spent: Spent) -> None:
        raise StoreUnavailable("no space left in /somewhere", hint="Make room.")


async def test_what_cannot_be_counted_is_not_let_through(tmp_path: Path) -> None:
    """Where nothing can be written down any more, nothing more is asked."""
    with FakeUpstream([SAY]) as upstream:
        accounts = [Account("run", Budget(), FullLedger())]
        async with rig(tmp_path, upstream.url, accounts=accounts) as ran:
            _, body, _ = await ran.ask()
            assert (await ran.ask(text="again"))[0] == 403

    assert upstream.asked == []
    assert "/somewhere" not in body.decode()
    assert [(told.ends_run, "no space left" in told.says) for told in ran.told] == [(True, True)]
