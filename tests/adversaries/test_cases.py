"""Hostile agents in every layer that works here, judged by witnesses that know nothing of us."""

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from adversaries import Bench, Seen, adversary, bench, limits
from adversaries.host import LAYERS, REQUIRED, runtime_of
from adversaries.table import ALL, BWRAP, CASES, CONTAINER, PROCESS, Case
from kubecase.core.model import Exit
from kubecase.runtime.records import read_exit, read_started

pytestmark = pytest.mark.anyio

MARK = "KUBECASE_TEST_MARK"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


@dataclass
class Surroundings:
    """What a case may reach if its layer lets it: a sibling with a secret, and open doors."""

    words: dict[str, str]
    sibling: subprocess.Popen[bytes]
    gateway: socket.socket
    mark: str

    def nobody_is_marked(self) -> bool:
        """The second witness: no process carries the mark of this run in its environment."""
        mark = f"{MARK}={self.mark}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes():
                        return False
                except OSError:
                    continue
        return True


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Surroundings]:
    secret, mark = uuid.uuid4().hex, uuid.uuid4().hex
    with ExitStack() as closing:
        sibling = subprocess.Popen(["sleep", "300"], env={"SECRET": secret})
        closing.callback(sibling.wait)
        closing.callback(sibling.kill)
        doors = [closing.enter_context(socket.socket()) for _ in range(2)]
        for door in doors:
            door.bind(("127.0.0.1", 0))
            door.listen()
        for address in (f"\0{mark}", str(tmp_path / "daemon.sock")):
            local = closing.enter_context(socket.socket(socket.AF_UNIX))
            local.bind(address)
            local.listen()
        yield Surroundings(
            words={
                "supervisor": str(os.getpid()),
                "namespace": os.readlink("/proc/self/ns/pid"),
                "marker": secret[::-1],
                "gateway": str(doors[0].getsockname()[1]),
                "host_port": str(doors[1].getsockname()[1]),
                "abstract": mark,
                "socket_file": str(tmp_path / "daemon.sock"),
            },
            sibling=sibling,
            gateway=doors[0],
            mark=mark,
        )


async def run(here: Bench, case: Case, layer: str, around: Surroundings, seen: Seen) -> Exit:
    command = adversary(
        case.program,
        here.workspace,
        *(word.format(**around.words) for word in case.arguments),
        stop_signal=case.stop_signal,
        environment={"PATH": "/usr/bin:/bin", MARK: around.mark},
        ports=(int(around.words["gateway"]),),
    )
    stop, ends = anyio.Event(), list[Exit]()

    async def begin() -> None:
        ends.append(
            await here.run(runtime_of(layer), command, limits(**case.limits), stop=stop, seen=seen)
        )
        seen.ready.set()

    async with anyio.create_task_group() as both:
        both.start_soon(begin)
        if case.stopped:
            await seen.ready.wait()
            stop.set()
    return ends[0]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
async def test_a_hostile_agent_ends_as_the_table_says(
    here: Bench, around: Surroundings, case: Case, layer: str
) -> None:
    """Each of the hostile agents ends with the state it must, clean, and leaves nothing alive."""
    expected = case.expected[layer]
    for _ in range(case.repeat):
        seen = Seen()

        exit = await run(here, case, layer, around, seen)

        assert exit.cause is expected.cause, exit
        assert expected.code is None or exit.code == expected.code
        assert expected.signal is None or exit.signal == expected.signal
        assert exit.clean
        assert here.nothing_is_alive()
        assert around.nobody_is_marked()
        assert around.sibling.poll() is None
    log = b"".join(runtime_of(layer).log(here.run_dir)).decode("utf-8", "replace")
    for words in expected.says:
        assert words in log
    for words in expected.never_says:
        assert words not in log
    record = read_started(here.run_dir)
    assert record is not None
    assert record.started.isolation == layer
    assert expected.note is None or any(expected.note in note for note in record.started.notes)
    assert read_exit(here.run_dir) == exit


async def test_hostile_bytes_reach_the_log_unchanged(here: Bench, around: Surroundings) -> None:
    """What an agent prints is kept byte for byte, whatever it is (case 22)."""
    case = next(each for each in CASES if each.program == "hostile_text")

    await run(here, case, PROCESS, around, Seen())

    told = subprocess.run(
        [sys.executable, Path(__file__).with_name("hostile_text.py")], capture_output=True
    )
    assert (here.run_dir / "stdout").read_bytes() == told.stdout
    assert (here.run_dir / "stderr").read_bytes() == told.stderr


@pytest.mark.parametrize("layer", [BWRAP, CONTAINER])
async def test_the_listeners_of_a_closed_network_are_handed_out(
    here: Bench, around: Surroundings, layer: str
) -> None:
    """In a network of its own an agent's one way out is a socket that its supervisor holds
    (case 25).
    """
    runtime_of(layer)
    case = next(each for each in CASES if each.program == "probe_network")
    seen = Seen()

    await run(here, case, layer, around, seen)

    with socket.socket(fileno=seen.listeners[0]) as listener:
        listener.settimeout(5)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(16) == b"hello"
    around.gateway.setblocking(False)
    with pytest.raises(BlockingIOError):
        around.gateway.accept()


@pytest.mark.parametrize("layer", sorted(REQUIRED))
def test_the_layers_that_this_host_must_have_work(layer: str) -> None:
    """Where its prerequisites exist no layer is passed over."""
    assert layer in ALL
    runtime_of(layer)


def test_every_case_has_an_expectation_for_every_layer() -> None:
    """The table has no hole: 18 of the 25 cases here, the seven traps in a module of their own."""
    assert {case.number for case in CASES} == {*range(1, 13), *range(20, 26)}
    for case in CASES:
        assert set(case.expected) == set(ALL)
