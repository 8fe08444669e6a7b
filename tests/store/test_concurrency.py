"""Many tasks in one process, many processes on one record, callers that go away."""

import asyncio
import json
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from fakes.postgres import Postgres
from kubecase.core.errors import IllegalTransition, IncidentExists
from kubecase.core.lifecycle import is_final, may_follow
from kubecase.core.model import IncidentId, Investigation, Status
from kubecase.store import CancelOutcome, CancelRequested, SlotTaken, Store
from kubecase.store.schema import REVISIONS

from .records import Place, Recorder, a_store, an_incident, brought_to, looked_up, moved

pytestmark = pytest.mark.anyio

STEPS = "SELECT incident_id, attempt, from_status, to_status FROM transition ORDER BY id"


def paths(place: Place) -> dict[tuple[str, int], list[tuple[Status, Status]]]:
    """The recorded steps of each attempt, in the order they were recorded."""
    found: dict[tuple[str, int], list[tuple[Status, Status]]] = {}
    for incident, attempt, before, after in looked_up(place, STEPS):
        found.setdefault((incident, attempt), []).append((Status(before), Status(after)))
    return found


def assert_legal(path: list[tuple[Status, Status]]) -> None:
    """Each step is in the table and begins where the one before it ended."""
    assert path[0][0] is Status.CREATED
    assert all(may_follow(*step) for step in path)
    assert all(first[1] is second[0] for first, second in pairwise(path))


async def test_fifty_at_a_time_lose_and_repeat_nothing(
    store: Store, observer: Recorder, place: Place
) -> None:
    """Fifty that run, cancel and ask at once leave one legal path each (req 9.7)."""
    asked: Counter[CancelOutcome] = Counter()

    async def run(incident: IncidentId, begun: anyio.Event) -> None:
        investigation = await store.begin(an_incident(incident), agent="claude")
        begun.set()
        try:
            for step in (Status.STARTING, Status.RUNNING, Status.SUCCESS):
                investigation = await store.move(investigation, step)
        except CancelRequested:
            await store.move(investigation, Status.CANCELLED)

    async def cancel(incident: IncidentId, begun: anyio.Event, questions: int) -> None:
        await begun.wait()
        for _ in range(questions):
            assert (await store.status(incident)).status in Status
        asked[await store.request_cancel(incident)] += 1

    ids = [IncidentId(str(uuid.uuid4())) for _ in range(50)]
    async with anyio.create_task_group() as crowd:
        for n, incident in enumerate(ids):
            begun = anyio.Event()
            crowd.start_soon(run, incident, begun)
            if n % 5 == 0:
                crowd.start_soon(cancel, incident, begun, 0)
                crowd.start_soon(cancel, incident, begun, n % 4)

    found = paths(place)
    assert {incident for incident, _ in found} == set(ids)
    for path in found.values():
        assert_legal(path)
        assert is_final(path[-1][1])
    recorded = [step for path in found.values() for step in path]
    announced = [(fields["from"], fields["to"]) for _, fields in observer.events]
    assert Counter(announced) == Counter(recorded)
    assert sum(asked.values()) == 20
    assert asked[CancelOutcome.REQUESTED] <= 10


async def test_of_fifty_that_move_one_investigation_one_does(
    store: Store, observer: Recorder, place: Place
) -> None:
    """However many race for one step, it is taken, recorded and announced once (req 9.3)."""
    running = await brought_to(store, Status.RUNNING)
    ends = [Status.SUCCESS, Status.FAILED, Status.TIMEOUT, Status.CANCELLED]
    ended: list[Investigation] = []

    async def race(to: Status) -> None:
        try:
            ended.append(await moved(store, running, to))
        except IllegalTransition:
            return

    async with anyio.create_task_group() as crowd:
        for n in range(50):
            crowd.start_soon(race, ends[n % 4])

    assert len(ended) == 1
    assert await store.status(running.incident_id) == ended[0]
    assert len(paths(place)[running.incident_id, 1]) == len(observer.events) == 3


async def test_attempts_are_numbered_without_gaps_or_repeats(store: Store) -> None:
    """Attempts that begin at the same time get numbers of their own."""
    first = await brought_to(store, Status.CREATED)

    async with anyio.create_task_group() as crowd:
        for _ in range(20):
            crowd.start_soon(store.begin_attempt, first.incident_id, "builtin")

    story = await store.story(first.incident_id)
    assert [each.investigation.attempt for each in story.attempts] == list(range(1, 22))


async def test_one_of_many_gets_the_id_and_one_the_slot(store: Store) -> None:
    """An id and a slot go to exactly one of those who ask at the same time."""
    incident = an_incident()
    refused: Counter[type] = Counter()

    async def begin(own: bool) -> None:
        try:
            await store.begin(an_incident() if own else incident, agent="claude", slot=int(own))
        except (IncidentExists, SlotTaken) as error:
            refused[type(error)] += 1

    async with anyio.create_task_group() as crowd:
        for n in range(20):
            crowd.start_soon(begin, n % 2 == 0)

    assert refused == {IncidentExists: 9, SlotTaken: 9}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowded(request: pytest.FixtureRequest) -> tuple[Place, str]:
    """A new record that ten processes opened at once and worked on, and their answers."""
    place: Place
    if request.param == "sqlite":
        folders: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        place = folders.mktemp("crowd") / "new" / "kubecase.db"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        place = server.address(server.new_database())
    worker = Path(__file__).with_name("worker.py")
    result = subprocess.run(
        [sys.executable, worker, "crowd", place, "10"], capture_output=True, text=True, timeout=100
    )
    assert (result.returncode, result.stderr) == (0, "")
    return place, result.stdout


def test_ten_processes_may_start_at_once_on_a_new_record(
    crowded: tuple[Place, str],
) -> None:
    """The schema is made once, and every one of ten that start together can work (req 9.7)."""
    place, answers = crowded

    assert answers.count("\n") == 10
    assert looked_up(place, "SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]
    if isinstance(place, Path):
        assert looked_up(place, "PRAGMA integrity_check") == [("ok",)]


def test_ten_processes_lose_and_repeat_nothing(
    crowded: tuple[Place, str],
) -> None:
    """Ten processes on one record leave every step once, and one winner of each race (req 9.7)."""
    place, answers = crowded

    won: Counter[str] = Counter()
    for line in answers.splitlines():
        won.update(json.loads(line))
    # Four shared incidents, each begun once and moved twice; one seat; all by whoever came first.
    assert won == {"begun": 4, "moved": 8, "slots": 1}
    found = paths(place)
    assert len(found) == 10 * 4 + 4
    for path in found.values():
        assert_legal(path)
    assert Counter(len(path) for path in found.values()) == {3: 40, 2: 4}


@pytest.mark.parametrize("way", ["anyio", "asyncio"])
async def test_a_caller_that_goes_away_leaves_no_half_known_change(
    store: Store, observer: Recorder, place: Place, way: str
) -> None:
    """Cancelled at any moment, a change is on record and announced, or neither."""
    chance = random.Random(7)
    known: list[Investigation] = []

    async def live(wait: Callable[[], object]) -> None:
        investigation = await store.begin(an_incident(), agent="claude")
        known.append(investigation)
        for step in (Status.STARTING, Status.RUNNING, Status.SUCCESS):
            known[-1] = await store.move(known[-1], step)

    for _ in range(25):
        after = chance.random() * 0.03
        if way == "anyio":
            with anyio.move_on_after(after):
                await live(list)
        else:
            task = asyncio.create_task(live(list))
            await asyncio.wait({task}, timeout=after)
            task.cancel()
            await asyncio.wait({task})

    on_record = {each.incident_id: await store.status(each.incident_id) for each in known}
    # What the caller last heard is how it is: no change happened behind its back.
    assert [on_record[each.incident_id] for each in known] == known
    assert len(observer.events) == len(looked_up(place, STEPS))
    # And a beginning that the caller did not hear of has not happened.
    assert looked_up(place, "SELECT count(*) FROM investigation") == [(len(known),)]


async def test_a_deadline_around_a_change_is_still_told(store: Store) -> None:
    """A time limit that passes during a change is delivered once the change is finished."""
    heard: list[Investigation] = []

    async def change() -> None:
        heard.append(await store.begin(an_incident(), agent="claude"))
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.0005):
            await change()

    assert await store.status(heard[0].incident_id) == heard[0]


async def test_two_open_records_see_one_another(place: Place) -> None:
    """What one process acknowledged, another reads at once."""
    async with a_store(place) as one, a_store(place) as other:
        begun = await one.begin(an_incident(), agent="claude")
        starting = await other.move(await other.status(begun.incident_id), Status.STARTING)

        assert await one.status(begun.incident_id) == starting
        with pytest.raises(IllegalTransition):
            await one.move(begun, Status.STARTING)
