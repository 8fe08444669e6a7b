"""An agent that was named but cannot be used: its case is opened, and says why nothing started."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kubecase.core.briefing import Briefing
from kubecase.core.errors import AgentUnavailable
from kubecase.core.model import Command, Exit, Verdict
from kubecase.core.ports import AgentEvent, Capabilities, Offers


@dataclass(frozen=True, kw_only=True)
class UnavailableAgent:
    """Stands in for the agent `name`; asked for its command, it raises `error`."""

    name: str
    error: AgentUnavailable

    @property
    def variables(self) -> frozenset[str]:
        """None: nothing of it is ever started."""
        return frozenset()

    @property
    def capabilities(self) -> Capabilities:
        """None."""
        return Capabilities()

    @property
    def offers(self) -> Offers | None:
        """None."""
        return None

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        """Raise what is wrong with the agent, remedy included."""
        raise self.error

    def verify_start(self, line: bytes) -> str | None:
        """Nothing: there is no start."""
        return None

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        """Nothing: there is no output."""
        return ()

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        """No claim: there was no run."""
        return Verdict(report=None, failure=str(self.error))
