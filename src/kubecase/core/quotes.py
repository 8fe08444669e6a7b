"""Whether a quote stands in what was really said. Pure.

An agent quotes from JSON, from tables, from logs with times before each line; blanks, escapes and
line ends are therefore the same, and a quote may leave out a middle by `...`. Nothing else is.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kubecase.core.report import Evidence, Report

SHORTEST = 4
"""Shorter quotes stand everywhere, and prove nothing."""

_ESCAPED = re.compile(r"\\+([\"'/\\nrt])")
_BLANK = re.compile(r"\s+")
_GAP = re.compile(r"\s*(?:\[?\.{3,}\]?|…)\s*")
_AROUND = "\"'`“”‘’ \t\r\n"


def plain(text: str) -> str:
    """`text` with escapes undone and every run of blanks as one space."""
    undone = _ESCAPED.sub(
        lambda found: {"n": " ", "r": " ", "t": " "}.get(found[1], found[1]), text
    )
    return _BLANK.sub(" ", undone).strip()


def verified(quotes: Sequence[str], texts: Iterable[str]) -> frozenset[str]:
    """Those of `quotes` that stand in one of `texts`, each part of them in the same one."""
    wanted = {quote: parts for quote in quotes if (parts := _parts(quote))}
    found: set[str] = set()
    for text in texts:
        if len(found) == len(wanted):
            break
        bare = plain(text)
        found |= {
            quote
            for quote, parts in wanted.items()
            if quote not in found and all(part in bare for part in parts)
        }
    return frozenset(found)


def _parts(quote: str) -> tuple[str, ...]:
    parts = tuple(filter(None, (plain(each).strip(_AROUND) for each in _GAP.split(quote))))
    return parts if sum(map(len, parts)) >= SHORTEST else ()


def checked(report: Report, found: frozenset[str]) -> Report:
    """`report` with each evidence marked by whether its quote is among those `found`."""

    def mark(each: Evidence) -> Evidence:
        return replace(each, verified=each.quote in found)

    return replace(
        report,
        hypotheses=tuple(
            replace(each, evidence=tuple(map(mark, each.evidence))) for each in report.hypotheses
        ),
    )


def quotes_of(report: Report) -> tuple[str, ...]:
    """All quotes of a report."""
    return tuple(e.quote for each in report.hypotheses for e in each.evidence)
