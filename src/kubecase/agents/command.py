"""Any program as an agent: the prompt on standard input, the report in a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kubecase.agents.lines import undecoded
from kubecase.agents.options import (
    AgentSettings,
    missing_command,
    require_argument,
    require_variables,
    unusable,
)
from kubecase.core.briefing import Briefing
from kubecase.core.model import Command, Exit, Verdict
from kubecase.core.ports import AgentEvent, Capabilities, Credential, Moment, Offers

SIGINT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAgent:
    """A program of the operator's choice, run as an argument list and never by a shell.

    It is asked to write `output/investigation.md`; what it prints is shown and kept, not parsed.
    `extra` is added to its environment, and `credential` under the name that it reads. Raises
    AgentUnavailable for an empty command and for variables that may not be set.
    """

    argv: tuple[str, ...]
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    credential: Credential | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be started."""
        if not self.argv:
            raise missing_command("command", "the program to run, with its arguments")
        require_argument("command", self.argv[0], "agent_command")
        if any("\0" in argument for argument in self.argv):
            raise unusable("command", "an argument holds a zero byte", "agent_command")
        if self.credential is not None and any(self.credential.value in a for a in self.argv):
            raise unusable("command", "an argument holds its model key", "agent_command")
        require_variables("command", self._own_variables())

    @classmethod
    def configured(cls, options: AgentSettings) -> Self:
        """The adapter for `options`: its `argv`, else its program and extra arguments."""
        program = (options.program,) if options.program else ()
        argv = options.argv or (*program, *(options.extra_args if program else ()))
        return cls(argv=argv, extra=options.variables, credential=options.credential)

    @property
    def name(self) -> str:
        """`command`."""
        return "command"

    @property
    def variables(self) -> frozenset[str]:
        """What the configuration adds."""
        return frozenset(self._own_variables())

    @property
    def capabilities(self) -> Capabilities:
        """Nothing is known of it."""
        return Capabilities()

    @property
    def offers(self) -> Offers | None:
        """None: it is served no model."""
        return None

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        """The program with the prompt on standard input; stopped by SIGINT (req 8.5)."""
        return Command(
            argv=self.argv,
            environment={**briefing.environment, **self._own_variables()},
            cwd=workspace,
            stdin=briefing.user_prompt.encode("utf-8", "replace"),
            stop_signal=SIGINT,
            read_only_paths=(Path(self.argv[0]),) if self.argv[0].startswith("/") else (),
        )

    def _own_variables(self) -> dict[str, str]:
        own = dict(self.extra)
        if self.credential is not None:
            own[self.credential.variable] = self.credential.value
        return own

    def verify_start(self, line: bytes) -> str | None:
        """Nothing: what it prints is not parsed."""
        return None

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        """The line as a message; nothing for an empty one."""
        text = undecoded(line)
        return (AgentEvent(moment=Moment.MESSAGE, text=text),) if text else ()

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        """No claim: exit and report file decide."""
        return Verdict(report=None)
