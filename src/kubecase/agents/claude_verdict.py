"""What the stream-json output of Claude Code claims at its end.

Format as printed by version 2.1.330. The exit code says little (0 after an interrupt, `success`
as the subtype of a refused log-in), so the last result event is judged field by field, and the
start of the session is compared with what was asked for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kubecase.agents.claude_start import Demanded
from kubecase.agents.lines import MAX_COUNT, amount_at, count_at, parsed, printable, shown, text_at
from kubecase.core.lifecycle import MINIMUM_REPORT_BYTES
from kubecase.core.model import Exit, Reason, Usage, Verdict

_LOGIN_ERRORS = frozenset(
    {"authentication_failed", "authentication_error", "permission_error", "oauth_org_not_allowed"}
)
_QUOTA_ERRORS = frozenset(
    {"rate_limit", "rate_limit_error", "overloaded", "overloaded_error", "billing_error"}
)
_TRANSIENT_ERRORS = frozenset(
    {
        "rate_limit", "rate_limit_error", "overloaded", "overloaded_error", "server_error",
        "api_error", "timeout_error",
    }
)  # fmt: skip
_NO_CONNECTION = ("Connection error", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "timed out")
_SENTENCE = 500
_MOST_SAID = 64 * 1024


@dataclass(slots=True)
class _Seen:
    """What is remembered of a stream while it is read."""

    started: bool = False
    strange: str | None = None
    result: Mapping[str, Any] | None = None
    turns: int = 0
    error_word: str = ""
    error_status: Any = None
    spoke_of_error: bool = False
    said: str = ""
    model: str | None = None
    version: str | None = None

    @property
    def partial(self) -> str | None:
        """What it said on the way, if that is worth keeping although it did not come to an end."""
        return self.said if len(self.said.encode()) >= MINIMUM_REPORT_BYTES else None


def verdict_of(lines: Iterable[bytes], exit: Exit, demanded: Demanded) -> Verdict:
    """What the whole stream claims, judged by its last result event.

    A start that is not the one demanded is a failure whatever followed. The report is the text of
    the result if it has at least 100 bytes; of a failure it is what was said on the way, so that it
    is not lost. Where the stream says nothing about why it ended, the reason is left open if the
    exit tells more, so that the exit decides.
    """
    seen = _read(lines, demanded)
    denials = None if seen.result is None else seen.result.get("permission_denials")
    return replace(
        _claim(seen, exit),
        model=seen.model,
        version=seen.version,
        denials=len(denials) if isinstance(denials, list) else None,
    )


def _claim(seen: _Seen, exit: Exit) -> Verdict:
    if seen.result is None:
        return _without_result(seen, exit)
    strange = seen.strange if seen.started else "claude did not say how it was started"
    usage = usage_of(seen.result, seen.turns)
    failure: tuple[str, Reason] | None
    failure = (strange, Reason.START_ERROR) if strange else _failure(seen, seen.result, exit)
    if failure is not None:
        sentence, reason = failure
        return Verdict(
            report=None if strange else seen.partial,
            failure=printable(sentence, _SENTENCE),
            reason=reason,
            transient=not strange and _may_pass(seen, seen.result, reason),
            usage=usage,
        )
    text = printable(text_at(seen.result, "result"), len(text_at(seen.result, "result")))
    enough = len(text.encode()) >= MINIMUM_REPORT_BYTES
    return Verdict(report=text if enough else None, usage=usage)


def _read(lines: Iterable[bytes], demanded: Demanded) -> _Seen:
    seen = _Seen()
    for line in lines:
        event = parsed(line)
        if event is None:
            continue
        match event.get("type"), event.get("subtype"):
            case "system", "init":
                seen.started = True
                seen.model = seen.model or _name(text_at(event, "model"))
                seen.version = seen.version or _name(text_at(event, "claude_code_version"))
                seen.strange = seen.strange or demanded.mismatch(event)
            case "system", "informational" if event.get("tag") == "hook_no_verdict":
                seen.strange = seen.strange or "claude ran a hook that gave no verdict"
            case "assistant", _:
                seen.spoke_of_error = event.get("is_api_error_message") is True
                seen.error_word = text_at(event, "error")
                seen.error_status = event.get("api_error_status")
                if not seen.spoke_of_error:
                    seen.said = _with_words(seen.said, event)
            case "result", _:
                seen.result = event
                seen.turns = min(seen.turns + (count_at(event, "num_turns") or 0), MAX_COUNT)
    return seen


def _name(text: str) -> str | None:
    return printable(text, 128) or None


def _with_words(said: str, event: Mapping[str, Any]) -> str:
    """`said` and the text of one more message, up to a bound."""
    message = event.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    for part in content if isinstance(content, list) else ():
        if isinstance(part, Mapping) and part.get("type") == "text":
            words = printable(text_at(part, "text"), _MOST_SAID)
            said = f"{said}\n\n{words}".strip()[:_MOST_SAID]
    return said


def _without_result(seen: _Seen, exit: Exit) -> Verdict:
    if seen.strange:
        return Verdict(report=None, failure=seen.strange, reason=Reason.START_ERROR)
    told_by_exit = exit.signal is not None or exit.code != 0
    return Verdict(
        report=seen.partial,
        failure="claude stopped without a result",
        reason=None if told_by_exit else Reason.NO_REPORT,
    )


def _failure(seen: _Seen, result: Mapping[str, Any], exit: Exit) -> tuple[str, Reason] | None:
    subtype, ended = text_at(result, "subtype"), text_at(result, "terminal_reason")
    status = result.get("api_error_status") or seen.error_status
    words = {seen.error_word, text_at(result, "api_error_type")}
    if result.get("is_error") is False and subtype == "success" and not seen.spoke_of_error:
        return _empty_success(result, ended)
    if subtype == "error_max_budget_usd" or ended == "budget_exhausted":
        return f"claude used up its budget: {words_of(result)}", Reason.BUDGET
    if subtype == "error_max_turns" or ended == "max_turns":
        return f"claude used up its turns: {words_of(result)}", Reason.BUDGET
    if status in (401, 403) or words & _LOGIN_ERRORS or "Not logged in" in words_of(result):
        return f"claude may not use the model: {words_of(result)}", Reason.AUTH
    if status in (429, 529) or words & _QUOTA_ERRORS:
        return f"claude got no answer from the model: {words_of(result)}", Reason.QUOTA
    return f"claude failed ({ended or subtype or 'no reason given'}): {words_of(result)}", _by(exit)


def _may_pass(seen: _Seen, result: Mapping[str, Any], reason: Reason) -> bool:
    """Whether another attempt may not meet this failure: a rate limit, a 5xx, no connection."""
    if reason in (Reason.AUTH, Reason.BUDGET):
        return False
    status = result.get("api_error_status") or seen.error_status
    words = {seen.error_word, text_at(result, "api_error_type")}
    if words & _TRANSIENT_ERRORS:
        return True
    if isinstance(status, int):
        return status == 429 or 500 <= status <= 599
    said = words_of(result)
    return any(each in said for each in _NO_CONNECTION)


def _empty_success(result: Mapping[str, Any], ended: str) -> tuple[str, Reason] | None:
    if not count_at(result, "num_turns"):
        return "claude answered without asking the model", Reason.NO_REPORT
    if ended != "completed":
        return f"claude did not complete: {printable(ended, 100)}", Reason.NO_REPORT
    if not text_at(result, "result").strip():
        return "claude ended without an answer", Reason.NO_REPORT
    return None


def _by(exit: Exit) -> Reason:
    """The reason that the exit alone would give; an exit code of 0 leaves a missing report."""
    if exit.signal is not None:
        return Reason.SIGNAL
    return Reason.EXIT_CODE if exit.code else Reason.NO_REPORT


def words_of(result: Mapping[str, Any], limit: int = 300) -> str:
    """What a result event says: its errors if it has any, else its text."""
    errors = result.get("errors")
    if isinstance(errors, list) and errors:
        return printable("; ".join(shown(error, limit) for error in errors[:10]), limit)
    return printable(text_at(result, "result"), limit)


def usage_of(result: Mapping[str, Any], turns: int | None = None) -> Usage:
    """Consumption of the whole process: the per-model figures and the cost are cumulative.

    Input tokens include those read from and written to the cache.
    """
    models = result.get("modelUsage")
    if isinstance(models, Mapping) and models:
        each = list(models.values())[:100]
        read = [
            _sum(m, "inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens") for m in each
        ]
        written = [_sum(m, "outputTokens") for m in each]
    else:
        plain = result.get("usage")
        names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        read, written = [_sum(plain, *names)], [_sum(plain, "output_tokens")]
    return Usage(
        input_tokens=_total(read),
        output_tokens=_total(written),
        cost_usd=amount_at(result, "total_cost_usd"),
        turns=count_at(result, "num_turns") if turns is None else turns,
    )


def _sum(value: Any, first: str, *more: str) -> int | None:
    """The counts under these keys added up; `None` if the first is not known."""
    start = count_at(value, first)
    return None if start is None else start + sum(count_at(value, key) or 0 for key in more)


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return min(sum(known), MAX_COUNT) if known else None
