"""The scripted agent: a real process that does what a plan says. For trials and for tests."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from kubecase.agents.lines import (
    amount_at,
    count_at,
    parsed,
    printable,
    shown,
    text_at,
    undecoded,
)
from kubecase.agents.options import AgentSettings, require_argument
from kubecase.core.briefing import Briefing
from kubecase.core.model import Command, Exit, Reason, Usage, Verdict
from kubecase.core.ports import AgentEvent, Capabilities, Moment, Offers

PROGRAM = Path(__file__).with_name("scripted_program.py")
"""The stand-alone program; it runs by itself too: `python scripted_program.py PLAN.json`."""

USUAL_PLAN: Mapping[str, Any] = {
    "steps": [
        {"do": "read_prompt"},
        {"do": "emit", "lines": [{"moment": "started", "text": "scripted"}]},
        {"do": "emit", "lines": [{"moment": "tool_call", "tool": "read_context", "text": "{}"}]},
        {"do": "report"},
        {"do": "emit", "lines": [{"moment": "finished", "text": "report written"}]},
    ]
}
"""What it does unless told otherwise: reads the prompt, says a few lines, leaves a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """An agent that follows `plan`: the plan itself, or the path of a JSON file that holds it.

    `python` is the interpreter (3.11 or later, nothing installed). The steps are listed at the
    head of `scripted_program.py`. A printed JSON object with `moment` is an event; one with
    `verdict` is its claim, the last of which counts; one with `strange` says what is wrong with its
    start.
    """

    python: str
    plan: Mapping[str, Any] | Path = field(default_factory=lambda: USUAL_PLAN)

    def __post_init__(self) -> None:
        """Refuse an empty interpreter."""
        require_argument("scripted", self.python, "agent_command")

    @classmethod
    def configured(cls, options: AgentSettings) -> Self:
        """The adapter for `options`: its `script`, else its program as a plan, else the usual.

        Without `python` it is the `python3` on the agent's PATH.
        """
        plan = options.script or (Path(options.program) if options.program else USUAL_PLAN)
        return cls(python=options.python or "python3", plan=plan)

    @property
    def name(self) -> str:
        """`scripted`."""
        return "scripted"

    @property
    def variables(self) -> frozenset[str]:
        """None."""
        return frozenset()

    @property
    def capabilities(self) -> Capabilities:
        """What its plan says."""
        return Capabilities(stream=True, cost=True, turns=True, denials=True)

    @property
    def offers(self) -> Offers | None:
        """None: it is served no model."""
        return None

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        """The program with its plan; a plan given as a value is placed in `private`."""
        placed = (
            {} if isinstance(self.plan, Path) else {"plan.json": json.dumps(self.plan).encode()}
        )
        plan = self.plan if isinstance(self.plan, Path) else private / "plan.json"
        return Command(
            argv=(self.python, "-I", "-S", str(PROGRAM), str(plan)),
            environment=dict(briefing.environment),
            cwd=workspace,
            stdin=briefing.user_prompt.encode("utf-8", "replace"),
            private_files=placed,
            read_only_paths=(PROGRAM, plan) if isinstance(self.plan, Path) else (PROGRAM,),
        )

    def verify_start(self, line: bytes) -> str | None:
        """What a printed JSON object says under `strange`, as a CLI with other tools would show."""
        value = parsed(line) if b'"strange"' in line else None
        return None if value is None else printable(text_at(value, "strange"), 500) or None

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        """The event that the line spells out; a line that is no JSON object is garbage."""
        if not line.strip():
            return ()
        value = parsed(line)
        if value is None:
            return (AgentEvent(moment=Moment.GARBAGE, text=undecoded(line)),)
        moment = text_at(value, "moment")
        if moment not in set(Moment):
            return ()
        tool = printable(text_at(value, "tool"), 200) or None
        return (AgentEvent(moment=Moment(moment), text=shown(value.get("text")), tool=tool),)

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        """The last claim in the stream; without one, exit and report file decide."""
        claim: Mapping[str, Any] = {}
        for line in lines:
            value = parsed(line) or {}
            if isinstance(value.get("verdict"), Mapping):
                claim = value["verdict"]
        reason = text_at(claim, "reason")
        report, usage = text_at(claim, "report"), claim.get("usage")
        return Verdict(
            report=printable(report, len(report)) or None,
            failure=printable(text_at(claim, "failure")) or None,
            reason=Reason(reason) if reason in set(Reason) else None,
            transient=claim.get("transient") is True,
            usage=_usage(usage) if isinstance(usage, Mapping) else None,
        )


def _usage(value: Mapping[str, Any]) -> Usage:
    return Usage(
        input_tokens=count_at(value, "input_tokens"),
        output_tokens=count_at(value, "output_tokens"),
        cost_usd=amount_at(value, "cost_usd"),
        turns=count_at(value, "turns"),
    )
