"""What every ledger must keep: the suite of `gateways.budget.Ledger`."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubecase.core.errors import StoreUnavailable
from kubecase.gateways.budget import Ledger, MemoryLedger, Spent
from kubecase.gateways.ledgers import DayLedger, JsonLedger

pytestmark = pytest.mark.anyio
SOME = Spent(requests=1, input_tokens=10, output_tokens=5, micro_usd=7, assumed_micro_usd=3)

LEDGERS: dict[str, Callable[[Path], Ledger]] = {
    "memory": lambda _: MemoryLedger(),
    "json": lambda path: JsonLedger(path / "spent.json", "run-1"),
    "day": lambda path: DayLedger(lambda day: JsonLedger(path / "days.json", str(day))),
}
KEPT = ("json", "day")


@pytest.fixture(params=LEDGERS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return LEDGERS[request.param](tmp_path)


async def test_nothing_was_spent_at_the_beginning(ledger: Ledger) -> None:
    """A new account has spent nothing."""
    assert await ledger.spent() == Spent()


async def test_what_is_added_adds_up(ledger: Ledger) -> None:
    """Every addition counts, and none replaces another."""
    for _ in range(3):
        await ledger.add(SOME)

    assert await ledger.spent() == SOME + SOME + SOME


async def test_a_correction_takes_back_but_never_below_zero(ledger: Ledger) -> None:
    """An estimate that was too high is put right, and no account ends up with a credit."""
    await ledger.add(SOME)
    await ledger.add(Spent(input_tokens=-4, micro_usd=-100))

    assert await ledger.spent() == Spent(
        requests=1, input_tokens=6, output_tokens=5, micro_usd=0, assumed_micro_usd=3
    )


async def test_additions_at_the_same_time_all_count(ledger: Ledger) -> None:
    """Calls made side by side are all charged."""
    await asyncio.gather(*(ledger.add(SOME) for _ in range(20)))

    assert (await ledger.spent()).requests == 20


@pytest.mark.parametrize("kind", KEPT)
async def test_what_was_spent_outlives_the_process(kind: str, tmp_path: Path) -> None:
    """A restart gives no run its budget back."""
    await LEDGERS[kind](tmp_path).add(SOME)

    assert await LEDGERS[kind](tmp_path).spent() == SOME


async def test_processes_share_a_file_without_losing_a_cent(tmp_path: Path) -> None:
    """Investigations of several processes are charged to one account, each of them."""
    program = f"""
import asyncio
from pathlib import Path
from kubecase.gateways.budget import Spent
from kubecase.gateways.ledgers import JsonLedger
async def main():
    ledger = JsonLedger(Path({str(tmp_path / "spent.json")!r}), "cluster")
    for _ in range(25):
        await ledger.add(Spent(requests=1, micro_usd=2))
asyncio.run(main())
"""
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]

    ledger = JsonLedger(tmp_path / "spent.json", "cluster")
    assert await ledger.spent() == Spent(requests=75, micro_usd=150)
    assert await JsonLedger(tmp_path / "spent.json", "other").spent() == Spent()


async def test_a_file_that_is_not_one_of_ours_is_no_clean_slate(tmp_path: Path) -> None:
    """A damaged file stops the counting with a remedy, rather than beginning anew."""
    for content in ("", "[]", '{"run": {"requests": "many"}}', '{"run": 7}'):
        (tmp_path / "spent.json").write_text(content)
        ledger = JsonLedger(tmp_path / "spent.json", "run")
        with pytest.raises(StoreUnavailable) as caught:
            await ledger.spent()
        assert caught.value.hint
        with pytest.raises(StoreUnavailable):
            await ledger.add(SOME)


async def test_a_new_day_begins_with_nothing_spent() -> None:
    """The budget of a day is whole again at midnight UTC, and only then."""
    now = [datetime(2026, 11, 26, 23, 59, tzinfo=UTC)]
    days: dict[str, MemoryLedger] = {}
    ledger = DayLedger(lambda d: days.setdefault(str(d), MemoryLedger()), clock=lambda: now[0])
    await ledger.add(SOME)
    assert await ledger.spent() == SOME

    now[0] = datetime(2026, 11, 27, 0, 0, tzinfo=UTC)

    assert await ledger.spent() == Spent()
    await ledger.add(Spent(input_tokens=-4))
    assert await ledger.spent() == Spent()
    assert sorted(days) == ["2026-11-26", "2026-11-27"]
