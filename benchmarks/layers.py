"""What containment costs: start latency by layer, the time to be gone, memory of an idle agent."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
import psutil

from kubecase.core.model import Command, Limits
from kubecase.core.ports import Started, Stream
from kubecase.runtime import ProcessRuntime
from kubecase.runtime.bubblewrap import BubblewrapLayer
from kubecase.runtime.container import ContainerLayer, ContainerOptions
from kubecase.runtime.landlock import LandlockLayer
from kubecase.runtime.layers import Layer, LayerOptions, ProcessLayer
from kubecase.runtime.mounts import Mount

RUNS = 30
IDLE = 8
MIB = 1024 * 1024
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
STAMP = "date +%s%N >first"


class Watcher:
    def __init__(self) -> None:
        self.ready = anyio.Event()

    async def started(self, started: Started) -> None:
        pass

    def output(self, stream: Stream, data: bytes) -> None:
        self.ready.set()

    def listening(self, listeners: tuple[int, ...]) -> None:
        for handle in listeners:
            os.close(handle)


def layers() -> dict[str, Layer]:
    closed = LayerOptions(network="none")
    found: dict[str, Layer] = {
        "shim": ProcessLayer(),
        "shim + landlock": LandlockLayer(),
        "shim + bwrap": BubblewrapLayer(),
        "shim + bwrap, no network": BubblewrapLayer(options=closed),
    }
    store = Path(__file__).parent.parent / ".tools" / "podman"
    found["shim + podman"] = ContainerLayer(
        options=closed,
        container=ContainerOptions(
            engine="podman",
            image="localhost/kubecase-test:1",  # made by scripts/test-image
            mounts=(Mount(source=Path("/usr"), target=Path("/usr")),),
            engine_arguments=("--root", str(store / "root"), "--runroot", str(store / "run")),
            client_environment={"HOME": "/nonexistent"},
        ),
    )
    return {name: layer for name, layer in found.items() if layer.probe().works}


def bare(folder: Path) -> list[float]:
    taken = []
    for _ in range(RUNS):
        begun = time.time_ns()
        subprocess.Popen(["/bin/sh", "-c", STAMP], env=ENVIRONMENT, cwd=folder).wait()
        taken.append((int((folder / "first").read_text()) - begun) / 1e6)
    return taken


class Runs:
    """Runs one after the other, each in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    async def run(self, layer: Layer, script: str, stop: anyio.Event, watcher: Watcher, grace=5.0):
        self.count += 1
        workspace = self.folder / f"ws-{self.count}"
        workspace.mkdir()
        limits = Limits(
            wall_clock=120, grace=grace, idle=None, output_bytes=MIB, disk_bytes=64 * MIB
        )
        command = Command(argv=("/bin/sh", "-c", script), environment=ENVIRONMENT, cwd=workspace)
        exit = await ProcessRuntime(layer=layer).run(
            command, limits, run_dir=self.folder / f"run-{self.count}", stop=stop, watcher=watcher
        )
        return workspace, exit


async def starts(runs: Runs, layer: Layer) -> list[float]:
    taken = []
    for _ in range(RUNS):
        begun = time.time_ns()
        workspace, exit = await runs.run(layer, STAMP, anyio.Event(), Watcher())
        assert exit.code == 0, exit
        taken.append((int((workspace / "first").read_text()) - begun) / 1e6)
    return taken


async def cancels(runs: Runs, layer: Layer, script: str, grace: float) -> list[float]:
    """Milliseconds from the request to stop to the proof that nothing is alive."""
    taken = []
    for _ in range(8):
        stop, watcher, begun = anyio.Event(), Watcher(), [0.0]

        async def ask(stop=stop, watcher=watcher, begun=begun) -> None:
            await watcher.ready.wait()
            begun[0] = time.perf_counter()
            stop.set()

        async with anyio.create_task_group() as both:
            both.start_soon(ask)
            _, exit = await runs.run(layer, script, stop, watcher, grace=grace)
            taken.append((time.perf_counter() - begun[0]) * 1000)
        assert exit.clean, exit
    return taken


async def memory(runs: Runs, layer: Layer) -> tuple[float, float]:
    """MiB that each idle agent adds, private and proportional, of all it takes besides itself."""
    stop, watchers = anyio.Event(), [Watcher() for _ in range(IDLE)]
    sums = (0, 0)
    async with anyio.create_task_group() as many:
        for watcher in watchers:
            many.start_soon(runs.run, layer, "echo up; exec sleep 60", stop, watcher, 0.1)
        for watcher in watchers:
            await watcher.ready.wait()
        for process in psutil.Process().children(recursive=True):
            if process.name() != "sleep":
                found = process.memory_full_info()
                sums = (sums[0] + found.uss, sums[1] + found.pss)
        stop.set()
    return sums[0] / IDLE / MIB, sums[1] / IDLE / MIB


def line(name: str, values: list[float], base: float | None) -> None:
    middle = statistics.median(values)
    ratio = "" if base is None else f"  ratio {middle / base:5.1f}"
    print(
        f"{name:<26} min {min(values):7.1f}  median {middle:7.1f}  max {max(values):7.1f} ms{ratio}"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kubecase-bench-") as name:
        folder = Path(name)
        runs, found = Runs(folder), layers()
        baseline = bare(folder)
        base = statistics.median(baseline)
        print(f"start to the agent's first instruction, {RUNS} runs each")
        line("bare Popen", baseline, None)
        for title, layer in found.items():
            anyio.run(starts, runs, layer)  # what is read for the first time is not counted
            line(title, anyio.run(starts, runs, layer), base)
        print("from the request to stop to the proof that nothing is alive; the deaf one has 0.5 s")
        obedient = "trap 'exit 0' INT; echo up; while :; do sleep 0.01; done"
        deaf = "trap '' INT TERM; echo up; while :; do sleep 0.01; done"
        for title, layer in found.items():
            line(f"{title}: obedient", anyio.run(cancels, runs, layer, obedient, 5.0), None)
            line(f"{title}: deaf", anyio.run(cancels, runs, layer, deaf, 0.5), None)
        print(f"memory that each of {IDLE} idle agents adds besides itself")
        for title, layer in found.items():
            private, proportional = anyio.run(memory, runs, layer)
            print(f"{title:<26} private {private:5.1f} MiB, proportional {proportional:5.1f} MiB")


if __name__ == "__main__":
    sys.exit(main())
