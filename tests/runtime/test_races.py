"""Deadline, cancel and natural end at nearly the same moment, over many seeds."""

import random
import time

import anyio
import pytest

from adversaries import Bench, Seen, limits, shell
from kubecase.core.model import Cause, Exit
from kubecase.runtime import ProcessRuntime
from kubecase.runtime.bubblewrap import BubblewrapLayer
from kubecase.runtime.layers import Layer, ProcessLayer
from kubecase.runtime.records import read_exit

pytestmark = pytest.mark.anyio

SEEDS = 24
MIDDLE = 0.25
SPREAD = 0.03


async def race(here: Bench, layer: Layer, chance: random.Random) -> tuple[Exit, float | None]:
    """One run in which all three come within some hundredths of a second of one another."""
    around = [MIDDLE + chance.uniform(-SPREAD, SPREAD) for _ in range(3)]
    wall_clock, cancel_after, end_after = around
    stop, seen = anyio.Event(), Seen()
    told: list[float] = []

    async def cancel() -> None:
        await seen.at_start.wait()
        begun = time.monotonic()
        await anyio.sleep(cancel_after)
        told.append(time.monotonic() - begun)
        stop.set()

    async with anyio.create_task_group() as both:
        both.start_soon(cancel)
        exit = await here.run(
            ProcessRuntime(layer=layer),
            shell(f"trap 'exit 9' INT; sleep {end_after:.3f}; exit 7", here.workspace),
            limits(wall_clock=wall_clock, grace=2),
            stop=stop,
            seen=seen,
        )
        both.cancel_scope.cancel()
    return exit, told[0] if told else None


@pytest.mark.parametrize("layer", [ProcessLayer(), BubblewrapLayer()], ids=lambda each: each.name)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_of_three_ends_one_wins_and_is_what_everybody_is_told(
    here: Bench, layer: Layer, seed: int
) -> None:
    """Deadline, cancel or end: one cause, the same in the answer and on record, and consistent with
    what the agent did (req 9.7, 10.5, 10.6, 10.7).
    """
    exit, told = await race(here, layer, random.Random(seed))

    assert exit == read_exit(here.run_dir)
    assert exit.clean
    match exit.cause:
        case Cause.EXITED:
            assert exit.code == 7
        case Cause.DEADLINE:
            assert exit.seconds >= MIDDLE - SPREAD
        case Cause.STOP_REQUESTED:
            assert told is not None
        case other:
            pytest.fail(f"ended by {other}")
    # Asked while its shell waits for the sleep, or when that has just ended: either is its answer.
    assert exit.code in {7, 9} or exit.signal is not None
