"""What a message says in plain words, before any sink dresses it. Pure.

Every text that comes from a cluster, an agent or an alert has been made visible and cut here, and
is still untrusted: what has a meaning to a receiver is escaped by the sink.
"""

import re
from collections.abc import Callable

from kubecase.core.fencing import one_line, visible
from kubecase.core.messages import Notice
from kubecase.core.model import Status

ROOT_CAUSE = 2000
RECOMMENDATIONS = 3
RECOMMENDATION = 150

_SENTENCE_END = re.compile(r"[.!?](?=[\s\"')\]]|$)")
_WORDS = {
    Status.SUCCESS: "investigated",
    Status.FAILED: "investigation failed",
    Status.TIMEOUT: "investigation ran out of time",
    Status.CANCELLED: "investigation cancelled",
}


def title(notice: Notice) -> str:
    """The one line that is read first: what is wrong with what, and how the investigation ended."""
    fault = notice.incident.fault
    ended = _WORDS[notice.investigation.status]
    return (
        f"{fault.severity.value.upper()}: {one_line(fault.reason, 60)} {resource(notice)}, {ended}"
    )


def resource(notice: Notice) -> str:
    """`Kind/Name`."""
    return one_line(str(notice.incident.fault.resource), 253)


def root_cause(notice: Notice, limit: int, length: Callable[[str], int] = len) -> str | None:
    """The best known cause on one line, at most `limit` by `length`, cut at a sentence."""
    best = notice.report.best if notice.report else None
    words = best.root_cause if best else notice.report.summary if notice.report else ""
    text = " ".join(visible(words[: 4 * ROOT_CAUSE]).split())
    return cut_at_sentence(text, limit, length) or None


def confidence(notice: Notice) -> str:
    """`92 % confidence, by claude`; without a number where none was stated."""
    best = notice.report.best if notice.report else None
    who = (
        "the built-in rules"
        if notice.by in (None, "builtin")
        else f"the agent {one_line(notice.by, 60)}"
    )
    if best is None or best.confidence <= 0:
        return f"confidence not stated, by {who}"
    level = "high" if best.confidence >= 0.8 else "medium" if best.confidence >= 0.5 else "low"
    return f"{round(best.confidence * 100)} % confidence ({level}), by {who}"


def recommendations(notice: Notice) -> tuple[str, ...]:
    """Up to three next steps of at most 150 characters."""
    best = notice.report.best if notice.report else None
    steps = best.next_steps if best else ()
    lines = (" ".join(visible(step[: 8 * RECOMMENDATION]).split()) for step in steps)
    kept = [line for line in lines if line][:RECOMMENDATIONS]
    return tuple(cut_at_word(line, RECOMMENDATION) for line in kept)


def failure(notice: Notice) -> str | None:
    """Why the investigation did not succeed, for one that did not."""
    done = notice.investigation
    if done.status is Status.SUCCESS:
        return None
    reason = f" ({done.reason.value})" if done.reason else ""
    said = f": {one_line(done.error, 300)}" if done.error else ""
    return f"{done.status.value}{reason}{said}"


def duration(notice: Notice) -> str:
    """How long the investigation took."""
    done = notice.investigation
    if done.ended_at is None:
        return "not known"
    begun = done.started_at or done.created_at
    return seconds_words((done.ended_at - begun).total_seconds())


def seconds_words(seconds: float) -> str:
    """`seconds` for people: `12 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = whole % 3600 // 60
    return f"{whole // 3600} h" + (f" {minutes} min" if minutes else "")


def cut_at_sentence(text: str, limit: int, length: Callable[[str], int] = len) -> str:
    """`text`, or as many whole sentences as fit in `limit` and an ellipsis; else whole words."""
    if length(text) <= limit:
        return text
    cut = _fitting(text, limit - 2, length)
    ends = [found.end() for found in _SENTENCE_END.finditer(cut)]
    # A first sentence that is only the beginning of the story would say too little.
    if ends and ends[-1] >= len(cut) // 3:
        return f"{cut[: ends[-1]]} …"
    return cut_at_word(text, len(cut) + 1)


def cut_at_word(text: str, limit: int) -> str:
    """`text`, or its first whole words and an ellipsis, at most `limit` characters."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > limit // 2 else cut).rstrip(" ,;:") + "…"


def _fitting(text: str, limit: int, length: Callable[[str], int]) -> str:
    """The longest beginning of `text` whose `length` is at most `limit`."""
    low, high = 0, min(len(text), limit)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(text[:middle]) <= limit else (low, middle - 1)
    return text[:low]
