"""How bad a fault is, from the many words that sources use."""

from collections.abc import Mapping
from enum import StrEnum


class Severity(StrEnum):
    """The three degrees that kubecase knows, as they appear in every file and row."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info up to 2 for critical, for sorting."""
        return tuple(Severity).index(self)


_WORDS: Mapping[str, Severity] = {
    "critical": Severity.CRITICAL,
    "error": Severity.CRITICAL,
    "high": Severity.CRITICAL,
    "p1": Severity.CRITICAL,
    "p2": Severity.CRITICAL,
    "warning": Severity.WARNING,
    "medium": Severity.WARNING,
    "p3": Severity.WARNING,
    "info": Severity.INFO,
    "low": Severity.INFO,
    "p4": Severity.INFO,
}


def severity_of(word: str) -> tuple[Severity, bool]:
    """The severity that `word` stands for, and whether the word was known.

    Case and surrounding white space do not matter. An unknown word counts as a warning; the
    caller logs that and keeps the word itself in `Fault.severity_word`.
    """
    known = _WORDS.get(word.strip().lower())
    return (known, True) if known is not None else (Severity.WARNING, False)
