"""What an agent's Markdown says in machine terms, read as tolerantly as it was written.

Agents that follow the triage skills write `3. Root Cause Analysis` with H1, H2, ... and a
confidence in words (docs/formats.md section 3); heading levels, numbering and emphasis vary. What
is read here is marked as extracted, and never becomes more than text and a number.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubecase.core.categories import CATEGORIES
from kubecase.core.report import MAX_HYPOTHESES, Report, report_from_json

MAX_CHARACTERS = 1024 * 1024
_MAX_LINE = 2000

_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t#]*$|\*\*([^*]{3,120})\*\*:?[ \t]*$")
_NUMBERING = re.compile(r"^(?:section\s+)?[\d.)\s:-]{0,12}", re.IGNORECASE)
_FENCE = re.compile(r" {0,3}(```+|~~~+)[ \t]*(\w*)")
_LABEL = re.compile(
    r"^[\s#>*|+_\d.)\[-]{0,16}(?:hypothes[ie]s\s+)?H(\d)\b[\])*_`]{0,4}\s*"
    r"(?:\((?P<aside>[^)]{0,80})\))?[\s:.|*_–—-]{0,8}(?P<text>.*)$",
    re.IGNORECASE,
)
_CONFIDENCE = re.compile(
    r"confidence[\s:*_|()=–—-]{0,12}(?:is\s+)?[*_`]{0,3}(high|medium|moderate|low|\d{1,3}\s?%|[01]?\.\d+)"
    r"|\b(high|medium|moderate|low|\d{1,3}\s?%)[\s*_-]{1,4}confidence",
    re.IGNORECASE,
)
_BARE_WORD = re.compile(
    r"[|(\[–—-]\s*[*_]{0,2}(high|medium|low)[*_]{0,2}\s*(?:[|)\]]|$)", re.IGNORECASE
)
_FACT = re.compile(r"\[(FACT-\d{1,3})\][\s:*_–—-]{0,6}(.+)")
_BULLET = re.compile(r"^\s*(?:[-*+]|\d{1,2}[.)])\s+(.+)$")
_WORDS: Mapping[str, float] = {"high": 0.9, "medium": 0.6, "moderate": 0.6, "low": 0.3}
_ROLES: Sequence[tuple[str, tuple[str, ...]]] = (
    ("cause", ("root cause",)),
    ("card", ("executive", "triage card", "summary", "tl;dr")),
    ("problem", ("problem",)),
    ("steps", ("remediation", "recommend", "next step")),
    ("facts", ("assessment", "finding", "evidence")),
)


def machine_part(markdown: str) -> Report | None:
    """The last fenced block of `markdown` that is a report in machine form, if there is any."""
    best: Report | None = None
    for language, body in _fenced(markdown[:MAX_CHARACTERS]):
        if language not in {"", "json"} or not body.lstrip().startswith("{"):
            continue
        try:
            report, _ = report_from_json(json.loads(body))
        except (ValueError, RecursionError):
            continue
        best = report or best
    return best


def extract(markdown: str) -> dict[str, Any] | None:
    """Summary, hypotheses and steps as read from the headings, or None if no cause is named.

    The form is that of a report, with `"extracted": true`; `category`, `culprit` and `confidence`
    are null where the text does not say them, and `facts` holds its [FACT-n] lines.
    """
    sections = _sections(markdown[:MAX_CHARACTERS])
    hypotheses = _hypotheses(sections.get("cause", []))
    if not hypotheses:
        return None
    hypotheses[0]["next_steps"] = _steps(sections.get("steps", []))
    card = sections.get("card") or sections.get("problem") or []
    summary = _paragraph(card) or str(hypotheses[0]["root_cause"])
    facts = [line for role in ("facts", "card") for line in sections.get(role, [])]
    return {
        "extracted": True,
        "summary": summary,
        "hypotheses": hypotheses,
        "facts": [{"id": f[1], "text": plain(f[2])} for f in map(_FACT.search, facts) if f][:20],
    }


def _fenced(markdown: str) -> Iterator[tuple[str, str]]:
    fence, language, body = "", "", list[str]()
    for line in markdown.splitlines():
        mark = _FENCE.match(line)
        if not fence and mark:
            fence, language, body = mark[1], mark[2].lower(), []
        elif fence and mark and mark[1].startswith(fence) and not mark[2]:
            yield language, "\n".join(body)
            fence = ""
        elif fence:
            body.append(line)


def _sections(markdown: str) -> dict[str, list[str]]:
    """Lines by the role of the heading they stand under; code blocks are left out."""
    sections: dict[str, list[str]] = {}
    role, fence = "", ""
    for line in (each[:_MAX_LINE] for each in markdown.splitlines()):
        if mark := _FENCE.match(line):
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
            continue
        if fence:
            continue
        heading = _HEADING.match(line)
        title = plain(heading[1] or heading[2] or "") if heading else ""
        found = _role(title) if title else None
        if found and not _LABEL.match(title):
            role = found
        elif heading and heading[1] and not _LABEL.match(title) and not _is_below(title):
            role = role if line.lstrip().startswith("###") else ""
        elif role:
            sections.setdefault(role, []).append(line)
    return sections


def _is_below(title: str) -> bool:
    return title.lower().startswith(("hypothes", "confidence", "primary", "fact", "inf"))


def _role(title: str) -> str | None:
    title = _NUMBERING.sub("", title).lower()
    return next((role for role, words in _ROLES if any(w in title for w in words)), None)


def _hypotheses(lines: Sequence[str]) -> list[dict[str, Any]]:
    blocks: list[tuple[str, list[str]]] = []
    for line in lines:
        label = _LABEL.match(line)
        if label:
            blocks.append((label["text"], [line]))
        elif blocks:
            blocks[-1][1].append(line)
    if not blocks and (text := _paragraph(lines)):
        blocks = [(text, list(lines))]
    found = [_hypothesis(text, block) for text, block in blocks]
    return [each for each in found if each["root_cause"]][:MAX_HYPOTHESES]


def _hypothesis(text: str, block: Sequence[str]) -> dict[str, Any]:
    whole = "\n".join(block)
    cells = [c for c in text.split("|") if c.strip()]
    cause = plain(_CONFIDENCE.sub("", cells[0] if cells else "")).strip(" ()[]:;,-–—")
    category = next(
        (c for c in CATEGORIES if re.search(rf"(?<![\w.]){re.escape(c)}\b", whole)), None
    )
    return {
        "category": category,
        "root_cause": (cause or _paragraph(block[1:]))[:_MAX_LINE],
        "culprit": None,
        "confidence": _confidence(whole),
        "evidence": [],
        "next_steps": [],
    }


def _confidence(text: str) -> float | None:
    found = _CONFIDENCE.search(text) or _BARE_WORD.search(text)
    if found is None:
        return None
    word = next(g for g in found.groups() if g).lower()
    if word in _WORDS:
        return _WORDS[word]
    number = float(word.rstrip("% ")) / (100 if "%" in word else 1)
    return min(1.0, number)


def _steps(lines: Sequence[str]) -> list[str]:
    found = [plain(m[1]) for m in map(_BULLET.match, lines) if m]
    return [each[:500] for each in found if each][:10]


def _paragraph(lines: Sequence[str]) -> str:
    """The first lines of prose, joined: no table rules, no lone confidence, no heading."""
    taken: list[str] = []
    for line in lines:
        text = plain(line)
        if (
            text
            and not set(text) <= set("|-: ")
            and not re.fullmatch(r"(?i)confidence\W.{0,30}", text)
        ):
            taken.append(text)
        elif taken:
            break
    return " ".join(taken)[:_MAX_LINE]


def plain(text: str) -> str:
    """`text` without the marks of Markdown: emphasis, code, links, bullets, heading signs."""
    text = re.sub(r"!?\[([^\[\]]{0,500})\]\([^()\s]{0,1000}\)", r"\1", text[:_MAX_LINE])
    text = re.sub(r"^[\s#>|+-]{0,16}|[*`]{1,3}|(?<!\w)_{1,2}(?=\w)|(?<=\w)_{1,2}(?!\w)", "", text)
    return " ".join(text.strip(" |").split())
