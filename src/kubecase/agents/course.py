"""What a stream of events has come to, and what that claims: shared by the adapters whose CLIs say
little about their own success. Exit codes of these CLIs lie; the last events count.
"""

import re
from dataclasses import dataclass, field, replace

from kubecase.agents.lines import MAX_COUNT, printable
from kubecase.core.lifecycle import MINIMUM_REPORT_BYTES
from kubecase.core.model import Exit, Reason, Usage, Verdict

_SENTENCE = 500
_MOST_SAID = 256 * 1024
_STATUS = re.compile(r"(?<![\d.:/-])(4\d\d|5\d\d)(?![\d.])")
_NO_CONNECTION = re.compile(
    r"(?i)connection (?:error|refused|reset)|ECONNREFUSED|timed out|network"
    r"|high demand|temporary"
)
_LOGIN = re.compile(
    r"(?i)unauthorized|unauthenticated|authentication|invalid api key|permission_den"
)
_QUOTA = re.compile(r"(?i)rate.?limit|quota|overloaded|resource.?exhausted|too many requests")


@dataclass(slots=True)
class Course:
    """A stream as far as it was read. `answer` are the words since the last tool's result, `said`
    all of them. `finished` is set by the event that ends a good run, `failure` by one that says
    what went wrong; `limit` says that it were the turns. `strange` is what is wrong with its start.
    `denied` counts refused tool calls, None for a CLI that does not tell them.
    """

    answer: list[str] = field(default_factory=list)
    said: str = ""
    finished: bool = False
    failure: str | None = None
    status: int | None = None
    limit: bool = False
    turns: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    strange: str | None = None
    model: str | None = None
    denied: int | None = None

    def words(self, text: str, *, joined: bool = False) -> None:
        """More that the model said; `joined` goes on in the same paragraph."""
        text = printable(text, _MOST_SAID)
        if joined and self.answer:
            self.answer[-1] += text
        else:
            self.answer.append(text)
        self.said = f"{self.said}{'' if joined else chr(10) * 2}{text}"[-_MOST_SAID:]

    def tool(self) -> None:
        """A tool has answered: what was said before is no conclusion."""
        self.answer.clear()

    def used(self, read: int | None, written: int | None, cost: float | None = None) -> None:
        """Add what a step consumed."""
        self.input_tokens = _more(self.input_tokens, read)
        self.output_tokens = _more(self.output_tokens, written)
        if cost is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost

    @property
    def usage(self) -> Usage:
        """What the stream tells of its consumption."""
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_usd=self.cost_usd,
            turns=self.turns,
        )

    def verdict(self, name: str, exit: Exit) -> Verdict:
        """What all of it claims about a run of the CLI `name` that ended like this."""
        if self.strange is not None:
            claim = Verdict(
                report=None, failure=self.strange, reason=Reason.START_ERROR, usage=self.usage
            )
        else:
            claim = self._claim(name, exit)
        return replace(claim, model=self.model, denials=self.denied)

    def _claim(self, name: str, exit: Exit) -> Verdict:
        partial = self.said.strip() or None
        if partial is not None and len(partial.encode()) < MINIMUM_REPORT_BYTES:
            partial = None
        if self.failure is not None:
            reason = self._reason(exit)
            sentence = printable(f"{name}: {self.failure}", _SENTENCE)
            return Verdict(
                report=partial, failure=sentence, reason=reason,
                transient=self._may_pass(reason), usage=self.usage,
            )  # fmt: skip
        told_by_exit = exit.signal is not None or exit.code != 0
        if not self.finished:
            return Verdict(
                report=partial,
                failure=f"{name} stopped before its answer was finished",
                reason=None if told_by_exit else Reason.NO_REPORT,
                usage=self.usage,
            )
        report = "\n\n".join(each for each in self.answer if each.strip()).strip()
        if not report and not told_by_exit:
            return Verdict(
                report=partial, failure=f"{name} ended without an answer",
                reason=Reason.NO_REPORT, usage=self.usage,
            )  # fmt: skip
        enough = len(report.encode()) >= MINIMUM_REPORT_BYTES
        return Verdict(report=report if enough else None, usage=self.usage)

    def _reason(self, exit: Exit) -> Reason:
        text = self.failure or ""
        status = self.status or _status_in(text)
        if self.limit:
            return Reason.BUDGET
        if status in {401, 403} or (status is None and _LOGIN.search(text)):
            return Reason.AUTH
        if status in {429, 529} or (status is None and _QUOTA.search(text)):
            return Reason.QUOTA
        if exit.signal is not None:
            return Reason.SIGNAL
        return Reason.EXIT_CODE if exit.code else Reason.NO_REPORT

    def _may_pass(self, reason: Reason) -> bool:
        if reason in {Reason.AUTH, Reason.BUDGET}:
            return False
        text = self.failure or ""
        status = self.status or _status_in(text)
        if reason is Reason.QUOTA or (status is not None and status >= 500):
            return True
        return status is None and _NO_CONNECTION.search(text) is not None


def _status_in(text: str) -> int | None:
    found = _STATUS.search(text)
    return None if found is None else int(found[1])


def _more(before: int | None, now: int | None) -> int | None:
    return before if now is None else min((before or 0) + now, MAX_COUNT)
