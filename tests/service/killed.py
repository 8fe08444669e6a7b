"""A kubecase that is killed at a chosen point: `python killed.py ROOT WHERE SCRIPT`."""

import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from workshop import Shell, an_incident, investigator, shell

from kubecase.core.briefing import Briefing
from kubecase.core.model import Collection, Command, Exit, Fault, Verdict
from kubecase.store import Owner, Store


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Deadly(Shell):
    """Kills its kubecase when it is asked for its command, or when it judges the output."""

    where: str = ""

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        if self.where == "before the start":
            die()
        return super().command(briefing, workspace, private)

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        if self.where == "while it is judged":
            die()
        return super().verdict(lines, exit)


@dataclass
class DeadlyCollector:
    where: str

    async def collect(self, fault: Fault) -> Collection:
        if self.where == "while facts are collected":
            die()
        return Collection(collected_at=fault.seen_at, trigger=None)


@dataclass
class DeadlyObserver:
    where: str

    def record(self, event: str, /, **fields: object) -> None:
        if self.where == "while it runs" and event == "agent_started":
            die()
        if self.where == "at the last moment" and event == "workspace_size":
            die()


async def main(root: Path, where: str, script: str) -> None:
    async with Store.open(root / "data" / "kubecase.db", owner=Owner.current()) as store:
        made = investigator(
            root, store, Deadly(argv=shell(script).argv, where=where), DeadlyObserver(where),
            collector=DeadlyCollector(where),
        )  # fmt: skip
        await made.investigate(an_incident(), anyio.Event())


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], sys.argv[3])
